"""Which messages are signed, by what, and where the signatures go."""

from __future__ import annotations

import pytest

from dkconf.filter.config import Canonicalization, KeyEntry
from dkconf.milter import codec, messages
from tests.filter.mta import (
    BODY,
    HEADER,
    Fields,
    MakeMta,
    arrived,
    inserted,
    letters,
    results,
    signed,
)

BOTH = ("dkim", "domainkeys")


def test_domainkeys_first_then_dkim_on_top(mta: MakeMta) -> None:
    """Both are inserted below the MTA's own Received; the later insertion is on top."""
    client = mta(at=b"127.0.0.1")
    edits = client.send(HEADER)

    assert inserted(edits) == [(1, "DomainKey-Signature"), (1, "DKIM-Signature")]
    assert letters(edits) == "iic"
    assert client.line == "4BX2k1: signed dkim d=example.com s=jan, domainkeys d=example.com s=jan"
    assert client.counted == ['messages_total{role="sign",result="signed",condition="",action="accept"}']


@pytest.mark.parametrize("dkim", ["simple/simple", "relaxed/simple", "simple/relaxed", "relaxed/relaxed"])
@pytest.mark.parametrize("domainkeys", ["simple", "nofws"])
@pytest.mark.parametrize("chunk", [1, 7, 65535])
def test_what_we_sign_we_verify(mta: MakeMta, dkim: str, domainkeys: str, chunk: int) -> None:
    """Signatures hold for the header as it leaves, in every canonicalization, however the body is split."""
    canonicalization = Canonicalization(domainkeys, dkim)
    signer = mta(at=b"127.0.0.1", canonicalization=canonicalization)
    left = arrived(HEADER, signer.send(HEADER, chunk=chunk))

    assert results(mta().send(left, chunk=chunk)) == ["dkim=pass", "domainkeys=pass"]


def test_several_keys_sign_one_message(mta: MakeMta) -> None:
    """RSA and Ed25519 beside DomainKeys: three signatures, all of which verify."""
    keys = (
        KeyEntry("example.com", "jan", "/k/rsa", ("dkim", "domainkeys")),
        KeyEntry("example.com", "ed", "/k/ed", ("dkim",)),
    )
    edits = mta(at=b"127.0.0.1", keys=keys).send(HEADER)

    assert inserted(edits) == [(1, "DomainKey-Signature"), (1, "DKIM-Signature"), (1, "DKIM-Signature")]
    assert results(mta().send(arrived(HEADER, edits))) == ["dkim=pass", "dkim=pass", "domainkeys=pass"]


@pytest.mark.parametrize(
    "sender, expected",
    [
        ("joe@example.com", "jan"),
        ("joe@EXAMPLE.COM", "jan"),
        ("joe@a.example.com", "sub"),
        ("joe@b.a.example.com", "sub"),
        ("joe@x.deep.example.com", "deep"),
        ("joe@deep.example.com", "deep"),
        ("joe@nosub.example.net", ""),
        ("joe@example.net", "net"),
        ("joe@badexample.com", ""),
        ("list@any.example.org", "pat"),
    ],
)
def test_the_longest_match_signs(mta: MakeMta, sender: str, expected: str) -> None:
    """The domain itself, then the nearest parent with subdomains, then patterns; d= is the entry's domain."""
    keys = (
        KeyEntry("example.com", "jan", "/k/rsa", ("dkim",)),
        KeyEntry("example.com", "sub", "/k/rsa", ("dkim",), subdomains=True),
        KeyEntry("deep.example.com", "deep", "/k/rsa", ("dkim",), subdomains=True),
        KeyEntry("example.net", "net", "/k/rsa", ("dkim",)),
        KeyEntry("*", "pat", "/k/rsa", ("dkim",), senders=("list@*.example.org",)),
    )
    edits = mta(at=b"127.0.0.1", keys=keys).send([(b"From", b" " + sender.encode()), *HEADER[1:]])
    selectors = [e.value.split(b"s=")[1].split(b";")[0].decode() for e in edits if e.name == b"DKIM-Signature"]

    assert (expected in selectors) == bool(expected)
    if expected == "pat":
        assert b"d=any.example.org;" in edits[0].value
    if not expected:
        assert selectors == []


@pytest.mark.parametrize(
    "name, at, settings, macros, ours",
    [
        ("outside", b"192.0.2.1", {}, {}, False),
        ("loopback", b"127.0.0.1", {}, {}, True),
        ("loopback by IPv6", b"::1", {}, {}, True),
        ("mapped", b"::ffff:127.0.0.1", {}, {}, True),
        ("network", b"10.1.2.3", {"internal_hosts": ("10.0.0.0/8",)}, {}, True),
        ("outside the network", b"11.1.2.3", {"internal_hosts": ("10.0.0.0/8",)}, {}, False),
        ("IPv6 network", b"2001:db8::7", {"internal_hosts": ("2001:db8::/32",)}, {}, True),
        ("host name", b"192.0.2.1", {"internal_hosts": ("client.example.net",)}, {}, True),
        ("suffix", b"192.0.2.1", {"internal_hosts": (".example.net",)}, {}, True),
        ("suffix of another", b"192.0.2.1", {"internal_hosts": (".example.org",)}, {}, False),
        ("authenticated", b"192.0.2.1", {}, {b"{auth_type}": b"PLAIN"}, True),
        ("not authenticated", b"192.0.2.1", {}, {b"{auth_type}": b""}, False),
        ("daemon", b"192.0.2.1", {"daemons": ("msa", "mta")}, {}, True),
        ("other daemon", b"192.0.2.1", {"daemons": ("msa",)}, {}, False),
        ("macro", b"192.0.2.1", {"macros": {"x": ""}}, {b"x": b"1"}, True),
        ("macro, braces", b"192.0.2.1", {"macros": {"x": ""}}, {b"{x}": b"1"}, True),
        ("macro's value", b"192.0.2.1", {"macros": {"port": "Submission"}}, {b"{port}": b"submission"}, True),
        ("macro's other value", b"192.0.2.1", {"macros": {"port": "25"}}, {b"{port}": b"587"}, False),
        ("no such macro", b"192.0.2.1", {"macros": {"port": ""}}, {}, False),
        ("nonsense address", b"not an address", {"internal_hosts": ("10.0.0.0/8",)}, {}, False),
    ],
)
def test_origin(
    mta: MakeMta, name: str, at: bytes, settings: dict[str, object], macros: dict[bytes, bytes], ours: bool
) -> None:
    """Any sign of an own origin is enough; without one the message is verified."""
    edits = mta(at=at, sends=macros, **settings).send(HEADER)

    assert ("DKIM-Signature" in dict(map(reversed, inserted(edits)))) == ours  # type: ignore[arg-type]


@pytest.mark.parametrize(
    "family, address, ours",
    [
        (b"4", b"127.0.0.1", True),
        (b"6", b"::1", True),
        (b"6", b"IPv6:::1", True),
        (b"6", b"ipv6:0:0:0:0:0:0:0:1", True),
        (b"6", b"::ffff:127.0.0.1", True),
        (b"6", b"fe80::1%eth0", True),
        (b"L", b"", True),
        (b"L", b"/run/some.sock", True),
        (b"U", b"", False),
        (b"U", b"127.0.0.1", False),
        (b"X", b"127.0.0.1", False),
        (b"\0", b"127.0.0.1", False),
        (b"5", b"127.0.0.1", False),
        (b"4", b"", False),
        (b"4", b"127.0.0.1 ", False),
        (b"4", b"127.0.0.01", False),
        (b"4", b"127.1", False),
        (b"4", b"2130706433", False),
        (b"6", b"fe80::1%", False),
        (b"6", b"::ffff:192.0.2.1", False),
        (b"6", b"::127.0.0.1", False),
        (b"6", b"1" * 100, False),
        (b"4", b"127.0.0.\xb1", False),
    ],
)
@pytest.mark.parametrize("hostname", [b"unknown", b"[127.0.0.1]"])
def test_what_an_address_must_be(mta: MakeMta, family: bytes, address: bytes, ours: bool, hostname: bytes) -> None:
    """A Unix socket is on this machine; an address of an unknown family is nobody's, whatever it says."""
    hosts = ("127.0.0.1", "::1", "fe80::/10")
    client, peer = mta(internal_hosts=hosts), mta(peers=hosts)
    packet = codec.packet(b"C", hostname + b"\0" + family + b"\x04\x01" + address + b"\0")
    (command,) = codec.Decoder().feed(packet)
    assert isinstance(command, messages.Connect)
    client.session.connect(*command)

    assert letters(client.send(HEADER)) == ("iic" if ours else "ic")
    assert (peer.session.connect(*command) == codec.ACCEPT) is ours


@pytest.mark.parametrize("family", [b"U", b"X"])
def test_a_name_without_an_address_is_nobodys(mta: MakeMta, family: bytes) -> None:
    """The MTA has the name from the address; where it has none of a known family, the name says nothing."""
    client = mta(internal_hosts=("localhost", "127.0.0.1"), peers=("localhost",))

    assert client.session.connect(b"localhost", family, 0, b"") is None
    assert letters(client.send(HEADER)) == "ic"


def test_without_a_connect_nobody_is_ours(mta: MakeMta) -> None:
    """Neither before the first CONNECT, nor between one connection and the next on the same socket."""
    client = mta(at=b"127.0.0.1")
    client.session.close()

    assert letters(client.send(HEADER)) == "ic"


def test_other_signs_hold_without_an_address(mta: MakeMta) -> None:
    """A client that has authenticated is ours, wherever it comes from."""
    client = mta(sends={b"{auth_type}": b"PLAIN"})
    client.session.connect(b"unknown", b"U", 0, b"")

    assert letters(client.send(HEADER)) == "iic"


def test_external_host_is_reported_unless_listed(mta: MakeMta) -> None:
    """A host that is not ours and writes our domain is worth a notice, and its mail is verified."""
    client = mta()
    client.send(HEADER)
    quiet = mta(external_ignore=("192.0.2.0/24",))
    quiet.send(HEADER)

    assert client.log == [
        (5, "4BX2k1: external host client.example.net attempted to send as example.com; dkim=none; domainkeys=none")
    ]
    assert quiet.log == [(6, "4BX2k1: dkim=none; domainkeys=none")]


@pytest.mark.parametrize(
    "fields, settings, line",
    [
        ([(b"From", b" a@Example.NET")], {}, "not signed (no key for example.net); dkim=none; domainkeys=none"),
        (
            [(b"From", b" a@sub.example.com")],
            {},
            "not signed (no key for sub.example.com); dkim=none; domainkeys=none",
        ),
        (
            [(b"From", b" a@b\xc3\xbcro.example")],
            {},
            "not signed (no key for b\\xc3\\xbcro.example); dkim=none; domainkeys=none",
        ),
        ([(b"From", b" a@example.net")], {"roles": ("sign",)}, "left alone (no key for example.net)"),
        (HEADER[1:], {}, "dkim=none; domainkeys=none; no From field"),
        (
            signed(schemes=("domainkeys",)),
            {"keys": (KeyEntry("example.com", "jan", "/k/rsa", ("domainkeys",)),)},
            "not signed (it has a DomainKey-Signature); domainkeys=pass d=example.com s=jan; dkim=none",
        ),
    ],
)
def test_the_log_says_why_mail_of_an_own_host_is_not_signed(
    mta: MakeMta, fields: Fields, settings: dict[str, object], line: str
) -> None:
    """ "Why is my mail not signed" is the most frequent question to such a filter."""
    client = mta(at=b"127.0.0.1", **settings)
    client.send(fields)
    assert client.line == f"4BX2k1: {line}"

    stranger = mta(**settings)
    stranger.send(fields)
    assert "no key for" not in stranger.line


def test_only_a_domainkey_signature_stops_domainkeys_signing(mta: MakeMta) -> None:
    """Such a message of ours is verified (DomainKeys), and DKIM still signs; a DKIM-Signature stops nothing."""
    client = mta(at=b"127.0.0.1")
    edits = client.send(signed(schemes=("domainkeys",)))

    assert inserted(edits) == [(1, "DKIM-Signature"), (0, "Authentication-Results")]
    assert results(edits) == ["domainkeys=pass"]
    assert client.line == "4BX2k1: signed dkim d=example.com s=jan; domainkeys=pass d=example.com s=jan"
    edits = client.send(signed(schemes=("dkim",)))
    assert inserted(edits) == [(1, "DomainKey-Signature"), (1, "DKIM-Signature")]


def test_with_domainkeys_keys_alone_a_signed_message_is_verified_wholly(mta: MakeMta) -> None:
    """As dk-filter: the message is not signed again, so all of it is verified."""
    keys = (KeyEntry("example.com", "jan", "/k/rsa", ("domainkeys",)),)
    edits = mta(at=b"127.0.0.1", keys=keys).send(signed())

    assert results(edits) == ["dkim=pass", "domainkeys=pass"]
    assert letters(edits) == "ic"


@pytest.mark.parametrize(
    "roles, at, expected, note",
    [
        (("verify",), b"127.0.0.1", "c", "4BX2k1: left alone (the role sign is off)"),
        (("sign",), b"192.0.2.1", "c", "4BX2k1: external host client.example.net attempted to send as example.com"),
        (("sign",), b"127.0.0.1", "iic", "4BX2k1: signed dkim d=example.com s=jan, domainkeys d=example.com s=jan"),
        (("verify",), b"192.0.2.1", "ic", "4BX2k1: external host client.example.net attempted to send as"
         " example.com; dkim=none; domainkeys=none"),
    ],
)  # fmt: skip
def test_a_role_that_is_off_leaves_its_messages_alone(
    mta: MakeMta, roles: tuple[str, ...], at: bytes, expected: str, note: str
) -> None:
    """dk-filter's -b: neither signed nor verified nor changed."""
    client = mta(at=at, roles=roles)

    assert letters(client.send(HEADER)) == expected
    assert client.line == note


def test_sender_is_the_domainkeys_sender_and_from_the_dkim_author(mta: MakeMta) -> None:
    """With Sender the domain of Sender signs DomainKeys; DKIM prefers a key for From, for DMARC compares it."""
    keys = (
        KeyEntry("example.com", "jan", "/k/rsa", BOTH),
        KeyEntry("lists.example.net", "list", "/k/rsa", BOTH),
    )
    client = mta(at=b"127.0.0.1", keys=keys)
    client.send([(b"Sender", b" owner@lists.example.net"), *HEADER])
    assert client.line == "4BX2k1: signed dkim d=example.com s=jan, domainkeys d=lists.example.net s=list"

    client.send([(b"Sender", b" owner@lists.example.net"), (b"From", b" x@elsewhere.example")])
    assert client.line == "4BX2k1: signed dkim d=lists.example.net s=list, domainkeys d=lists.example.net s=list"


def test_x_domainkeys_is_above_the_signatures(mta: MakeMta) -> None:
    """-h: it says which filter at which host signed which job, and is not signed itself."""
    edits = mta(at=b"127.0.0.1", identify=True).send(HEADER)

    assert [name for _, name in inserted(edits)][-1] == "X-DomainKeys"
    assert edits[-2].value == b" dkconf-filter v0.1.0 mx.example.net 4BX2k1"
    assert b"x-domainkeys" not in edits[0].value


def test_x_domainkeys_is_below_the_results(mta: MakeMta) -> None:
    """-h is about every message that the filter looked at, verified ones too; one that it left alone has none."""
    assert inserted(mta(identify=True).send(HEADER)) == [(1, "X-DomainKeys"), (0, "Authentication-Results")]
    assert inserted(mta(identify=True, roles=("sign",)).send(HEADER)) == []


@pytest.mark.parametrize(
    "fields, body, warns",
    [
        (HEADER, b"x" * 998 + b"\r\n", False),
        (HEADER, b"ok\r\n" + b"x" * 999 + b"\r\n", True),
        (HEADER, b"x" * 998 + b"\r\n" + b"y" * 998 + b"\r\n", False),
        (HEADER, b"x" * 5000, True),
        ([*HEADER, (b"X-Long", b" " + b"y" * 998)], BODY, True),
        ([*HEADER, (b"X-Long", b" " + b"y" * 900 + b"\n " + b"y" * 900)], BODY, False),
    ],
)
@pytest.mark.parametrize("chunk", [1, 100, 65535])
def test_lines_over_998_octets_are_warned_of(
    mta: MakeMta, fields: Fields, body: bytes, warns: bool, chunk: int
) -> None:
    """The next MTA breaks such a line after we have signed, and the signature with it."""
    client = mta(at=b"127.0.0.1")
    client.send(fields, body, chunk=chunk)

    assert ("over 998 octets" in client.line) == warns
    assert client.log[-1][0] == (4 if warns else 6)
