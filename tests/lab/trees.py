"""Whole trees as values, to say what has changed."""

from __future__ import annotations

import hashlib
import os
import re
import stat
from pathlib import Path

from tests.lab.lab import Lab

Entry = tuple[int, int, int, str]
"""Mode, owner, group, digest of the content (a link's is its target)."""

# Lines of a built .cf that differ with each build.
BUILD_LINES = re.compile(rb"^##### (built by|in /|using ).*\n", re.MULTILINE)


def tree(top: Path, times: bool = False) -> dict[str, tuple[object, ...]]:
    """Return every path below `top` (relative) with what it is; with `times`, its mtime in nanoseconds too."""
    found: dict[str, tuple[object, ...]] = {}
    for path in [top, *sorted(top.rglob("*"))] if top.exists() else []:
        about = path.lstat()
        content = b""
        if stat.S_ISLNK(about.st_mode):
            content = os.readlink(path).encode()
        elif stat.S_ISREG(about.st_mode):
            content = path.read_bytes()
        digest = hashlib.sha256(BUILD_LINES.sub(b"", content)).hexdigest()
        time = (about.st_mtime_ns,) if times else ()
        found[str(path.relative_to(top))] = (about.st_mode, about.st_uid, about.st_gid, digest, *time)
    return found


def mail_host(lab: Lab) -> dict[str, dict[str, tuple[object, ...]]]:
    """Return what dkconf may change for mail on the lab's host: not its own state, not the inventory."""
    return {top: tree(lab.path(top)) for top in ("/etc/mail", "/etc/dkconf-filter")}


def everything(lab: Lab) -> dict[str, dict[str, tuple[object, ...]]]:
    """Return all of the lab's private tree and directory, times included; not what sendmail and the lab write."""
    found = {top: tree(lab.path(top), times=True) for top in ("/etc", "/var", "/run", "/tmp")}
    found["lab"] = {
        name: entry
        for name, entry in tree(lab.dir, times=True).items()
        if not name.endswith((".log", ".out")) and not name.startswith("world") and name != "."
    }
    for top, own in (("/var", ("spool/mqueue", "lib/sendmail")), ("/run", ("sendmail",))):
        found[top] = {name: entry for name, entry in found[top].items() if not name.startswith(own)}
    # The lab's directory is mounted below /tmp as well.
    found["/tmp"] = {name: entry for name, entry in found["/tmp"].items() if not lab.dir.is_relative_to(f"/tmp/{name}")}
    found["/tmp"] = {name: entry for name, entry in found["/tmp"].items() if not _below(name, lab)}
    return found


def _below(name: str, lab: Lab) -> bool:
    return lab.dir.is_relative_to("/tmp") and Path("/tmp", name).is_relative_to(lab.dir)


def changes(old: dict[str, dict[str, tuple[object, ...]]], new: dict[str, dict[str, tuple[object, ...]]]) -> list[str]:
    """Return the paths that differ, for a message."""
    return sorted(
        f"{top}/{name}"
        for top in {*old, *new}
        for name in {*old.get(top, {}), *new.get(top, {})}
        if old.get(top, {}).get(name) != new.get(top, {}).get(name)
    )
