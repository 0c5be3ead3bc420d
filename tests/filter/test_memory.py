"""What a message costs in memory: bounded by the header limit, whatever its body and header are."""

from __future__ import annotations

import tracemalloc
from collections.abc import Callable, Iterator

import pytest

from dkconf.filter.config import Canonicalization, Conditions
from dkconf.milter import codec
from dkconf.milter import messages as m
from dkconf.milter.messages import MAX_PACKET_OCTETS
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


def flood(letter: int, pair: Callable[[int], bytes]) -> bytes:
    """One packet of macros for a command, as full as a packet may be."""
    data, number = bytes([letter]), 0
    while len(data) + len(pair(number)) < MAX_PACKET_OCTETS - 1:
        data += pair(number)
        number += 1
    return codec.packet(b"D", data)


FLOODS: dict[str, Callable[[int], bytes]] = {
    "many": lambda number: b"%x\0\0" % number,
    "many with values": lambda number: b"{%x}\0%d\0" % (number, number),
    "long values": lambda number: b"%x\0%b\0" % (number, b"y" * 1010),
    "one long value": lambda number: b"i\0%b\0" % (b"y" * 65_000),
    "long names": lambda number: b"{%b%x}\0\0" % (b"n" * 1010, number),
    "those that are looked at": lambda number: b"%b\0%b\0" % (LOOKED_AT[number % len(LOOKED_AT)], b"y" * 7000),
}
LOOKED_AT = (b"i", b"{i}", b"j", b"{j}", b"{auth_type}", b"auth_type", b"{daemon_name}", b"daemon_name", b"{x}")


@pytest.mark.parametrize("letters", ["CHMRTNE", "".join(map(chr, range(32, 127)))], ids=["all stages", "all letters"])
@pytest.mark.parametrize("pair", FLOODS)
def test_a_connection_holds_few_macros(mta: MakeMta, peak: None, pair: str, letters: str) -> None:
    """Whatever an MTA sends as macros, for each command there is and again and again: 128 KiB stay at most."""
    session, decoder = mta(macros={"x": "y"}).session, codec.Decoder()
    packets = [flood(ord(letter), FLOODS[pair]) for letter in letters]
    before = tracemalloc.get_traced_memory()[0]
    for packet in packets * 2:
        [command] = decoder.feed(packet)
        assert isinstance(command, m.Macros)
        session.macros(*command)
        del command
    kept, most = tracemalloc.get_traced_memory()

    assert kept - before < 128 << 10
    # One packet while it is taken apart.
    assert most - before < 512 << 10


def test_of_a_flood_what_is_looked_at_is_known(mta: MakeMta) -> None:
    """A long list costs the filter no macro that decides something: those of the settings too."""
    many = b"".join(b"%d\0%b\0" % (number, b"y" * 90) for number in range(60))
    [command] = codec.Decoder().feed(codec.packet(b"D", b"M" + many + b"{x}\0Y\0i\0" + b"q" * 50_000 + b"\0"))
    assert isinstance(command, m.Macros)
    client = mta(at=b"192.0.2.1", macros={"x": "y"})
    client.session.macros(*command)
    # What comes with the message itself replaces it: so its first part is done by hand.
    client.session.envfrom((b"<a@example.com>",))
    for name, value in HEADER:
        client.session.header(name, value)
    client.session.end_of_headers()
    client.session.end_of_message(None, {})

    assert client.line.startswith("q" * 64 + ": signed ")


def test_macros_behind_the_last_are_left_out() -> None:
    """sendmail sends 50 for a command at most; the others stay as they are."""
    for count in (0, 1, 50, m.MAX_MACROS, m.MAX_MACROS + 1, 5000):
        pairs = [(b"%d" % number, b"v%d" % number) for number in range(count)]
        data = b"M" + b"".join(b"%b\0%b\0" % pair for pair in pairs)
        assert [m.Macros(ord("M"), dict(pairs[: m.MAX_MACROS]))] == codec.Decoder().feed(codec.packet(b"D", data))
