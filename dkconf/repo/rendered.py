"""Renderings, `DIR/HOST/<path on the host>`: is the committed one what the inventory gives, byte for byte?"""

from __future__ import annotations

import difflib
from collections.abc import Iterator, Mapping
from pathlib import Path

from dkconf.files.trees import read_below

Line = tuple[str, str]
"""(style, text), as the door prints it."""
MAX_FILE_OCTETS = 8 * 1024 * 1024  # the largest file a rendering holds is a filter's settings: 2 MB for 10,000 keys


def differences(tree: Mapping[str, bytes], folder: Path) -> list[Line]:
    """Return a unified diff from what a folder holds to what it should hold; empty if they are the same."""
    there = read(folder)
    lines: list[Line] = []
    for path in sorted({*tree, *there}):
        lines += diff(path, there.get(path), tree.get(path))
    return lines


def diff(path: str, old: bytes | None, new: bytes | None) -> Iterator[Line]:
    """Yield the unified diff of one file; None: the file is not there."""
    if old == new:
        return
    yield "remove", f"--- {path if old is not None else '/dev/null'}"
    yield "add", f"+++ {path if new is not None else '/dev/null'}"
    before, after = _lines(old), _lines(new)
    if before is None or after is None:
        yield "change", "the file is not text, and differs"
        return
    for line in difflib.unified_diff(before, after, n=3, lineterm=""):
        if line.startswith(("---", "+++")) and not line[3:].strip():
            continue
        yield _STYLES.get(line[:1], ""), line


_STYLES = {"+": "add", "-": "remove", "@": "hunk"}


def _lines(octets: bytes | None) -> list[str] | None:
    """Return a file's lines, fit for a terminal; a last line without its end is told as in diff(1)."""
    if octets is None:
        return []
    try:
        text = octets.decode()
    except UnicodeDecodeError:
        return None
    lines = text.split("\n")
    end = lines.pop()
    if end:
        lines += [end, "\\ no line end at the end of the file"]
    return ["".join(c if c.isprintable() or c == "\t" else f"\\x{ord(c):02x}" for c in line) for line in lines]


def read(folder: Path) -> dict[str, bytes]:
    """Return the files of a rendering by path; links are not followed, `.git` is left out.

    Raises:
        FileProblem: The folder cannot be read.
        FileNotFoundError: It is not there.
    """
    found = read_below(str(folder), limit=MAX_FILE_OCTETS, leave_out={".git"})
    return {
        path: content if isinstance(content, bytes) else b"(a link, no plain file, or too large)"
        for path, content in found.items()
    }
