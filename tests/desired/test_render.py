"""The rendered tree: byte-stable, without dates, versions and keys; written with care."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

from dkconf import __version__
from dkconf.desired import NotRenderable, render_tree, write_tree
from dkconf.desired.render import LIST_NAME

from .inventories import HOST, RSA, one_host

PUBLIC = {("example.com", "s1"): RSA}


def test_a_tree_is_the_same_each_time() -> None:
    """No version and no date in it."""
    tree = render_tree(one_host(), PUBLIC)
    text = b"\n".join(tree.values()).decode()

    assert tree == render_tree(one_host(), PUBLIC)
    assert list(tree) == sorted(tree)
    assert f"{HOST}/etc/mail/m4/dkconf.m4" in tree
    assert __version__ not in text
    assert not re.search(r"20\d\d-\d\d-\d\d", text)
    assert "PRIVATE KEY" not in text


def test_zones_lie_beside_the_hosts() -> None:
    """dns/DOMAIN.zone."""
    assert b"s1._domainkey.example.com." in render_tree(one_host(), PUBLIC)["dns/example.com.zone"]


def test_writing_twice_changes_nothing(tmp_path: Path) -> None:
    """Not even a file's time."""
    tree = render_tree(one_host(), PUBLIC)
    assert write_tree(tmp_path / "out", tree) == len(tree) - 1
    before = {p: p.stat().st_mtime_ns for p in (tmp_path / "out").rglob("*")}
    write_tree(tmp_path / "out", tree)

    assert before == {p: p.stat().st_mtime_ns for p in (tmp_path / "out").rglob("*")}


def test_only_what_was_rendered_is_removed(tmp_path: Path) -> None:
    """A README that somebody put there stays; a host that is gone goes, with its directories."""
    write_tree(tmp_path, {LIST_NAME: b"old/etc/x\n", "old/etc/x": b"x"})
    (tmp_path / "README").write_text("mine")
    write_tree(tmp_path, {LIST_NAME: b"new/y\n", "new/y": b"y"})

    assert not (tmp_path / "old").exists()
    assert (tmp_path / "README").read_text() == "mine"
    assert (tmp_path / "new/y").read_bytes() == b"y"


def test_links_are_not_followed(tmp_path: Path) -> None:
    """A directory that is a link is refused, a file that is one is replaced."""
    outside = tmp_path / "outside"
    outside.mkdir()
    out = tmp_path / "out"
    out.mkdir()
    (out / "host").symlink_to(outside)
    with pytest.raises(NotRenderable, match="symbolic link"):
        write_tree(out, {"host/x": b"x"})
    (out / "y").symlink_to(outside / "y")
    write_tree(out, {"y": b"y"})

    assert list(outside.iterdir()) == []
    assert not (out / "y").is_symlink()


def test_a_list_cannot_name_files_elsewhere(tmp_path: Path) -> None:
    """Whoever may edit the list may not have other files removed."""
    victim = tmp_path / "victim"
    victim.write_text("here")
    out = tmp_path / "out"
    write_tree(out, {LIST_NAME: f"../victim\n{victim}\n".encode()})
    write_tree(out, {LIST_NAME: b""})

    assert victim.exists()


def test_a_directory_that_cannot_be_written_is_named(tmp_path: Path) -> None:
    """Not a traceback."""
    (tmp_path / "file").write_text("")
    with pytest.raises(NotRenderable, match="file"):
        write_tree(tmp_path / "file", {"x": b""})
