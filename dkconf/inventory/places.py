"""Where in the file a value of the inventory stands: for findings about values read.

A value that an entry takes from `defaults:` has its place there.
"""

from __future__ import annotations

from .reader import SECTIONS
from .source import List, Map, Node, Where

Path = tuple[str | int, ...]
_SINGULAR = {section: name for name, section in SECTIONS.items()}


def written(root: Node, path: Path) -> tuple[Node, Node] | None:
    """Return the (key, value) nodes of a path if it is written there, not looking into the defaults."""
    node: Node = root
    key: Node = root
    for step in path:
        if isinstance(node, Map) and step in node.entries:
            key, node = node.entries[str(step)]
        elif isinstance(node, List) and isinstance(step, int) and step < len(node.items):
            key = node = node.items[step]
        else:
            return None
    return key, node


def given(root: Node, path: Path) -> tuple[Node, Node] | None:
    """Return the (key, value) nodes of a path, in the entry itself or in the defaults."""
    found = written(root, path)
    if found is None and len(path) > 2 and path[0] in _SINGULAR:
        found = written(root, ("defaults", _SINGULAR[str(path[0])], *path[2:]))
    return found


def key_at(root: Node, path: Path) -> Node:
    """Return the node of a path's key, or of the nearest key above it that is written."""
    for length in range(len(path), 0, -1):
        found = given(root, path[:length])
        if found is not None:
            return found[0]
    return root


def value_at(root: Node, path: Path) -> Node:
    """Return the node of a path's value if it is a single one, else the key's: where a caret helps most."""
    found = given(root, path)
    if found is None:
        return key_at(root, path)
    key, value = found
    return key if isinstance(value, Map | List) and not value.flow else value


def linked(path: Path) -> Where:
    """Return a path as the linked pairs that findings are made with."""
    where: Where = ()
    for step in path:
        where = (where, step)
    return where
