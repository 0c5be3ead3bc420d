"""A tree of somebody else's, in which root works."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

SOMEBODY = 12345
ANOTHER = 12346
needs_root = pytest.mark.skipif(os.geteuid() != 0, reason="gives files to other users")


def give(path: Path, uid: int = SOMEBODY) -> Path:
    os.chown(path, uid, uid, follow_symlinks=False)
    return path


def folder(path: Path, uid: int = SOMEBODY) -> Path:
    path.mkdir()
    return give(path, uid)


def file(path: Path, content: str = "his\n", uid: int = SOMEBODY, mode: int = 0o644) -> Path:
    path.write_text(content)
    path.chmod(mode)
    return give(path, uid)


def link(path: Path, target: object, uid: int = SOMEBODY) -> Path:
    path.symlink_to(str(target))
    return give(path, uid)


@pytest.fixture
def tree(tmp_path: Path) -> Path:
    """Somebody's checkout, below a folder that only we can write; a secret of root's lies beside it."""
    file(tmp_path / "secret", "root:x\n", os.geteuid(), 0o600)
    if os.geteuid():
        return tmp_path
    return folder(tmp_path / "tree")
