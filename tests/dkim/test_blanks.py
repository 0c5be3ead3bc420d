"""Every way to deal with blanks gives the same octets, and none is slow."""

from __future__ import annotations

import re
from time import process_time

import pytest

from dkconf.dkim import blanks
from dkconf.dkim.blanks import relaxed_blanks, single_blanks

LARGE = 4 * blanks._PAIRS_FROM
UNITS = [
    b"a",
    b" ",
    b"  ",
    b"a b",
    b"a  b ",
    b"a   bc    d",
    b"seven words of prose make a line \r\n",
    b"a  b \r\n",
    b" \r\n",
    b"  \r\n",
    b"a \r\n",
    b"a  \r\n",
    b"    <td>x</td>\r\n",
    b" " * 12 + b"<td>a b</td>\r\n<td>x</td> \r\n",
    b" " * 9 + b"x  ",
    b"a \r b \n c \x0b  \x0c",
    b"a \r\r\n",
    b"\x00 \x00  ",
    b"\x01 \x01  ",  # the mark
    b"\xff  \xfe\xff  \xff\xfe",  # what UTF-16 calls a byte order mark
    b"\xdf  ",  # half a symbol
    b"\xd8\x00\xdc\x00  \x00\xd8\x00\xdc",  # two halves
    b"\xd8 \xdc ",
    b" " * 255 + b"x",
    b"x" * 300 + b"  ",
    b"  x",
]


@pytest.mark.parametrize("unit", UNITS)
def test_long_pieces(unit: bytes) -> None:
    """Runs become one blank, and none stands before a CRLF, at odd and at even places, to the ends of the piece."""
    many = unit * (LARGE // len(unit))
    for before in (b"", b"x", b"  ", b"   "):
        for after in (b"", b"y", b"  y", b" "):
            data = before + many + after
            once = re.sub(rb" +", b" ", data)

            assert once == single_blanks(data)
            assert once.rstrip(b" ").replace(b" \r\n", b"\r\n") == relaxed_blanks(data.rstrip(b" "))


@pytest.mark.parametrize("way", [blanks._by_pairs, blanks._squeezed, single_blanks])
def test_every_short_piece(way: object) -> None:
    """Each of the ways, on all pieces of up to nine octets that are blank or not."""
    assert callable(way)
    for size in range(10):
        for number in range(1 << size):
            data = bytes(b" x"[number >> place & 1] for place in range(size))
            assert re.sub(rb" +", b" ", data) == way(data), data


@pytest.mark.parametrize("rest", [b"a  ", b"\x01  ", b"a b ", b" \r\n", b"         x"])
def test_a_piece_whose_middle_says_little(rest: bytes) -> None:
    """The way is chosen by the middle of a piece; the result is right where the rest is of another kind."""
    for middle in (b" " * 99 + b"x", b"x" * 999, b" \r\n" * 99, b"a  " * 99):
        data = rest * 5000 + middle * 3 + rest * 5000 + b"x"
        once = re.sub(rb" +", b" ", data)

        assert once == single_blanks(data)
        assert once.replace(b" \r\n", b"\r\n") == relaxed_blanks(data)


def test_which_pieces_cannot_be_read_in_pairs() -> None:
    """Half a symbol of UTF-16 at an odd or at an even place: such a piece is cut, as one with the mark in it."""
    for data in (b"x\xd8", b"\xd8x", b"xx\xdfx  "):
        with pytest.raises(UnicodeDecodeError):
            blanks._by_pairs(data)


@pytest.mark.parametrize("unit", UNITS)
def test_every_piece_costs_linear_time(unit: bytes) -> None:
    """Eight times as much takes about eight times as long; 64 times if the time were quadratic."""

    def seconds(size: int) -> float:
        data = (unit * (size // len(unit) + 1))[:size] + b"x"
        best = 9.0
        for _ in range(3):
            begin = process_time()
            relaxed_blanks(data)
            best = min(best, process_time() - begin)
        return best

    assert seconds(1 << 19) < 30 * seconds(1 << 16)
