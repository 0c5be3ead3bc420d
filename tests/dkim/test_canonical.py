"""Canonical forms against the RFC's examples and a plain second implementation; split anywhere."""

from __future__ import annotations

import base64
import hashlib
import random

import pytest

from dkconf.dkim.canonical import (
    BodyHasher,
    BodyHashes,
    HashKey,
    RelaxedBody,
    SimpleBody,
    relaxed_field,
    relaxed_value,
    simple_field,
)
from dkconf.mail.octets import trailing_crlfs
from tests.dkim.reference import canonical_body, relaxed_header_value

BODIES: dict[str, tuple[bytes, bytes, bytes]] = {
    # what it is: (body, simple, relaxed)
    "RFC 6376 3.4.5": (b" C \r\nD \t E\r\n\r\n\r\n", b" C \r\nD \t E\r\n", b" C\r\nD E\r\n"),
    "empty": (b"", b"\r\n", b""),
    "one empty line": (b"\r\n", b"\r\n", b""),
    "empty lines": (b"\r\n\r\n\r\n", b"\r\n", b""),
    "blanks only": (b"  \r\n\t\r\n", b"  \r\n\t\r\n", b""),
    "blanks, no line end": (b" \t ", b" \t \r\n", b""),
    "no line end": (b"a", b"a\r\n", b"a\r\n"),
    "blanks before a missing line end": (b"a \t", b"a \t\r\n", b"a\r\n"),
    "trailing empty lines": (b"a\r\n\r\n\r\n", b"a\r\n", b"a\r\n"),
    "empty lines within": (b"a\r\n\r\n\r\nb\r\n", b"a\r\n\r\n\r\nb\r\n", b"a\r\n\r\n\r\nb\r\n"),
    "lone CR": (b"a\rb\r\r\n", b"a\rb\r\r\n", b"a\rb\r\r\n"),
    "lone CR at the end": (b"a\r\n\r", b"a\r\n\r\r\n", b"a\r\n\r\r\n"),
    "lone CR and a blank": (b"\r ", b"\r \r\n", b"\r\r\n"),
    "empty line, lone CR and blanks": (b"\r\n\r \t", b"\r\n\r \t\r\n", b"\r\n\r\r\n"),
    "blank and lone CR at the end": (b"a  \r", b"a  \r\r\n", b"a \r\r\n"),
    "lone LF": (b"a \nb\n", b"a \nb\n\r\n", b"a \nb\n\r\n"),
    "LF before CRLF": (b"a\n\r\n\r\n", b"a\n\r\n", b"a\n\r\n"),
    "CR CRLF CRLF": (b"a\r\r\n\r\n", b"a\r\r\n", b"a\r\r\n"),
    "indented": (b"    a\r\n\t\tb  c\r\n", b"    a\r\n\t\tb  c\r\n", b" a\r\n b c\r\n"),
    "NUL and 8-bit": (b"\x00  \xff\xa0 \r\n", b"\x00  \xff\xa0 \r\n", b"\x00 \xff\xa0\r\n"),
    "VT and FF are no blanks": (b"a \x0b \x0c\r\n", b"a \x0b \x0c\r\n", b"a \x0b \x0c\r\n"),
}


def forms(body: bytes, sizes: list[int]) -> tuple[bytes, bytes]:
    """Return both forms of a body fed in pieces of these sizes, over and over."""
    made = []
    for form in (SimpleBody(), RelaxedBody()):
        pieces: list[bytes | memoryview] = []
        position = turn = 0
        while position < len(body):
            size = sizes[turn % len(sizes)]
            pieces += form.feed(memoryview(body)[position : position + size])
            position += size
            turn += 1
        pieces += form.finish()
        made.append(b"".join(pieces))
    return made[0], made[1]


@pytest.mark.parametrize("sizes", [[1000], [1], [2], [3], [1, 2], [5, 1, 1]], ids=str)
@pytest.mark.parametrize("name", BODIES)
def test_body(name: str, sizes: list[int]) -> None:
    """Each body comes out as written in the table, however it is split."""
    body, simple, relaxed = BODIES[name]

    assert (simple, relaxed) == forms(body, sizes)


@pytest.mark.parametrize("name", BODIES)
def test_the_plain_implementation_agrees(name: str) -> None:
    """The table also checks the second implementation that the property tests lean on."""
    body, simple, relaxed = BODIES[name]

    assert (simple, relaxed) == (canonical_body(body, "simple"), canonical_body(body, "relaxed"))


@pytest.mark.parametrize(
    ("canonicalization", "hash_name", "digest"),
    [
        ("simple", "sha1", "uoq1oCgLlTqpdDX/iUbLy7J1Wic="),
        ("simple", "sha256", "frcCV1k9oG9oKj3dpUqdJg1PxRT2RSN/XKdLCPjaYaY="),
        ("relaxed", "sha1", "2jmj7l5rSw0yVb/vlWAYkK/YBwk="),
        ("relaxed", "sha256", "47DEQpj8HBSa+/TImW+5JCeuQeRkm5NMpJWZG3hSuFU="),
    ],
)
def test_hash_of_an_empty_body(canonicalization: str, hash_name: str, digest: str) -> None:
    """RFC 6376 sections 3.4.3 and 3.4.4 print them."""
    assert digest == base64.b64encode(BodyHasher(canonicalization, hash_name).digest()).decode("ascii")


@pytest.mark.parametrize("length", [0, 1, 5, 6, 7, 11, 12, 13, 1000])
@pytest.mark.parametrize("canonicalization", ["simple", "relaxed"])
def test_length_cuts_the_canonical_body(canonicalization: str, length: int) -> None:
    """l= counts canonical octets; `octets` says how long the whole body is (RFC 6376 section 3.5)."""
    body = b"abc  d\r\n \r\nef\r\n\r\n"
    whole = canonical_body(body, canonicalization)
    for size in (1, 3, 100):
        hasher = BodyHasher(canonicalization, "sha256", length)
        for start in range(0, len(body), size):
            hasher.update(body[start : start + size])

        assert hashlib.sha256(whole[:length]).digest() == hasher.digest()
        assert len(whole) == hasher.octets


def test_body_hashes_are_shared() -> None:
    """Many keys, one pass per form; each hash is what a hasher of its own gives."""
    keys = [
        HashKey("simple", "sha256"),
        HashKey("relaxed", "sha256"),
        HashKey("relaxed", "sha256", 7),
        HashKey("relaxed", "sha1"),
        HashKey("relaxed", "sha256"),
    ]
    hashes = BodyHashes(keys)
    for chunk in (b"a  b \r", b"\n\r\n", b"c\r\n"):
        hashes.update(chunk)

    assert 4 == len(hashes)
    for key in keys:
        alone = BodyHasher(*key)
        alone.update(b"a  b \r\n\r\nc\r\n")
        assert alone.digest() == hashes[key].digest()
        assert alone.octets == hashes[key].octets


HEADERS: dict[str, tuple[bytes, bytes, bytes]] = {
    # what it is: (name, value, relaxed)
    "RFC 6376 3.4.5 A": (b"A", b" X", b"a:X\r\n"),
    "RFC 6376 3.4.5 B": (b"B ", b" Y\t\r\n\tZ  ", b"b:Y Z\r\n"),
    "no blank": (b"Subject", b"x", b"subject:x\r\n"),
    "empty": (b"X", b"", b"x:\r\n"),
    "blanks only": (b"X", b" \t \r\n ", b"x:\r\n"),
    "VT and FF stay": (b"X", b" a \x0b\x0c b", b"x:a \x0b\x0c b\r\n"),
    "lone CR stays": (b"X", b" a\rb \r c", b"x:a\rb \r c\r\n"),
    "lone LF stays": (b"X", b" a\nb", b"x:a\nb\r\n"),
    "8-bit and NUL stay": (b"X", b" \xff\xa0\x00  \x85", b"x:\xff\xa0\x00 \x85\r\n"),
}


@pytest.mark.parametrize("name", HEADERS)
def test_relaxed_header_field(name: str) -> None:
    """Each field comes out as written in the table, and so says the plain implementation."""
    written, value, relaxed = HEADERS[name]
    lower = written.lower().strip()

    assert relaxed == relaxed_field(lower, value)
    assert relaxed == lower + b":" + relaxed_header_value(value) + b"\r\n"


def test_simple_header_field() -> None:
    """Nothing changes, not even the blank before the colon."""
    assert b"B : Y\t\r\n\tZ  \r\n" == simple_field(b"B ", b" Y\t\r\n\tZ  ")


def test_every_short_value_in_relaxed_form() -> None:
    """Fast and plain way agree on all values of up to five octets out of seven."""
    alphabet = [b"a", b" ", b"\t", b"\r", b"\n", b"\x0b", b"\r\n "]
    values = [b""]
    for _ in range(5):
        values += [value + octet for value in values[-(7**4) :] for octet in alphabet]
    for value in values:
        assert relaxed_header_value(value) == relaxed_value(value), value


def test_trailing_crlfs_counts_pairs_only() -> None:
    """A stray CR or LF ends the run, wherever it stands."""
    generator = random.Random(1)
    for _ in range(2000):
        data = b"".join(generator.choice([b"\r", b"\n", b"\r\n", b"\r\n", b"a"]) for _ in range(12))
        expected = 0
        while data[: len(data) - 2 * expected].endswith(b"\r\n"):
            expected += 1
        assert expected == trailing_crlfs(data), data


HOSTILE = [b" ", b"\t", b"\r\n", b" \r\n", b"\r", b"\n", b"a ", b"\r \n", b"    a\r\n", b"\x00 "]


@pytest.mark.parametrize("unit", HOSTILE)
def test_hostile_bodies_are_right(unit: bytes) -> None:
    """Long runs of whatever makes work come out as in the plain implementation, over many pieces."""
    body = unit * 30000
    for form, name in ((SimpleBody(), "simple"), (RelaxedBody(), "relaxed")):
        pieces: list[bytes | memoryview] = []
        for start in range(0, len(body), 8191):
            pieces += form.feed(body[start : start + 8191])
        pieces += form.finish()
        assert canonical_body(body, name) == b"".join(pieces)
