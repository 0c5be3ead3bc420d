"""A tokenizer for m4 as sendmail.mc uses it: names, calls, nested quotes, `dnl`, comments.

It reads, it does not expand: a call is found where m4 would see one in the text as it stands, and once more
inside quoted arguments, which m4 scans again (``ifdef(`X', `INPUT_MAIL_FILTER(...)')``).

What makes a .mc file different from m4 in general (sendmail's cf/README; checked against GNU m4):

* Before `cf.m4` is included, `#` begins a comment up to the end of the line. `cf.m4` runs `changecom()`,
  and from then on `#` is an ordinary character: ``# INPUT_MAIL_FILTER(...)`` is a live call.
* `dnl` discards everything up to and including the line end, unless it stands within quotes. Directly before a
  parenthesis it is a call whose arguments are expanded first: ``dnl(INPUT_MAIL_FILTER(...))`` is a live call.
* Blanks before an argument are dropped, blanks after it are kept.

Text is a `str` in which every character is one octet (latin-1), so that offsets are octets and nothing
is lost.
Left out: `changequote` (its presence is reported by `problems`), and macros made by the administrator.
"""

from __future__ import annotations

from collections.abc import Collection, Iterator
from dataclasses import dataclass
from typing import Literal

Kind = Literal["name", "quote", "unclosed", "comment", "dnl", "open", "close", "comma", "text"]

_FIRST = frozenset("ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz_")
_NEXT = _FIRST | frozenset("0123456789")
_BLANK = " \t\n\v\f\r"
_SPECIAL = frozenset("`(),")
_INCLUDES = frozenset({"include", "sinclude"})

MAX_PATH_OCTETS = 4096
"""PATH_MAX of Linux: an include's argument is not looked for any further."""
MAX_RESCAN_DEPTH = 8
"""Quoted arguments within quoted arguments that are looked into; the cf library itself nests four deep."""


@dataclass(frozen=True, slots=True)
class Token:
    kind: Kind
    start: int
    """Offset of the first octet."""
    end: int
    """Offset behind the last octet."""


@dataclass(frozen=True, slots=True)
class Call:
    """A macro call `name(argument, ...)`, or a bare name (`arguments` is then None)."""

    name: str
    start: int
    end: int
    """Offset behind the closing parenthesis."""
    arguments: tuple[str, ...] | None
    """Each with its outer quotes removed, as m4 collects it."""
    nested: bool
    """True when it stands inside another call's arguments or within quotes."""
    spans: tuple[tuple[int, int], ...] = ()
    """Offsets of the arguments as written."""


def quote_end(text: str, start: int, end: int) -> int | None:
    """Return the offset behind the quote that opens at `start`, None where it is not closed before `end`."""
    depth, position = 0, start
    while position < end:
        opening = text.find("`", position, end)
        closing = text.find("'", position, end)
        if closing < 0:
            return None
        if 0 <= opening < closing:
            depth, position = depth + 1, opening + 1
        else:
            depth, position = depth - 1, closing + 1
            if depth == 0:
                return position
    return None


def _is_cf_include(text: str, name: str, after_name: int, end: int) -> bool:
    """Whether the name that ends at `after_name` begins an include of the cf library."""
    if name not in _INCLUDES or not text.startswith("(", after_name, end):
        return False
    closing = text.find(")", after_name, min(end, after_name + MAX_PATH_OCTETS))
    argument = text[after_name + 1 : closing].strip(_BLANK + "`'") if closing >= 0 else ""
    return argument == "cf.m4" or argument.endswith("/cf.m4")


def tokens(text: str, *, after_cf_m4: bool = False, start: int = 0, end: int | None = None) -> Iterator[Token]:
    """Yield the tokens of `text[start:end]`; together they cover every octet.

    Args:
        after_cf_m4: The cf library was read before this text (a fragment, or FreeBSD's command line): `#`
            is no comment from the first octet on.
    """
    stop = len(text) if end is None else end
    comments, position = not after_cf_m4, start
    depth = 0
    discarding: list[int] = []  # depths of parentheses at which a call of dnl ends
    while position < stop:
        character, begin = text[position], position
        if character in _FIRST:
            position += 1
            while position < stop and text[position] in _NEXT:
                position += 1
            name = text[begin:position]
            if name == "dnl":
                if text.startswith("(", position, stop):
                    discarding.append(depth)
                    yield Token("name", begin, position)
                    continue
                position = _next_line(text, position, stop)
                yield Token("dnl", begin, position)
                continue
            if name == "changecom" or _is_cf_include(text, name, position, stop):
                comments = False
            yield Token("name", begin, position)
        elif character == "`":
            closed = quote_end(text, position, stop)
            position = stop if closed is None else closed
            yield Token("unclosed" if closed is None else "quote", begin, position)
        elif character == "#" and comments:
            position = _next_line(text, position, stop)
            yield Token("comment", begin, position)
        elif character in _SPECIAL:
            position += 1
            kind: Kind = "open" if character == "(" else "close" if character == ")" else "comma"
            yield Token(kind, begin, position)
            depth += {"open": 1, "close": -1}.get(kind, 0)
            if kind == "close" and discarding and depth == discarding[-1]:
                discarding.pop()
                begin, position = position, _next_line(text, position, stop)
                if begin < position:
                    yield Token("dnl", begin, position)
        else:
            position += 1
            while position < stop and text[position] not in _FIRST and text[position] not in _SPECIAL:
                if text[position] == "#" and comments:
                    break
                position += 1
            yield Token("text", begin, position)


def _next_line(text: str, position: int, stop: int) -> int:
    found = text.find("\n", position, stop)
    return stop if found < 0 else found + 1


@dataclass(slots=True)
class _Open:
    """A call whose closing parenthesis has not come yet."""

    name: Token
    wanted: bool
    depth: int
    """Unquoted parentheses open within the present argument."""
    argument_start: int
    spans: list[tuple[int, int]]


def find_calls(
    text: str,
    names: Collection[str] | None = None,
    *,
    after_cf_m4: bool = False,
    start: int = 0,
    end: int | None = None,
    _depth: int = 0,
) -> list[Call]:
    """Return the calls of `names` (None = every name followed by a parenthesis), in the order of the text.

    A name in `names` without a parenthesis (MAILER_DEFINITIONS) is returned too, with `arguments` None.
    Within a call of `names` no further one is looked for. The cost is linear in the text, however deep it is
    nested.
    """
    stop = len(text) if end is None else end
    found: list[Call] = []
    stack: list[_Open] = []
    inside_wanted = 0
    hash_free = after_cf_m4
    for token in tokens(text, after_cf_m4=after_cf_m4, start=start, end=stop):
        top = stack[-1] if stack else None
        if token.kind == "name":
            name = text[token.start : token.end]
            hash_free = hash_free or name == "changecom" or _is_cf_include(text, name, token.end, stop)
            wanted = (names is None or name in names) and not inside_wanted
            if text.startswith("(", token.end, stop):
                stack.append(_Open(token, wanted, 0, token.end + 1, []))
                inside_wanted += wanted
            elif wanted and names is not None:
                found.append(Call(name, token.start, token.end, None, bool(stack) or _depth > 0))
        elif top is None:
            continue
        elif token.kind == "open":
            top.depth += token.start != top.name.end  # the parenthesis that made it a call counts for nothing
        elif token.kind == "close" and top.depth:
            top.depth -= 1
        elif token.kind in ("close", "comma") and not top.depth:
            top.spans.append((top.argument_start, token.start))
            top.argument_start = token.end
            if token.kind == "close":
                stack.pop()
                if top.wanted:
                    inside_wanted -= 1
                    nested = bool(stack) or _depth > 0
                    found.append(_call(text, top, token.end, nested, hash_free))
        elif token.kind == "quote" and not inside_wanted and _depth < MAX_RESCAN_DEPTH:
            found += find_calls(
                text, names, after_cf_m4=hash_free, start=token.start + 1, end=token.end - 1, _depth=_depth + 1
            )
    return sorted(found, key=lambda call: call.start)


def _call(text: str, opened: _Open, end: int, nested: bool, hash_free: bool) -> Call:
    name = text[opened.name.start : opened.name.end]
    arguments = tuple(_argument(text, *span, hash_free) for span in opened.spans)
    return Call(name, opened.name.start, end, arguments, nested, tuple(opened.spans))


def _argument(text: str, start: int, end: int, hash_free: bool) -> str:
    """Return an argument as m4 collects it: outer quotes and leading blanks removed, `dnl` gone."""
    pieces: list[str] = []
    discarded = False
    for token in tokens(text, after_cf_m4=hash_free, start=start, end=end):
        if token.kind == "name" and text.startswith("dnl(", token.start, end):
            discarded = True
        if discarded:
            discarded = token.kind != "dnl"
        elif token.kind == "quote":
            pieces.append(text[token.start + 1 : token.end - 1])
        elif token.kind != "dnl":
            piece = text[token.start : token.end]
            pieces.append(piece if pieces else piece.lstrip(_BLANK))
    return "".join(pieces)


def line_of(text: str, offset: int) -> int:
    """Return the line number of an offset, counted from 1."""
    return text.count("\n", 0, offset) + 1


def line_start(text: str, offset: int) -> int:
    """Return the offset of the first octet of the line that holds `offset`."""
    return text.rfind("\n", 0, offset) + 1


def line_end(text: str, offset: int) -> int:
    """Return the offset behind the line end of the line that holds `offset`."""
    found = text.find("\n", offset)
    return len(text) if found < 0 else found + 1
