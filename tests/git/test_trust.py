"""Who else could change what git does: told for the repository and every folder above it."""

from __future__ import annotations

import os
import pwd
import shutil
from collections.abc import Callable
from pathlib import Path

import pytest

from dkconf.git.trust import NOBODY, Identity, Look, Writer, identity
from tests.git.conftest import git, give, make_repository

pytestmark = [
    pytest.mark.skipif(shutil.which("git") is None, reason="needs git"),
    pytest.mark.skipif(os.geteuid() != 0, reason="needs root, to have other owners"),
]
X, Y = 54321, 54322


def runs_as(top: Path) -> Identity | None:
    look = Look()
    os.close(look.repository(str(top)))
    return identity(look.writers)


def _config(top: Path, text: str) -> None:
    with (top / ".git/config").open("a") as file:
        file.write(text)


def _link(top: Path, owner: int) -> None:
    """Have the repository lie elsewhere, and a link of somebody's folder lead there."""
    folder = top.parent / "linked"
    top.rename(top.parent / "elsewhere")
    folder.mkdir()
    os.chown(folder, owner, owner)
    (folder / "on").symlink_to(top.parent / "elsewhere")
    top.symlink_to(folder / "on")


def _git_elsewhere(top: Path) -> None:
    """Have the repository's own folder lie in a folder of somebody, named by a file."""
    folder = top.parent / "of-x"
    folder.mkdir()
    os.chown(folder, X, X)
    shutil.move(top / ".git", folder / "git")
    (top / ".git").write_text(f"gitdir: {folder}/git\n")


def _worktree(top: Path) -> None:
    """Have the work tree be a second one of a repository of somebody."""
    main = top.parent / "main"
    top.rename(main)
    git(main, "worktree", "add", "-q", str(top))
    give(main, X)


def _alternates(top: Path) -> None:
    (top / ".git/objects/info/alternates").write_text("/home/x/objects\n")


MANY = Identity(NOBODY, NOBODY)
OF_X = Identity(X, NOBODY)
CASES: dict[str, tuple[Callable[[Path], object], Identity | None]] = {
    "root's alone": (lambda top: None, None),
    "the folder above is somebody's": (lambda top: os.chown(top.parent, X, X), OF_X),
    "two folders above": (lambda top: os.chown(top.parent.parent, X, X), OF_X),
    "all may write above": (lambda top: top.parent.chmod(0o777), MANY),
    "a group may write above": (lambda top: top.parent.chmod(0o775), MANY),
    "all may write above, but it is sticky": (lambda top: top.parent.chmod(0o1777), None),
    "sticky above, and the repository is somebody's": (
        lambda top: (top.parent.chmod(0o1777), os.chown(top, X, X)),
        OF_X,
    ),
    "the top is sticky": (lambda top: top.chmod(0o1777), MANY),
    "a link through somebody's folder": (lambda top: _link(top, X), OF_X),
    "a link through a folder of root's": (lambda top: _link(top, 0), None),
    "wholly somebody's": (lambda top: give(top, X), OF_X),
    "two users": (lambda top: (os.chown(top.parent, X, X), os.chown(top, Y, Y)), MANY),
    "two users, one of the configuration": (lambda top: (give(top, X), os.chown(top / ".git/config", Y, Y)), MANY),
    "two users below": (lambda top: (os.chown(top / ".git/objects", X, X), os.chown(top / "keys", Y, Y)), MANY),
    "the configuration": (lambda top: os.chown(top / ".git/config", X, X), OF_X),
    "the configuration is writable": (lambda top: (top / ".git/config").chmod(0o666), MANY),
    "the hooks": (lambda top: os.chown(top / ".git/hooks", X, X), OF_X),
    "a folder of the work tree": (lambda top: os.chown(top / "keys", X, X), OF_X),
    "a file of the work tree": (lambda top: os.chown(top / "keys/one.pem", X, X), OF_X),
    "git's folder is elsewhere": (_git_elsewhere, OF_X),
    "a second work tree": (_worktree, OF_X),
    "borrowed objects": (_alternates, MANY),
    "another configuration is included": (lambda top: _config(top, "[Include]path=/home/x/more\n"), MANY),
    "included on a condition": (lambda top: _config(top, '[a][includeIf "gitdir:/"]path=/home/x/more\n'), MANY),
}


@pytest.mark.parametrize("case", CASES, ids=str)
def test_who_git_runs_as(base: Path, case: str) -> None:
    """Root only where nobody else can reach it; else the one who can, or nobody where there are several."""
    top = make_repository(base / "above/one/repository")
    change, expected = CASES[case]
    change(top)

    assert expected == runs_as(top)


def test_a_users_own_group_is_the_user() -> None:
    """Where each user has a group of his own, folders are writable for it, and that is nobody else."""
    user = next(one for one in pwd.getpwall() if one.pw_uid != 0)
    own: set[Writer] = {("user", user.pw_uid), ("group", user.pw_gid)}

    assert Identity(user.pw_uid, user.pw_gid) == identity(own)
    assert MANY == identity({*own, ("group", user.pw_gid + 1)})


@pytest.mark.parametrize("name", [".git", ".git/commondir", ".git/config"])
def test_a_fifo_stops_nobody(base: Path, name: str) -> None:
    """A FIFO where git has a file is not opened: no wait for somebody to write into it."""
    top = make_repository(base / "repository")
    path = top / name
    if path.is_dir():
        shutil.rmtree(path)
    path.unlink(missing_ok=True)
    os.mkfifo(path)

    with pytest.raises(OSError, match="not what git makes"):
        runs_as(top)
