"""Patterns with "*", for senders and domains: as in dk-filter's key list."""

from __future__ import annotations


class Glob:
    """One pattern. A star is any octets, none too; case of ASCII letters does not count.

    No regular expression: with several stars one costs the square of what a stranger wrote, or worse.
    """

    __slots__ = ("_first", "_last", "_middle", "_whole")

    def __init__(self, pattern: str) -> None:
        first, *rest = pattern.encode("utf-8", "surrogateescape").lower().split(b"*")
        self._first = first
        self._whole = not rest
        self._last = rest.pop() if rest else b""
        self._middle = tuple(piece for piece in rest if piece)

    def matches(self, text: bytes) -> bool:
        """Return True if the pattern covers the whole text."""
        text = text.lower()
        if self._whole:
            return text == self._first
        position, end = len(self._first), len(text) - len(self._last)
        if position > end or not (text.startswith(self._first) and text.endswith(self._last)):
            return False
        for piece in self._middle:  # the left-most place leaves the most for those that follow
            found = text.find(piece, position, end)
            if found < 0:
                return False
            position = found + len(piece)
        return True
