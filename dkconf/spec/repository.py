"""How git is called about the repository that an inventory lies in, so that the repository runs no code as root.

A repository's own configuration can name programs: fsmonitor, hooks, filters, text conversions, transports for
objects that a partial clone lacks. So git runs as whoever may write to the repository (as root only if it is root's
alone), with those switched off, without anybody's own configuration, and writes nothing, not even the index.
"""

from __future__ import annotations

import os
import stat
from pathlib import Path
from typing import Any

NOBODY = 65534
"""Where everybody may write: a user that owns nothing."""


_OFF = ("core.fsmonitor=false", "core.hooksPath=/dev/null", "core.untrackedCache=false", "protocol.allow=never")
_ENVIRONMENT = {
    "PATH": "/usr/local/bin:/usr/bin:/bin",
    "HOME": "/nonexistent",
    "LC_ALL": "C",
    "GIT_CONFIG_NOSYSTEM": "1",
    "GIT_CONFIG_GLOBAL": "/dev/null",
    "GIT_OPTIONAL_LOCKS": "0",
    "GIT_NO_LAZY_FETCH": "1",
    "GIT_TERMINAL_PROMPT": "0",
}


def git_call(top: Path, *arguments: str, path: str = _ENVIRONMENT["PATH"]) -> dict[str, Any]:
    """Return how git is asked `arguments` about the repository `top`: keyword arguments for `subprocess.run`.

    Args:
        path: Where git is looked for, if it runs as ourselves.
    """
    settings = [part for setting in (*_OFF, f"safe.directory={top}") for part in ("-c", setting)]
    argv = ["git", "-C", str(top), "--no-pager", *settings, *arguments]
    other = other_writer(top)
    if other is None:
        return {"args": argv, "env": {**_ENVIRONMENT, "PATH": path}}
    return {"args": argv, "env": _ENVIRONMENT, "user": other[0], "group": other[1], "extra_groups": []}


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
