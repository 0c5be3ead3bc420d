"""The inventory's octets as a tree of nodes, each with its place.

libyaml (ruamel.yaml's C parser) makes the events, this module makes the tree from them. Events, and not
composed nodes: libyaml's composer recurses in C, so a file of brackets could overrun the C stack; a loop
over events cannot, and it can stop at a depth.

YAML is used for less than it can do. Refused, each with its place: anchors, aliases and merge keys (a reader
of a diff must see what a host gets where it stands; and no "billion laughs"), tags, directives, several
documents, duplicate keys, tabs in indentation, control characters, anything but UTF-8.
"""

from __future__ import annotations

import gc
import re
from collections.abc import Iterator
from contextlib import contextmanager
from itertools import islice
from typing import Any

from .findings import Finding, Severity, looks_like_key, quote
from .rules import RULES

MAX_FILE_OCTETS = 20 * 1024 * 1024  # 10,000 domains with two selectors each take 3 MB
MAX_DEPTH = 24  # the deepest path of the model has 6 keys; PyYAML and libyaml stop at 1000 or not at all
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


def parse(source: Source) -> Node | None:
    """Return the tree of the one document; None if there is none, or a syntax error stopped the reading.

    What is wrong goes to `source.findings`.
    """
    import ruamel.yaml  # imported here: 30 ms that `dkconf --help` need not pay

    try:
        from _ruamel_yaml import CParser  # type: ignore[import-not-found]
    except ImportError as error:  # pragma: no cover - pyproject.toml asks for the C parser
        raise ImportError("ruamel.yaml.clib is missing; YAML is read with its C parser") from error

    try:
        with without_collector():
            return _tree(source, CParser(source.text.encode()))
    except ruamel.yaml.error.MarkedYAMLError as error:
        mark = error.problem_mark or error.context_mark
        what = (error.problem or "not YAML").strip()
        if error.context:
            what += f" {error.context.strip()}"
        if not any(f.rule == "YAML005" for f in source.findings):
            source.add("YAML001", mark, (), f"not YAML: {what}", _syntax_advice(what))
    except ruamel.yaml.error.YAMLError as error:
        source.add("YAML001", None, (), f"not YAML: {str(error).splitlines()[0]}", "see the line above it")
    return None


@contextmanager
def without_collector() -> Iterator[None]:
    """Work without the cyclic garbage collector: 400,000 new objects, no cycles among them, cost three times
    their time with it on."""
    was_enabled = gc.isenabled()
    gc.disable()
    try:
        yield
    finally:
        if was_enabled:
            gc.enable()


_SYNTAX_ADVICE = (
    ("found unexpected ':'", "put a value that holds a colon in quotes, between { } and [ ]"),
    ("expected ',' or ']'", "close the list with ], and put commas between its items"),
    ("expected ',' or '}'", "close the mapping with }, and put commas between its entries"),
    ("cannot start any token", "a value cannot begin with this character; put it in quotes"),
    ("mapping values are not allowed", "put a value that holds a colon and a blank in quotes"),
    ("unexpected end of stream", "close the quote"),
    ("tab", "indent with blanks, not with a tab"),
)
"""What libyaml says, and what to do about it."""


def _syntax_advice(problem: str) -> str:
    for words, advice in _SYNTAX_ADVICE:
        if words in problem:
            return advice
    return "look at this line and the one above: indentation, a missing colon, quote or bracket"


def _tree(source: Source, parser: Any) -> Node | None:
    from ruamel.yaml.events import (
        AliasEvent,
        DocumentStartEvent,
        MappingEndEvent,
        MappingStartEvent,
        ScalarEvent,
        SequenceEndEvent,
        SequenceStartEvent,
    )

    root: Node | None = None
    stack: list[Map | List] = []
    keys: list[Scalar | None] = []  # for each open mapping the key whose value comes next
    parent: Map | List | None = None
    documents = 0
    next_event = parser.get_event
    while (event := next_event()) is not None:
        kind = type(event)
        node: Node
        if kind is ScalarEvent:
            node = Scalar(event.start_mark, event.end_mark, event.value, event.implicit[0])
        elif kind is MappingStartEvent:
            node = Map(event.start_mark, event.flow_style)
        elif kind is SequenceStartEvent:
            node = List(event.start_mark, event.flow_style)
        elif kind is MappingEndEvent or kind is SequenceEndEvent:
            stack.pop().end = event.end_mark
            keys.pop()
            parent = stack[-1] if stack else None
            continue
        elif kind is AliasEvent:
            source.add(
                "YAML003",
                event.start_mark,
                (),
                f"an alias, *{event.anchor[:60]}, stands here",
                "write the value out, or move what is shared to `defaults:`",
            )
            node = Unusable(event.start_mark)
        else:
            if kind is DocumentStartEvent:
                documents += 1
                if documents > 1:
                    source.add(
                        "YAML008",
                        event.start_mark,
                        (),
                        "a second document begins here",
                        "an inventory is one document; take the --- line out",
                    )
                    return root
                if event.version or event.tags:
                    source.add("YAML008", event.start_mark, (), "a % directive stands here", "take it out")
            continue
        if kind is not AliasEvent:
            if event.anchor is not None:
                source.add(
                    "YAML003",
                    event.start_mark,
                    (),
                    f"an anchor, &{event.anchor[:60]}, stands here",
                    "write the value out, or move what is shared to `defaults:`",
                )
            if event.tag is not None:
                source.add(
                    "YAML004",
                    event.start_mark,
                    (),
                    f"a tag, {quote(str(event.tag))}, stands here",
                    "take it out; the key says what kind of value it is",
                )
        if parent is None:
            root = node
        elif type(parent) is List:
            parent.items.append(node)
        elif keys[-1] is None:  # a key of a mapping
            keys[-1] = _key(source, parent, node)
        else:
            key = keys[-1]
            keys[-1] = None
            entries = parent.entries  # type: ignore[union-attr]
            if key.text in entries:
                _duplicate(source, entries, key, keys)
            else:
                entries[key.text] = (key, node)
        if kind is MappingStartEvent or kind is SequenceStartEvent:
            stack.append(node)  # type: ignore[arg-type]
            keys.append(None)
            parent = node  # type: ignore[assignment]
            if len(stack) > MAX_DEPTH:
                source.add(
                    "YAML010",
                    event.start_mark,
                    (),
                    f"nested more than {MAX_DEPTH} deep",
                    "an inventory needs 6 levels",
                )
                return None
    return root


def _key(source: Source, parent: Any, node: Node) -> Scalar:
    """Return a node as a key, or a stand-in that no one will look up."""
    if isinstance(node, Scalar):
        if node.text == "<<" and node.plain:
            source.add(
                "YAML003",
                node,
                (),
                "a merge key, <<, stands here",
                "write the keys out, or move what is shared to `defaults:`",
            )
        elif node.plain and node.text in ("", "~", "null"):
            source.add("YAML011", node, (), "a key is missing before the colon", "write the key's name")
        else:
            return node
    elif not isinstance(node, Unusable):
        source.add("YAML011", node, (), "a key is a list or a mapping", "a key is a name")
    return Scalar(node.mark, node.end, f"\x00{len(parent.entries)}", False)


def _duplicate(
    source: Source, entries: dict[str, tuple[Scalar, Node]], key: Scalar, open_keys: list[Scalar | None]
) -> None:
    first = entries[key.text][0].mark
    where: Where = ()
    for step in [k.text for k in open_keys if k is not None] + [key.text]:
        where = (where, step)
    source.add(
        "YAML002",
        key,
        where,
        f"the key {quote(key.text)} was given already in line {first.line + 1}",
        "keep one of the two",
    )
