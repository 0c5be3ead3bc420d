"""What is read, what is not, and that nothing waits."""

from __future__ import annotations

import os
import socket
import stat
import subprocess
import sys
import tempfile
import threading
from pathlib import Path

import pytest

from dkconf.files.folders import ANYWHERE, CHECKOUT
from dkconf.files.looking import list_folder, look
from dkconf.files.reading import FileProblem, open_file, read_file, read_given
from dkconf.files.trees import Tree
from tests.files.conftest import ANOTHER, SOMEBODY, file, folder, give, link, needs_root


def test_a_regular_file(tmp_path: Path) -> None:
    """All of it, up to and including the limit."""
    path = tmp_path / "a"
    path.write_bytes(b"x" * 5000)

    assert b"x" * 5000 == read_file(str(path), limit=5000)
    with pytest.raises(FileProblem, match=r"a: has 5,000 octets; such a file has at most 4,999"):
        read_file(str(path), limit=4999)


def test_from_the_working_directory(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A relative path is as good."""
    (tmp_path / "a").write_bytes(b"x")
    (tmp_path / "sub").mkdir()
    monkeypatch.chdir(tmp_path / "sub")

    assert b"x" == read_file("../a", limit=1)


def test_files_that_hide_their_size() -> None:
    """Those of /proc say 0, and are bounded all the same."""
    assert read_file("/proc/self/status", limit=1 << 16).startswith(b"Name:")
    with pytest.raises(FileProblem, match="at most 10"):
        read_file("/proc/self/status", limit=10)


def test_three_gigabytes_of_nothing_cost_nothing(tmp_path: Path) -> None:
    """The size is looked at before the content."""
    path = tmp_path / "sparse"
    path.touch()
    os.truncate(path, 3 << 30)
    code = (
        "import resource, sys\n"
        "from dkconf.files.reading import FileProblem, read_file\n"
        "resource.setrlimit(resource.RLIMIT_AS, (512 << 20,) * 2)\n"
        "try:\n    read_file(sys.argv[1], limit=1 << 20)\n"
        "except FileProblem as error:\n    print(error)\n"
    )
    done = subprocess.run([sys.executable, "-c", code, path], capture_output=True, text=True, check=True)

    assert "has 3,221,225,472 octets; such a file has at most 1,048,576" in done.stdout


@pytest.mark.parametrize("name", ["missing", "missing/below", "file/below"])
def test_what_is_not_there(tmp_path: Path, name: str) -> None:
    """Nothing there is one error, whatever part of the path is missing."""
    (tmp_path / "file").touch()

    with pytest.raises(FileNotFoundError):
        read_file(f"{tmp_path}/{name}", limit=10)


@pytest.mark.parametrize("kind", ["pipe", "folder", "socket", "device"])
def test_only_regular_files(tmp_path: Path, kind: str) -> None:
    """Nobody is waited for: a pipe that nobody writes to is told, at once, and so is each other thing."""
    path = tmp_path / "x"
    if kind == "pipe":
        os.mkfifo(path)
    elif kind == "folder":
        path.mkdir()
    elif kind == "socket":
        server = socket.socket(socket.AF_UNIX)
        server.bind(str(path))
        server.close()
    else:
        path = Path("/dev/zero")

    with pytest.raises(FileProblem, match=f"^{path}: "):
        read_file(str(path), limit=10)


def test_no_path_at_all() -> None:
    """A NUL from a settings file is told, not an internal error."""
    with pytest.raises(FileProblem, match="is not a path"):
        read_file("/etc/a\0b", limit=10)


def test_a_link_of_ours_is_followed(tmp_path: Path) -> None:
    """An administrator's `inventory.yaml -> repo/inventory.yaml`."""
    (tmp_path / "repo").mkdir()
    (tmp_path / "repo/i").write_bytes(b"x")
    (tmp_path / "i").symlink_to("repo/i")

    assert b"x" == read_file(str(tmp_path / "i"), limit=1)


@needs_root
def test_a_link_to_roots_secret(tree: Path) -> None:
    """It is read neither with a tree nor without one, and its content is in no message."""
    link(tree / "i", tree.parent / "secret")
    link(tree / "relative", "../secret")
    for name in ("i", "relative"):
        for within in ("", str(tree)):
            with pytest.raises(FileProblem) as problem:
                read_file(str(tree / name), limit=100, within=within)
            assert "is a link" in str(problem.value)
            assert "root:x" not in str(problem.value)


@needs_root
def test_a_name_that_speaks_to_the_terminal(tree: Path) -> None:
    """Whoever chose it does not choose what the administrator's screen shows."""
    link(tree / "a\x1b]0;b\x07\nc", "/etc")

    for act in (lambda path: read_file(path, limit=1), list_folder):
        with pytest.raises(FileProblem) as problem:
            act(str(tree / "a\x1b]0;b\x07\nc/passwd"))
        assert '"a\\x1b]0;b\\x07\\x0ac" on the way is a link' in str(problem.value)
        assert "\x1b" not in str(problem.value)


@needs_root
def test_links_within_the_tree(tree: Path) -> None:
    """His link to his own file is followed; to a file of somebody else's in the tree it is not."""
    folder(tree / "sub")
    file(tree / "sub/mine")
    file(tree / "roots", uid=0)
    file(tree / "anothers", uid=ANOTHER)
    link(tree / "a", "sub/mine")
    link(tree / "b", "roots")
    link(tree / "c", "anothers")

    assert b"his\n" == read_file(str(tree / "a"), limit=100, within=str(tree))
    for name in "bc":
        with pytest.raises(FileProblem, match="does not belong to the link's owner"):
            read_file(str(tree / name), limit=100, within=str(tree))


@needs_root
@pytest.mark.parametrize("gone", [False, True], ids=["two names", "the first name is gone"])
def test_a_second_name_of_roots_secret(tree: Path, gone: bool) -> None:
    """Where the kernel lets anybody give root's file a second name in his own folder, it is not read there."""
    os.link(tree.parent / "secret", tree / "i")
    if gone:
        (tree.parent / "secret").unlink()

    with pytest.raises(FileProblem, match="is closed to others and belongs to user 0") as problem:
        read_file(str(tree / "i"), limit=100, within=str(tree))
    assert "root:x" not in str(problem.value)


@needs_root
@pytest.mark.parametrize(
    "uid,gid,mode", [(0, 0, 0o644), (SOMEBODY, SOMEBODY, 0o600), (0, SOMEBODY, 0o640), (ANOTHER, 0, 0o604)]
)
def test_files_in_his_folder_that_he_may_read(tree: Path, uid: int, gid: int, mode: int) -> None:
    """Root reads what the folder's owner can read as well."""
    file(tree / "i", mode=mode)
    os.chown(tree / "i", uid, gid)

    assert b"his\n" == read_file(str(tree / "i"), limit=100, within=str(tree))


@needs_root
def test_our_file_in_a_folder_for_all(tmp_path: Path) -> None:
    """In /tmp: our own closed file is read while it has one name."""
    tmp_path.chmod(0o1777)
    path = tmp_path / "plan"
    path.write_bytes(b"x")
    path.chmod(0o600)
    assert b"x" == read_file(str(path), limit=1)

    os.link(path, tmp_path / "again")
    with pytest.raises(FileProblem, match="others may have put it there"):
        read_file(str(path), limit=1)


def test_a_user_in_his_own_checkout_notices_nothing() -> None:
    """Not root: files of his, links of his, whatever the group may do there."""
    code = """
import os, sys
from dkconf.files.reading import read_file
if os.geteuid() == 0:
    os.setgroups([]); os.setgid(12345); os.setuid(12345)
os.umask(0o002)
os.chdir(sys.argv[1])
os.mkdir("repo"); os.mkdir("repo/sub"); os.chmod("repo", 0o2775)
open("repo/sub/i", "w").write("x")
os.chmod("repo/sub/i", 0o600)
os.symlink("sub/i", "repo/i"); os.symlink("repo/i", "i"); os.link("repo/sub/i", "repo/second")
for path in ("repo/i", "i", "repo/second", os.path.abspath("i")):
    for within in ("", "repo"):
        assert read_file(path, limit=1, within=within) == b"x"
"""
    with tempfile.TemporaryDirectory() as name:  # pytest's own folders are closed to others
        if os.geteuid() == 0:
            give(Path(name))
        subprocess.run([sys.executable, "-c", code, name], check=True)


def test_a_descriptor_is_the_callers(tmp_path: Path) -> None:
    """`open_file` gives what `read_file` reads."""
    (tmp_path / "a").write_bytes(b"x")
    handle = open_file(str(tmp_path / "a"))
    try:
        assert b"x" == os.read(handle, 10)
    finally:
        os.close(handle)


@pytest.mark.parametrize("path", ["/dev/fd/{0}", "/proc/self/fd/{0}"])
def test_a_pipe_that_the_user_gives(path: str) -> None:
    """`<(command)` is waited for, and bounded."""
    for content, fits in ((b"x" * 10, True), (b"x" * 11, False)):
        ours, theirs = os.pipe()
        timer = threading.Timer(0.05, lambda end=theirs, data=content: (os.write(end, data), os.close(end)))
        timer.start()
        try:
            if fits:
                assert content == read_given(path.format(ours), limit=10)
            else:
                with pytest.raises(FileProblem, match="at most 10"):
                    read_given(path.format(ours), limit=10)
        finally:
            timer.join()
            os.close(ours)


@pytest.mark.parametrize("path", ["-", "/dev/stdin"])
def test_standard_input(path: str) -> None:
    """By both its names."""
    code = f"from dkconf.files.reading import read_given; print(read_given({path!r}, limit=10))"
    done = subprocess.run([sys.executable, "-c", code], input="hello", capture_output=True, text=True, check=True)

    assert "b'hello'\n" == done.stdout


def test_a_descriptor_that_is_not_open() -> None:
    """It is told."""
    with pytest.raises(FileProblem, match="/dev/fd/999: is not open"):
        read_given("/dev/fd/999", limit=10)


def test_a_named_pipe_is_not_waited_for(tmp_path: Path) -> None:
    """Nobody may ever write to it, whosever it is."""
    path = tmp_path / "p"
    os.mkfifo(path)
    with pytest.raises(FileProblem, match="is a named pipe"):
        read_given(str(path), limit=10)


@needs_root
def test_the_checkout_is_found(tree: Path) -> None:
    """With `CHECKOUT` a link may lead up to the folder that holds `.git`; without one, to its own folder only."""
    folder(tree / "sub")
    folder(tree / "sub/deep")
    file(tree / "i")
    link(tree / "sub/deep/up", "../../i")
    link(tree / "sub/deep/here", "own")
    file(tree / "sub/deep/own")
    link(tree / "out", "../secret")

    def read(name: str) -> bytes:
        return read_file(str(tree / name), limit=100, within=CHECKOUT)

    assert b"his\n" == read("sub/deep/here")
    with pytest.raises(FileProblem, match=f"that leads out of {tree}/sub/deep;"):
        read("sub/deep/up")
    folder(tree / ".git")
    assert b"his\n" == read("sub/deep/up")
    with pytest.raises(FileProblem, match=f"that leads out of {tree};"):
        read("out")


@needs_root
def test_our_link_to_his_checkout(tree: Path) -> None:
    """`/etc/dkconf/inventory.yaml -> /home/alice/repo/inventory.yaml`, which is a link of hers in turn."""
    folder(tree / ".git")
    file(tree / "real")
    link(tree / "i", "real")
    (tree.parent / "i").symlink_to(tree / "i")

    assert b"his\n" == read_file(str(tree.parent / "i"), limit=100, within=CHECKOUT)


@needs_root
@pytest.mark.parametrize("mode,followed", [(0o644, True), (0o640, False)])
def test_a_link_that_git_made_for_root(tmp_path: Path, mode: int, followed: bool) -> None:
    """In a clone of root's own the links are what somebody else has committed: none leads to a secret."""
    secret = tmp_path / "secret"
    file(secret, "root:x\n", 0, mode)
    (tmp_path / "clone/.git").mkdir(parents=True)
    (tmp_path / "clone/i").symlink_to("../secret")
    (tmp_path / "clone/j").symlink_to("k")
    file(tmp_path / "clone/k", "ours\n", 0, 0o600)

    assert b"ours\n" == read_file(str(tmp_path / "clone/j"), limit=100, within=CHECKOUT)
    if followed:
        assert b"root:x\n" == read_file(str(tmp_path / "clone/i"), limit=100, within=CHECKOUT)
    else:
        with pytest.raises(FileProblem, match="leads out of its checkout"):
            read_file(str(tmp_path / "clone/i"), limit=100, within=CHECKOUT)


@needs_root
def test_anywhere_that_is_his(tmp_path: Path) -> None:
    """With `ANYWHERE` a link counts as far as it leads to its own owner's file."""
    here, there = folder(tmp_path / "here"), folder(tmp_path / "there")
    link(here / "a", file(there / "his"))
    link(here / "b", file(there / "roots", uid=0))

    assert b"his\n" == read_file(str(here / "a"), limit=100, within=ANYWHERE)
    with pytest.raises(FileProblem, match="does not belong to the link's owner"):
        read_file(str(here / "b"), limit=100, within=ANYWHERE)


def test_many_files_of_one_tree(tmp_path: Path) -> None:
    """A file by two names, a link on the way, and all that is wrong, as `read_file` has it."""
    tree = Tree(str(tmp_path / "keys"))
    with pytest.raises(FileNotFoundError):
        tree.read("a", "b", limit=10)
    (tmp_path / "keys/a").mkdir(parents=True)
    (tmp_path / "keys/a/b").write_bytes(b"x")
    (tmp_path / "keys/c").symlink_to("a")
    (tmp_path / "keys/a/d").symlink_to("b")
    os.mkfifo(tmp_path / "keys/a/pipe")

    assert [b"x"] * 3 == [tree.read(*names, limit=10) for names in (("a", "b"), ("c", "b"), ("a", "d"))]
    with pytest.raises(FileProblem, match="named pipe"):
        tree.read("a", "pipe", limit=10)
    with pytest.raises(FileProblem, match="at most 0"):
        tree.read("a", "b", limit=0)
    for names in (("missing", "b"), ("a", "missing"), ("a/b", "c")):
        with pytest.raises(FileNotFoundError):
            tree.read(*names, limit=10)


@needs_root
def test_a_tree_with_links_of_somebody_elses(tree: Path) -> None:
    """The short way through a tree follows no more than the long one."""
    folder(tree / "keys")
    folder(tree / "keys/d")
    link(tree / "keys/d/s", tree.parent / "secret")
    link(tree / "keys/e", "..")
    reader = Tree(str(tree / "keys"))

    for names in (("d", "s"), ("e", "secret")):
        with pytest.raises(FileProblem, match="is a link that leads out of"):
            reader.read(*names, limit=100)


@needs_root
def test_what_is_listed_and_looked_at(tree: Path) -> None:
    """Names and kinds, of links too; nothing through a link of somebody else's."""
    folder(tree / "a")
    file(tree / "a/x")
    link(tree / "l", "/etc")

    assert ("a", "l") == list_folder(str(tree))
    assert look(str(tree / "missing")) is None
    found = look(str(tree / "l"))
    assert found is not None
    assert stat.S_ISLNK(found.st_mode)
    for act in (list_folder, lambda path: look(path + "/passwd")):
        with pytest.raises(FileProblem, match="is a link"):
            act(str(tree / "l"))
