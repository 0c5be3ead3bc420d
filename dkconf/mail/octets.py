"""Passes over body octets that both schemes need, as fast as Python can be made to go.

A body is looked at in pieces of up to 64 KiB; hashing one takes about 40 us, so a pass must not cost much
more. What was measured for such a piece (Python 3.11): `in` with a needle of two octets 45 to 70 us, libc's
`strstr` 1 to 40 us by processor and content, libc's `memmem` 25 to 40 us, a regular expression over 500 us.
So a needle is looked for with whichever of the three is fastest here, tried once on a sample; a needle is
cut at only where there is one.
"""

from __future__ import annotations

from collections.abc import Callable
from time import perf_counter

Finder = Callable[[bytes], bool]

CRLF = b"\r\n"
FILL_OCTETS = 65536
"""Held back line ends are given out in pieces of this size."""


def trailing_crlfs(data: bytes) -> int:
    """Return how many CRLFs end the data, in linear time even where the data are nothing else."""
    tail = len(data) - len(data.rstrip(CRLF))  # every octet of the run, also stray CRs and LFs
    if tail < 2:
        return 0
    pairs = tail // 2
    if data.endswith(CRLF * pairs):
        return pairs
    # A stray CR or LF stands in the run: find the longest suffix of whole CRLFs by halving.
    low, high = 0, pairs  # `low` pairs do end the data, `high` do not
    while high - low > 1:
        middle = (low + high) // 2
        if data.endswith(CRLF * middle):
            low = middle
        else:
            high = middle
    return low


def crlfs(count: int) -> list[bytes]:
    """Return pieces that together are this many CRLFs: a body of a hundred megabytes of them stays
    bounded."""
    whole, rest = divmod(count * 2, FILL_OCTETS)
    return [CRLF * (FILL_OCTETS // 2)] * whole + ([CRLF * (rest // 2)] if rest else [])


def finder(needle: bytes) -> Finder:
    """Return the fastest function that tells whether the needle occurs in octets; it is chosen once per
    needle."""
    found = _finders.get(needle)
    if found is None:
        sample = b"seven words of prose make a line\r\n" * 256
        found = min(_candidates(needle), key=lambda candidate: _cost(candidate, sample))
        _finders[needle] = found
    return found


_finders: dict[bytes, Finder] = {}


def _candidates(needle: bytes) -> list[Finder]:
    def by_in(data: bytes) -> bool:
        return needle in data

    try:
        import ctypes

        libc = ctypes.PyDLL(None)  # keeps the interpreter lock: the calls are shorter than handing it over
        strstr, memmem = libc.strstr, libc.memmem
        size, pointer, octets = ctypes.c_size_t, ctypes.c_void_p, ctypes.c_char_p
    except (ImportError, OSError, AttributeError):
        return [by_in]
    strstr.restype, strstr.argtypes = pointer, (octets, octets)
    memmem.restype, memmem.argtypes = pointer, (octets, size, octets, size)
    needle_size = len(needle)

    def by_strstr(data: bytes) -> bool:
        # strstr ends at a NUL; every bytes object has one behind its end.
        return needle in data if b"\0" in data else strstr(data, needle) is not None

    def by_memmem(data: bytes) -> bool:
        return memmem(data, len(data), needle, needle_size) is not None

    return [by_in, by_strstr, by_memmem]


def _cost(candidate: Finder, sample: bytes) -> float:
    best = 1.0
    for _ in range(5):
        start = perf_counter()
        candidate(sample)
        best = min(best, perf_counter() - start)
    return best
