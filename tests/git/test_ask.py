"""Git runs as the one who may write to the repository, never as root where that is somebody else."""

from __future__ import annotations

import os
import resource
import select
import shutil
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from dkconf.git import ask
from dkconf.git.ask import Asked
from dkconf.operations.git import commit_of
from tests.git.conftest import git, give, make_repository

pytestmark = pytest.mark.skipif(shutil.which("git") is None, reason="needs git")
root_only = pytest.mark.skipif(os.geteuid() != 0, reason="needs root, to have other owners")
X = 54321

SWAP = """
import os, sys
base = sys.argv[1]
os.chdir(base)
os.setgroups([]); os.setgid(54321); os.setuid(54321)
print("ready", flush=True)
while True:
    os.rename("repository", "good")
    os.rename("evil", "repository")
    os.rename("repository", "evil")
    os.rename("good", "repository")
"""


def arm(top: Path, script: str) -> Path:
    """Have the repository run a script when its status is asked."""
    program = top / "program"
    program.write_text(f"#!/bin/sh\n{script}\n")
    program.chmod(0o755)
    git(top, "config", "filter.x.clean", str(program))
    (top / ".git/info/attributes").write_text("*.yaml filter=x\n")
    return top


@contextmanager
def attacker(base: Path) -> Iterator[None]:
    """The owner of the folder above a repository of root's puts his own in its place, again and again."""
    process = subprocess.Popen([sys.executable, "-c", SWAP, str(base)], stdout=subprocess.PIPE)
    assert process.stdout is not None
    process.stdout.readline()
    try:
        yield
    finally:
        process.kill()
        process.wait()
        process.stdout.close()


@pytest.fixture
def race(base: Path) -> tuple[Path, Path]:
    """Return a folder of X with root's repository, X's own beside it, and where that notes who runs it."""
    out = base / "out"
    out.mkdir()
    out.chmod(0o777)
    folder = base / "of-x"
    make_repository(folder / "repository")
    evil = make_repository(folder / "evil")
    program = arm(evil, f"id -u >> {out}/$(id -u); cat") / "program"
    program.rename(base / "program")  # where it is whatever is called `repository` at the moment
    git(evil, "config", "filter.x.clean", str(base / "program"))
    give(evil, X)
    os.chown(folder, X, X)
    return folder / "repository", out


def naive(top: Path) -> None:
    """Look first, and then run: what must not be done."""
    if os.lstat(top).st_uid == 0 and os.lstat(top / ".git").st_uid == 0:
        subprocess.run(
            ["git", "-C", str(top), "-c", "safe.directory=*", "status", "--porcelain"], capture_output=True, check=False
        )


def tries(look: Callable[[], object], out: Path, seconds: float) -> int:
    """Look again and again until root ran the other's program or the time is over; return how often."""
    end = time.monotonic() + seconds
    count = 0
    while time.monotonic() < end and not (out / "0").exists():
        count += 1
        try:
            look()
        except OSError:
            continue
    return count


@root_only
def test_a_race_never_runs_git_as_root(race: tuple[Path, Path]) -> None:
    """Who can rename a folder above wins against a look by name within a few calls, and never against ours."""
    top, out = race
    with attacker(top.parent):
        tries(lambda: naive(top), out, 20)
        assert (out / "0").exists(), "the attacker is too slow to prove anything"
        (out / "0").unlink()

        count = tries(lambda: commit_of(str(top / "inventory.yaml")), out, 3)

    assert count > 10
    assert not (out / "0").exists()


@root_only
def test_what_runs_as_the_owner_has_no_terminal_of_ours(base: Path) -> None:
    """A program of the repository runs in a session of its own: it cannot type into root's terminal."""
    top = make_repository(base / "repository")
    arm(top, f"(id -u; id -G; : < /dev/tty && echo terminal) > {top}/said 2>&1; env >> {top}/said; cat")
    give(top, X)
    code = f"from dkconf.operations.git import commit_of; print(commit_of('{top}/inventory.yaml').commit)"
    inside = ["script", "-qec", f'{sys.executable} -c "{code}"', "/dev/null"]
    if shutil.which("script") is None:
        pytest.skip("needs script(1), which makes a terminal")

    done = subprocess.run(inside, capture_output=True, check=False, env={**os.environ, "SECRET": "of root"})

    assert git(top, "-c", "safe.directory=*", "rev-parse", "HEAD") in done.stdout.decode()
    said = (top / "said").read_text()
    assert [str(X), str(ask.NOBODY)] == said.splitlines()[:2]
    assert "terminal" not in said.splitlines()
    assert "SECRET" not in said


@root_only
def test_where_git_may_read_nothing_it_is_said(base: Path) -> None:
    """Several users may write, and nobody may read: no commit, and the reason."""
    top = make_repository(base / "above/repository")
    (top / ".git").chmod(0o700)
    top.parent.chmod(0o777)

    found = commit_of(str(top / "inventory.yaml"))

    assert "" == found.commit
    assert f"{top}: several users may write to it or to a folder above it" in found.problem


def test_another_repository_above_is_not_taken(base: Path) -> None:
    """What vanishes between two looks is not looked for above: that may be anybody's."""
    make_repository(base / "above")
    top = make_repository(base / "above/repository")
    asked = Asked(top, 10)
    assert asked.run("rev-parse", "HEAD")
    shutil.rmtree(top / ".git")

    assert asked.run("rev-parse", "HEAD") is None


def test_one_that_hangs_is_asked_once(base: Path) -> None:
    """A git that waits for ever is ended, with what it has started, and not asked again."""
    os.mkfifo(base / "ran")
    reader = os.open(base / "ran", os.O_RDONLY | os.O_NONBLOCK)
    top = arm(make_repository(base / "repository"), f"exec 9> {base}/ran; echo ran >&9; sleep 1000")
    asked = Asked(top, 2)

    assert asked.run("status", "--porcelain") is None
    assert asked.run("status", "--porcelain") is None

    said = b""
    while select.select([reader], [], [], 30)[0] and (piece := os.read(reader, 100)):
        said += piece
    os.close(reader)
    assert b"ran\n" == said, "all that held the other end are gone"


def test_a_long_answer_is_cut(base: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """More than is asked for is no answer."""
    top = make_repository(base / "repository")
    (top / "large").write_bytes(bytes(300_000))
    git(top, "add", ".")
    monkeypatch.setattr(ask, "MAX_OCTETS", 100_000)

    assert Asked(top, 10).run("cat-file", "blob", ":large") is None


@pytest.mark.parametrize("setting", ["log.showSignature", "protocol.ext.allow"])
def test_questions_run_no_program(base: Path, setting: str) -> None:
    """Neither a signature nor an object that is missing has a program of the repository run."""
    top = make_repository(base / "repository")
    program = arm(top, f": > {base}/ran") / "program"
    if setting == "log.showSignature":
        git(top, "config", "gpg.program", str(program))
        git(top, "config", setting, "true")
        signed = git(top, "cat-file", "commit", "HEAD").replace(
            "\n\n", "\ngpgsig -----BEGIN PGP SIGNATURE-----\n \n -----END PGP SIGNATURE-----\n\n", 1
        )
        (base / "signed").write_text(signed + "\n")
        commit = git(top, "hash-object", "-t", "commit", "-w", str(base / "signed"))
        git(top, "update-ref", "HEAD", commit)
        git(top, "log", "--format=%H", "-1", "HEAD")
        assert (base / "ran").exists()
        (base / "ran").unlink()
    else:
        for key, value in ((setting, "always"), ("remote.o.url", f"ext::{program}"), ("remote.o.promisor", "true"),
                           ("extensions.partialClone", "o"), ("core.repositoryformatversion", "1")):  # fmt: skip
            git(top, "config", key, value)

    Asked(top, 10).run("log", "--format=%H %ct", "-5", "HEAD")
    Asked(top, 10).run("cat-file", "blob", "1" * 40)

    assert not (base / "ran").exists()


def test_a_file_of_nothing_costs_no_memory(base: Path) -> None:
    """A sparse file in the work tree: git ends rather than take all memory, and no search counts as made."""
    top = make_repository(base / "repository")
    with (top / "large").open("wb") as file:
        file.truncate(3 << 30)
    before = resource.getrusage(resource.RUSAGE_CHILDREN).ru_maxrss

    assert Asked(top, 60).run("grep", "--untracked", "-a", "-e", "x", empty=1) is None
    assert max(0, resource.getrusage(resource.RUSAGE_CHILDREN).ru_maxrss - before) < ask.MAX_MEMORY_OCTETS // 1024

    (top / "large").unlink()
    assert b"" == Asked(top, 60).run("grep", "--untracked", "-a", "-e", "nowhere", empty=1)
