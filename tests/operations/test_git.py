"""Which commit an inventory comes from, told without running anything of the repository as root."""

from __future__ import annotations

import os
import shutil
import subprocess
from pathlib import Path

import pytest

from dkconf.operations.git import Commit, commit_of

pytestmark = pytest.mark.skipif(shutil.which("git") is None, reason="needs git")
NOBODY = 65534


def git(folder: Path, *arguments: str) -> str:
    env = {**os.environ, "GIT_CONFIG_GLOBAL": "/dev/null", "GIT_AUTHOR_NAME": "a", "GIT_AUTHOR_EMAIL": "a@b",
           "GIT_COMMITTER_NAME": "a", "GIT_COMMITTER_EMAIL": "a@b"}  # fmt: skip
    done = subprocess.run(["git", "-C", str(folder), *arguments], env=env, check=True, capture_output=True, text=True)
    return done.stdout.strip()


@pytest.fixture
def tmp_path(passable: Path) -> Path:
    """git runs as the repository's owner, who has to get there."""
    return passable


@pytest.fixture
def repository(tmp_path: Path) -> Path:
    folder = tmp_path / "repository"
    folder.mkdir()
    git(folder, "init", "-q")
    (folder / "inventory.yaml").write_text("version: 1\n")
    git(folder, "add", "inventory.yaml")
    git(folder, "commit", "-q", "-m", "one")
    return folder


def test_outside_a_repository(tmp_path: Path) -> None:
    """No repository: no commit, no error."""
    assert Commit() == commit_of(str(tmp_path / "inventory.yaml"))


def test_commit_and_dirty(repository: Path) -> None:
    """The commit of HEAD, and whether the tree differs from it."""
    head = git(repository, "rev-parse", "HEAD")

    assert Commit(head, False) == commit_of(str(repository / "inventory.yaml"))
    (repository / "inventory.yaml").write_text("version: 1 \n")
    assert Commit(head, True) == commit_of(str(repository / "inventory.yaml"))


def test_nothing_is_written(repository: Path) -> None:
    """Asking does not even refresh the index."""
    (repository / "inventory.yaml").touch()
    before = {p: p.stat().st_mtime_ns for p in (repository / ".git").rglob("*")}

    commit_of(str(repository / "inventory.yaml"))

    assert before == {p: p.stat().st_mtime_ns for p in (repository / ".git").rglob("*")}


@pytest.mark.skipif(os.geteuid() != 0, reason="needs root, to have another owner")
@pytest.mark.parametrize("shape", ["owned", "worktree", "writable"])
@pytest.mark.parametrize(
    "setting", ["core.fsmonitor", "filter.x.clean", "core.sshCommand", "core.hooksPath", "alias.status", "include.path"]
)
def test_a_repository_runs_nothing_as_root(repository: Path, tmp_path: Path, setting: str, shape: str) -> None:
    """What a repository's owner put into its configuration runs as that owner, or not at all."""
    open_to_all = tmp_path / "out"
    open_to_all.mkdir()
    open_to_all.chmod(0o777)
    script = tmp_path / "script"
    script.write_text(f"#!/bin/sh\nid -u > {open_to_all}/ran\ncat\n")
    script.chmod(0o755)
    value = str(script)
    if setting == "include.path":
        included = tmp_path / "included"
        included.write_text(f'[core]\n\tfsmonitor = {script}\n[filter "x"]\n\tclean = {script}\n')
        value = str(included)
    if setting == "core.hooksPath":
        (open_to_all / "post-index-change").write_bytes(script.read_bytes())
        (open_to_all / "post-index-change").chmod(0o755)
        value = str(open_to_all)
    place = repository
    if shape == "worktree":
        place = tmp_path / "worktree"
        git(repository, "worktree", "add", "-q", str(place))
    git(repository, "config", setting, f"!{value}" if setting.startswith("alias") else value)
    (place / ".gitattributes").write_text("*.yaml filter=x\n")
    (place / "inventory.yaml").write_text("version: 1 \n")
    if shape == "writable":
        (repository / ".git/config").chmod(0o666)
    else:
        for path in [repository, *repository.rglob("*")]:
            os.chown(path, NOBODY, NOBODY)

    found = commit_of(str(place / "inventory.yaml"))

    assert found.commit
    ran = open_to_all / "ran"
    assert not ran.exists() or ran.read_text().strip() == str(NOBODY)
    assert not (setting == "core.fsmonitor" and ran.exists())
