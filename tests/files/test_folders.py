"""Which links are followed on the way to a folder."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from dkconf.files.folders import LINKS, Misled, open_folder
from tests.files.conftest import ANOTHER, folder, link, needs_root


def reached(path: object, **options: object) -> Path:
    """Return the real path of the folder that is opened."""
    handle = open_folder(str(path), **options)  # type: ignore[arg-type]
    try:
        return Path(os.readlink(f"/proc/self/fd/{handle}"))
    finally:
        os.close(handle)


def open_handles() -> int:
    return len(os.listdir("/proc/self/fd"))


@pytest.mark.parametrize("form", ["{0}/a/b", "{0}//a/./b/", "{0}/a/../a/b", "{0}/a/b/.", "{0}/l/b", "{0}/abs/b/../b"])
def test_ways_to_one_folder(tmp_path: Path, form: str) -> None:
    """Dots and links of ours lead where the kernel goes, and no descriptor stays open."""
    (tmp_path / "a/b").mkdir(parents=True)
    (tmp_path / "l").symlink_to("a")
    (tmp_path / "abs").symlink_to(tmp_path / "l")
    before = open_handles()

    assert tmp_path / "a/b" == reached(form.format(tmp_path))
    assert tmp_path / "a/b" == reached(form.format(tmp_path), to_pass=True)
    assert before == open_handles()


def test_from_the_working_directory(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A relative path may climb above where it starts."""
    (tmp_path / "a/b").mkdir(parents=True)
    (tmp_path / "c").mkdir()
    monkeypatch.chdir(tmp_path / "a/b")

    assert tmp_path / "c" == reached("../../c")
    assert tmp_path / "c" == reached("../../c", within=str(tmp_path))
    assert tmp_path / "a/b" == reached(".")
    assert Path("/") == reached("/")


@pytest.mark.parametrize("name", ["missing", "missing/below", "file/below", "file"])
def test_what_is_not_there(tmp_path: Path, name: str) -> None:
    """The error is the kernel's, and no descriptor stays open."""
    (tmp_path / "file").touch()
    before = open_handles()

    with pytest.raises((FileNotFoundError, NotADirectoryError)):
        open_folder(f"{tmp_path}/{name}")
    assert before == open_handles()


def test_links_in_a_circle(tmp_path: Path) -> None:
    """They end, as in the kernel."""
    (tmp_path / "a").symlink_to("b")
    (tmp_path / "b").symlink_to("a")

    with pytest.raises(Misled, match=f"more than {LINKS} links"):
        open_folder(str(tmp_path / "a/x"))


@needs_root
@pytest.mark.parametrize("owner", [0, ANOTHER])
def test_no_link_of_somebody_elses_outside_a_tree(tmp_path: Path, owner: int) -> None:
    """Neither his own link nor one of root's that lies in his folder: he may have moved it there."""
    his = folder(tmp_path / "his")
    link(his / "keys", "/etc", owner)

    with pytest.raises(Misled, match='"keys" on the way is a link that others than root could have put there'):
        open_folder(str(his / "keys"))


@needs_root
@pytest.mark.parametrize("mode,followed", [(0o755, True), (0o775, False), (0o777, False), (0o1777, True)])
def test_a_link_of_ours_by_the_folders_mode(tmp_path: Path, mode: int, followed: bool) -> None:
    """It is ours where nobody else could have put it: others may not write the folder, or it is sticky."""
    (tmp_path / "a").mkdir()
    (tmp_path / "shared").mkdir()
    (tmp_path / "shared/l").symlink_to("../a")
    (tmp_path / "shared").chmod(mode)

    if followed:
        assert tmp_path / "a" == reached(tmp_path / "shared/l")
    else:
        with pytest.raises(Misled):
            open_folder(str(tmp_path / "shared/l"))


@needs_root
def test_a_second_name_of_a_link_of_ours(tmp_path: Path) -> None:
    """Somebody may have given our link that name in a sticky folder."""
    (tmp_path / "a").mkdir()
    (tmp_path / "l").symlink_to("a")
    shared = tmp_path / "shared"
    shared.mkdir()
    os.link(tmp_path / "l", shared / "l", follow_symlinks=False)
    shared.chmod(0o1777)

    with pytest.raises(Misled):
        open_folder(str(shared / "l"))


@needs_root
@pytest.mark.parametrize(
    "target,followed",
    [
        ("real", True),
        ("./sub/../real", True),
        ("{tree}/real", True),
        ("{tree}", True),
        ("sub/inner", True),
        ("../out", False),
        ("../tree/real", False),
        ("sub/../../out", False),
        ("/etc", False),
        ("{tree}/../out", False),
        ("{tree}x", False),
        ("roots", False),
        ("anothers", False),
        ("out-again", False),
    ],
)
def test_his_links_stay_in_his_tree(tree: Path, target: str, followed: bool) -> None:
    """A link of the tree's owner leads to his own folders in the tree, and nowhere else."""
    folder(tree.parent / "out")
    folder(tree.parent / "treex")
    folder(tree / "real")
    folder(tree / "sub")
    folder(tree / "roots", 0)
    folder(tree / "anothers", ANOTHER)
    link(tree / "sub/inner", "../real")
    link(tree / "out-again", "../out")
    link(tree / "l", target.format(tree=tree))
    before = open_handles()

    if followed:
        assert reached(tree / "l", within=str(tree)) in (tree / "real", tree)
    else:
        with pytest.raises(Misled):
            open_folder(str(tree / "l"), within=str(tree))
    assert before == open_handles()


@needs_root
def test_the_tree_itself_may_not_be_a_link_of_his(tmp_path: Path) -> None:
    """Otherwise all of /etc would be his tree."""
    home = folder(tmp_path / "home")
    link(home / "tree", "/etc")

    with pytest.raises(Misled):
        open_folder(str(home / "tree/mail"), within=str(home / "tree"))


@needs_root
def test_a_tree_reached_by_a_link_of_ours(tree: Path) -> None:
    """The administrator's link leads into the tree; from there the tree's own links count."""
    folder(tree / "real")
    link(tree / "l", "real")
    (tree.parent / "mine").symlink_to(tree / "l")

    assert tree / "real" == reached(tree.parent / "mine", within=str(tree))
