"""Whole or not at all, at the right place, and nothing else touched."""

from __future__ import annotations

import os
import subprocess
import sys
import threading
from pathlib import Path

import pytest

from dkconf.files import writing
from dkconf.files.making import make_folders
from dkconf.files.reading import FileProblem
from dkconf.files.removing import remove_file
from dkconf.files.writing import write_file, write_given
from tests.files.conftest import SOMEBODY, folder, link, needs_root


def test_a_file_is_written_whole(tmp_path: Path) -> None:
    """Content and mode as asked, whatever the umask; nothing else stays."""
    before = os.umask(0o077)
    try:
        write_file(str(tmp_path / "a"), b"new", mode=0o664)
        write_file(str(tmp_path / "a"), b"newer", mode=0o644)
    finally:
        os.umask(before)

    assert (b"newer", 0o644) == ((tmp_path / "a").read_bytes(), (tmp_path / "a").stat().st_mode & 0o7777)
    assert ["a"] == os.listdir(tmp_path)


def test_a_failure_leaves_the_old_one(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A full disk costs an error, and nothing else."""
    (tmp_path / "a").write_bytes(b"old")

    def full(*_: object) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(writing, "write_all", full)
    with pytest.raises(FileProblem, match=r"a: cannot be written \(no space left on device\)"):
        write_file(str(tmp_path / "a"), b"new", mode=0o644)
    assert b"old" == (tmp_path / "a").read_bytes()
    assert ["a"] == os.listdir(tmp_path)


def test_what_is_there_stays(tmp_path: Path) -> None:
    """With `replace=False`: also a link that leads nowhere."""
    (tmp_path / "a").write_bytes(b"old")
    (tmp_path / "l").symlink_to("nowhere")

    for name in "al":
        with pytest.raises(FileExistsError):
            write_file(str(tmp_path / name), b"new", mode=0o644, replace=False)
    assert b"old" == (tmp_path / "a").read_bytes()
    assert sorted(os.listdir(tmp_path)) == ["a", "l"]


def test_without_hard_links(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Some file systems have none: the new file is copied, and still replaces nothing."""

    def refuse(*_: object, **__: object) -> None:
        raise PermissionError(1, "Operation not permitted")

    monkeypatch.setattr(os, "link", refuse)
    write_file(str(tmp_path / "a"), b"new", mode=0o640, replace=False)
    assert (b"new", 0o640) == ((tmp_path / "a").read_bytes(), (tmp_path / "a").stat().st_mode & 0o7777)
    with pytest.raises(FileExistsError):
        write_file(str(tmp_path / "a"), b"newer", mode=0o640, replace=False)


def test_our_link_leads_to_the_file_that_is_written(tmp_path: Path) -> None:
    """The link stays, and what it leads to is new."""
    (tmp_path / "repo").mkdir()
    (tmp_path / "repo/a").write_bytes(b"old")
    (tmp_path / "a").symlink_to("repo/a")

    write_file(str(tmp_path / "a"), b"new", mode=0o644)

    assert b"new" == (tmp_path / "repo/a").read_bytes()
    assert (tmp_path / "a").is_symlink()
    assert ["a"] == os.listdir(tmp_path / "repo")


@pytest.mark.parametrize("kind", ["folder", "pipe"])
def test_only_a_regular_file_is_written_over(tmp_path: Path, kind: str) -> None:
    """Not a device, a pipe or a folder."""
    (tmp_path / "x").mkdir() if kind == "folder" else os.mkfifo(tmp_path / "x")

    with pytest.raises(FileProblem, match="only a regular file is written over"):
        write_file(str(tmp_path / "x"), b"new", mode=0o644)
    assert ["x"] == os.listdir(tmp_path)


@needs_root
@pytest.mark.parametrize("within", [False, True])
def test_his_link_to_roots_file(tree: Path, within: bool) -> None:
    """Neither the file nor a folder on the way is taken through it."""
    secret = tree.parent / "secret"
    link(tree / "a", secret)
    link(tree / "out", "..")
    before = secret.stat()

    for name in ("a", "out/secret", "out/new"):
        with pytest.raises(FileProblem, match="is a link"):
            write_file(str(tree / name), b"new", mode=0o644, within=str(tree) if within else "")
    after = secret.stat()
    assert (before.st_mode, before.st_mtime_ns, before.st_uid) == (after.st_mode, after.st_mtime_ns, after.st_uid)
    assert sorted(os.listdir(tree.parent)) == ["secret", "tree"]


@needs_root
def test_the_owner_gets_it_before_its_content(tree: Path) -> None:
    """As numbers, before anything is in it."""
    write_file(str(tree / "a"), b"new", mode=0o640, owner=(SOMEBODY, SOMEBODY + 1))

    found = (tree / "a").stat()
    assert (SOMEBODY, SOMEBODY + 1, 0o640) == (found.st_uid, found.st_gid, found.st_mode & 0o7777)


def test_folders_are_made(tmp_path: Path) -> None:
    """Each that is missing, with the mode whatever the umask; one that is there stays as it is."""
    (tmp_path / "a").mkdir(mode=0o700)
    before = os.umask(0o077)
    try:
        made = make_folders(str(tmp_path / "a/b/c"), mode=0o755)
        again = make_folders(str(tmp_path / "a/b/c"), mode=0o711)
    finally:
        os.umask(before)

    assert ((f"{tmp_path}/a/b", f"{tmp_path}/a/b/c"), ()) == (made, again)
    assert [0o700, 0o755, 0o755] == [(tmp_path / n).stat().st_mode & 0o7777 for n in ("a", "a/b", "a/b/c")]


@pytest.mark.parametrize("name", ["file", "file/below", "nowhere", "nowhere/below"])
def test_no_folder_where_something_else_is(tmp_path: Path, name: str) -> None:
    """A file, and a link that leads nowhere, are told."""
    (tmp_path / "file").touch()
    (tmp_path / "nowhere").symlink_to("missing")

    with pytest.raises(FileProblem, match=f"^{tmp_path}/"):
        make_folders(str(tmp_path / name), mode=0o755)
    assert sorted(os.listdir(tmp_path)) == ["file", "nowhere"]


@needs_root
def test_folders_are_not_made_through_his_link(tree: Path) -> None:
    """`keys` in his checkout may lead anywhere."""
    target = folder(tree.parent / "roots", 0)
    target.chmod(0o700)
    link(tree / "keys", target)

    with pytest.raises(FileProblem, match='"keys" on the way'):
        make_folders(str(tree / "keys/example.com"), mode=0o755, owner=(SOMEBODY, SOMEBODY), within=str(tree))
    assert (0, 0o40700) == (target.stat().st_uid, target.stat().st_mode)
    assert [] == os.listdir(target)


@needs_root
@pytest.mark.parametrize("swap", ["link", "roots folder", "his folder"])
def test_a_folder_exchanged_while_it_is_made(tree: Path, monkeypatch: pytest.MonkeyPatch, swap: str) -> None:
    """Between the making and the opening he puts something else there: it keeps its owner and mode."""
    secret = tree.parent / "secret"
    full = folder(tree / "full", 0)
    full.chmod(0o700)
    (full / "x").touch()
    his = folder(tree / "hisown")
    his.chmod(0o700)
    real = os.mkdir

    def exchange(name: str, mode: int = 0o777, *, dir_fd: int | None = None) -> None:
        real(name, mode, dir_fd=dir_fd)
        os.rename(tree / name, tree / "away")
        exchanged.append(tree / name)
        if swap == "link":
            link(tree / name, secret)
        else:
            os.rename(full if swap == "roots folder" else his, tree / name)

    exchanged: list[Path] = []
    before = [os.lstat(p)[:6] for p in (secret, full)]
    monkeypatch.setattr(os, "mkdir", exchange)
    with pytest.raises(FileProblem):
        make_folders(str(tree / "keys"), mode=0o755, owner=(SOMEBODY, SOMEBODY), within=str(tree))
    (there_now,) = exchanged
    after = [os.lstat(p)[:6] for p in (secret, there_now if swap == "roots folder" else full)]
    assert before == after


def test_to_where_the_user_says(tmp_path: Path) -> None:
    """A file, standard output by its names, a descriptor; /dev/null stays a device."""
    write_given(str(tmp_path / "a"), b"x")
    assert b"x" == (tmp_path / "a").read_bytes()
    write_given("/dev/null", b"x")
    assert not Path("/dev/null").is_file()
    for path in ("-", "/dev/stdout", "/dev/fd/1"):
        code = f"from dkconf.files.writing import write_given; write_given({path!r}, b'hello')"
        done = subprocess.run([sys.executable, "-c", code], capture_output=True, check=True)
        assert b"hello" == done.stdout


@pytest.mark.parametrize("there", [0o640, None])
def test_a_new_version_has_mode_and_owner_of_the_old(tmp_path: Path, there: int | None) -> None:
    """Without a mode: what was there says how it is to be, or else the umask."""
    path = tmp_path / "a"
    owner = (os.geteuid(), os.getegid())
    if there is not None:
        path.touch()
        path.chmod(there)
        if os.geteuid() == 0:
            owner = (SOMEBODY, SOMEBODY)
            os.chown(path, *owner)
    before = os.umask(0o027)
    try:
        write_file(str(path), b"new")
    finally:
        os.umask(before)
    found = path.stat()

    assert (0o640, *owner) == (found.st_mode & 0o7777, found.st_uid, found.st_gid)


def test_two_runs_make_the_same_folders(tmp_path: Path) -> None:
    """At once, many times: both have them, and nothing else is left."""
    for number in range(30):
        paths = [str(tmp_path / f"{number}/a/b/{end}") for end in "xy" * 2]
        barrier = threading.Barrier(len(paths))
        problems: list[BaseException] = []

        def make(path: str, barrier: threading.Barrier = barrier, problems: list[BaseException] = problems) -> None:
            barrier.wait()
            try:
                make_folders(path, mode=0o755)
            except BaseException as error:
                problems.append(error)

        threads = [threading.Thread(target=make, args=(path,)) for path in paths]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        assert [] == problems
        assert ["a"] == os.listdir(tmp_path / str(number))
        assert ["x", "y"] == sorted(os.listdir(tmp_path / f"{number}/a/b"))


@pytest.mark.parametrize("name", ["file", "link", "missing", "missing/below"])
def test_a_file_is_removed_or_was_not_there(tmp_path: Path, name: str) -> None:
    """A link itself, not what it leads to; without its folder there is nothing to do."""
    (tmp_path / "file").touch()
    (tmp_path / "kept").touch()
    (tmp_path / "link").symlink_to("kept")

    remove_file(str(tmp_path / name))

    assert sorted({"file", "kept", "link"} - {name}) == sorted(os.listdir(tmp_path))
