"""Passes over body octets that both schemes need, as fast as Python can be made to go.

A body is looked at in pieces of up to 64 KiB; hashing one takes about 40 us, so a pass must not cost much more. What
was measured for such a piece of prose (Python 3.11): `in` or `split` with a needle of two octets 60 to 140 us, since
every blank is half a match; libc's `memmem` 25 to 40 us, its `strstr` 1 to 40 us by processor and content; a regular
expression over 500 us. So a `Cutter` looks for its needle with whichever of the two is fastest here, tried once on a
sample, and leaves the rest to `split` where there are more places than calls would pay for.
"""

from __future__ import annotations

from collections.abc import Callable
from time import perf_counter
from typing import Any

CRLF = b"\r\n"
FILL_OCTETS = 65536
"""Held back line ends are given out in pieces of this size."""
MAX_SINGLE_CUTS = 24
"""Places cut one by one; a call to libc and a slice cost what `split` takes for some 500 octets."""

Cut = Callable[[bytes], list[bytes]]


def trailing_crlfs(data: bytes) -> int:
    """Return how many CRLFs end the data, in linear time even where the data are nothing else."""
    if not data.endswith(CRLF):
        return 0
    if not data.endswith(CRLF + CRLF):
        return 1
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
        tail, cr = _line_ends(chunk) if chunk[size - 1] in _CR_LF else (0, False)
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
        pieces.append(chunk if size == len(chunk) else chunk[:size])
        return pieces

    def finish(self) -> list[bytes]:
        """Return what was held back and is not the end of the body after all: CRLFs before a lone CR, and the CR."""
        return [*crlfs(self._pending), b"\r"] if self._cr else []


_LF = 10
_CR_LF = frozenset(b"\r\n")
_WINDOW = 64


def _line_ends(chunk: bytes | memoryview) -> tuple[int, bool]:
    """Return how many CRLFs end the chunk, and whether a CR follows them; mostly by a look at its last octets."""
    end = bytes(chunk[-_WINDOW:])
    cr = end.endswith(b"\r")
    tail = trailing_crlfs(end[:-1] if cr else end)
    if 2 * tail + cr < len(end) - 1 or len(end) == len(chunk):
        return tail, cr
    whole = bytes(chunk)
    return trailing_crlfs(whole[:-1] if cr else whole), cr


def cutter(needle: bytes) -> Cut:
    """Return the fastest function that does what `split(needle)` does; it is chosen once per needle."""
    found = _cutters.get(needle)
    if found is None:
        sample = b"seven words of prose make a line\r\n" * 256
        found = min(_candidates(needle), key=lambda candidate: _cost(candidate, sample))
        _cutters[needle] = found
    return found


_cutters: dict[bytes, Cut] = {}


def _candidates(needle: bytes) -> list[Cut]:
    def by_split(data: bytes) -> list[bytes]:
        return data.split(needle)

    try:
        import ctypes  # three milliseconds that only a relaxed body needs

        libc = ctypes.PyDLL(None)  # keeps the interpreter lock: the calls are shorter than handing it over
        strstr, memmem = libc.strstr, libc.memmem
        address: Any = ctypes.pythonapi.PyBytes_AsString
        size, pointer, octets = ctypes.c_size_t, ctypes.c_void_p, ctypes.c_char_p
    except (ImportError, OSError, AttributeError):
        return [by_split]
    strstr.restype, strstr.argtypes = pointer, (pointer, octets)
    memmem.restype, memmem.argtypes = pointer, (pointer, size, octets, size)
    address.restype, address.argtypes = pointer, (ctypes.py_object,)
    needle_size = len(needle)

    def by_memmem(data: bytes) -> list[bytes]:
        # `data` is alive for as long as its address is used, and does not move.
        base = address(data)
        at, end = base, base + len(data)
        hit = memmem(at, end - at, needle, needle_size)
        if hit is None:
            return [data]
        parts: list[bytes] = []
        while hit is not None:
            parts.append(data[at - base : hit - base])
            at = hit + needle_size
            if len(parts) >= MAX_SINGLE_CUTS:
                return parts + data[at - base :].split(needle)
            hit = memmem(at, end - at, needle, needle_size)
        parts.append(data[at - base :])
        return parts

    def by_strstr(data: bytes) -> list[bytes]:
        if b"\0" in data:  # strstr ends there; every bytes object has one behind its end
            return data.split(needle)
        base = address(data)
        at = base
        hit = strstr(at, needle)
        if hit is None:
            return [data]
        parts: list[bytes] = []
        while hit is not None:
            parts.append(data[at - base : hit - base])
            at = hit + needle_size
            if len(parts) >= MAX_SINGLE_CUTS:
                return parts + data[at - base :].split(needle)
            hit = strstr(at, needle)
        parts.append(data[at - base :])
        return parts

    return [by_split, by_memmem, by_strstr]


def _cost(candidate: Cut, sample: bytes) -> float:
    best = 1.0
    for _ in range(5):
        start = perf_counter()
        candidate(sample)
        best = min(best, perf_counter() - start)
    return best
