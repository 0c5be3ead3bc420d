"""The inventory's text as a tree of nodes, each with its place.

libyaml (ruamel.yaml's C parser) makes the events, this module makes the tree from them. Events, and not
composed nodes: libyaml's composer recurses in C, so a file of brackets could overrun the C stack; a loop
over events cannot, and it can stop at a depth.

YAML is used for less than it can do. Refused, each with its place: anchors, aliases and merge keys (a reader
of a diff must see what a host gets where it stands; and no "billion laughs"), tags, directives, several
documents, duplicate keys.
"""

from __future__ import annotations

import gc
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

from .findings import quote
from .source import List, Map, Node, Scalar, Source, Unusable, Where

MAX_DEPTH = 24  # the deepest path of the model has 6 keys; PyYAML and libyaml stop at 1000 or not at all


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
        elif node.text[:1] == "\x00":  # as stand-ins begin
            source.add("YAML011", node, (), f"the key {quote(node.text)} begins with a NUL", "write the key's name")
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
