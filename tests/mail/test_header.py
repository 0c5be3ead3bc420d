"""Header fields keep every octet; messages from files come out with CRLF."""

from __future__ import annotations

import pytest

from dkconf.mail.header import HeaderField, format_message, from_milter, milter_value, parse_message

MESSAGES: dict[str, tuple[bytes, list[tuple[bytes, bytes]], bytes]] = {
    "CRLF": (b"A: 1\r\nB:2\r\n\r\nx\r\n", [(b"A", b" 1"), (b"B", b"2")], b"x\r\n"),
    "LF": (b"A: 1\nB:2\n\nx\ny", [(b"A", b" 1"), (b"B", b"2")], b"x\r\ny"),
    "mixed": (b"A: 1\r\nB:2\n\r\nx\n", [(b"A", b" 1"), (b"B", b"2")], b"x\r\n"),
    "folds": (b"A: 1\n\t2 \n  3\nB:\n 4\n\n", [(b"A", b" 1\r\n\t2 \r\n  3"), (b"B", b"\r\n 4")], b""),
    "mbox": (b"From joe Fri\nA: 1\n\n", [(b"A", b" 1")], b""),
    "no body": (b"A: 1\r\n", [(b"A", b" 1")], b""),
    "no line end": (b"A: 1", [(b"A", b" 1")], b""),
    "empty": (b"", [], b""),
    "body only": (b"\r\nx", [], b"x"),
    "no field begins the body": (b"A: 1\nhello world\nB: 2\n", [(b"A", b" 1")], b"hello world\r\nB: 2\r\n"),
    "blank before the colon": (b"A : 1\n\n", [(b"A ", b" 1")], b""),
    "blank within the name": (b"A b: 1\n\n", [], b"A b: 1\r\n\r\n"),
    "continuation of nothing": (b" x\nA: 1\n", [], b" x\r\nA: 1\r\n"),
    "colon first": (b": x\n", [], b": x\r\n"),
    "8-bit, NUL, lone CR": (b"A\xff: \x00\r1\n\n\x00\r", [(b"A\xff", b" \x00\r1")], b"\x00\r"),
}


@pytest.mark.parametrize("name", MESSAGES)
def test_parse(name: str) -> None:
    """Each message comes apart as written in the table."""
    octets, fields, body = MESSAGES[name]

    assert ([HeaderField(*field) for field in fields], body) == parse_message(octets)


@pytest.mark.parametrize("name", MESSAGES)
def test_round(name: str) -> None:
    """What was taken apart goes together again, and apart the same way."""
    fields, body = parse_message(MESSAGES[name][0])

    assert (fields, body) == parse_message(format_message(fields, body))


def test_names_compare_in_lower_case() -> None:
    """Without the blanks before the colon."""
    field = HeaderField(b"Message-ID \t", b" x")

    assert b"message-id" == field.lower
    assert b"Message-ID \t: x\r\n" == field.octets()
    assert field == HeaderField(b"Message-ID \t", b" x")
    assert field != HeaderField(b"message-id", b" x")
    assert field != "x"
    assert len({field, HeaderField(b"Message-ID \t", b" x")}) == 1
    assert "Message-ID" in repr(field)


@pytest.mark.parametrize(
    ("packet", "leading_space", "value"),
    [
        (b" a\n\tb", True, b" a\r\n\tb"),
        (b"a\n\tb", False, b" a\r\n\tb"),
        (b"a\r\n\tb", True, b"a\r\n\tb"),
        (b"", True, b""),
    ],
)
def test_milter_and_back(packet: bytes, leading_space: bool, value: bytes) -> None:
    """A milter packet has LF for CRLF, and one blank less unless leading blanks were negotiated."""
    field = from_milter(b"X", packet, leading_space=leading_space)

    assert value == field.value
    assert packet.replace(b"\r\n", b"\n") == milter_value(field.value, leading_space=leading_space)


def test_a_megabyte_of_folds_is_quick() -> None:
    """Linear: a header of one field with 250,000 continuation lines."""
    fields, body = parse_message(b"A: 1\r\n" + b" x\r\n" * 250_000 + b"\r\n")

    assert 1 == len(fields)
    assert b"" == body
