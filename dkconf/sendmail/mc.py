"""What dkconf reads and writes in the host's own sendmail.mc: one marked block, and marks on single lines.

Owned is the block of three lines alone, placed before `MAILER_DEFINITIONS` or the first `MAILER`:

    dnl dkconf begin (managed; see /var/lib/dkconf)
    include(`/etc/mail/m4/dkconf.m4')dnl
    dnl dkconf end

Markers are `dnl` lines, never `#` lines, which are no comments once cf.m4 is read; `include`, never
`sinclude`, which is silent when the fragment is missing. Every change here has an exact inverse: all octets
that are not ours stay as they are, whatever the line ends, the encoding and the last line end.

Text is latin-1 decoded: one character, one octet. Use `decode` and `encode`.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

from dkconf.errors import DkconfError
from dkconf.sendmail import m4

BEGIN = "dnl dkconf begin (managed; see /var/lib/dkconf)"
END = "dnl dkconf end"
_BEGIN_WORDS = "dnl dkconf begin"
WAS = "dnl dkconf was: "
"""Before a hand-written call that moved into the fragment."""
DISABLED = "dnl dkconf disabled: "
"""Before the line in which INPUT_MAIL_FILTER became MAIL_FILTER."""

CALLED = "INPUT_MAIL_FILTER"
DEFINED = "MAIL_FILTER"
_FILTER_CALLS = frozenset({CALLED, DEFINED})
_MAILERS = frozenset({"MAILER_DEFINITIONS", "MAILER"})


class McError(DkconfError):
    """A sendmail.mc that cannot be changed as asked; the message names the line."""


@dataclass(frozen=True, slots=True)
class Block:
    """The managed block: `text[start:end]`, its three line ends included."""

    start: int
    end: int
    fragment_path: str


@dataclass(frozen=True, slots=True)
class FilterCall:
    """One INPUT_MAIL_FILTER or MAIL_FILTER call of the text."""

    kind: Literal["INPUT_MAIL_FILTER", "MAIL_FILTER"]
    name: str
    equates: str
    line: int
    """Counted from 1."""
    one_line: bool
    """It stands alone on its line, at top level: it can be taken over."""
    after_hash: bool
    """A `#` stands before it on its line, which does not make it a comment."""
    nested: bool
    """It stands in another call's arguments, or in quotes that m4 may scan again."""
    start: int
    end: int

    @property
    def called(self) -> bool:
        """True when sendmail calls the filter (it is in the list), not only defines it."""
        return self.kind == CALLED


def decode(octets: bytes) -> str:
    """Return the text of a .mc file, one character per octet."""
    return octets.decode("latin-1")


def encode(text: str) -> bytes:
    """Return the octets of a text that `decode` made."""
    return text.encode("latin-1")


def after_cf_m4(text: str) -> bool:
    """Return whether cf.m4 is read before this text, on m4's command line: FreeBSD's .mc does not include it."""
    return "cf.m4" not in text


def block(text: str) -> Block | None:
    """Return the managed block, None where there is none.

    Raises:
        McError: Markers without the three lines that belong together, or more than one block.
    """
    marks = [t for t in _mark_lines(text) if text.startswith((_BEGIN_WORDS, END), t)]
    if not marks:
        return None
    begin = marks[0]
    where = m4.line_of(text, begin)
    include = m4.line_end(text, begin)
    end = m4.line_end(text, include)
    whole = len(marks) == 2 and text.startswith(_BEGIN_WORDS, begin) and marks[1] == end
    path = _included_path(text[include:end].rstrip("\r\n")) if whole else None
    if path is None:
        raise McError(
            f'sendmail.mc:{where}: the block between "{_BEGIN_WORDS}" and "{END}" was changed by hand; '
            "it must be exactly these two lines with one include(`FRAGMENT')dnl between them"
        )
    return Block(begin, m4.line_end(text, end), path)


def insert_block(text: str, fragment_path: str) -> str:
    """Return the text with the managed block that includes `fragment_path`; unchanged if it is there already.

    Raises:
        McError: No place for it, or a damaged block.
    """
    if not fragment_path.startswith("/") or any(c in "`'" or ord(c) < 32 or ord(c) > 126 for c in fragment_path):
        raise McError(f"{fragment_path!r} cannot be the fragment's path; use an absolute path without quotes")
    present = block(text)
    if present is not None:
        if present.fragment_path == fragment_path:
            return text
        return insert_block(remove_block(text), fragment_path)
    mailers = [c for c in m4.find_calls(text, _MAILERS, after_cf_m4=after_cf_m4(text)) if not c.nested]
    if not mailers:
        raise McError(
            "sendmail.mc: neither MAILER_DEFINITIONS nor MAILER(...) found at top level; the fragment is "
            "included before the first of them"
        )
    place = m4.line_start(text, mailers[0].start)
    if any(t.start < place < t.end for t in m4.tokens(text, after_cf_m4=after_cf_m4(text))) or _within_call(
        text, place
    ):
        raise McError(
            f"sendmail.mc:{m4.line_of(text, mailers[0].start)}: {mailers[0].name} does not begin a line of "
            "its own; put it on its own line, so that the include can stand before it"
        )
    line_end = _line_end_style(text, place)
    lines = (BEGIN, f"include(`{fragment_path}')dnl", END)
    return text[:place] + "".join(line + line_end for line in lines) + text[place:]


def remove_block(text: str) -> str:
    """Return the text without the managed block."""
    present = block(text)
    return text if present is None else text[: present.start] + text[present.end :]


def find_filters(text: str, *, fragment: bool = False) -> list[FilterCall]:
    """Return every filter call, in order; the block's fragment is another text.

    Args:
        fragment: The text is a fragment, read after cf.m4: `#` is no comment in it.
    """
    found = []
    for call in m4.find_calls(text, _FILTER_CALLS, after_cf_m4=fragment or after_cf_m4(text)):
        if not call.arguments:
            continue
        first = m4.line_start(text, call.start)
        before, after = text[first : call.start], text[call.end : m4.line_end(text, call.end)].strip()
        alone = (
            not call.nested
            and "\n" not in text[call.start : call.end]
            and not before.strip()
            and (not after or after.startswith("dnl"))
        )
        equates = ",".join(call.arguments[1:]).strip()
        kind: Literal["INPUT_MAIL_FILTER", "MAIL_FILTER"] = (
            "INPUT_MAIL_FILTER" if call.name == CALLED else "MAIL_FILTER"
        )
        found.append(
            FilterCall(
                kind,
                call.arguments[0].strip(),
                equates,
                m4.line_of(text, call.start),
                alone,
                "#" in before,
                call.nested,
                call.start,
                call.end,
            )
        )
    return found


def take_over(text: str, name: str) -> tuple[str, str]:
    """Return the text with the call of filter `name` kept behind `dnl dkconf was: `, and the call's equates.

    Raises:
        McError: No such call, several, or one that does not stand alone on its line.
    """
    call = _only(text, name)
    if not call.one_line or call.after_hash:
        raise McError(
            f"sendmail.mc:{call.line}: the {call.kind} call of {name} does not stand alone on one line; "
            "write it on one line at top level, then take it over"
        )
    first = m4.line_start(text, call.start)
    return text[:first] + WAS + text[first:], call.equates


def taken_over(text: str) -> list[str]:
    """Return the names of the filters whose calls stand behind `dnl dkconf was: `."""
    return [name for name, _ in _was_lines(text)]


def restore(text: str, name: str) -> str:
    """Return the text with the hand-written call of `name` in force again: the inverse of `take_over`."""
    for was, place in _was_lines(text):
        if was == name:
            return text[:place] + text[place + len(WAS) :]
    raise McError(f'sendmail.mc: no line "{WAS}..." keeps a call of filter {name}')


def disable_line(text: str, name: str) -> str:
    """Return the text in which an unmanaged filter is defined, not called; `enable_line` undoes it.

    Any layout will do, as only the macro's name is replaced; a mark goes on a line of its own before it.

    Raises:
        McError: No such INPUT_MAIL_FILTER call, or several.
    """
    call = _only(text, name)
    if not call.called:
        raise McError(f"sendmail.mc:{call.line}: filter {name} is defined by MAIL_FILTER, so it is not called already")
    first = m4.line_start(text, call.start)
    mark = f"{DISABLED}{name}{_line_end_style(text, first)}"
    return text[:first] + mark + text[first : call.start] + DEFINED + text[call.start + len(CALLED) :]


def disabled_lines(text: str) -> list[str]:
    """Return the names of the filters that `disable_line` took out of the list."""
    return [text[place + len(DISABLED) : m4.line_end(text, place)].strip() for place in _marks(text, DISABLED)]


def enable_line(text: str, name: str) -> str:
    """Return the text as it was before `disable_line`."""
    for place in _marks(text, DISABLED):
        behind = m4.line_end(text, place)
        if text[place + len(DISABLED) : behind].strip() != name:
            continue
        for call in find_filters(text):
            if call.start >= behind and call.name == name and not call.called:
                return text[:place] + text[behind : call.start] + CALLED + text[call.start + len(DEFINED) :]
        raise McError(f"sendmail.mc:{m4.line_of(text, place)}: no MAIL_FILTER call of {name} follows this mark")
    raise McError(f'sendmail.mc: no line "{DISABLED}{name}"; dkconf has not disabled this filter here')


def _only(text: str, name: str) -> FilterCall:
    calls = [call for call in find_filters(text) if call.name == name]
    if not calls:
        others = ", ".join(sorted({call.name for call in find_filters(text)})) or "none"
        raise McError(
            f"sendmail.mc: no INPUT_MAIL_FILTER or MAIL_FILTER call of filter {name} in this file (found: "
            f"{others}); a call in an included file must be moved here first"
        )
    if len(calls) > 1:
        lines = ", ".join(str(call.line) for call in calls)
        raise McError(f"sendmail.mc: filter {name} is defined on lines {lines}; leave one of them")
    return calls[0]


def _mark_lines(text: str) -> list[int]:
    """Return where a `dnl` line of ours begins: a real `dnl`, at the start of a line, outside quotes."""
    if "dnl dkconf " not in text:
        return []
    tokens = m4.tokens(text, after_cf_m4=after_cf_m4(text))
    starts = [t.start for t in tokens if t.kind == "dnl" and text.startswith("dnl dkconf ", t.start)]
    return [start for start in starts if start == m4.line_start(text, start)]


def _marks(text: str, words: str) -> list[int]:
    """Return where marks with these words begin; a mark may stand within quotes, as disabled calls may."""
    found, place = [], text.find(words)
    while place >= 0:
        if place == m4.line_start(text, place):
            found.append(place)
        place = text.find(words, place + 1)
    return found


def _was_lines(text: str) -> list[tuple[str, int]]:
    """Return (filter name, offset of the mark) of the calls that were taken over."""
    found = []
    for place in _mark_lines(text):
        if not text.startswith(WAS, place):
            continue
        line = text[place + len(WAS) : m4.line_end(text, place)]
        calls = find_filters(line, fragment=True)
        if calls:
            found.append((calls[0].name, place))
    return found


def _included_path(line: str) -> str | None:
    """Return FRAGMENT of the line include(`FRAGMENT')dnl, None for any other line."""
    head, tail = "include(`", "')dnl"
    if not line.startswith(head) or not line.endswith(tail) or len(line) < len(head) + len(tail):
        return None
    return line[len(head) : -len(tail)]


def _within_call(text: str, place: int) -> bool:
    return any(
        call.start < place < call.end for call in m4.find_calls(text, after_cf_m4=after_cf_m4(text)) if not call.nested
    )


def _line_end_style(text: str, place: int) -> str:
    """Return the line end in use around `place`, the start of a line."""
    if place:
        return "\r\n" if text.endswith("\r\n", 0, place) else "\n"
    return "\r\n" if text.endswith("\r\n", 0, m4.line_end(text, 0)) else "\n"
