"""What holds for any octets that an MTA may send."""

from __future__ import annotations

import contextlib
import time

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from dkconf.errors import LocalProtocolError, RemoteProtocolError
from dkconf.milter import codec, dialogue
from dkconf.milter import messages as m
from tests.milter import reference

# A busy machine is no fault of what is tested.
ANY_TIME = settings(deadline=None)

LETTERS = st.sampled_from([bytes([letter]) for letter in b"ABCDEHKLMNOQRTU"])
PACKETS = st.lists(st.tuples(LETTERS, st.binary(max_size=40)), max_size=8)


def _decode(pieces):
    """Commands with body pieces joined, and the fault, if there was one."""
    decoder, commands, fault = codec.Decoder(), [], None
    for piece in pieces:
        got: list[m.Command] = []
        try:
            decoder.feed_into(piece, got)
        except RemoteProtocolError as error:
            fault = str(error)
        for command in got:
            if isinstance(command, m.Body):
                command = ("body", bytes(command.chunk), command.last)
                if commands and commands[-1][0] == "body" and not commands[-1][2]:
                    command = ("body", commands.pop()[1] + command[1], command[2])
            elif isinstance(command, m.Headers):
                commands += [("header", field) for field in command.fields]
                continue
            else:
                command = (type(command).__name__, command)
            commands.append(command)
        if fault is not None:
            break
    return commands, fault


def _cut(octets, places):
    cuts = sorted({place % (len(octets) + 1) for place in places})
    return [octets[a:b] for a, b in zip([0, *cuts], [*cuts, len(octets)], strict=True)]


@ANY_TIME
@given(PACKETS, st.lists(st.integers(0, 10_000), max_size=10), st.binary(max_size=10))
def test_the_cut_does_not_matter(packets, places, tail):
    """Cut anywhere, a stream means the same: the same commands, and the same fault if it has one."""
    stream = b"".join(codec.packet(letter, data) for letter, data in packets) + tail

    assert _decode([stream]) == _decode(_cut(stream, places))


@ANY_TIME
@given(st.binary(max_size=300))
def test_any_octets_are_commands_or_a_fault_of_the_mta(octets):
    """Nothing else is ever raised."""
    _decode([octets])
    _decode([octets[i : i + 1] for i in range(len(octets))])


@ANY_TIME
@given(PACKETS, st.integers(0, 0x1FFFFF))
def test_every_command_gets_the_replies_it_is_owed(packets, protocol):
    """At most one reply per command, none for those that never get one, whatever the order."""
    stream = b"".join(codec.packet(letter, data) for letter, data in packets)
    commands: list[m.Command] = []
    with contextlib.suppress(RemoteProtocolError):
        codec.Decoder().feed_into(stream, commands)
    talk = dialogue.Dialogue()
    for command in commands:
        flags = talk.receive(command)
        if isinstance(command, m.Negotiate) and flags & dialogue.HANDLE:
            talk.negotiated(protocol)
            continue
        if flags & (dialogue.HANDLE | dialogue.ANSWER):
            reply = talk.answer(command, None)
            assert reply in (b"", codec.CONTINUE)
            assert bool(reply) == talk.wants_reply(command)
            if isinstance(command, m.Macros | m.Abort | m.Quit | m.QuitNewConnection):
                assert not reply


REPLIES = st.sampled_from([None, codec.CONTINUE, codec.ACCEPT, codec.REJECT, codec.SKIP])
KINDS = st.sampled_from(
    [
        m.Macros(0x4D, {}), m.Connect(b"mx", b"U", 0, b""), m.Helo(b"x"), m.Mail((b"<a@b>",)), m.Rcpt((b"<a@b>",)),
        m.Data(), m.Header(b"A", b"b"), m.Headers([(b"A", b"b")]), m.EndOfHeaders(), m.Body(memoryview(b"x"), True),
        m.Body(memoryview(b"x"), False), m.EndOfMessage(b""), m.Unknown(b"x"), m.Abort(), m.QuitNewConnection(),
    ]
)  # fmt: skip
USUAL = (
    m.Connect(b"mx", b"U", 0, b""), m.Helo(b"x"), m.Macros(0x4D, {}), m.Mail((b"<a@b>",)), m.Rcpt((b"<a@b>",)),
    m.Data(), m.Headers([(b"A", b"b")]), m.EndOfHeaders(), m.Body(memoryview(b"x"), False),
    m.Body(memoryview(b"x"), True), m.EndOfMessage(b""),
)  # fmt: skip


@st.composite
def dialogues(draw):
    """Messages as they usually are, each with commands that are missing, and others thrown in anywhere."""
    events = []
    for _ in range(draw(st.integers(1, 3))):
        skipped = draw(st.sets(st.integers(0, len(USUAL) - 1), max_size=4))
        message = [command for place, command in enumerate(USUAL) if place not in skipped]
        for command in draw(st.lists(KINDS, max_size=6)):
            message.insert(draw(st.integers(0, len(message))), command)
        events += message
    verdicts = draw(st.dictionaries(st.integers(0, len(events) - 1), REPLIES, max_size=4))
    return [(command, verdicts.get(place)) for place, command in enumerate(events)]


NR_FLAGS = list(m.NO_REPLY.values())
PROTOCOLS = st.integers(0, 0x1FFFFF) | st.sampled_from(
    [0x1FFFFF, 0, *NR_FLAGS, *(0x1FFFFF - flag for flag in NR_FLAGS)]
)
DIALOGUES = st.lists(st.tuples(KINDS, REPLIES), max_size=20) | dialogues()


def _play(commands, protocol, *, short):
    """What comes of each command; where there is a short way, it is gone or not."""
    talk = dialogue.Dialogue()
    assert dialogue.HANDLE == talk.receive(m.Negotiate(6, 0, 0))
    talk.negotiated(protocol)
    for command, reply in commands:
        phase = talk.steps[talk.phase].get(type(command)) if short else None
        if phase is not None:
            talk.phase = phase
            written = b"" if reply is None else talk.answer(command, reply)
            yield reference.Seen(False, True, written, talk.in_message)
            continue
        flags = talk.receive(command)
        told = bool(flags & dialogue.HANDLE)
        written = talk.answer(command, reply if told else None) if told or flags & dialogue.ANSWER else b""
        yield reference.Seen(bool(flags & dialogue.ABORT_FIRST), told, written, talk.in_message)


@settings(deadline=None, max_examples=300)
@given(DIALOGUES, PROTOCOLS)
def test_a_dialogue_is_the_plain_one_by_the_short_way_and_the_long(commands, protocol):
    """Who hears of a command, what is written, whether a message is open: as in the plain model."""
    expected = reference.play(protocol, commands)

    assert expected == list(_play(commands, protocol, short=False))
    assert expected == list(_play(commands, protocol, short=True))


def test_the_commands_of_a_usual_message_are_steps():
    """With all that the filter asks for, only the first command and the last one take the long way."""
    talk = dialogue.Dialogue()
    talk.receive(m.Negotiate(6, 0, 0))
    talk.negotiated(sum(m.NO_REPLY.values()))
    talk.receive(m.Connect(b"mx", b"U", 0, b""))
    for kind in (m.Macros, m.Mail, m.Macros, m.Rcpt, m.Data, m.Headers, m.EndOfHeaders, m.Body, m.Body):
        talk.phase = talk.steps[talk.phase][kind]
    assert m.EndOfMessage not in talk.steps[talk.phase]


@ANY_TIME
@given(st.binary(max_size=200), st.binary(max_size=200))
def test_a_header_edit_is_one_field_or_none(name, value):
    """No octets make an edit that holds a second field, or that an MTA would cut."""
    try:
        packet = codec.insert_header(1, name, value)
    except LocalProtocolError:
        return
    field, text, end = packet[9:].split(b"\0")
    assert (name, value, b"") == (field, text, end)
    assert all(line[:1] in (b" ", b"\t") for line in value.split(b"\n")[1:])


@ANY_TIME
@given(st.binary(max_size=2000))
def test_a_reply_text_is_one_line(text):
    """Whatever went into it: printable, every % doubled, short enough for both MTAs."""
    packet = codec.reply_code(b"550 5.7.0 " + text)
    line = packet[5:-1]
    assert packet.endswith(b"\0")
    assert len(line) <= 980
    assert all(32 <= c < 127 for c in line)
    assert b"%" not in line.replace(b"%%", b"")


@pytest.mark.parametrize("letter", [b"B", b"L", b"D"])
def test_tiny_pieces_cost_linear_time(letter):
    """A packet of 64 KiB octet by octet: twice as much takes about twice as long, not four times."""
    data = b"a\0b\0" * 16383
    octets = codec.packet(letter, data)

    def seconds(count: int) -> float:
        begin = time.process_time()
        for _ in range(count):
            decoder = codec.Decoder()
            for i in range(len(octets)):
                decoder.feed(octets[i : i + 1])
        return time.process_time() - begin

    seconds(1)
    # A quadratic decoder copies 2 GiB per packet, which takes far longer than this.
    assert seconds(1) < 2.0
