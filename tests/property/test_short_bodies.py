"""All bodies of a few octets out of those that canonical forms care for, however they are split.

`python -m tests.property.test_short_bodies 7` goes on to longer ones than a test run has time for.
"""

from __future__ import annotations

import itertools
import sys
from collections.abc import Callable, Iterator

import pytest

from dkconf.dkim.canonical import RelaxedBody, SimpleBody
from dkconf.domainkeys.canonical import BodyStream
from tests.dkim import reference as dkim_reference
from tests.domainkeys import reference as domainkeys_reference

ALPHABET = (b"\r", b"\n", b" ", b"\t", b"a")
EVERY_SPLIT_UP_TO, WHOLE_UP_TO = 5, 6
"""Octets of a body in a test run: in every possible way, and whole and octet by octet."""


class _Octets:
    """Stands for a hash object and keeps what it is fed."""

    def __init__(self) -> None:
        self.octets = b""

    def update(self, octets: bytes) -> None:
        self.octets += octets

    def digest(self) -> bytes:
        return self.octets


def _dkim(form: Callable[[], SimpleBody | RelaxedBody]) -> Callable[[list[bytes]], bytes]:
    def made(pieces: list[bytes]) -> bytes:
        body = form()
        return b"".join([*(octets for piece in pieces for octets in body.feed(piece)), *body.finish()])

    return made


def _domainkeys(form: str) -> Callable[[list[bytes]], bytes]:
    def made(pieces: list[bytes]) -> bytes:
        stream = BodyStream(form, _Octets())
        for piece in pieces:
            stream.update(piece)
        return stream.digest()

    return made


FORMS: dict[str, tuple[Callable[[list[bytes]], bytes], Callable[[bytes], bytes]]] = {
    "dkim simple": (_dkim(SimpleBody), lambda body: dkim_reference.canonical_body(body, "simple")),
    "dkim relaxed": (_dkim(RelaxedBody), lambda body: dkim_reference.canonical_body(body, "relaxed")),
    "domainkeys simple": (
        _domainkeys("simple"), lambda body: domainkeys_reference.canonical_message([], body, "simple")
    ),
    "domainkeys nofws": (_domainkeys("nofws"), lambda body: domainkeys_reference.canonical_message([], body, "nofws")),
}  # fmt: skip


def _bodies(size: int) -> Iterator[bytes]:
    return map(b"".join, itertools.product(ALPHABET, repeat=size))


def _splits(body: bytes, every: bool) -> Iterator[list[bytes]]:
    if not every:
        yield [body]
        yield [body[place : place + 1] for place in range(len(body))]
        return
    for cuts in range(1 << max(0, len(body) - 1)):
        places = [0, *(place for place in range(1, len(body)) if cuts >> place - 1 & 1), len(body)]
        yield [body[start:end] for start, end in itertools.pairwise(places)]


def wrong(form: str, size: int, every: bool) -> list[tuple[list[bytes], bytes, bytes]]:
    """Return (pieces, the plain form, what was made) of the first bodies of `size` octets that come out wrong."""
    fast, plain = FORMS[form]
    found = []
    for body in _bodies(size):
        expected = plain(body)
        for pieces in _splits(body, every):
            if (got := fast(pieces)) != expected:
                found.append((pieces, expected, got))
                break
        if len(found) == 10:
            break
    return found


@pytest.mark.parametrize("form", FORMS)
def test_every_short_body(form: str) -> None:
    """As in the plain implementation: all of them in all ways, and longer ones whole and octet by octet."""
    for size in range(WHOLE_UP_TO + 1):
        assert [] == wrong(form, size, every=size <= EVERY_SPLIT_UP_TO)


if __name__ == "__main__":
    for size in range(int(sys.argv[1]) + 1):
        for form in FORMS:
            print(size, form, wrong(form, size, every=True) or "right", flush=True)
