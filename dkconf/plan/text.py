"""A plan as lines for a person: (style, text). The cli gives the styles their colours."""

from __future__ import annotations

import difflib
from collections.abc import Iterable, Iterator

from dkconf.plan.actual import FileDigest
from dkconf.plan.model import FileChange, Plan
from dkconf.plan.redact import redact

RECORD_SHOWN = 100
"""Characters of a TXT record that are shown."""
Line = tuple[str, str]
"""Style: plain, head, add, remove, hunk, warn, error, ok, dim."""


def render(plan: Plan, *, refused: bool = True) -> tuple[Line, ...]:
    """Return the whole plan as lines; an empty one is one line.

    Args:
        refused: Also say what forbids applying it.
    """
    return tuple(_lines(plan, refused))


def _lines(plan: Plan, refused: bool) -> Iterator[Line]:
    for name, called in sorted(plan.overrides.items()):
        now, edit = ("on", "take it out of") if called else ("off", "add it to")
        where = f"hosts.{plan.host}.disabled_filters"
        yield "warn", f"override: {name} is {now} on this host, the inventory differs; to keep it, {edit} {where}"
    for drift in plan.drift:
        tail = "" if drift.matters else ", as wanted now"
        since = f"changed since generation {plan.from_generation}"
        yield "warn", f"drift: {drift.path}: {since}: {drift.what}{tail}"
    if plan.empty:
        yield "ok", f"{plan.host}: nothing to do"
    else:
        yield from _changes(plan)
    if refused:
        for refusal in plan.problems:
            yield "error", f"refused: {printable(refusal.sentence)}"
            yield "error", f"  way on: {refusal.way_on}"


def _changes(plan: Plan) -> Iterator[Line]:
    since = f"generation {plan.from_generation}" if plan.from_generation else "nothing applied yet"
    yield "head", f"{plan.host}: changes to make (in force: {since})"
    for change in plan.filters:
        arrow = f" -> {change.becomes}" if change.was != change.becomes else ""
        yield "plain", f"filter {change.name}: {change.was}{arrow}"
        yield from (("plain", f"  {words}") for words in change.settings)
    signs = {"use": "+", "replace": "!", "drop": "-"}
    styles = {"use": "add", "replace": "warn", "drop": "remove"}
    for key in plan.keys:
        name = f"{key.selector}._domainkey.{key.domain}"
        print_ = f"sha256 {key.fingerprint}" if key.fingerprint else "no public half known"
        yield styles[key.action], f"{signs[key.action]} key {name} {key.algorithm} {print_}"
    for record in plan.records:
        if record.before:
            yield "remove", f"- record {record.name} TXT {_short(record.before)}"
        if record.after:
            yield "add", f"+ record {record.name} TXT {_short(record.after)}"
    for user in plan.users:
        yield "add", f"+ system user {user}"
    for file in plan.files:
        yield from _file(file)
    for service in plan.services:
        yield "plain", f"{service.action} filter {service.filter}: {service.why}"
    if plan.touches_sendmail:
        yield "plain", "sendmail is told to read its configuration again"
    for note in plan.notes:
        yield "dim", f"note: {printable(note)}"


def _short(value: str) -> str:
    """Return a record as it is, or its beginning: the first 44 characters of every RSA key's `p=` are the same."""
    text = printable(value)
    return text if len(text) <= RECORD_SHOWN else f"{text[:RECORD_SHOWN]}... (`dkconf dns show` prints all of it)"


def _file(change: FileChange) -> Iterator[Line]:
    if change.role == "sendmail.cf":
        yield "head", f"{change.path}: {change.why}"
        return
    yield "head", f"{change.path}: {_verb(change)}"
    if change.role != "key" and change.action != "attributes":
        if change.before and change.after:
            yield from unified(change.path, change.before, change.after)
        else:
            yield from _whole(change.before, change.after)


def _whole(before: bytes, after: bytes) -> Iterator[Line]:
    """A file that comes or goes as a whole: what it says, without comments and empty lines."""
    style, sign = ("add", "+") if after else ("remove", "-")
    left_out = 0
    for line in _shown(after or before):
        words = line.strip()
        if not words or (words.startswith("#") and not words.startswith("#!")):
            left_out += 1
        else:
            yield style, sign + line
    if left_out:
        render = "; `dkconf render` writes them" if after else ""
        yield "dim", f"  ({left_out} lines of comments and empty ones are not shown{render})"


def _verb(change: FileChange) -> str:
    if change.action == "attributes" and change.pre and change.post:
        return f"{_attributes(change.pre)} -> {_attributes(change.post)}" + (f" ({change.why})" if change.why else "")
    words = {"create": "new", "update": "changed", "remove": "removed", "rebuild": "rebuilt"}
    word = words.get(change.action, change.action)
    post = change.post
    if post and (change.pre is None or _attributes(change.pre) != _attributes(post)):
        word += f", {_attributes(post)}"
    return word


def _attributes(digest: FileDigest) -> str:
    return f"{digest.owner}:{digest.group} {digest.mode:04o}"


def unified(path: str, before: bytes, after: bytes) -> Iterator[Line]:
    """Yield the unified diff of two contents; private keys and control characters are not shown."""
    old, new = list(_shown(before)), list(_shown(after))
    lines = difflib.unified_diff(old, new, f"a{path}", f"b{path}", lineterm="")
    styles = {"+": "add", "-": "remove", "@": "hunk"}
    for number, line in enumerate(lines):
        yield "dim" if number < 2 else styles.get(line[:1], "plain"), line
    if before and after and old == new:
        yield "dim", "  (differs only in what is not shown)"


def _shown(content: bytes) -> Iterable[str]:
    text = content.decode("utf-8", "backslashreplace")
    if not text:
        return ()
    return redact(printable(line) for line in text.split("\n")[: -1 if text.endswith("\n") else None])


def printable(text: str) -> str:
    """Return the text with control characters escaped: a file must not steer the reader's terminal."""
    return "".join(c if c.isprintable() or c == "\t" else f"\\x{ord(c):02x}" for c in text)
