"""What a message costs in memory: bounded by the header limit, whatever its body and header are."""

from __future__ import annotations

import tracemalloc
from collections.abc import Iterator

import pytest

from dkconf.filter.config import Canonicalization, Conditions
from tests.filter.mta import HEADER, MakeMta, Mta, signed

CHUNK = 65535
BODIES = {
    "lines": b"All work and no play makes Jack a dull boy. \r\n",
    "one line": b"x",
    "one run of blanks": b" \t",
    "line ends": b"\r\n",
    "CRs": b"\r",
    "LFs": b"\n",
}


@pytest.fixture
def peak() -> Iterator[None]:
    """Allocations are traced."""
    tracemalloc.start()
    yield
    tracemalloc.stop()


def grown(client: Mta, fields: list[tuple[bytes, bytes]], piece: bytes, octets: int) -> int:
    """The most memory that a message with such a body had at a time, in octets."""
    chunk = (piece * (CHUNK // len(piece) + 1))[:CHUNK]
    session = client.session
    session.envfrom((b"<a@example.com>",))
    for name, value in fields:
        session.header(name, value)
    session.end_of_headers()
    tracemalloc.reset_peak()
    before = tracemalloc.get_traced_memory()[0]
    for _ in range(octets // CHUNK):
        session.body(memoryview(chunk))
    return tracemalloc.get_traced_memory()[1] - before


@pytest.mark.parametrize("at", [b"127.0.0.1", b"192.0.2.1"], ids=["signing", "verifying"])
@pytest.mark.parametrize("body", BODIES)
def test_nothing_of_a_body_is_kept(mta: MakeMta, peak: None, body: str, at: bytes) -> None:
    """A few pieces at a time, in both schemes, for 1 MB as for 8 MB."""
    canonicalization = Canonicalization("nofws", "relaxed/relaxed")
    client = mta(at=at, canonicalization=canonicalization)
    fields = HEADER if at == b"127.0.0.1" else signed(canonicalization=canonicalization)
    sizes = [grown(client, fields, BODIES[body], megabytes << 20) for megabytes in (1, 8)]

    assert sizes[1] < sizes[0] + CHUNK
    # A piece that is nothing but line ends is taken apart into 32,000 of them.
    assert sizes[1] < (64 if body == "line ends" else 16) * CHUNK


def test_a_header_is_kept_up_to_its_limit(mta: MakeMta, peak: None) -> None:
    """Thirty megabytes of header: no more than the limit stays, and what stays is let go once it is broken."""
    accept = Conditions(sec="accept")
    client = mta(dkim_conditions=accept, domainkeys_conditions=accept)
    client.session.envfrom((b"<a@example.com>",))
    tracemalloc.reset_peak()
    before = tracemalloc.get_traced_memory()[0]
    for number in range(30_000):
        client.session.header(b"X-%d" % number, b"y" * 1000)
    now, most = tracemalloc.get_traced_memory()

    assert most - before < 2 << 20
    assert now - before < 1 << 18
