"""Whatever an MTA, or somebody who plays one, sends: no worker ends, nothing hangs, nothing takes long."""

from __future__ import annotations

import base64
import hashlib
import socket
from pathlib import Path

import pytest

from dkconf.milter import codec
from tests.patience import wait_until
from tests.server.mta import OFFER, Mta, connect_command, message, pack

OUTSIDE = b"192.0.2.1"
NOISE = hashlib.shake_256(b"noise").digest(4096)
"""The same in every process: tests that run side by side must collect the same cases."""
SLOW_SECONDS = 5.0
"""Of processor time: far above what any of this takes, far below what quadratic time would take."""


@pytest.fixture(autouse=True)
def _nobody_dies(daemon):
    """After each test the same workers serve, and they serve well."""
    before = daemon.children()
    yield
    with Mta(daemon.socket) as mta:
        mta.begin()
        mta.send(message())
        assert b"c" == mta.end_of_message()[-1][0]
    assert before == daemon.children()
    assert "Traceback" not in daemon.log


def _verdict(daemon, octets: bytes, address: bytes = OUTSIDE) -> list[tuple[bytes, bytes]]:
    """What the daemon answers to one message, and that it does so in time."""
    with Mta(daemon.socket) as mta:
        mta.begin(address)
        begin = daemon.cpu_seconds()
        mta.send(octets)
        replies = mta.end_of_message()
        assert daemon.cpu_seconds() - begin < SLOW_SECONDS
        return replies


def _signature(**tags: bytes) -> tuple[bytes, bytes]:
    values = {
        "v": b"1", "a": b"rsa-sha256", "c": b"relaxed/relaxed", "d": b"example.net", "s": b"s", "h": b"from",
        "bh": base64.b64encode(b"x" * 32), "b": base64.b64encode(b"y" * 256), **tags,
    }  # fmt: skip
    return b"DKIM-Signature", b" " + b"; ".join(k.encode() + b"=" + v for k, v in values.items())


def test_packets_split_at_every_octet(daemon):
    """One write per octet, from negotiation to the verdict."""
    with Mta(daemon.socket) as mta:
        offer = codec.packet(b"O", b"".join(n.to_bytes(4, "big") for n in OFFER))
        for octet in offer:
            mta.send(bytes([octet]))
        assert b"O" == mta.reply()[0]
        for octet in connect_command() + message():
            mta.send(bytes([octet]))
        assert [b"i", b"c"] == [letter for letter, _ in mta.end_of_message()][-2:]


@pytest.mark.parametrize(
    "octets",
    [
        b"\0\0\0\0",
        b"\0\0\0\0O",
        b"\xff\xff\xff\xffO",
        b"\0\1\0\1L" + b"x" * 100,
        codec.packet(b"z"),
        codec.packet(b"O", b"short"),
        codec.packet(b"C", b"no end"),
        b"GET / HTTP/1.1\r\nHost: x\r\n\r\n",
        b"EHLO x\r\n",
        NOISE,
    ],
    ids=lambda octets: repr(octets[:20]),
)
@pytest.mark.parametrize("negotiated", [False, True])
def test_what_breaks_the_protocol_is_closed(daemon, octets, negotiated):
    """Wrong lengths, unknown commands, other protocols: closed, whether negotiated or not."""
    with Mta(daemon.socket) as mta:
        if negotiated:
            mta.begin()
        mta.send(octets.ljust(5, b"\0"))
        assert (b"", b"") == mta.reply()


def test_connect_and_close(daemon):
    """Monitors do nothing else; with a reset as well. It is no news for the log."""
    before = daemon.log
    for linger in (None, b"\1\0\0\0\0\0\0\0"):
        for _ in range(50):
            with socket.socket(socket.AF_UNIX) as sock:
                sock.connect(str(daemon.socket))
                if linger:
                    sock.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, linger)
    wait_until(lambda: not daemon.metrics()["dkconf_filter_open_connections"], "no connection is open")
    assert before == daemon.log


def test_closing_at_every_place(daemon):
    """The MTA may go away after any packet; open messages are aborted and counted off."""
    octets = connect_command() + message()
    for end in range(0, len(octets), 7):
        with Mta(daemon.socket) as mta:
            mta.negotiate()
            mta.send(octets[:end])
    wait_until(lambda: not daemon.metrics()["dkconf_filter_in_flight"], "no message is in flight")
    wait_until(lambda: not daemon.metrics()["dkconf_filter_open_connections"], "no connection is open")


def test_silence_holds_nobody_up(daemon):
    """Connections that say nothing, or half a packet, do not keep others waiting."""
    silent = [Mta(daemon.socket) for _ in range(100)]
    for mta in silent[::2]:
        mta.send(b"\0\0\0\x0dO\0")
    assert b"c" == _verdict(daemon, message())[-1][0]
    for mta in silent:
        mta.sock.close()


@pytest.mark.parametrize("value", [bytes(range(1, 256)), b"\xff" * 200, b"\r\n\t\x0b\x0c", b"=?utf-8?q?=00?= \x80"])
def test_8_bit_everywhere(daemon, value):
    """In header names and values, addresses, host name, macros, body."""
    with Mta(daemon.socket) as mta:
        mta.negotiate()
        mta.send(codec.packet(b"D", b"C" + value + b"\0" + value + b"\0") + pack(b"C", value + b"\0U"))
        mta.send(codec.packet(b"H", value + b"\0") + codec.packet(b"D", b"Mi\0" + value + b"\0"))
        fields = [(b"From", b" " + value + b"@example.org"), (value, value), (b"Authentication-Results", value),
                  (b"DKIM-Signature", value), (b"DomainKey-Signature", value)]  # fmt: skip
        mta.send(message(fields, value * 10, queue_id=value))
        assert mta.end_of_message()[-1][0] in b"actdry"


def test_nul_everywhere(daemon):
    """A NUL ends a string; what is behind it is not looked at, or the packet breaks the protocol."""
    octets = message([(b"Fr\0om", b" a@exa\0mple.org"), (b"Subject", b"\0")], b"\0" * 1000)
    assert _verdict(daemon, octets)[-1][0] in b"actdry"


@pytest.mark.parametrize(
    "fields",
    [
        [],
        [(b"Subject", b" x")],
        [(b"From", b" a@example.org"), (b"From", b" b@example.org")],
        [(b"From", b" a@example.org, b@example.net")],
        [(b"From", b"")],
        [(b"From", b" nobody")],
        [(b"From", b" " + b"(" * 50_000)],
        [(b"From", b' "' * 20_000)],
        [(b"From", b" " + b"<" * 50_000 + b"a@example.org" + b">" * 50)],
        [(b"From", b" a@" + b"x." * 20_000 + b"org")],
        [(b"", b"")],
    ],
    ids=lambda fields: repr(fields)[:40],
)
@pytest.mark.parametrize("address", [b"127.0.0.1", OUTSIDE])
def test_senders_that_are_none(daemon, fields, address):
    """No From, two of them, several authors, nonsense of 50 KB: a verdict, in time."""
    assert _verdict(daemon, message(fields), address)[-1][0] in b"actdry"


def test_200_signatures(daemon):
    """The limit holds; all are reported as it says, in time."""
    fields = [(b"From", b" a@example.net"), *[_signature(s=b"s%d" % i) for i in range(200)]]
    assert b"c" == _verdict(daemon, message(fields))[-1][0]


@pytest.mark.parametrize(
    "tags",
    [
        {"h": b"from:" * 13_000},
        {"h": b":" * 60_000},
        {"b": b"A" * 60_000},
        {"b": b" A" * 30_000},
        {"l": b"9" * 50_000},
        {"l": b"99999999"},
        {"t": b"9" * 30_000, "x": b"9" * 30_000},
        {"x": b"1"},
        {"d": b"x." * 30_000 + b"org"},
        {"d": b"a" * 60_000},
        {"s": b"." * 1000},
        {"i": b"=" * 50_000},
        {"z": b"|" * 60_000},
        {"c": b"relaxed/" * 5_000},
        {"q": b"dns/txt:" * 5_000},
        {"a" * 5_000: b"x"},
        {f"x{i}": b"1" for i in range(6_000)},
    ],
    ids=lambda tags: repr(tags)[:30],
)
def test_hostile_tags(daemon, tags):
    """Numbers of a gigabyte's size, lists of 60 KB, thousands of tags: a verdict, in time."""
    fields = [(b"From", b" a@example.net"), _signature(**tags)]
    assert b"c" == _verdict(daemon, message(fields))[-1][0]


def test_a_header_of_megabytes(daemon):
    """Beyond the limit it is condition sec: a reply at end of message that says so, and nothing is kept."""
    fields = [
        (b"From", b" a@example.net"),
        _signature(),
        *[(b"DKIM-Signature", b"h=" + b"from:" * 13_000)] * 60,
    ]
    letter, data = _verdict(daemon, message(fields))[-1]
    assert b"y" == letter
    assert data.startswith(b"451 4.3.4")


def test_a_hundred_thousand_fields_and_recipients(daemon):
    """Both are cheap."""
    octets = message([(b"From", b" a@example.net")])
    many = pack(b"R", b"<x@example.net>") * 100_000
    assert b"c" == _verdict(daemon, octets.replace(pack(b"R", b"<b@example.net>"), many))[-1][0]
    assert b"y" == _verdict(daemon, message([(b"From", b" a@example.net"), *[(b"X", b"y")] * 100_000]))[-1][0]


@pytest.mark.parametrize(
    "piece",
    [
        b" " * 65536,
        b"\r\n" * 32768,
        b" \r\n" * 20000,
        b"\r" * 65536,
        b"\n" * 65536,
        b"\t \r" * 20000,
        b"\0" * 65536,
    ],
)
def test_hostile_bodies(daemon, piece):
    """Ten megabytes of blanks, line ends and worse, signed with a relaxed body: linear time."""
    assert b"c" == _verdict(daemon, message(body=piece * 160), b"127.0.0.1")[-1][0]


def test_a_body_in_packets_of_one_octet(daemon):
    """A hundred thousand packets."""
    assert b"c" == _verdict(daemon, message(body=b"ab \r\n" * 20_000, chunk=1), b"127.0.0.1")[-1][0]


def test_macros_without_end(daemon):
    """A thousand macro packets of 60 KB replace each other."""
    macros = codec.packet(b"D", b"M" + b"name\0value\0" * 5_000)
    assert b"c" == _verdict(daemon, macros * 200 + message())[-1][0]


def test_macros_for_every_letter(daemon):
    """Those of no stage are not kept: with 64 KB for each of 256 letters a connection would hold 16 MB."""

    def resident() -> int:
        return sum(int(Path(f"/proc/{pid}/statm").read_text().split()[1]) for pid in daemon.children()) * 4096

    octets = b"".join(codec.packet(b"D", bytes([letter]) + b"x\0" + b"y" * 65_000 + b"\0") for letter in range(256))
    before, talks = resident(), []
    for _ in range(10):
        mta = Mta(daemon.socket)
        mta.negotiate()
        mta.send(octets + connect_command() + message())
        assert b"c" == mta.end_of_message()[-1][0]
        talks.append(mta)
    grown = resident() - before
    for mta in talks:
        mta.sock.close()
    assert grown < 40_000_000


def test_commands_in_no_order(daemon):
    """Every command after every other one: no worker ends, and the connection still answers in the end."""
    commands = [
        codec.packet(b"A"), connect_command(), codec.packet(b"D", b"C"), codec.packet(b"E", b"x"),
        codec.packet(b"N"), codec.packet(b"H", b"x\0"), codec.packet(b"L", b"A\0b\0"), codec.packet(b"B", b"x"),
        codec.packet(b"M", b"<a>\0"), codec.packet(b"R", b"<a>\0"), codec.packet(b"T"),
        codec.packet(b"U", b"x\0"), codec.packet(b"K"),
    ]  # fmt: skip
    with Mta(daemon.socket) as mta:
        mta.begin()
        for first in commands:
            for second in commands:
                mta.send(first + second)
        mta.send(codec.packet(b"K") + connect_command() + message(queue_id=b"last"))
        daemon.wait_for("last: ")


def test_a_key_lookup_that_fails(daemon):
    """A timeout is condition dns: tempfail, with a text that says so."""
    fields = [(b"From", b" a@slow.example.org"), _signature(d=b"slow.example.org", s=b"x")]
    records = daemon.path / "records"
    assert "slow.example.org TIMEOUT" in records.read_text()
    assert _verdict(daemon, message(fields))[-1][0] in b"cy"
