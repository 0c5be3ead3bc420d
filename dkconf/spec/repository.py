"""Who may write to the git repository that an inventory lies in: git has to run as nobody more than that.

A repository's own configuration can name programs (fsmonitor, filters, hooks), so that root must not ask git about
one that somebody else has a hand in.
"""

from __future__ import annotations

import os
import stat
from pathlib import Path

NOBODY = 65534
"""Where everybody may write: a user that owns nothing."""


def find_top(folder: Path) -> Path | None:
    """Return the top of the repository that a folder lies in."""
    return next((each for each in (folder, *folder.parents) if (each / ".git").exists()), None)


def other_writer(top: Path) -> tuple[int, int] | None:
    """Return the (uid, gid) that git has to run as; None = as whoever runs us.

    Root runs it as itself only where every part that says what git does is root's alone: also of the repository
    that a worktree's `.git` file leads to.
    """
    if os.geteuid() != 0:
        return None
    for path in _parts(top):
        try:
            info = os.lstat(path)
        except OSError:
            continue
        if info.st_uid != 0:
            return info.st_uid, info.st_gid
        if stat.S_ISLNK(info.st_mode):
            continue
        if info.st_mode & stat.S_IWOTH or (info.st_mode & stat.S_IWGRP and info.st_gid != 0):
            return NOBODY, info.st_gid
    return None


def _parts(top: Path) -> list[Path]:
    git = top / ".git"
    folders = [git]
    if git.is_file():
        folders = [_named(git, top, "gitdir:")]
    common = folders[0] / "commondir"
    if common.is_file():
        folders.append(_named(common, folders[0], ""))
    inside = [f / name for f in folders for name in ("config", "config.worktree", "commondir", "")]
    found = [*inside, git, top]
    # Where a link leads counts as well.
    return [*dict.fromkeys([*found, *(p.resolve() for p in found)])]


def _named(file: Path, base: Path, word: str) -> Path:
    """Return the folder that the first line of a file names."""
    try:
        line = file.read_text(errors="replace").partition("\n")[0]
    except OSError:
        line = ""
    return base / line.removeprefix(word).strip()
