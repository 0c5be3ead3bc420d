"""Which commit an inventory comes from."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from dkconf.git.ask import Asked, find_top

TIMEOUT_SECONDS = 10


@dataclass(frozen=True, slots=True)
class Commit:
    """A commit, and whether the working tree differs from it; "" outside a repository."""

    commit: str = ""
    dirty: bool = False
    problem: str = ""
    """Why the repository's commit is not known; "" = it is, or there is none to know."""


def commit_of(path: str) -> Commit:
    """Return the commit that the file `path` lies in; an empty one where there is no repository or no git."""
    top = find_top(Path(path).resolve().parent)
    if top is None:
        return Commit()
    git = Asked(top, TIMEOUT_SECONDS)
    head = git.run("rev-parse", "--verify", "HEAD")
    if head is None or not head.strip():
        return Commit(problem=git.problem)
    status = git.run("status", "--porcelain", "--untracked-files=no", "--ignore-submodules=all")
    return Commit(head.decode("ascii", "replace").strip(), status is None or bool(status.strip()))
