"""The inventory's octets as text and as nodes, each with its place; `tree.py` makes the nodes from the text.

Refused here: files that are too large, empty, not UTF-8, or that hold tabs in indentation, control characters or a
private key.
"""

from __future__ import annotations

import re
from itertools import islice
from typing import Any

from .findings import Finding, Severity, looks_like_key, quote
from .rules import RULES

MAX_FILE_OCTETS = 20 * 1024 * 1024  # 10,000 domains with two selectors each take 3 MB
EXCERPT_WIDTH = 100
SAME_FAULTS = 20  # tabs and control characters told of one file: enough to see what kind of file it is
CONTROLS = re.compile("[\\x00-\\x08\\x0b\\x0c\\x0e-\\x1f\\x7f\\x80-\\x84\\x86-\\x9f\\u2028\\u2029\\ufffe\\uffff]")

Where = tuple[Any, ...]
"""A path as linked pairs, so that one more step costs one small tuple: ((), "domains"), "example.com"."""


class Node:
    """One YAML node. `mark` is libyaml's: line, column and index from 0, in characters."""

    __slots__ = ("end", "mark")

    def __init__(self, mark: Any) -> None:
        self.mark = self.end = mark


class Scalar(Node):
    __slots__ = ("plain", "text")

    def __init__(self, mark: Any, end: Any, text: str, plain: bool) -> None:
        self.mark, self.end, self.text, self.plain = mark, end, text, plain


class Map(Node):
    __slots__ = ("entries", "flow")

    def __init__(self, mark: Any, flow: bool) -> None:
        self.mark = self.end = mark
        self.flow = flow
        self.entries: dict[str, tuple[Scalar, Node]] = {}


class List(Node):
    __slots__ = ("flow", "items")

    def __init__(self, mark: Any, flow: bool) -> None:
        self.mark = self.end = mark
        self.flow = flow
        self.items: list[Node] = []


class Unusable(Node):
    """A node that a finding was already made about: nothing more is said."""

    __slots__ = ()


class Source:
    """One file: its text, its findings so far, and how to make one more."""

    def __init__(self, file: str, text: str) -> None:
        self.file, self.text = file, text
        self.findings: list[Finding] = []
        self._lines: list[str] | None = None

    @property
    def lines(self) -> list[str]:
        if self._lines is None:
            self._lines = self.text.split("\n")
        return self._lines

    def excerpt(self, line: int, column: int) -> str:
        """Return a line (from 0) and a caret below its column (from 0), cut to a width."""
        if not 0 <= line < len(self.lines):
            return ""
        text = self.lines[line].rstrip("\r")
        if looks_like_key(text):
            return ""
        first = max(0, column - EXCERPT_WIDTH // 2)
        shown = "".join(
            c if c.isprintable() else " " if c == "\t" else "·" for c in text[first : first + EXCERPT_WIDTH]
        )
        if first:
            shown = "…" + shown[1:]
        return f"{line + 1:5d} | {shown}\n      | {' ' * (column - first)}^"

    def add(
        self, rule: str, place: Any, where: Where, message: str, fix: str = "",
        severity: Severity | None = None,
    ) -> None:  # fmt: skip
        """Note a finding at the place of a node or mark (None: the whole file)."""
        mark = getattr(place, "mark", place)
        line, column = (mark.line, mark.column) if mark is not None else (-1, -1)
        if line >= len(self.lines):  # libyaml's mark of the end, where the last line has no line end
            line, column = len(self.lines) - 1, len(self.lines[-1])
        self.findings.append(
            Finding(
                rule, severity or RULES[rule].severity, dotted(where), self.file, line + 1, column + 1,
                message, fix,
                self.excerpt(line, column) if mark is not None else "",
            )
        )  # fmt: skip


class Place:
    """A place counted from 0, where libyaml gave no mark."""

    __slots__ = ("column", "index", "line")

    def __init__(self, line: int, column: int, index: int = 0) -> None:
        self.line, self.column, self.index = line, column, index

    @classmethod
    def at(cls, text: str, index: int) -> Place:
        start = text.rfind("\n", 0, index) + 1
        return cls(text.count("\n", 0, index), index - start, index)


def dotted(where: Where) -> str:
    """Return linked pairs as the path that a person reads."""
    parts: list[str] = []
    while where:
        where, step = where
        parts.append(f"[{step}]" if isinstance(step, int) else step if step.isprintable() else quote(step))
    return ".".join(reversed(parts)).replace(".[", "[")


def decode(file: str, octets: bytes) -> Source:
    """Return the file as text; if it is none, `findings` says why."""
    source = Source(file, "")
    if len(octets) > MAX_FILE_OCTETS:
        limit = f"{MAX_FILE_OCTETS // (1024 * 1024)} MiB"
        source.add(
            "YAML009",
            None,
            (),
            f"the file has {len(octets):,} octets",
            f"an inventory may have {limit}; 10,000 domains take 3 MB",
        )
        return source
    try:
        source.text = octets.decode("utf-8-sig")
    except UnicodeDecodeError as error:
        source.text = octets.decode("utf-8-sig", "replace")  # for the excerpt only
        before = octets[: error.start].decode("utf-8-sig")
        place = Place.at(before, len(before))
        source.add(
            "YAML007",
            place,
            (),
            f"the octet 0x{octets[error.start]:02x} is not UTF-8",
            "save the file as UTF-8",
        )
        return source
    if not source.text.strip():
        source.add(
            "YAML006",
            Place(0, 0),
            (),
            "the file is empty",
            "start from inventory.example.yaml, or with `dkconf init DIR`",
        )
    for match in islice(re.finditer(r"^ *\t", source.text, re.MULTILINE), SAME_FAULTS):
        source.add(
            "YAML005",
            Place.at(source.text, match.end() - 1),
            (),
            "a tab stands in the indentation",
            "indent with blanks",
        )
    for match in re.finditer("-----BEGIN [A-Z ]*PRIVATE KEY", source.text):
        source.add("KEY003", Place.at(source.text, match.start()), (), "a private key stands in the inventory",
                   "take it out of use: who can read this file can sign as the domain")  # fmt: skip
    for match in islice(re.finditer(CONTROLS, source.text), SAME_FAULTS):
        source.add(
            "YAML007",
            Place.at(source.text, match.start()),
            (),
            f"the control character U+{ord(match.group()):04X} stands here",
            "take it out",
        )
    return source
