"""Packets to commands and replies to packets."""

from __future__ import annotations

import pytest

from dkconf.errors import LocalProtocolError, RemoteProtocolError
from dkconf.milter import codec
from dkconf.milter import messages as m

CASES: list[tuple[bytes, bytes, m.Command]] = [
    (b"O", b"\0\0\0\6\0\0\1\xff\0\x1f\xff\xff", m.Negotiate(6, 0x1FF, 0x1FFFFF)),
    (b"D", b"M", m.Macros(0x4D, {})),
    (b"D", b"Ci\0q1\0{daemon_name}\0MTA\0", m.Macros(0x43, {b"i": b"q1", b"{daemon_name}": b"MTA"})),
    (b"D", b"\xffa\0b\0odd", m.Macros(0xFF, {b"a": b"b"})),
    (b"C", b"mx\0" + b"4\x87\x07192.0.2.1\0", m.Connect(b"mx", b"4", 34567, b"192.0.2.1")),
    (b"C", b"mx\0" + b"6\0\x19IPv6:2001:db8::1\0", m.Connect(b"mx", b"6", 25, b"2001:db8::1")),
    (b"C", b"mx\0" + b"6\0\x19ipV6:2001:db8::1\0", m.Connect(b"mx", b"6", 25, b"2001:db8::1")),
    (b"C", b"mx\0" + b"6\0\x192001:db8::1\0", m.Connect(b"mx", b"6", 25, b"2001:db8::1")),
    (b"C", b"localhost\0L\0\0/run/x\0", m.Connect(b"localhost", b"L", 0, b"/run/x")),
    (b"C", b"localhost\0U", m.Connect(b"localhost", b"U", 0, b"")),
    (b"H", b"client.example.org\0", m.Helo(b"client.example.org")),
    (b"H", b"\xff\xfe\0", m.Helo(b"\xff\xfe")),
    (b"M", b"<a@example.org>\0SIZE=10\0ORCPT=rfc822;a=b@c\0",
     m.Mail((b"<a@example.org>", b"SIZE=10", b"ORCPT=rfc822;a=b@c"))),
    (b"R", b"<b@example.net>\0", m.Rcpt((b"<b@example.net>",))),
    (b"T", b"", m.Data()),
    (b"L", b"Subject\0 a\n\tb\0", m.Headers([(b"Subject", b" a\n\tb")])),
    (b"L", b"\xe9\0\x80\xff\0", m.Headers([(b"\xe9", b"\x80\xff")])),
    (b"L", b"A\0b\0c\0", m.Headers([(b"A", b"b")])),
    (b"N", b"", m.EndOfHeaders()),
    (b"E", b"", m.EndOfMessage(b"")),
    (b"E", b"last\r\n", m.EndOfMessage(b"last\r\n")),
    (b"U", b"XFOO bar\0", m.Unknown(b"XFOO bar")),
    (b"A", b"", m.Abort()),
    (b"K", b"", m.QuitNewConnection()),
    (b"Q", b"", m.Quit()),
]  # fmt: skip


def _owned(commands: list[m.Command]) -> list[m.Command]:
    """Body pieces joined, and as octets, so that they can be compared after the buffer is gone."""
    out: list[m.Command] = []
    for command in commands:
        if isinstance(command, m.Body):
            if out and isinstance(out[-1], m.Body) and not out[-1].last:
                command = m.Body(memoryview(bytes(out.pop().chunk) + bytes(command.chunk)), command.last)
            else:
                command = m.Body(memoryview(bytes(command.chunk)), command.last)
        out.append(command)
    return out


def _apart(commands: list[m.Command]) -> list[m.Command]:
    """Runs of header fields with one field each."""
    out: list[m.Command] = []
    for command in commands:
        out += [m.Headers([field]) for field in command.fields] if isinstance(command, m.Headers) else [command]
    return out


def _feed_octet_by_octet(decoder: codec.Decoder, octets: bytes) -> list[m.Command]:
    return [c for i in range(len(octets)) for c in decoder.feed(octets[i : i + 1])]


@pytest.mark.parametrize(("letter", "data", "expected"), CASES)
def test_each_command_whole_octet_by_octet_and_with_a_tail(letter, data, expected):
    """A packet means the same whole, octet by octet, in two parts anywhere, and with something behind it."""
    octets = codec.packet(letter, data)

    assert [expected] == codec.Decoder().feed(octets)
    assert [expected] == codec.Decoder().feed(memoryview(octets))

    decoder = codec.Decoder()
    got = _feed_octet_by_octet(decoder, octets)
    assert [expected] == got
    assert type(expected) is type(got[0])
    assert not decoder.mid_packet

    for cut in range(len(octets) + 1):
        decoder = codec.Decoder()
        assert [expected, expected] == _apart(decoder.feed(octets[:cut]) + decoder.feed(octets[cut:] + octets))


@pytest.mark.parametrize("view", [bytes, memoryview])
def test_header_fields_that_come_together_are_one_command(view):
    """A run ends where anything else comes; what came in parts begins a run of its own."""
    first, second, third = (codec.packet(b"L", b"%b\0 x\0" % name) for name in (b"A", b"B", b"C"))
    stream = first + second + codec.packet(b"D", b"L") + third

    fields = [(b"A", b" x"), (b"B", b" x")]
    expected = [m.Headers(fields), m.Macros(0x4C, {}), m.Headers([(b"C", b" x")])]
    assert expected == codec.Decoder().feed(view(stream))
    large = codec.packet(b"E", bytes(40_000))
    assert [*expected, m.EndOfMessage(bytes(40_000))] == codec.Decoder().feed(view(stream + large))
    decoder = codec.Decoder()
    assert [] == decoder.feed(view(stream[:7]))
    assert expected == decoder.feed(view(stream[7:]))


@pytest.mark.parametrize("step", [1, 3, 7, 4096, 65540, 200000])
def test_body_pieces_are_handed_on_as_they_come(step):
    """However a body packet is cut, its octets come in order, and only its end is marked as last."""
    stream = codec.packet(b"B", bytes(range(256)) * 40) + codec.packet(b"B") + codec.packet(b"N")
    decoder, got = codec.Decoder(), []
    for start in range(0, len(stream), step):
        got += _owned(decoder.feed(memoryview(stream)[start : start + step]))

    got = _owned(got)
    assert [True, True] == [c.last for c in got if isinstance(c, m.Body)]
    assert [bytes(range(256)) * 40, b""] == [bytes(c.chunk) for c in got if isinstance(c, m.Body)]
    assert m.EndOfHeaders() == got[-1]


def test_a_body_packet_of_the_largest_length():
    """65,535 octets of data are legal, and the largest that an MTA sends."""
    got = codec.Decoder().feed(codec.packet(b"B", b"x" * 65535))

    assert [65535] == [len(c.chunk) for c in got if isinstance(c, m.Body)]


@pytest.mark.parametrize(
    "octets",
    [
        b"\0\0\0\0Q",
        b"\0\1\0\1B",
        b"\xff\xff\xff\xffL",
        b"GET / HTTP/1.0\r\n\r\n",
        codec.packet(b"z"),
        codec.packet(b"S", b"x"),
        codec.packet(b"\0"),
        codec.packet(b"O", b"\0\0\0\6\0\0\1"),
        codec.packet(b"D"),
        codec.packet(b"C"),
        codec.packet(b"C", b"mx"),
        codec.packet(b"C", b"mx\0"),
        codec.packet(b"C", b"mx\x004\0"),
        codec.packet(b"C", b"mx\x004\0\x19192.0.2.1"),
        codec.packet(b"L"),
        codec.packet(b"L", b"Subject"),
        codec.packet(b"L", b"Subject\0no end"),
        codec.packet(b"M"),
        codec.packet(b"M", b"<a@b>"),
        codec.packet(b"R"),
    ],
)
def test_what_breaks_the_protocol(octets):
    """Wrong lengths, unknown letters and data that is not what the letter promises are the MTA's fault."""
    with pytest.raises(RemoteProtocolError):
        codec.Decoder().feed(octets)

    decoder = codec.Decoder()
    with pytest.raises(RemoteProtocolError):
        _feed_octet_by_octet(decoder, octets)


def test_commands_before_a_fault_are_there():
    """What came whole before the fault is handed on, so that a session is closed in order."""
    commands: list[m.Command] = []
    with pytest.raises(RemoteProtocolError):
        codec.Decoder().feed_into(codec.packet(b"A") + codec.packet(b"z"), commands)

    assert [m.Abort()] == commands


def test_replies():
    """Each reply is one packet, indices 32 bits in network order."""
    assert b"\0\0\0\1c" == codec.CONTINUE
    assert b"\0\0\0\6hA\0 b\0" == codec.add_header(b"A", b" b")
    assert b"\0\0\0\x09i\0\0\0\1A\0b\0" == codec.insert_header(1, b"A", b"b")
    assert b"\0\0\0\x08m\0\0\0\2A\0\0" == codec.change_header(2, b"A", b"")
    assert b"\0\0\0\5q?ab\0" == codec.quarantine(b"\nab")
    assert b"\0\0\0\x0dO\0\0\0\6\0\0\0\1\0\0\0\2" == codec.negotiation(6, 1, 2)


def test_macro_lists_need_their_action():
    """Macro lists go out only with SMFIF_SETSYMLIST; end of message is stage 5, end of headers 6."""
    lists = {"eom": "i", "eoh": "i {auth_type}"}

    plain = codec.negotiation(6, 0x11, 0, lists)
    full = codec.negotiation(6, 0x111, 0, lists)

    assert 17 == len(plain)
    assert full.endswith(b"\0\0\0\5i\0" + b"\0\0\0\6i {auth_type}\0")


@pytest.mark.parametrize("value", [b"a\nB: c", b"a\r\n b", b"a\0b", b"a\n", b"\r"])
def test_no_reply_smuggles_in_a_header_field(value):
    """A value that would end its field, or be cut, is our fault and never sent."""
    for make in (codec.add_header, lambda n, v: codec.insert_header(0, n, v),
                 lambda n, v: codec.change_header(1, n, v)):  # fmt: skip
        with pytest.raises(LocalProtocolError):
            make(b"A", value)


@pytest.mark.parametrize("name", [b"", b"A B", b"A:", b"A\n", b"\xff"])
def test_no_reply_has_a_name_that_is_none(name):
    """A header field's name is visible ASCII without a colon (RFC 5322 2.2)."""
    with pytest.raises(LocalProtocolError):
        codec.add_header(name, b"x")


def test_a_reply_longer_than_an_mta_takes_is_never_sent():
    """64 KiB is the most, our own replies included."""
    with pytest.raises(LocalProtocolError):
        codec.add_header(b"A", b"x" * 65536)


def test_reply_text():
    """A percent sign is doubled, what is not ASCII becomes a question mark, and there is one line."""
    assert b"\0\0\0\x10y451 4.7.0 50%%?\0"[5:] == codec.reply_code(b"451 4.7.0 50%\xff")[5:]
    assert b"?" in codec.reply_code(b"550 5.7.0 a\r\n220 b")
    assert len(codec.reply_code(b"550 " + b"%" * 5000)) < 1000
    with pytest.raises(LocalProtocolError):
        codec.reply_code(b"250 fine")
