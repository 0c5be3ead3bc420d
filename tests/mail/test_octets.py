"""Line ends held back, and what is not copied on the way to the hash."""

from __future__ import annotations

import pytest

from dkconf.mail import octets
from dkconf.mail.octets import LineEnds


def without_end(body: bytes) -> bytes:
    """The body without the CRLFs at its end, and without a CR behind them: what is certain of it."""
    body = body.removesuffix(b"\r")
    while body.endswith(b"\r\n"):
        body = body[:-2]
    return body


@pytest.mark.parametrize("end", [b"", b"\r\n", b"\r", b"\n", b"\r\n" * 31, b"\r\n" * 500, b"\r\n" * 500 + b"\r"])
def test_a_piece_is_passed_on_without_a_copy(end: bytes) -> None:
    """What is given out is a part of the piece that came, however it ends."""
    body = b"x" * 1000 + end
    (out,) = LineEnds().feed(memoryview(body))

    assert isinstance(out, memoryview)
    assert out.obj is body
    assert without_end(body) == bytes(out)


@pytest.mark.parametrize("before", [b"x", b"\n", b"\r", b"x\n", b"\r\r", b"\n\r"])
@pytest.mark.parametrize("cr", [b"", b"\r"])
def test_line_ends_are_counted_beyond_the_first_look(before: bytes, cr: bytes) -> None:
    """Where the run reaches to the edge of the last octets, all are looked at."""
    for count in (*range(28, 36), 70):
        body = before + b"\r\n" * count + cr
        ends = LineEnds()
        held = without_end(body)

        assert held == b"".join(ends.feed(body))
        assert body + b"x" == b"".join([held, *ends.feed(b"x")])


def test_a_pair_torn_apart_is_held_back() -> None:
    """A CR at the end of one piece and an LF at the beginning of the next one are a line end."""
    ends = LineEnds(1)
    assert [ends.feed(piece) for piece in (b"\r", b"\n\r\n\r", b"\n", b"\r")] == [[], [], [], []]
    assert [b"\r\n" * 4, b"\r", b"\n\n"] == ends.feed(b"\n\n")
    assert [] == ends.finish()


@pytest.mark.parametrize("count", [0, 1, 2, 32768, 32769, 100_000])
def test_crlfs(count: int) -> None:
    """The pieces are that many CRLFs, none of them large."""
    pieces = octets.crlfs(count)

    assert b"\r\n" * count == b"".join(pieces)
    assert all(len(piece) <= octets.FILL_OCTETS for piece in pieces)
