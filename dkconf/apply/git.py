"""Which commit an inventory comes from. A repository must not run code as root, so git runs as its owner.

A repository's own configuration can name programs (fsmonitor, filters, hooks). Whoever may write to it is
who git runs as; fsmonitor and hooks are off besides, and nothing is written, not even the index.
"""

from __future__ import annotations

import os
import subprocess
from dataclasses import dataclass
from pathlib import Path

TIMEOUT_SECONDS = 10


@dataclass(frozen=True, slots=True)
class Commit:
    """A commit, and whether the working tree differs from it; "" outside a repository."""

    commit: str = ""
    dirty: bool = False


def commit_of(path: str) -> Commit:
    """Return the commit that the file `path` lies in; an empty one where there is no repository or no git."""
    top = _top(Path(path).resolve().parent)
    if top is None:
        return Commit()
    head = _git(top, "rev-parse", "--verify", "HEAD")
    if head is None or not head.strip():
        return Commit()
    status = _git(top, "status", "--porcelain", "--untracked-files=no", "--ignore-submodules=all")
    return Commit(head.strip(), status is None or bool(status.strip()))


def _top(folder: Path) -> Path | None:
    for candidate in (folder, *folder.parents):
        if (candidate / ".git").exists():
            return candidate
    return None


def _owner(top: Path) -> tuple[int, int]:
    """Return (uid, gid) of whoever may write to the repository; not root if anybody else owns a part of
    it."""
    owners = []
    for path in (top / ".git" / "config", top / ".git", top):
        try:
            info = os.lstat(path)
        except OSError:
            continue
        owners.append((info.st_uid, info.st_gid))
    return next((o for o in owners if o[0] != 0), owners[0] if owners else (0, 0))


def _git(top: Path, *arguments: str) -> str | None:
    uid, gid = _owner(top)
    as_owner = os.geteuid() == 0 and uid != 0
    safe = ("-c", "core.fsmonitor=false", "-c", "core.hooksPath=/dev/null", "-c", f"safe.directory={top}")
    try:
        done = subprocess.run(
            ["git", "-C", str(top), *safe, *arguments],
            stdin=subprocess.DEVNULL,
            capture_output=True,
            env={
                "PATH": "/usr/local/bin:/usr/bin:/bin",
                "HOME": "/nonexistent",
                "LC_ALL": "C",
                "GIT_CONFIG_NOSYSTEM": "1",
                "GIT_CONFIG_GLOBAL": "/dev/null",
                "GIT_OPTIONAL_LOCKS": "0",
                "GIT_TERMINAL_PROMPT": "0",
            },
            user=uid if as_owner else None,
            group=gid if as_owner else None,
            extra_groups=[] if as_owner else None,
            timeout=TIMEOUT_SECONDS,
            check=False,
        )
    except (OSError, subprocess.SubprocessError):
        return None
    return done.stdout.decode("utf-8", "replace") if done.returncode == 0 else None
