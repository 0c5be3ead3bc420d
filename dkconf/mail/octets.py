"""Line ends of body octets, as both schemes need them."""

from __future__ import annotations

CRLF = b"\r\n"
FILL_OCTETS = 65536
"""Held back line ends are given out in pieces of this size."""


def trailing_crlfs(data: bytes) -> int:
    """Return how many CRLFs end the data, in linear time even where the data are nothing else."""
    if not data.endswith(CRLF):
        return 0
    # In strides that double, each one comparison of memory: a strip looks at every octet by itself.
    most = len(data) // 2
    low, high = 1, min(2, most)  # `low` pairs do end the data
    while low < most and data.endswith(CRLF * high):
        low, high = high, min(2 * high, most)
    # Now `high` pairs do not, unless both are all there are: find the number between by halving.
    while high - low > 1:
        middle = (low + high) // 2
        if data.endswith(CRLF * middle):
            low = middle
        else:
            high = middle
    return low


def crlfs(count: int) -> list[bytes]:
    """Return pieces that together are this many CRLFs: a body of a hundred megabytes of them stays bounded."""
    whole, rest = divmod(count * 2, FILL_OCTETS)
    return [CRLF * (FILL_OCTETS // 2)] * whole + ([CRLF * (rest // 2)] if rest else [])


class LineEnds:
    """Passes body octets on as they came, but for the CRLFs that may turn out to be the end of the body."""

    __slots__ = ("_cr", "_pending")

    def __init__(self, pending: int = 0) -> None:
        """Begin with this many CRLFs held back."""
        self._pending = pending
        self._cr = False  # a CR whose LF may be in the next piece

    def feed(self, chunk: bytes | memoryview) -> list[bytes | memoryview]:
        """Return the octets that are certain now: parts of the chunk, which are not copied, and what was held back."""
        size = len(chunk)
        if not size:
            return []
        end = bytes(chunk[-4:])
        if not end.endswith(_CR_LF):
            tail, cr = 0, False
        elif end.endswith(CRLF) and size > 3 and not end.startswith(CRLF):
            tail, cr = 1, False
        else:
            tail, cr = _line_ends(chunk)
        size -= 2 * tail + cr
        held_cr = self._cr
        self._cr = cr
        if held_cr and size == 1 and chunk[0] == _LF:
            # This CR and LF were torn apart, and nothing but line ends follows.
            self._pending += tail + 1
            return []
        if not size and not held_cr:
            self._pending += tail
            return []
        pieces: list[bytes | memoryview] = list(crlfs(self._pending)) if self._pending else []
        self._pending = tail
        if held_cr:
            pieces.append(b"\r")
        pieces.append(chunk if size == len(chunk) else memoryview(chunk)[:size])
        return pieces

    def finish(self) -> list[bytes]:
        """Return what was held back and is not the end of the body after all: CRLFs before a lone CR, and the CR."""
        return [*crlfs(self._pending), b"\r"] if self._cr else []


_LF = 10
_CR_LF = (b"\r", b"\n")
_WINDOW = 64


def _line_ends(chunk: bytes | memoryview) -> tuple[int, bool]:
    """Return how many CRLFs end the chunk, and whether a CR follows them; mostly by a look at its last octets."""
    end = bytes(chunk[-_WINDOW:])
    if not end.strip(CRLF):
        end = bytes(chunk)
    cr = end.endswith(b"\r")
    return trailing_crlfs(end[:-1] if cr else end), cr
