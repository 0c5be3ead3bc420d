"""From nodes to the model's dataclasses, by a reader that is derived from their types.

One reader function is made per type, once: a dataclass becomes a table of its fields, a tuple a list, a
Literal a choice. So the model is written once, and `json_schema.py` walks the same types. Every problem becomes
a finding at the node's place; the value read is then of no use, and `load` raises in the end.

Why not pydantic: importing it and making its adapter of these classes takes 0.13 s, ten times `python -c pass`, and a
check of the example may take twenty times that as a whole. It knows no line and column and no `defaults:`. With 10,000
domains it would be faster, by 0.15 s of 1.6.

`defaults:` are merged here, node by node: what an entry leaves out is read from the defaults' node, and an
error in it is told at the defaults' place. Mappings merge key by key, all the way down; lists and single
values replace.
"""

from __future__ import annotations

import dataclasses
import difflib
import types
from collections.abc import Callable, Iterable, Mapping
from typing import Any, Literal, Union, get_args, get_origin, get_type_hints

from . import conditions, model
from .fields import KEYS, KINDS
from .findings import quote
from .kinds import Kind, Wrong
from .source import List, Map, Node, Place, Scalar, Source, Unusable, Where

Read = Callable[["Reading", Node, Where, "Node | None"], Any]
"""(reading, node, path, the defaults' node or None) -> value."""

NULLS = frozenset(("", "~", "null", "Null", "NULL"))
BOOLS = {"true": True, "True": True, "TRUE": True, "false": False, "False": False, "FALSE": False}
OLD_BOOLS = {"yes": "true", "on": "true", "y": "true", "no": "false", "off": "false", "n": "false"}
NOT_IN_FILE = {(model.Inventory, "path"), (model.Inventory, "digest"), (model.ConditionTables, "raw")}
"""Fields that the loader fills itself."""
OPTIONAL = {(model.Inventory, "domains")}
"""Fields without a default that may be missing all the same, and are then empty."""
REQUIRED = {(model.Inventory, "version")}
"""Fields with a default that must be written all the same: the file says what it is."""


class Reading:
    """One run over one file."""

    __slots__ = ("cache", "partial", "source", "told")

    def __init__(self, source: Source) -> None:
        self.source = source
        self.cache: dict[tuple[int, str], Any] = {}
        """What was read from a node of `defaults:`: 10,000 entries share it."""
        self.partial = False
        """Reading `defaults:` themselves, where nothing needs to be complete."""
        self.told = (0, 0)
        """The span of `defaults:` once they were read: their errors are not told again for each entry."""

    def say(self, rule: str, node: Node, where: Where, found: str, right: str, error: bool = False) -> None:
        if not self.told[0] <= node.mark.index < self.told[1]:
            self.source.add(rule, node, where, found, right, "error" if error else None)


def nearest(name: str, names: Iterable[str]) -> str:
    """Return `did you mean "x"?`-like advice, or "" if nothing is near."""
    close = difflib.get_close_matches(name, list(names), 1, 0.6)
    return f"did you mean {quote(close[0])}?" if close else ""


def one_of(names: Iterable[str]) -> str:
    shown = list(names)
    if len(shown) > 12:
        return f"write one of {', '.join(shown[:12])}, …"
    return "write " + (" or ".join([", ".join(shown[:-1]), shown[-1]]) if len(shown) > 1 else shown[0])


def kind_of(node: Node) -> str:
    """Return what a node is, in words."""
    if isinstance(node, Map):
        return "a mapping"
    if isinstance(node, List):
        return "a list"
    assert isinstance(node, Scalar)
    if node.plain and node.text in NULLS:
        return "nothing"
    return quote(node.text)


def _scalar(reading: Reading, node: Node, where: Where, right: str) -> Scalar | None:
    if isinstance(node, Scalar) and not (node.plain and node.text in NULLS):
        return node
    if not isinstance(node, Unusable):
        reading.say("INV002", node, where, f"{kind_of(node)} stands here", right)
    return None


# one reader per kind of type -------------------------------------------------------------------------------


def of_kind(kind: Kind) -> Read:
    """Return the reader of a text or number that a `Kind` judges."""
    parse, number = kind.parse, kind.plain_number

    def read(reading: Reading, node: Node, where: Where, default: Node | None) -> Any:
        scalar = _scalar(reading, node, where, kind.right)
        if scalar is None:
            return None
        text = scalar.text
        try:
            value = parse(text)
        except Wrong as wrong:
            reading.say(wrong.rule, node, where, wrong.found, wrong.right or kind.right, error=True)
            return None
        if scalar.plain and not number and (text in BOOLS or _is_number(text)):
            reading.say(
                "INV002",
                node,
                where,
                f"{quote(text)} is a {'truth value' if text in BOOLS else 'number'} in YAML",
                f'put it in quotes: "{text}"',
            )
        return value

    return read


def _is_number(text: str) -> bool:
    if not text or text[0] not in "0123456789+-.":
        return False
    try:
        float(text)
    except ValueError:
        return text[:2] in ("0x", "0o") and text[2:].isalnum()
    return "_" not in text


def read_bool(reading: Reading, node: Node, where: Where, default: Node | None) -> Any:
    scalar = _scalar(reading, node, where, "write true or false")
    if scalar is None:
        return None
    if scalar.plain and scalar.text in BOOLS:
        return BOOLS[scalar.text]
    word = OLD_BOOLS.get(scalar.text.lower(), scalar.text.lower() if scalar.text.lower() in BOOLS else "true or false")
    reading.say("INV002", node, where, f"{quote(scalar.text)} is text in YAML 1.2", f"write {word}, without quotes")
    return None


def of_choices(choices: tuple[str, ...]) -> Read:
    known = frozenset(choices)
    right = one_of(choices)

    def read(reading: Reading, node: Node, where: Where, default: Node | None) -> Any:
        scalar = _scalar(reading, node, where, right)
        if scalar is None:
            return None
        if scalar.text not in known:
            advice = nearest(scalar.text.lower(), choices)
            reading.say(
                "INV003",
                node,
                where,
                f"{quote(scalar.text)} is not known here",
                f"{right}; {advice}" if advice else right,
            )
            return None
        return scalar.text

    return read


def of_list(item: Read) -> Read:
    def read(reading: Reading, node: Node, where: Where, default: Node | None) -> Any:
        if not isinstance(node, List):
            if isinstance(node, Scalar) and node.plain and node.text in NULLS:
                return ()  # `daemons:` whose items are all commented out
            if not isinstance(node, Unusable):
                example = node.text if isinstance(node, Scalar) and node.text else "a, b"
                reading.say(
                    "INV002",
                    node,
                    where,
                    f"{kind_of(node)} stands where a list belongs",
                    f"write [{example}]" if len(example) < 60 and example.isprintable() else "write a list",
                )
            return ()
        values = tuple([item(reading, n, (where, i), None) for i, n in enumerate(node.items)])
        if len(values) > 1 and len(set(values)) != len(values):
            _doubles(reading, node, where, values)
        return values

    return read


def _doubles(reading: Reading, node: List, where: Where, values: tuple[Any, ...]) -> None:
    rule = "MC003" if where[-1] == "filters" else "INV007"
    if where[-1] == "argv":
        return
    seen: dict[Any, int] = {}
    for index, value in enumerate(values):
        if value is not None and value in seen:
            reading.say(
                rule,
                node.items[index],
                (where, index),
                f"{quote(str(value))} stands in this list already",
                "keep one of the two",
            )
        seen.setdefault(value, index)


def of_mapping(key: Kind | tuple[str, ...], value: Read) -> Read:
    """Return the reader of a mapping with names of one kind, or names from a list, and values of one type."""

    def read(reading: Reading, node: Node, where: Where, default: Node | None) -> Any:
        if not isinstance(node, Map):
            if not isinstance(node, Unusable):
                if isinstance(node, Scalar) and node.plain and node.text in NULLS:
                    return {}  # `selectors:` with nothing below it
                reading.say("INV002", node, where, f"{kind_of(node)} stands where a mapping belongs", "write NAME: …")
            return {}
        others = default.entries if isinstance(default, Map) else {}
        result = {}
        for name, (key_node, value_node) in node.entries.items():
            if name[:1] == "\x00":
                continue
            here = (where, name)
            if isinstance(key, tuple):
                if name not in key:
                    reading.say(
                        "INV001",
                        key_node,
                        here,
                        f"unknown key {quote(name)}",
                        nearest(name, key) or one_of(key),
                    )
                    continue
            else:
                try:
                    key.parse(name)
                except Wrong as wrong:
                    reading.say(wrong.rule, key_node, here, wrong.found, wrong.right or key.right)
            other = others.get(name)
            result[name] = value(reading, value_node, here, other[1] if other else None)
        for name, (_, value_node) in others.items():
            if name not in node.entries:
                result[name] = value(reading, value_node, (where, name), None)
        return result

    return read


def of_optional(inner: Read) -> Read:
    def read(reading: Reading, node: Node, where: Where, default: Node | None) -> Any:
        if isinstance(node, Scalar) and node.plain and node.text in NULLS:
            return None
        return inner(reading, node, where, default)

    return read


def class_reader(cls: type) -> Read:
    """Return the reader of a dataclass, made once."""
    if cls not in _readers:
        _readers[cls] = of_class(cls)
    return _readers[cls]


_readers: dict[type, Read] = {}


def of_class(cls: type, base: Any = None) -> Read:
    """Return the reader of a dataclass; what is not given comes from `base` or its defaults."""
    hints = get_type_hints(cls)
    fields = {f.name: f for f in dataclasses.fields(cls) if (cls, f.name) not in NOT_IN_FILE}
    readers = {name: of_type(hints[name], cls, name, _default_of(f)) for name, f in fields.items()}
    given = {f.name: getattr(base, f.name) for f in dataclasses.fields(cls)} if base is not None else {}
    needed = tuple(n for n, f in fields.items() if not given and not _has_default(f) and (cls, n) not in OPTIONAL)
    needed += tuple(n for c, n in REQUIRED if c is cls)
    empty: dict[str, Any] = {n: {} for c, n in OPTIONAL if c is cls}
    sections = {"defaults": None} if cls is model.Inventory else {}
    names = [*fields, *sections]

    def read(reading: Reading, node: Node, where: Where, default: Node | None) -> Any:
        others = default.entries if isinstance(default, Map) else {}
        values: dict[str, Any] = {}
        if isinstance(node, Map):
            entries = node.entries
        else:
            if not isinstance(node, Unusable) and not (isinstance(node, Scalar) and node.plain and node.text in NULLS):
                reading.say(
                    "INV002",
                    node,
                    where,
                    f"{kind_of(node)} stands where a mapping belongs",
                    f"write its keys below it: {', '.join(names[:6])}",
                )
                return None
            entries = {}  # `example.com:` with nothing below it: all of it is default
        for name, (key_node, value_node) in entries.items():
            reader = readers.get(name)
            if reader is None:
                if name[:1] != "\x00" and name not in sections:
                    _unknown(reading, cls, key_node, (where, name), name, names)
                continue
            other = others.get(name)
            values[name] = reader(reading, value_node, (where, name), other[1] if other else None)
        for name, (_, value_node) in others.items():
            if name in readers and name not in entries:
                cached = (id(value_node), name)
                if cached not in reading.cache:
                    reading.cache[cached] = readers[name](reading, value_node, (where, name), None)
                values[name] = reading.cache[cached]
        if reading.partial:
            return None
        for name in needed:
            if name not in values:
                reading.say("INV004", node, where, f"the key {quote(name)} is missing", _missing(cls, name))
                return None
        return cls(**{**empty, **given, **values})

    return read


def _unknown(reading: Reading, cls: type, node: Node, where: Where, name: str, names: list[str]) -> None:
    advice = conditions.elsewhere(cls, name) or nearest(name, names) or f"known here: {', '.join(names)}"
    reading.say("INV001", node, where, f"unknown key {quote(name)}", advice)


def _missing(cls: type, name: str) -> str:
    kind = KINDS.get((cls, name))
    return (
        "write version: 1" if name == "version" else kind.right if kind else f"write {name}: with its entries below it"
    )


def _has_default(f: Any) -> bool:
    return f.default is not dataclasses.MISSING or f.default_factory is not dataclasses.MISSING


def _default_of(f: Any) -> Any:
    return f.default if f.default is not dataclasses.MISSING and dataclasses.is_dataclass(f.default) else None


def of_type(hint: Any, cls: type, name: str, base: Any = None) -> Read:
    """Return the reader of a field by its type and, for text and numbers, by its kind."""
    origin = get_origin(hint)
    if hint is model.ConditionTables:
        return conditions_reader(of_class(hint, base))
    if dataclasses.is_dataclass(hint):
        return of_class(hint, base) if base is not None else class_reader(hint)  # type: ignore[arg-type]
    if hint is bool:
        return read_bool
    if hint in (str, int):
        return of_kind(KINDS[cls, name])
    if origin is Literal:
        return of_choices(get_args(hint))
    if origin is tuple:
        return of_list(of_type(get_args(hint)[0], cls, name))
    if origin in (Union, types.UnionType):
        return of_optional(of_type(next(a for a in get_args(hint) if a is not type(None)), cls, name))
    if origin is Mapping:
        key_type, value_type = get_args(hint)
        keys: Kind | tuple[str, ...] = get_args(key_type) if get_origin(key_type) is Literal else KEYS[cls, name]
        return of_mapping(keys, of_type(value_type, cls, name))
    raise TypeError(f"{cls.__name__}.{name}: no reader for {hint}")


def conditions_reader(mapping: Read) -> Read:
    """Return the reader of `conditions`: the two tables, or dk-filter's own -C string."""

    def read(reading: Reading, node: Node, where: Where, default: Node | None) -> Any:
        if not isinstance(node, Scalar) or (node.plain and node.text in NULLS):
            return mapping(reading, node, where, default if isinstance(default, Map) else None)
        table, problems = conditions.from_dk_filter(node.text)
        for problem in problems:
            reading.say(problem.rule, _inside(node, problem.offset), where, problem.found, problem.right)
        return model.ConditionTables(domainkeys=table, raw=node.text)

    return read


def _inside(node: Scalar, offset: int) -> Node:
    """Return a place inside a one-line text, so that the caret stands below the token that is wrong."""
    mark = node.mark
    if node.end.line != mark.line or node.end.index - mark.index != len(node.text) + (0 if node.plain else 2):
        return node
    offset += 0 if node.plain else 1
    return Node(Place(mark.line, mark.column + offset, mark.index + offset))


# the whole file --------------------------------------------------------------------------------------------

SECTIONS = {"domain": "domains", "filter": "filters", "host": "hosts"}
"""Keys of `defaults:` and the sections whose entries they fill."""


class _Everyone(dict[str, tuple[Scalar, Node]]):
    """Entries of a defaults node for a section: the same for every name, and none of its own."""

    def __init__(self, pair: tuple[Scalar, Node]) -> None:
        self.pair = pair

    def get(self, name: str, default: Any = None) -> Any:
        return self.pair


def read_inventory(source: Source, root: Node) -> model.Inventory | None:
    """Return the inventory of a tree; what is wrong goes to `source.findings`."""
    reading = Reading(source)
    if isinstance(root, Unusable):
        return None  # an alias: it was told where it was read
    if not isinstance(root, Map):
        source.add(
            "INV002",
            root,
            (),
            f"{kind_of(root)} stands where the inventory's mapping belongs",
            "write version: 1, then domains:, filters: and hosts:",
        )
        return None
    fallback = Map(root.mark, False)
    if "defaults" in root.entries:
        node = root.entries["defaults"][1]
        for name, pair in _read_defaults(reading, node).items():
            if SECTIONS[name] in root.entries:
                section = Map(pair[1].mark, False)
                section.entries = _Everyone(pair)
                fallback.entries[SECTIONS[name]] = (pair[0], section)
    inventory: model.Inventory | None = class_reader(model.Inventory)(reading, root, (), fallback)
    version = root.entries.get("version")
    if inventory is not None and version and inventory.version not in (None, 1):
        source.add(
            "INV006",
            version[1],
            ((), "version"),
            f"version {inventory.version} is not known",
            "this dkconf reads version: 1",
        )
    return inventory


def _read_defaults(reading: Reading, node: Node) -> dict[str, tuple[Scalar, Node]]:
    """Read `defaults:` once, each error at its own place; return the usable parts by name."""
    where: Where = ((), "defaults")
    hints = get_type_hints(model.Inventory)
    classes = {name: get_args(hints[section])[1] for name, section in SECTIONS.items()}
    if not isinstance(node, Map):
        if not isinstance(node, Unusable) and kind_of(node) != "nothing":
            reading.say(
                "INV002",
                node,
                where,
                f"{kind_of(node)} stands where a mapping belongs",
                "write domain:, filter: or host: below it",
            )
        return {}
    usable: dict[str, tuple[Scalar, Node]] = {}
    reading.partial = True
    for name, (key, value) in node.entries.items():
        if name in classes:
            class_reader(classes[name])(reading, value, (where, name), None)
            if isinstance(value, Map):
                usable[name] = (key, value)
        elif name[:1] != "\x00":
            singular = next((one for one, many in SECTIONS.items() if many == name), "")
            reading.say(
                "INV001",
                key,
                (where, name),
                f"unknown key {quote(name)}",
                f"write {singular}" if singular else nearest(name, classes) or one_of(classes),
            )
    reading.partial = False
    reading.told = (node.mark.index, node.end.index)
    return usable
