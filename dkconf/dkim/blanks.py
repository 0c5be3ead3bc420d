"""The blanks of a relaxed body: runs become one blank, and none is left before a CRLF (RFC 6376 section 3.4.4).

A piece of up to 64 KiB is hashed in 40 us, so passes over it must be few, and none may look at each octet in Python.
What passes cost for such a piece of prose (Python 3.11, CPU time): to find all places with two blanks by `split`, `in`
or `replace` 100 to 120 us, since the processor guesses wrong at many of the blanks between words; to find a blank
before a line end 65 us; a regular expression 290 us; libc's `memmem` 40 us, and 0.6 us for each place.

Pairs of octets are found without guessing when they are one symbol, as in UTF-16: one symbol is replaced by another
in 27 us or, where every second one is meant, in 53 us; decoding and encoding take 20 us. Two passes, one of them an
octet further on, see every pair. That is `_by_pairs`: a little faster than `split` with prose, four times as fast with
hostile bodies, and worth its fixed cost from some KiB on.

Long runs, as in indented HTML, are the one thing that a regular expression is faster with: 100 ns for each, and a
little for the text between.

Every way costs linear time, whatever the body.
"""

from __future__ import annotations

import re
from itertools import repeat

_SAMPLE = 256
"""Octets that are looked at to choose a way; a wrong choice is slower and not wrong."""
_DENSE = 8
"""Places in the sample from which on a piece is dealt with as a whole instead of cut at each place."""
_LONG_RUN, _LONG_RUNS = b" " * 8, 2
"""Runs in the sample, and how many there must be, for a piece to be cut at its runs by a regular expression."""
_OCTETS_PER_PLACE = 40
"""Where places are nearer to each other, to cut costs more than to replace."""
_PAIRS_FROM = 12288
"""Shorter pieces are cut."""

_RUN = re.compile(rb"  ++")

_GONE = b"\x01"
"""Marks a blank that is to go: an octet that text has no use for. A piece that has it is cut."""
# Two octets each as UTF-16 reads them, the first one low.
_TWO_BLANKS, _BLANK_GONE = "\u2020", "\u0120"
_GONE_BLANK, _GONE_GONE = "\u2001", "\u0101"


def relaxed_blanks(data: bytes) -> bytes:
    """Return the data with each run of blanks as one, and no blank before a CRLF.

    Args:
        data: A piece of a body; its tabs are blanks already, and it does not end in one.
    """
    if _sampled(data, b" \r\n") >= _DENSE:
        bare = data.translate(None, b" ")
        if bare == b"\r\n" * (len(bare) // 2) or len(data) - len(bare) == data.count(b" \r\n"):
            # No blank stands anywhere else, so all of them can go.
            return bare
        return single_blanks(data).replace(b" \r\n", b"\r\n")
    data = single_blanks(data)
    lines = data.split(b" \r\n")
    return b"\r\n".join(lines) if len(lines) > 1 else data


def single_blanks(data: bytes) -> bytes:
    """Return the data with each run of blanks as one."""
    most = len(data) // _OCTETS_PER_PLACE
    if _sampled(data, _LONG_RUN) >= _LONG_RUNS:
        parts = _RUN.split(data, most)
        if len(parts) > most:
            parts[-1] = _squeezed(parts[-1])
        return b" ".join(parts)
    if len(data) >= _PAIRS_FROM and _GONE not in data:
        try:
            return _by_pairs(data)
        except UnicodeDecodeError:
            pass  # Octets from 0xd8 to 0xdf are half a symbol each.
    first, *parts = data.split(b"  ", most + 1)
    if not parts:
        return data
    if len(parts) > most:
        return _squeezed(data)
    return b" ".join([first, *filter(None, map(bytes.lstrip, parts, repeat(b" ")))])


def _sampled(data: bytes, needle: bytes) -> int:
    """Return how often the needle occurs in the middle of the data."""
    start = max(0, (len(data) - _SAMPLE) // 2)
    return data.count(needle, start, start + _SAMPLE)


def _by_pairs(data: bytes) -> bytes:
    """Return the data with each run of blanks as one.

    Raises:
        UnicodeDecodeError: They cannot be read as UTF-16.
    """
    # Pairs that begin at odd places first: an octet is put in front of the data and taken away again. The octets behind
    # them make the length even for both passes.
    odd = b"".join((b"\0", data, _GONE * (1 + len(data) % 2))).decode("utf-16-le")
    marked = odd.replace(_TWO_BLANKS, _BLANK_GONE).encode("utf-16-le")[1:-1]
    # Then the other pairs; and a blank goes, too, if the one before it has gone.
    even = marked.decode("utf-16-le").replace(_TWO_BLANKS, _BLANK_GONE).replace(_GONE_BLANK, _GONE_GONE)
    marked = even.encode("utf-16-le")
    return marked.replace(_GONE, b"") if _sampled(marked, _GONE) < _DENSE else marked.translate(None, _GONE)


def _squeezed(data: bytes) -> bytes:
    """Return the data with each run of blanks as one, by replacing: long runs shrink fast, then by halves.

    Runs of two are left by most passes, so those of three go first: a pass over a hostile body costs as much as its
    places.
    """
    if _sampled(data, b"    ") > 1:
        for length in (256, 16, 4):
            data = data.replace(b" " * length, b" ")
    data = data.replace(b"   ", b" ")
    while b"  " in data:
        data = data.replace(b"  ", b" ")
    return data
