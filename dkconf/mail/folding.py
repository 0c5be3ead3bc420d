"""Folding of signature fields: lines with CRLF + TAB between, none wider than it must be."""

from __future__ import annotations

from collections.abc import Iterable

FOLD = b"\r\n\t"


def fold_words(words: Iterable[bytes], column: int, width: int, glue: bytes = b" ") -> bytes:
    """Return the words with `glue` between them, folded so that no line grows beyond `width`, glue included.

    Args:
        words: What must stay in one piece.
        column: Octets that already stand on the first line.
        width: Octets of a line, the TAB counted as one.
        glue: What separates words; a blank is dropped at a fold, anything else stays at the end of its line.
    """
    lines: list[bytes] = []
    line = b""
    for word in words:
        if not line:
            line = word
        elif column + len(line) + len(glue) + len(word) + len(glue.strip()) <= width:
            line += glue + word
        else:
            lines.append(line + glue.rstrip(b" "))
            line, column = word, 1
    lines.append(line)
    return FOLD.join(lines)


def fold_text(text: bytes, first: int, width: int) -> bytes:
    """Return base64 text in lines: `first` octets on the first one, `width` on each that follows."""
    pieces = [text[:first]]
    pieces += [text[start : start + width] for start in range(first, len(text), width)]
    return FOLD.join(pieces)
