"""dkconf/filter/engine.py and hosts.py: what is made once from the settings."""

from __future__ import annotations

from time import process_time

import pytest

from dkconf.filter.config import KeyEntry, Settings, SettingsError
from dkconf.filter.engine import Engine
from dkconf.filter.glob import Glob
from dkconf.filter.hosts import HostList, _number
from tests.filter.mta import ED_PEM, FILES, RSA_PEM, make_settings, read


def load(*entries: KeyEntry, **more: object) -> Engine:
    """An engine with these keys."""
    return Engine.load(make_settings(keys=entries, **more), read)


def test_every_bad_key_is_named_with_its_fault() -> None:
    """All of them at once, by entry and path; nothing of a key is in the message."""
    files = {
        "/k/none": None,
        "/k/text": b"no key",
        "/k/ed": ED_PEM,
        "/k/cut": RSA_PEM[:200] + b"-----END PRIVATE KEY-----\n",
        "/k/rsa": RSA_PEM,
    }

    def open_file(path: str) -> bytes:
        octets = files[path]
        if octets is None:
            raise PermissionError(13, "Permission denied", path)
        return octets

    schemes = {"/k/ed": ("domainkeys",)}
    entries = tuple(KeyEntry("example.com", "s", path, schemes.get(path, ("dkim",))) for path in files)  # type: ignore[arg-type]
    with pytest.raises(SettingsError) as caught:
        Engine.load(Settings(socket="inet:1", keys=entries), open_file)

    problems = caught.value.problems
    assert [problem.split(": ", 2)[:2] for problem in problems] == [
        ["keys[0].path", "/k/none"],
        ["keys[1].path", "/k/text"],
        ["keys[2].path", "/k/ed"],
        ["keys[3].path", "/k/cut"],
    ]
    assert problems[0].endswith(": Permission denied")
    assert problems[2].endswith("a key for DomainKeys must be RSA, this one is ed25519")
    assert RSA_PEM.splitlines()[1].decode() not in str(caught.value)


def test_a_key_list_may_leave_off_the_suffix(monkeypatch: pytest.MonkeyPatch) -> None:
    """dk-filter's -k tries the path, then .pem, then .private; other entries are taken as they are."""
    monkeypatch.setitem(FILES, "/k/sel.private", RSA_PEM)
    listed = KeyEntry("example.com", "sel", "/k/sel", ("domainkeys",), senders=("*@example.com",))

    assert load(listed).keys.find(b"joe", b"example.com").domainkeys
    with pytest.raises(SettingsError, match="No such file"):
        load(KeyEntry("example.com", "sel", "/k/sel"))


def test_notes_say_what_an_administrator_should_know() -> None:
    """Short keys, Ed25519 alone, keys without the role: said once, when the settings are loaded."""
    engine = load(
        KeyEntry("example.com", "jan", "/k/rsa", ("domainkeys",)),
        KeyEntry("example.net", "ed", "/k/ed"),
        roles=("verify",),
    )

    assert engine.notes == (
        "/k/rsa: an RSA key of 1024 bits; 2048 are recommended",
        "example.net: signed by Ed25519 alone, which many verifiers do not know; add an RSA key",
        "keys are configured, but roles do not name sign: nothing is signed",
    )


def test_notes_of_one_kind_are_few(monkeypatch: pytest.MonkeyPatch) -> None:
    """A host of ten thousand domains does not fill its log at each reload."""
    paths = [f"/k/{number}" for number in range(30)]
    for path in paths:
        monkeypatch.setitem(FILES, path, RSA_PEM)
    notes = load(*(KeyEntry("example.com", "jan", path) for path in paths)).notes

    assert notes[:2] == tuple(f"/k/{n}: an RSA key of 1024 bits; 2048 are recommended" for n in (0, 1))
    assert notes[10:] == ("and 20 more like that",)


def test_the_first_line_of_a_key_list_holds() -> None:
    """Patterns are tried in their order, and only the first that matches signs."""
    keys = load(
        KeyEntry("example.com", "one", "/k/rsa", ("dkim",), senders=("boss@*",)),
        KeyEntry("example.com", "two", "/k/rsa", ("dkim",), senders=("*@example.com",)),
        KeyEntry("*", "all", "/k/rsa", ("dkim",)),
    ).keys

    assert [s.selector for s in keys.find(b"Boss", b"example.com").dkim] == [b"one"]
    assert [s.selector for s in keys.find(b"joe", b"example.com").dkim] == [b"two"]
    assert [(s.selector, s.domain) for s in keys.find(b"joe", b"example.net").dkim] == [(b"all", b"example.net")]
    assert keys.find(b"joe", b"bad domain\xff").dkim == ()


@pytest.mark.parametrize(
    ("local", "domain"),
    [
        (b"@" * 100_000, b"x.example"),
        (b"joe", b"a." * 100_000 + b"example"),
        (b"joe", b"\xc3\xa9" * 100_000 + b".example"),
    ],
    ids=["local part", "labels", "U-label"],
)
def test_a_sender_without_end_costs_linear_time(local: bytes, domain: bytes) -> None:
    """Patterns with several stars, and parents by the thousand, are no work for a hostile From."""
    keys = load(
        KeyEntry("example.com", "one", "/k/rsa", ("dkim",), senders=("*@*@*@*.example.com",)),
        KeyEntry("*.a.*.a.*.example.com", "two", "/k/rsa", ("dkim",)),
        KeyEntry("example.net", "three", "/k/rsa", ("dkim",), subdomains=True),
    ).keys
    begin = process_time()

    assert not keys.find(local, domain)
    assert process_time() - begin < 2


@pytest.mark.parametrize(
    ("pattern", "text", "expected"),
    [
        ("joe@example.com", b"JOE@example.com", True),
        ("joe@example.com", b"joe@example.com.", False),
        ("*", b"", True),
        ("*@Example.com", b"a@b@example.com", True),
        ("a*a", b"a", False),
        ("a*a", b"aa", True),
        ("a*b*c", b"a-c-b-c", True),
        ("a*b*c", b"a-c-b", False),
        ("a*bc*c", b"abc", False),
        ("**x**", b"\nx\n", True),
        ("\u0161*@example.com", "\u0161ef@example.com".encode(), True),
        ("[a]*", b"a", False),
    ],
)
def test_patterns(pattern: str, text: bytes, expected: bool) -> None:
    """A star is any octets, none too; nothing else is special, and case does not count."""
    assert expected is Glob(pattern).matches(text)


def test_internationalized_senders_find_their_key() -> None:
    """From may hold U-labels (RFC 6532); keys are named by A-labels. What is neither has no key."""
    keys = load(KeyEntry("xn--exmple-cua.com", "jan", "/k/rsa")).keys

    assert keys.find(b"joe", "exämple.com".encode()).dkim
    assert not keys.find(b"joe", b"ex\xe4mple.com")


def test_remembered_senders_are_bounded() -> None:
    """A pattern for all domains makes signers for whoever sends; their number has a limit."""
    keys = load(KeyEntry("*", "all", "/k/rsa", ("dkim",))).keys
    for number in range(5000):
        assert keys.find(b"joe", b"d%d.example" % number).dkim

    assert len(keys._remembered) <= 4096


def test_a_short_rsa_key_signs_domainkeys_only() -> None:
    """RFC 8301 forbids DKIM signatures by keys under 1024 bits; DomainKeys knows 512."""
    short = _key_512()
    settings = make_settings(keys=(KeyEntry("example.com", "s", "/k", ("domainkeys",)),))

    assert Engine.load(settings, lambda path: short)
    settings = make_settings(keys=(KeyEntry("example.com", "s", "/k", ("dkim", "domainkeys")),))
    with pytest.raises(SettingsError, match="1024 bits at least, this one has 512"):
        Engine.load(settings, lambda path: short)


def _key_512() -> bytes:
    from cryptography.hazmat.primitives import serialization
    from cryptography.hazmat.primitives.asymmetric import rsa

    # Two fixed primes of 256 bits: `generate` rightly refuses to make such a key.
    p = 0xD2C1F6AD7D1A2F5F0E0BD3B4B1F0A4E9C6A3D5B8E1F2C3D4A5B6C7D8E9FA0B21
    p, q = _next_prime(p), _next_prime(p * 3 // 4 | 1 << 255)
    phi = (p - 1) * (q - 1)
    d = pow(65537, -1, phi)
    numbers = rsa.RSAPrivateNumbers(
        p, q, d, d % (p - 1), d % (q - 1), pow(q, -1, p), rsa.RSAPublicNumbers(65537, p * q)
    )
    return numbers.private_key().private_bytes(
        serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption()
    )


def _next_prime(number: int) -> int:
    number |= 1
    while any(pow(base, number - 1, number) != 1 for base in (2, 3, 5, 7)) or (number - 1) % 65537 == 0:
        number += 2
    return number


@pytest.mark.parametrize(
    "pattern, hostname, address, expected",
    [
        ("192.0.2.1", b"", b"192.0.2.1", True),
        ("192.0.2.1", b"", b"192.0.2.2", False),
        ("192.0.2.0/24", b"", b"::ffff:192.0.2.9", True),
        ("::ffff:192.0.2.0/120", b"", b"192.0.2.9", True),
        ("[2001:db8::1]", b"", b"2001:0db8:0000:0000:0000:0000:0000:0001", True),
        ("IPv6:2001:db8::/32", b"", b"2001:db8:1::1", True),
        ("0.0.0.0/0", b"", b"203.0.113.7", True),
        ("0.0.0.0/0", b"", b"2001:db8::1", False),
        ("mail.example.com", b"MAIL.example.COM.", b"", True),
        ("mail.example.com", b"[mail.example.com]", b"", False),
        (".example.com", b"a.b.example.com", b"", True),
        (".example.com", b"example.com", b"", False),
        (".example.com", b"notexample.com", b"", False),
        (".example.com", b"\xff\xfe.example.com", b"", True),
        ("localhost", b"localhost", b"127.0.0.1", True),
    ],
)
def test_host_lists(pattern: str, hostname: bytes, address: bytes, expected: bool) -> None:
    """Addresses, networks, names and suffixes; a name in brackets is no name."""
    assert HostList([pattern]).matches(hostname, address) == expected


def test_an_empty_list_matches_nobody() -> None:
    """And is false, so that callers can skip it."""
    assert not HostList([])
    assert not HostList([]).matches(b"localhost", b"127.0.0.1")


def test_an_address_is_read_once() -> None:
    """What no address can be is not remembered, however much of it a client sends."""
    hosts = HostList(["192.0.2.0/24"])
    _number.cache_clear()

    assert [True] * 3 == [hosts.matches(b"", b"192.0.2.7") for _ in range(3)]
    assert not hosts.matches(b"", b"1" * 60000)
    assert (2, 1, 1) == (_number.cache_info().hits, _number.cache_info().misses, _number.cache_info().currsize)
