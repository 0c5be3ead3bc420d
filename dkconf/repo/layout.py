"""`dkconf fmt`: one layout for every inventory, comments kept.

Canonical: two blanks per level, list items two blanks below their key, one blank after a colon and before a comment,
double quotes, a `[...]` or `{...}` on one line if it fits and holds no comment and else as a block, at most one empty
line, LF, one line end at the end. What the author decides stays: the order of keys, block or flow, quotes or none,
empty lines.

The tree of the file is written anew; comments are what stands between its scalars. A comment on a line of its own keeps
its level, which its column tells. The result is read again and must hold the same values and comments, or nothing is
written.
"""

from __future__ import annotations

import json
from collections.abc import Iterator
from dataclasses import dataclass

from dkconf.errors import DkconfError
from dkconf.inventory.findings import InventoryInvalid
from dkconf.inventory.source import List, Map, Node, Scalar, Source, decode
from dkconf.inventory.tree import parse, without_collector

WIDTH = 110
STEP = 2


class CannotFormat(DkconfError):
    """The file is laid out in a way that this formatter would damage: a fault of ours."""


@dataclass(slots=True)
class Comment:
    index: int
    """Of the #, in characters."""
    line: int
    column: int
    text: str
    trailing: bool
    """Something else stands before it on its line."""


def formatted(octets: bytes, file: str) -> str:
    """Return the canonical form of a file.

    Raises:
        InventoryInvalid: It is not YAML as inventories use it.
    """
    with without_collector():
        source, root = _parsed(octets, file)
        writer = _Writer(source, root)
        comments = sorted(c.text for c in writer.comments)
        text = writer.written()
        again, new_root = _parsed(text.encode(), file)
        same = comments == sorted(c.text for c in _comments(again, new_root)) and _values(root) == _values(new_root)
    if not same:
        raise CannotFormat(f"{file}: cannot be laid out anew without changing it; please report this file")
    return text


def _parsed(octets: bytes, file: str) -> tuple[Source, Node]:
    source = decode(file, octets)
    if source.text:
        source.text = source.text.replace("\r\n", "\n")
    root = parse(source) if not source.findings else None
    if root is None and not source.findings:
        source.add("YAML006", None, (), "the file holds no document", "start with `dkconf init DIR`")
    if root is None or source.findings:
        raise InventoryInvalid(source.findings)
    return source, root


def _values(node: Node) -> object:
    """Return what a tree holds, places and layout left out."""
    if isinstance(node, Map):
        return {key: (_scalar_value(k), _values(v)) for key, (k, v) in node.entries.items()}
    if isinstance(node, List):
        return [_values(n) for n in node.items]
    assert isinstance(node, Scalar)
    return _scalar_value(node)


def _scalar_value(node: Scalar) -> tuple[str, bool]:
    return node.text, node.plain


# comments --------------------------------------------------------------------------------------------------


def _scalars(node: Node) -> Iterator[Scalar]:
    """Yield all scalars, keys too, in the order of the file."""
    if isinstance(node, Scalar):
        yield node
    elif isinstance(node, List):
        for item in node.items:
            yield from _scalars(item)
    elif isinstance(node, Map):
        for key, value in node.entries.values():
            yield key
            yield from _scalars(value)


def _comments(source: Source, root: Node) -> list[Comment]:
    """Return the comments of a file: what begins with # outside of its scalars."""
    text = source.text
    found: list[Comment] = []
    hash_at = text.find("#")
    line, counted = 0, 0  # line of the index up to which line ends were counted
    for scalar in (*_scalars(root), None):
        start = len(text) if scalar is None else scalar.mark.index
        while 0 <= hash_at < start:
            stop = text.find("\n", hash_at)
            stop = len(text) if stop < 0 else stop
            line, counted = line + text.count("\n", counted, hash_at), hash_at
            column = hash_at - text.rfind("\n", 0, hash_at) - 1
            trailing = bool(text[hash_at - column : hash_at].strip())
            found.append(Comment(hash_at, line, column, text[hash_at:stop].rstrip(), trailing))
            hash_at = text.find("#", stop)
        if scalar is None or hash_at < 0:
            break
        end = scalar.end.index
        if hash_at < end and _is_block(text, scalar):  # `key: | # a comment`
            header = text[start : _end_of_header(text, scalar)]
            if "#" in header:
                words = header[header.index("#") :].rstrip()
                found.append(Comment(start + header.index("#"), scalar.mark.line, 0, words, True))
        if hash_at < end:
            hash_at = text.find("#", end)
    return found


def _is_block(text: str, scalar: Scalar) -> bool:
    return not scalar.plain and text[scalar.mark.index : scalar.mark.index + 1] in ("|", ">")


def _end_of_header(text: str, scalar: Scalar) -> int:
    end = text.find("\n", scalar.mark.index)
    return len(text) if end < 0 else end


# writing ---------------------------------------------------------------------------------------------------


class _Writer:
    def __init__(self, source: Source, root: Node) -> None:
        self.text, self.lines, self.root = source.text, source.text.split("\n"), root
        self.comments = _comments(source, root)
        self.next_comment = 0
        self.out: list[str] = []
        self.last_line = -1
        """Line of the file, from 0, that the last line written came from."""
        self.commented = False
        """The last line written ends in a comment."""
        self.levels: list[tuple[int, int]] = []
        """Open levels of the entry written last: column in the file, indentation written."""

    def written(self) -> str:
        if isinstance(self.root, Scalar):
            self._line(0, self.root, self._scalar(self.root), [(0, 0)])
        else:
            self._block(self.root, 0, [])
        self._flush(len(self.text), self.levels or [(0, 0)])
        while self.out and not self.out[-1]:
            self.out.pop()
        return "\n".join(self.out) + "\n"

    def _flush(self, index: int, levels: list[tuple[int, int]]) -> None:
        """Write the comments that stand before an index of the file; `levels` are those open on either side."""
        while self.next_comment < len(self.comments) and self.comments[self.next_comment].index < index:
            comment = self.comments[self.next_comment]
            self.next_comment += 1
            if comment.trailing and comment.line == self.last_line and self.out and not self.commented:
                self.out[-1] += f" {comment.text}"
                self.commented = True
                continue
            self._empty_line_before(comment.line)
            fitting = [level for level in levels if level[0] <= comment.column] or levels[:1]
            indent = max(fitting)[1]
            self.out.append(" " * indent + comment.text)
            self.last_line, self.commented = comment.line, True

    def _empty_line_before(self, line: int) -> None:
        if self.out and self.out[-1] and 0 < line <= len(self.lines) and not self.lines[line - 1].strip():
            self.out.append("")

    def _line(self, indent: int, node: Node, text: str, levels: list[tuple[int, int]]) -> None:
        """Write one line that begins at a node; what stands before it in the file comes first."""
        self._flush(node.mark.index, [*self.levels, *levels])
        self._empty_line_before(node.mark.line)
        self.out.append(" " * indent + text)
        self.levels = levels
        self.last_line, self.commented = node.mark.line, False

    def _block(self, node: Node, indent: int, levels: list[tuple[int, int]], lead: str = "") -> None:
        """Write a collection as a block; `lead` stands before its first line, as "- " does."""
        here = [*levels, (node.mark.column if not getattr(node, "flow", False) else indent, indent)]
        if isinstance(node, Map):
            for key, value in node.entries.values():
                self._entry(key, f"{lead}{self._scalar(key)}:", value, indent - len(lead), indent, here)
                lead = ""
            return
        assert isinstance(node, List)
        for item in node.items:
            if isinstance(item, Scalar) or self._fits(item, indent + STEP):
                self._single(item, f"{lead}-", item, indent - len(lead), here)
            else:
                self._block(item, indent + STEP, here, f"{lead}- ")
            lead = ""

    def _entry(
        self, key: Scalar, head: str, value: Node, at: int, indent: int, levels: list[tuple[int, int]]
    ) -> None:  # fmt: skip
        if isinstance(value, Scalar) or self._fits(value, at + len(head) + 1):
            self._single(value, head, key, at, levels)
            return
        self._line(at, key, head, levels)
        # A comment after the bracket that opens a list belongs to the key's line.
        self.last_line = value.mark.line if getattr(value, "flow", False) else self.last_line
        self._block(value, indent + STEP, levels)
        if getattr(value, "flow", False):
            self.last_line = value.end.line

    def _single(self, value: Node, head: str, first: Node, indent: int, levels: list[tuple[int, int]]) -> None:
        """Write a head and its value on one line."""
        shown = self._scalar(value) if isinstance(value, Scalar) else self._flow(value)
        self._line(indent, first, f"{head} {shown}".rstrip(), levels)
        if isinstance(value, Scalar) and _is_block(self.text, value):
            self.last_line = value.mark.line
        elif shown:
            self.last_line = value.end.line

    def _fits(self, node: Node, column: int) -> bool:
        """Tell whether a collection goes on one line: written so, without comments inside, and not too long."""
        if isinstance(node, Map | List) and not (node.entries if isinstance(node, Map) else node.items):
            return not self._holds_comments(node)
        if not getattr(node, "flow", False) or self._holds_comments(node):
            return False
        return column + len(self._flow(node)) <= WIDTH

    def _holds_comments(self, node: Node) -> bool:
        start, end = node.mark.index, node.end.index
        position = self.next_comment
        while position < len(self.comments) and self.comments[position].index < end:
            if self.comments[position].index > start:
                return True
            position += 1
        return False

    def _flow(self, node: Node) -> str:
        if isinstance(node, Scalar):
            return self._scalar(node, flow=True)
        if isinstance(node, List):
            return f"[{', '.join(self._flow(n) for n in node.items)}]"
        assert isinstance(node, Map)
        pairs = (f"{self._scalar(k, flow=True)}: {self._flow(v)}".rstrip() for k, v in node.entries.values())
        return f"{{{', '.join(pairs)}}}"

    def _scalar(self, node: Scalar, flow: bool = False) -> str:
        """Return a scalar on one line: plain as it is, else in double quotes."""
        raw = self.text[node.mark.index : node.end.index]
        if node.plain and "\n" not in raw:
            return raw.strip()
        if raw[:1] == '"' and "\n" not in raw:
            return raw
        if node.plain:  # of several lines, folded into one: still plain
            return " ".join(node.text.split()) if "\n" not in node.text else json.dumps(node.text, ensure_ascii=False)
        return json.dumps(node.text, ensure_ascii=False)
