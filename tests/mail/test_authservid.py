"""Nobody reads as ours what we keep, and what is plainly another's stays.

`make matrix` tries all pairs of octets, and takes minutes.
"""

from __future__ import annotations

import base64
import email
import email.policy
import itertools
import os
import time
from collections.abc import Iterator

import pytest
from hypothesis import given
from hypothesis import strategies as st

from dkconf.mail.authservid import canonical, claims, hides_results
from tests.mail.readers import FIELD, readers_of

WHOLE = bool(os.environ.get("DKCONF_MATRIX"))
OURS = "mx.example.net"
RESULTS = b"; dkim=pass header.d=bank.example"

# Measured with OpenDKIM, OpenDMARC and OpenARC: with these in the name they read it as if they were not there.
LEFT_OUT_BY_PEERS = [b"\t", b"\v", b"\f", b" ", b")", b"\\", b'""', b"()", b"(x)", b"\n ", b"\xa0", b"\x1d", b"\x1f"]
ODD = [
    *LEFT_OUT_BY_PEERS,
    *(bytes([octet]) for octet in b"\x01\x08\r\x1b\x1c\x1e\x7f!\"#$%&'(*+,/:<=>?@[]^`{|}~"),
    *(bytes([octet]) for octet in (0x80, 0x85, 0xA0, 0xAD, 0xC2, 0xE2, 0xFE, 0xFF)),
    *(char.encode() for char in "\x85\xa0\xad\u034f\u115f\u180e\u200b\u200d\u2060\u2028\u3000\u3002\ufe0f\ufeff\uff0e"),
    *(b"=?utf-8?q??=", b"=?us-ascii?b??=", b"=?utf-8?q?", b"?=", b"=?utf-8?q?_?="),
]
# NUL and a bare LF cannot come through a milter.
EVERY = sorted({*ODD, *(bytes([octet]) for octet in range(1, 256) if octet != 10)})


def insertions(name: bytes, pieces: list[bytes], count: int) -> Iterator[bytes]:
    """The name with `count` of the pieces in it, at all places."""
    for places in itertools.combinations_with_replacement(range(len(name) + 1), count):
        for chosen in itertools.product(pieces, repeat=count):
            out, last = b"", 0
            for place, piece in zip(places, chosen, strict=True):
                out, last = out + name[last:place] + piece, place
            yield out + name[last:]


def kept_but_read_as_ours(heads: Iterator[bytes], name: str) -> list[tuple[bytes, list[str]]]:
    """Those of the fields that are kept although somebody reads them as ours."""
    values = (b" " + head + RESULTS for head in heads)
    return [(v, who) for v in values if not claims(v, name) and (who := readers_of(v, name))]


# -- what must go ------------------------------------------------------------------------------------------


@pytest.mark.parametrize("name", [OURS, "a.b"])
@pytest.mark.parametrize("count", [1, 2])
def test_what_the_peers_leave_out_is_removed(name: str, count: int) -> None:
    """One or two of the octets that they leave out, anywhere in the name: removed without exception."""
    kept = [
        head for head in insertions(name.encode(), LEFT_OUT_BY_PEERS, count) if not claims(b" " + head + RESULTS, name)
    ]

    assert [] == kept


FORGED = {
    "a backslash": b"mx.\\example.net; x",
    "a parenthesis that closes nothing": b"mx.ex)ample.net; x",
    "an encoded word": b"=?utf-8?q?mx=2Eexample=2Enet?=; x",
    "an encoded word in base64": b"=?latin1?B?" + base64.b64encode(OURS.encode()) + b"?=; x",
    "an encoded word in part": b"mx.=?us-ascii?q?example?=.net; x",
    "an encoded word of an unknown charset": b"=?x-none?q?mx.example.net?=; x",
    "an encoded word without an end": b"=?utf-8?q?mx.example.net; x",
    "an encoded word in quotes": b'"=?utf-8?q?mx.example.net?="; x',
    "an encoded word in a comment, that ends it": b"(=?utf-8?b?KW14LmV4YW1wbGUubmV0Oyh4?=) other.example; x",
    "fullwidth letters": "\uff4d\uff58.example.net; x".encode(),
    "ideographic dots": "mx\u3002example\uff61net; x".encode(),
    "a fullwidth dot": "mx\uff0eexample.net; x".encode(),
    "a soft hyphen": "mx.exam\u00adple.net; x".encode(),
    "a zero width space": "mx.exam\u200bple.net; x".encode(),
    "a letter without shape": "mx.exam\u3164ple.net; x".encode(),
    "a mark": "mx.exam\u034fple.net; x".encode(),
    "an A-label for ASCII": b"xn--mx-.example.net; x",
    "an A-label for fullwidth letters": b"xn--" + "\uff4d\uff58".encode("punycode") + b".example.net; x",
    "UTF-8, where others drop what is not ASCII": "m\u00fcx.example.net; x".encode(),
    "not UTF-8": b"mx.ex\xffample.net; x",
    "capitals, a final dot": b"MX.Example.NET.; x",
    "quotes": b'"mx.example.net"; x',
    "quotes, and a blank": b'"mx.example.net "; x',
    "quotes in the middle": b'mx."example".net; x',
    "a comment in the middle": b"mx.(c)example.net; x",
    "a comment that nests": b"(a(b)mx.example.net; dkim=pass) other.example; x",
    "a comment with a backslash": b"(a\\)mx.example.net; dkim=pass) other.example; x",
    "a comment with quotes": b'("a)"mx.example.net; dkim=pass ( " other.example; x',
    "a comment that never ends": b"mx.example.net (; x",
    "the beginning, the rest in a comment": b"mx.example (.net); x",
    "the first label, the rest in a comment": b"mx.(example.net); x",
    "the first as an A-label, the rest in a comment": b"xn--mx-.(example.net); x",
    "a job ID": b"mx.example.net/4BX2k1; x",
    "a port": b"mx.example.net:25; x",
    "as an address": b"<mx.example.net>; x",
    "behind another": b"other.example, mx.example.net; x",
    "behind another, in a comment first": b"(mx.example.net) other.example; x",
    "behind i=, as in ARC": b"i=1; mx.example.net; x",
    "the last digit as a version": b"mx.example.net 1; x",
    "another version": b"mx.example.net 2; x",
    "no semicolon": b"mx.example.net dkim=pass",
    "nothing before the semicolon": b"; mx.example.net; x",
    "no name": b"dkim=pass header.d=mx.example.net",
    "blanks that are none": b"\x0bmx.example.net; x",
    "a NEL": b"\xc2\x85mx.example.net; x",
    "folded": b"\r\n\tmx.example.net\r\n\t; x",
    "far too long": b"other.example (" + b"x" * 5000 + b"); x",
    "only a name": b"mx.example.net",
    "a field of its own behind a lone CR": b"other.example; x\rAuthentication-Results: mx.example.net; dkim=pass",
    "a field of its own behind a lone LF": b"other.example; x\nAuthentication-Results: mx.example.net; dkim=pass",
}


@pytest.mark.parametrize("case", FORGED)
def test_it_is_removed(case: str) -> None:
    """Ours in any reading, or nothing that can be read for certain."""
    assert claims(b" " + FORGED[case], OURS)
    assert claims(FORGED[case], OURS)


@pytest.mark.parametrize(
    ("ours", "written"),
    [
        ("xn--bcher-kva.example", "b\u00fccher.example"),
        ("xn--bcher-kva.example", "BU\u0308CHER.example"),
        ("xn--bcher-kva.example", "XN--BCHER-KVA.example"),
        ("xn--bcher-kva.example", "b\u00fccher\u3002example"),
        ("mail.sin.example", "MA\u0130L.sin.example"),
        ("mail.sin.example", "ma\u0131l.\u017fin.example"),
        ("mx2.example", "mx\u00b2.example"),
        ("MX.Example", "mx.example"),
        ("mx.example.", "mx.example"),
        ("a_b.example", "A_B.example"),
        ("mx!1", "mx!1"),
    ],
)
def test_one_name_in_two_spellings(ours: str, written: str) -> None:
    """RFC 8601 section 5: compared after A-labels have become U-labels; and without regard to what looks the same."""
    assert canonical(ours) == canonical(written)
    assert claims(b" " + written.encode() + b"; dkim=pass", ours)


# -- what stays --------------------------------------------------------------------------------------------

OTHERS = [
    b"mx.google.com; dkim=pass header.i=@example.net",
    b"\r\n\tmx.google.com;\r\n\tdkim=pass",
    b"other.example",
    b"other.example; none",
    b"other.example 1; dkim=pass",
    b"mail.other.example (amavisd-new); dkim=pass header.d=example.net",
    b"mail.other.example (MTA (Postfix) at mx.example.net) 1 (x); dkim=pass",
    b"(amavisd-new) mail.other.org; dkim=pass",
    b'"mail.other.example"; dkim=pass',
    b"mail.other.example/4BX2k1; dkim=pass",
    b"mx.example.net.evil.example; dkim=pass",
    b"notmx.example.net; dkim=pass",
    b"example.net; dkim=pass",
    b"mx.example.ne; dkim=pass",
    b"mx.example.ne (Hub); dkim=pass",
    b"mx-.example.net; dkim=pass",
    b"other.example; dkim=pass (mx.example.net; dkim=pass)",
    b"other.example; comment=(mx.example.net; dkim=pass) (",
    b"other.example; x (=?utf-8?q?mx.example.net?=)",
    b"xn--bcher-kva.example; dkim=pass",
    "b\u00fccher.example; dkim=pass".encode(),
    "\u0440\u043e\u0447\u0442\u0430.example; dkim=pass".encode(),
]


@pytest.mark.parametrize("value", OTHERS, ids=repr)
def test_it_stays(value: bytes) -> None:
    """Plainly another's, and read as ours by nobody here."""
    assert not claims(b" " + value, OURS)
    assert [] == readers_of(b" " + value, OURS)


labels = st.from_regex(r"\A[a-z0-9_]([a-z0-9_-]{0,12}[a-z0-9_])?\Z").filter(lambda label: not label.startswith("xn--"))
host_names = st.lists(labels, min_size=1, max_size=4).map(".".join)
lines = st.binary(max_size=60).map(lambda octets: octets.replace(b"\r", b"").replace(b"\n", b"\r\n\t"))
foldings = st.sampled_from([b"", b" ", b"\t", b"\r\n\t"])


@given(name=host_names, ours=host_names, before=foldings, behind=foldings, results=lines)
def test_every_other_host_name_stays(name: str, ours: str, before: bytes, behind: bytes, results: bytes) -> None:
    """Whatever follows the semicolon; and ours goes."""
    value = before + name.encode() + behind + b";" + results

    assert claims(value, ours) is (name == ours)


@given(
    name=st.text("!#$%&'*+.-^_`{|}~/abcxyz0189", min_size=1, max_size=30),
    version=st.sampled_from([b"", b" 1"]),
    comment=st.sampled_from([b"", b" (by Postfix)"]),
)
def test_another_token_stays(name: str, version: bytes, comment: bytes) -> None:
    """Every legal token that has other letters, digits and dots than our name."""
    value = b" " + name.encode() + comment + version + b"; dkim=pass"
    if canonical(name):
        assert not claims(value, OURS)


# -- nobody reads as ours what we keep ---------------------------------------------------------------------


@pytest.mark.parametrize("end", [b"\r", b"\n", b"\r\n", b"\r\r", b"\r\n \r", b"\n\r", b"\r\t", b"\x0b", b"\r\n "])
@pytest.mark.parametrize("blanks", [b"", b" ", b"\t"])
@pytest.mark.parametrize("name", [b"Subject", b"X" * 998])
def test_no_other_field_hides_one(end: bytes, blanks: bytes, name: bytes) -> None:
    """What Python's email package begins a field with, within another one, is found; and nothing else."""
    value = b" x" + end + b"authentication-RESULTS" + blanks + b": " + OURS.encode() + RESULTS
    for where in ((name, value), (name + value.partition(b":")[0], value.partition(b":")[2])):
        octets = b"%b:%b\r\nTo: x\r\n\r\n" % where
        found = any(
            field.strip().lower() == "authentication-results"
            for policy in (email.policy.compat32, email.policy.default)
            for field in email.message_from_bytes(octets, policy=policy)
        )
        if found:
            assert hides_results(*where), where
    assert not hides_results(name, value.replace(b"\r", b"").replace(b"\n", b"\r\n "))


def test_the_readers_can_read() -> None:
    """Each of them takes the plain field for ours, and some take each kind of forgery: the tests below can fail."""
    assert len(readers_of(b" mx.example.net" + RESULTS, OURS)) >= 6 * 7
    for value, reader in (
        (b" =?utf-8?q?mx=2Eexample?=.net" + RESULTS, "email, default policy, authres"),
        (b" =?utf-8?q?mx=2Eexample=2Enet?=" + RESULTS, "email.header, authres"),
        (b" mx.\\example.net" + RESULTS, "latin-1, OpenDMARC's way"),
        (b" (a(b)mx.example.net; x) other; x", "utf-8, comments that do not nest"),
        ("\uff4d\uff58.example.net".encode() + RESULTS, "utf-8, the first word"),
        (b"xn--mx-.example.net" + RESULTS, "utf-8, authres"),
        (b"other.example; x\rAuthentication-Results: mx.example.net" + RESULTS, "email, compat32, authres"),
        ("m\u00fcx.example.net".encode() + RESULTS, "ascii alone, authres"),
    ):
        assert reader in readers_of(value, OURS), (value, readers_of(value, OURS))


@pytest.mark.parametrize("name", [OURS, "a.b"])
def test_one_octet_more(name: str) -> None:
    """Any octet at any place of the name, and any of the odd sequences."""
    assert [] == kept_but_read_as_ours(insertions(name.encode(), EVERY, 1), name)


MATRIX = {"a.b": EVERY, OURS: ODD} if WHOLE else {"a.b": ODD}


@pytest.mark.parametrize("name", MATRIX)
def test_two_octets_more(name: str) -> None:
    """Two of the odd octets and sequences, at any two places; by `make matrix` any two octets."""
    assert [] == kept_but_read_as_ours(insertions(name.encode(), MATRIX[name], 2), name)


SPELLINGS = [
    lambda part: [part.encode()],
    lambda part: ["".join(chr(ord(c) + 0xFEE0) if c.isalnum() else c for c in part).encode()],
    lambda part: [b"=?utf-8?q?%b?=" % b"".join(b"=%02X" % octet for octet in part.encode())],
    lambda part: [b"=?utf-8?b?%b?=" % base64.b64encode(part.encode())],
    lambda part: [b'"' + part.encode() + b'"', b"(c)" + part.encode(), part.upper().encode()],
    lambda part: [b"xn--" + part.encode("punycode")] if part != "." else ["\u3002".encode(), "\u2024".encode()],
]


def test_parts_of_the_name_in_other_spellings() -> None:
    """Labels and dots, each in all of its spellings: fullwidth, encoded, quoted, as A-labels."""
    parts = [[b for spelling in SPELLINGS for b in spelling(part)] for part in ("mx", ".", "example", ".")]
    heads = (b"".join(chosen) + b"net" for chosen in itertools.product(*parts))

    assert [] == kept_but_read_as_ours(heads, OURS)


pieces = st.one_of(
    st.sampled_from([*ODD, b"mx.example.net", b"mx.", b"example", b".net", b"other", b";", b" ", b"1", b"x", FIELD]),
    st.binary(max_size=3).map(lambda octets: octets.replace(b"\0", b"")),
)


@given(st.lists(pieces, max_size=12).map(b"".join))
def test_any_field(value: bytes) -> None:
    """Pieces of names and whatever is odd, in any order."""
    assert claims(value, OURS) or [] == readers_of(value, OURS)


# -- hostile -----------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "value",
    [
        b"(" * 60_000,
        b"()" * 30_000,
        b" \t" * 30_000,
        b"a " * 30_000,
        b"a" * 60_000,
        b'"' + b"\\a" * 30_000,
        b"(" + b"x" * 60_000 + b")a;",
        b"xn--" + b"a" * 50_000 + b";",
        b"xn--" + b".xn--a" * 10_000 + b";",
        "\u00fc".encode() * 30_000,
        b"(x)a;" + b"'" * 60_000,
    ],
    ids=lambda value: repr(value[:8]),
)
def test_hostile_fields_cost_little(value: bytes) -> None:
    """Linear at most, with most of a field not looked at: a millisecond or two, and far below that for short ones."""
    begin = time.process_time()
    for _ in range(10):
        claims(value, OURS)

    assert time.process_time() - begin < 0.5
