"""`plan --markdown FROM TO`: what differs between two renderings, for a merge request.

Offline: two folders, `DIR/HOST/<path on the host>`, are all it needs. Under 65,000 characters, since GitHub takes
65,536 and cuts nothing off by itself. Every name and every line goes through `escaped` or into a code fence that is
longer than any run of backticks in it; so no inventory can mention people, close the fold, or give a quick action.
"""

from __future__ import annotations

import re
from itertools import groupby
from pathlib import Path

from dkconf.errors import DkconfError
from dkconf.files.looking import is_folder
from dkconf.plan.redact import redact

from .rendered import diff, read

MAX_CHARACTERS = 65_000
RESERVE = 600
"""Kept for the last line, and for the marks that close a fold."""
MAX_LINE = 500
LIST_NAME = ".dkconf-rendered"


def compare(old: Path, new: Path) -> str:
    """Return Markdown: a table of hosts and files, then a fold per file with its diff.

    Args:
        old: A rendering; a folder that is not there counts as empty.
        new: A rendering.

    Raises:
        DkconfError: `new` is not a folder.
    """
    if not is_folder(str(new)):
        raise DkconfError(f"{new}: is not a folder; write it with `dkconf render --output {new}`")
    before = read(old) if is_folder(str(old)) else {}
    after = read(new)
    changed = sorted(
        p for p in {*before, *after} if before.get(p) != after.get(p) and p.rpartition("/")[2] != LIST_NAME
    )
    if not changed:
        return "### dkconf plan\n\nNothing changes on any host.\n"
    hosts = {p.partition("/")[0] for p in changed}
    head = f"### dkconf plan\n\nFiles that change: {len(changed)}, of {len(hosts)} hosts or zones.\n\n"
    parts = [head + _table(changed, before, after)]
    left = MAX_CHARACTERS - RESERVE - len(parts[0])
    shown = 0
    for path in changed:
        section = _section(path, before.get(path), after.get(path), left)
        if len(section) > left:
            break
        parts.append(section)
        left -= len(section)
        shown += 1
    if shown < len(changed):
        parts.append(f"\n{len(changed) - shown} more files differ; `dkconf render --check` shows all of them.\n")
    return "".join(parts)


def _table(changed: list[str], before: dict[str, bytes], after: dict[str, bytes]) -> str:
    rows = ["| host | file | change |", "|---|---|---|"]
    total = 0
    for host, paths in groupby(changed, key=lambda p: p.partition("/")[0]):
        for path in paths:
            what = "new" if path not in before else "gone" if path not in after else "changed"
            row = f"| {escaped(host)} | {escaped('/' + path.partition('/')[2])} | {what} |"
            total += len(row) + 1
            if total > MAX_CHARACTERS // 3:
                return "\n".join([*rows, "| … | … | … |"]) + "\n"
            rows.append(row)
    return "\n".join(rows) + "\n"


def _section(path: str, old: bytes | None, new: bytes | None, room: int) -> str:
    lines: list[str] = []
    size = 0
    for line in redact(text for _, text in diff(path, old, new)):
        line = line if len(line) <= MAX_LINE else line[:MAX_LINE] + " …"
        size += len(line) + 1
        if size > room // 2 and lines:
            lines.append("… cut here")
            break
        lines.append(line)
    body = "\n".join(lines)
    fence = "`" * max(3, 1 + max((len(run) for run in re.findall("`+", body)), default=0))
    return f"\n<details><summary>{escaped(path)}</summary>\n\n{fence}diff\n{body}\n{fence}\n\n</details>\n"


def escaped(text: str) -> str:
    """Return a text that Markdown shows as it is: whatever could mean something becomes a character reference."""
    return "".join(
        c if c.isascii() and (c.isalnum() or c in " .-") else f"&#{ord(c)};" if c.isprintable() else "�" for c in text
    )
