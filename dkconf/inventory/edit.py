"""Change single values of an inventory and leave every other octet alone: comments, layout, line ends.

The places come from the nodes' marks; nothing is dumped anew. Each result is read again, and must differ in that one
value only, or the edit is refused: a file that is laid out in a way we did not think of is never damaged.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import replace

from dkconf.errors import DkconfError

from .findings import quote
from .loader import load_octets
from .model import Inventory
from .places import given, written
from .source import List, Map, Node, Scalar, Source
from .tree import parse

FILE = "inventory.yaml"


class CannotEdit(DkconfError):
    """The edit cannot be made without touching more than it should; the sentence says what to write by hand."""


def disable_filter(text: str, host: str, name: str) -> str:
    """Return the inventory's text with a filter added to `hosts.HOST.disabled_filters`.

    Raises:
        CannotEdit: The host does not list the filter, or the file's layout does not allow it.
        InventoryInvalid: The text is not a valid inventory.
    """
    return _change(text, host, name, lambda before: before if name in before else (*before, name))


def enable_filter(text: str, host: str, name: str) -> str:
    """Return the text with a filter taken out of `hosts.HOST.disabled_filters`; raises as `disable_filter`."""
    return _change(text, host, name, lambda before: tuple(n for n in before if n != name))


def _change(text: str, host: str, name: str, change: Callable[[tuple[str, ...]], tuple[str, ...]]) -> str:
    bom = "\ufeff" if text.startswith("\ufeff") else ""
    text = text.removeprefix("\ufeff")
    before = load_octets(text.encode(), FILE).inventory
    if host not in before.hosts:
        raise CannotEdit(f"the inventory has no host {quote(host)}")
    if name not in before.hosts[host].filters:
        raise CannotEdit(f"hosts.{host}.filters does not list {quote(name)}; nothing to switch")
    old = before.hosts[host].disabled_filters
    new = change(old)
    if old == new:
        return bom + text
    root = parse(Source(FILE, text))
    assert root is not None
    result = _edited(text, root, host, new)
    wanted = replace(before, hosts={**before.hosts, host: replace(before.hosts[host], disabled_filters=new)})
    _must_be(result, wanted, host, new)
    return bom + result


def _must_be(text: str, wanted: Inventory, host: str, new: tuple[str, ...]) -> None:
    try:
        after = load_octets(text.encode(), FILE).inventory
    except DkconfError:
        after = None
    if after is None or replace(after, digest=wanted.digest) != wanted:
        raise CannotEdit(
            f"hosts.{host} is laid out in a way that dkconf will not edit; "
            f"write disabled_filters: [{', '.join(new)}] there"
        )


def _edited(text: str, root: Node, host: str, new: tuple[str, ...]) -> str:
    line_end = "\r\n" if "\r\n" in text else "\n"
    path = ("hosts", host, "disabled_filters")
    in_defaults = written(root, ("defaults", "host", "disabled_filters")) is not None
    found = written(root, path)
    if found is None:
        return _insert_key(text, root, host, f"disabled_filters: [{', '.join(new)}]", line_end)
    key, value = found
    if not new and not in_defaults and not _shares_its_line(text, key, value):
        start, end = _line_start(text, key.mark.index), _line_end(text, _last(text, value))
        return text[:start] + text[end:]
    if isinstance(value, List) and value.items and not value.flow and new:
        return _edit_block(text, value, new, line_end)
    if isinstance(value, List) and value.flow and value.items and new:
        return _edit_flow(text, value, new)
    shown = f"[{', '.join(new)}]"
    if isinstance(value, List) and not value.flow:  # a block list that becomes empty goes up to its key's line
        colon = text.index(":", key.end.index) + 1
        end = _line_end(text, _last(text, value))
        return text[:colon] + f" {shown}" + line_end + text[end:]
    if isinstance(value, Scalar) and value.mark.index == value.end.index:  # nothing after the colon
        colon = text.index(":", key.end.index) + 1
        return text[:colon] + f" {shown}" + text[colon:]
    return text[: int(value.mark.index)] + shown + text[int(value.end.index) :]


def _edit_block(text: str, value: List, new: Sequence[str], line_end: str) -> str:
    items = [(n, n.text) for n in value.items if isinstance(n, Scalar)]
    names = [t for _, t in items]
    for node, name in reversed(items):
        if name not in new:
            start, end = _line_start(text, node.mark.index), _line_end(text, node.end.index)
            text = text[:start] + text[end:]
    added = [n for n in new if n not in names]
    if added:
        last = items[-1][0]
        at = _line_end(text, last.end.index)
        if not text[:at].endswith("\n"):
            text, at = text[:at] + line_end, at + len(line_end)
        lead = text[_line_start(text, last.mark.index) : last.mark.index]
        text = text[:at] + "".join(f"{lead}{n}{line_end}" for n in added) + text[at:]
    return text


def _edit_flow(text: str, value: List, new: Sequence[str]) -> str:
    items = [n for n in value.items if isinstance(n, Scalar)]
    names = [n.text for n in items]
    for index in range(len(items) - 1, -1, -1):
        if names[index] in new:
            continue
        if index:  # from the end of the item before
            text = text[: items[index - 1].end.index] + text[items[index].end.index :]
        else:
            text = text[: items[0].mark.index] + text[items[1].mark.index :]
    added = [n for n in new if n not in names]
    if added:
        at: int = items[-1].end.index
        text = text[:at] + "".join(f", {n}" for n in added) + text[at:]
    return text


def _insert_key(text: str, root: Node, host: str, line: str, line_end: str) -> str:
    found = written(root, ("hosts", host))
    if found is None:
        raise CannotEdit(f"hosts.{host} is not written in the file")
    key, value = found
    if isinstance(value, Map) and value.flow:
        at = int(value.end.index) - 1
        while text[at - 1] in " \t\r\n":
            at -= 1
        comma = "" if not value.entries or text[at - 1] == "," else ", "
        return text[:at] + comma + line + text[at:]
    if not isinstance(value, Map):  # `mx1:` with nothing below it
        at = _line_end(text, key.end.index)
        indent = " " * (int(key.mark.column) + 2)
        return text[:at] + indent + line + line_end + text[at:]
    first = next(iter(value.entries.values()))[0]
    indent = text[_line_start(text, first.mark.index) : first.mark.index]
    after = given(value, ("filters",))
    if after is None:
        at = _line_start(text, first.mark.index)
    else:
        at = _line_end(text, _last(text, after[1]))
        if not text[:at].endswith("\n"):
            text, at = text[:at] + line_end, at + len(line_end)
    return text[:at] + indent + line + line_end + text[at:]


def _last(text: str, value: Node) -> int:
    """Return the index of a value's last character: libyaml ends a block list where the next thing begins."""
    if isinstance(value, List) and not value.flow and value.items:
        return _last(text, value.items[-1])
    return int(max(value.mark.index, value.end.index - 1))


def _line_start(text: str, index: int) -> int:
    return text.rfind("\n", 0, index) + 1


def _line_end(text: str, index: int) -> int:
    """Return the index after the line end at or after `index`."""
    found = text.find("\n", index)
    return len(text) if found < 0 else found + 1


def _shares_its_line(text: str, key: Node, value: Node) -> bool:
    """Tell whether more than this key and its value (a comment, another key) stands on the lines they take."""
    start = text[_line_start(text, key.mark.index) : key.mark.index]
    last = _last(text, value)
    lines = text[key.mark.index : _line_end(text, last)]
    return bool(start.strip()) or "#" in lines or bool(text[last + 1 : _line_end(text, last)].strip())
