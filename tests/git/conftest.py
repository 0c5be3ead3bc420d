"""Repositories made by git itself, below folders that only root can change."""

from __future__ import annotations

import os
import subprocess
from pathlib import Path

import pytest


def git(folder: Path, *arguments: str) -> str:
    env = {**os.environ, "GIT_CONFIG_GLOBAL": "/dev/null", "GIT_AUTHOR_NAME": "a", "GIT_AUTHOR_EMAIL": "a@b",
           "GIT_COMMITTER_NAME": "a", "GIT_COMMITTER_EMAIL": "a@b"}  # fmt: skip
    done = subprocess.run(["git", "-C", str(folder), *arguments], env=env, check=True, capture_output=True, text=True)
    return done.stdout.strip()


def make_repository(folder: Path) -> Path:
    """Return a new repository with one commit, whose inventory looks edited until its content is read."""
    folder.mkdir(parents=True)
    git(folder, "init", "-q")
    (folder / "keys").mkdir()
    (folder / "keys/one.pem").write_text("x\n")
    (folder / "inventory.yaml").write_text("version: 1\n")
    git(folder, "add", ".")
    git(folder, "commit", "-q", "-m", "one")
    os.utime(folder / "inventory.yaml", (1, 1))
    return folder


def give(path: Path, uid: int, gid: int | None = None) -> None:
    """Give a folder with all that is in it to a user."""
    for each in (path, *path.rglob("*")):
        os.lchown(each, uid, uid if gid is None else gid)


@pytest.fixture
def base(passable: Path) -> Path:
    """A folder that all may enter and only root can change, from / down."""
    return passable
