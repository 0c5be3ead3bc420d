"""The canonical forms of RFC 4870 section 3.4.2, octet by octet; split anywhere."""

from __future__ import annotations

import hashlib

import pytest

from dkconf.domainkeys.canonical import BodyStream, canonical_field
from dkconf.domainkeys.headers import chosen
from dkconf.mail.header import HeaderField
from tests.domainkeys.reference import canonical_message

BODIES: dict[str, tuple[bytes, bytes, bytes]] = {
    # what it is: (body, simple with its separator, nofws with its separator)
    "empty": (b"", b"", b""),
    "empty lines": (b"\r\n\r\n", b"", b""),
    "blank lines": (b" \r\n\t\r\n", b"\r\n \r\n\t\r\n", b""),
    "one line": (b"a\r\n", b"\r\na\r\n", b"\r\na\r\n"),
    "no line end": (b"a b", b"\r\na b\r\n", b"\r\nab\r\n"),
    "blanks, no line end": (b"  ", b"\r\n  \r\n", b""),
    "trailing empty lines": (b"a\r\n\r\n\r\n", b"\r\na\r\n", b"\r\na\r\n"),
    "trailing blank lines": (b"a\r\n \r\n\t\r\n", b"\r\na\r\n \r\n\t\r\n", b"\r\na\r\n"),
    "empty lines within": (b"\r\na\r\n\r\nb\r\n", b"\r\n\r\na\r\n\r\nb\r\n", b"\r\n\r\na\r\n\r\nb\r\n"),
    "blanks everywhere": (b" a\tb  c \r\n", b"\r\n a\tb  c \r\n", b"\r\nabc\r\n"),
    "lone CR": (b"a\rb\r\r\n", b"\r\na\rb\r\r\n", b"\r\nab\r\n"),
    "lone LF": (b"a\nb\n\r\n", b"\r\na\nb\n\r\n", b"\r\nab\r\n"),
    "CR blank LF": (b"a\r \nb\r\n", b"\r\na\r \nb\r\n", b"\r\nab\r\n"),
    "lone CR at the end": (b"a\r\n\r", b"\r\na\r\n\r\r\n", b"\r\na\r\n"),
    "8-bit blanks stay": (b"\xa0\xff\x00\x0b\r\n", b"\r\n\xa0\xff\x00\x0b\r\n", b"\r\n\xa0\xff\x00\x0b\r\n"),
}


class Recorder:
    """Stands for a hash object and keeps what it is fed."""

    def __init__(self) -> None:
        self.octets = b""

    def update(self, octets: bytes) -> None:
        """Keep the octets."""
        self.octets += octets

    def digest(self) -> bytes:
        """Return them."""
        return self.octets


@pytest.mark.parametrize("size", [1, 2, 3, 1000])
@pytest.mark.parametrize("canonicalization", ["simple", "nofws"])
@pytest.mark.parametrize("name", BODIES)
def test_body(name: str, canonicalization: str, size: int) -> None:
    """Each body comes out as written in the table, however it is split; the plain implementation agrees."""
    body, simple, nofws = BODIES[name]
    recorder = Recorder()
    stream = BodyStream(canonicalization, recorder)
    for start in range(0, len(body), size):
        stream.update(memoryview(body)[start : start + size])
    expected = simple if canonicalization == "simple" else nofws

    assert expected == stream.digest()
    assert expected == canonical_message([], body, canonicalization)


def test_digest_continues_the_header() -> None:
    """Header and body are one SHA-1 stream."""
    stream = BodyStream("nofws", hashlib.sha1(b"From:a\r\n"))
    stream.update(b"Hi \r\n")

    assert hashlib.sha1(b"From:a\r\n\r\nHi\r\n").digest() == stream.digest()


@pytest.mark.parametrize("unit", [b" ", b"\t", b"\r\n", b" \r\n", b"\r", b"\n", b"a ", b"\r \n", b"    a\r\n", b"\n\r"])
@pytest.mark.parametrize("canonicalization", ["simple", "nofws"])
def test_hostile_bodies_are_right(unit: bytes, canonicalization: str) -> None:
    """Long runs come out as in the plain implementation, over many pieces."""
    body = unit * 20000
    sha1 = hashlib.sha1()
    stream = BodyStream(canonicalization, sha1)
    for start in range(0, len(body), 8191):
        stream.update(body[start : start + 8191])

    assert hashlib.sha1(canonical_message([], body, canonicalization)).digest() == stream.digest()


def test_header_field() -> None:
    """simple keeps every octet; nofws drops four octets everywhere, in the name too, and keeps its case."""
    assert b"Sub : a\r\n\tb \r\n" == canonical_field(b"Sub ", b" a\r\n\tb ", "simple")
    assert b"Sub:ab\xa0\r\n" == canonical_field(b"Sub ", b" a\r\n\tb \xa0", "nofws")


BELOW = [
    HeaderField(name, value) for name, value in ((b"A", b"1"), (b"B", b"2"), (b"a", b"3"), (b"C", b"4"), (b"A", b"5"))
]


@pytest.mark.parametrize(
    ("names", "expected"),
    [
        (None, b"12345"),
        (["a"], b"135"),
        (["a", "b"], b"1352"),
        (["b", "a"], b"2135"),
        (["a", "a"], b"135"),
        (["a", "b", "a"], b"1325"),
        (["a", "b", "a", "c", "a"], b"12345"),
        (["a", "a", "a", "a", "a"], b"135"),
        (["x", "c", "y"], b"4"),
        (["x"], b""),
    ],
)
def test_which_fields(names: list[str] | None, expected: bytes) -> None:
    """The order of h=: the first mention takes all that is left, each later one the bottom-most (section 3.4)."""
    listed = None if names is None else [name.encode("ascii") for name in names]

    assert expected == b"".join(field.value for field in chosen(BELOW, listed))
