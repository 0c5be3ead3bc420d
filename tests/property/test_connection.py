"""A connection does the same whatever pieces the octets come in."""

from __future__ import annotations

from types import SimpleNamespace

from hypothesis import given, settings
from hypothesis import strategies as st

from dkconf.milter import codec
from dkconf.milter import messages as m
from dkconf.server.connection import Connection
from tests.property.strategies import cut_lists, pieces
from tests.server.mta import connect_command, pack
from tests.server.test_connection import StubWorker

COMMANDS = st.sampled_from(
    [
        codec.packet(b"D", b"Mi\0q1\0"), connect_command(), pack(b"H", b"client.example.org"),
        pack(b"M", b"<a@example.org>"), pack(b"R", b"<b@example.net>"), codec.packet(b"T"),
        pack(b"L", b"From", b" a@example.org"), pack(b"L", b"To", b""), pack(b"L", b"", b" x"),
        codec.packet(b"N"), codec.packet(b"B", b"a body\r\n"), codec.packet(b"B"), codec.packet(b"E"),
        codec.packet(b"E", b"the last piece"), pack(b"U", b"XFOO"), codec.packet(b"A"), codec.packet(b"K"),
    ]
)  # fmt: skip
MESSAGE = (
    codec.packet(b"D", b"Mi\0q1\0") + pack(b"M", b"<a@example.org>") + pack(b"L", b"From", b" a") * 3
    + codec.packet(b"N") + codec.packet(b"B", b"x\r\n") + codec.packet(b"E")
)  # fmt: skip
STREAMS = st.lists(COMMANDS | st.just(MESSAGE), max_size=20).map(b"".join)
ENDS = st.sampled_from([b"", codec.packet(b"Q"), codec.packet(b"z"), b"\0\0\0\0", b"\0\0\0\5L"])
REPLIES = st.sampled_from([codec.CONTINUE, codec.ACCEPT, codec.REJECT, codec.SKIP, ValueError("boom")])
SCRIPTS = st.dictionaries(st.sampled_from(["connect", "envfrom", "header", "body", "end_of_message"]), REPLIES)


class _Socket:
    """Gives one piece per read; remembers what is sent."""

    def __init__(self, octets: list[bytes]) -> None:
        self.octets, self.sent = octets, b""

    def fileno(self) -> int:
        return 7

    def recv_into(self, buffer: memoryview) -> int:
        piece = self.octets.pop(0)
        buffer[: len(piece)] = piece
        return len(piece)

    def send(self, octets: bytes) -> int:
        self.sent += octets
        return len(octets)

    def close(self) -> None:
        pass


def _serve(octets: list[bytes], script: dict) -> tuple[bytes, list, list]:
    """What is sent, what the session is told, and what the worker hears, for a connection that reads these pieces."""
    ready = SimpleNamespace(when_readable=lambda fd, call: None, forget=lambda fd: None)
    worker = StubWorker(SimpleNamespace(time=lambda: 1.0), ready)
    worker.script.update(script)
    sock = _Socket([piece for piece in octets if piece])
    connection = Connection(worker, sock)
    while sock.octets and not connection.closed:
        connection.readable()
    told: list = []
    for name, *arguments in worker.told:
        if name == "headers":
            told += [("header", *field) for field in arguments[0]]
        elif name == "body" and told and told[-1][0] == "body":
            told[-1] = ("body", told[-1][1] + arguments[0])
        else:
            told.append((name, *arguments))
    return sock.sent, told, [worker.ended, worker.errors, worker.in_flight]


@settings(deadline=None)
@given(STREAMS, ENDS, st.integers(0, 0x1FFFFF), SCRIPTS, cut_lists)
def test_a_connection_does_the_same_however_its_octets_are_cut(stream, end, protocol, script, cuts):
    """Same replies in the same order, same things told to the session, same messages counted."""
    script |= {"headers": script.get("header")}
    offer = codec.packet(b"O", b"\0\0\0\6\0\0\1\xff" + protocol.to_bytes(4, "big"))
    octets = offer + stream + end

    sent, told, heard = _serve([octets], script)
    sent_in_pieces, told_in_pieces, heard_in_pieces = _serve(pieces(octets, cuts), script)
    assert sent == sent_in_pieces
    assert heard == heard_in_pieces
    # What is refused among the fields of a run, or in pieces of a body, is known only when all of them were told.
    if not script.get("header") and not script.get("body"):
        assert told == told_in_pieces


@settings(deadline=None)
@given(STREAMS, st.integers(0, 0x1FFFFF), SCRIPTS)
def test_fields_in_a_run_are_answered_like_fields_apart(stream, protocol, script):
    """Cut at every octet no two fields are one command."""
    script |= {"headers": script.get("header")}
    offer = codec.packet(b"O", b"\0\0\0\6\0\0\1\xff" + (protocol | m.SMFIP_NR_HDR).to_bytes(4, "big"))
    octets = offer + stream

    assert _serve([octets], script)[0] == _serve([bytes([octet]) for octet in octets], script)[0]
