"""Which commit an inventory comes from. A repository must not run code as root, so git runs as its owner.

A repository's own configuration can name programs (fsmonitor, filters, hooks). Whoever may write to it is
who git runs as; fsmonitor and hooks are off besides, and nothing is written, not even the index.
"""

from __future__ import annotations

import subprocess
from dataclasses import dataclass
from pathlib import Path

from dkconf.spec.repository import find_top, other_writer

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
    other = other_writer(top)
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
            user=other[0] if other else None,
            group=other[1] if other else None,
            extra_groups=[] if other else None,
            timeout=TIMEOUT_SECONDS,
            check=False,
        )
    except (OSError, subprocess.SubprocessError):
        return None
    return done.stdout.decode("utf-8", "replace") if done.returncode == 0 else None
