"""Which commit an inventory comes from."""

from __future__ import annotations

import subprocess
from dataclasses import dataclass
from pathlib import Path

from dkconf.spec.repository import find_top, git_call

TIMEOUT_SECONDS = 10


@dataclass(frozen=True, slots=True)
class Commit:
    """A commit, and whether the working tree differs from it; "" outside a repository."""

    commit: str = ""
    dirty: bool = False


def commit_of(path: str) -> Commit:
    """Return the commit that the file `path` lies in; an empty one where there is no repository or no git."""
    top = find_top(Path(path).resolve().parent)
    if top is None:
        return Commit()
    head = _git(top, "rev-parse", "--verify", "HEAD")
    if head is None or not head.strip():
        return Commit()
    status = _git(top, "status", "--porcelain", "--untracked-files=no", "--ignore-submodules=all")
    return Commit(head.strip(), status is None or bool(status.strip()))


def _git(top: Path, *arguments: str) -> str | None:
    try:
        done = subprocess.run(
            **git_call(top, *arguments),
            stdin=subprocess.DEVNULL,
            capture_output=True,
            timeout=TIMEOUT_SECONDS,
            check=False,
        )
    except (OSError, subprocess.SubprocessError):
        return None
    return done.stdout.decode("utf-8", "replace") if done.returncode == 0 else None
