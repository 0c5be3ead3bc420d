"""What is there: names, owners, modes, and kinds. Whoever opens it later may meet another thing."""

from __future__ import annotations

import os

from dkconf.files.folders import Way, open_folder
from dkconf.files.reading import told


def list_folder(path: str, *, within: str = "") -> tuple[str, ...]:
    """Return the names in a folder, sorted.

    Raises:
        FileProblem: It cannot be listed, or is reached by a link that is not followed.
        FileNotFoundError: There is no such folder.
    """
    with told(path):
        handle = open_folder(path, within=within)
        try:
            return tuple(sorted(os.listdir(handle)))
        finally:
            os.close(handle)


def folder_info(path: str, *, within: str = "") -> os.stat_result:
    """Return what is known of a folder: owner and mode.

    Raises:
        As `list_folder`.
    """
    with told(path):
        handle = open_folder(path, to_pass=True, within=within)
        try:
            return os.fstat(handle)
        finally:
            os.close(handle)


def look(path: str, *, within: str = "") -> os.stat_result | None:
    """Return what is known of a file, folder or link itself; None if nothing is there.

    For words and choices only: what is then opened may be another thing.

    Raises:
        FileProblem: The way there has a link that is not followed, or is closed to us.
    """
    try:
        with told(path), Way(path, within) as way:
            try:
                name = way.to_last(follow=False)
            except IsADirectoryError:
                return os.fstat(way.folder)
            return os.stat(name, dir_fd=way.folder, follow_symlinks=False)
    except FileNotFoundError:
        return None


def known(path: str) -> os.stat_result | None:
    """Return what is known of what a path leads to, None if that is nothing: for words and choices only."""
    try:
        return os.stat(path)
    except OSError:
        return None


def is_folder(path: str) -> bool:
    """Return whether a path leads to a folder, by whatever links: for words and choices only."""
    return os.path.isdir(path)


def is_file(path: str) -> bool:
    """Return whether a path leads to a regular file, by whatever links: for words and choices only."""
    return os.path.isfile(path)


def is_there(path: str) -> bool:
    """Return whether a path leads anywhere: for words and choices only."""
    return os.path.exists(path)


def may_read(path: str) -> bool:
    """Return whether a path leads to what we may read: for words and choices only."""
    return os.access(path, os.R_OK)


def may_write(path: str) -> bool:
    """Return whether a path leads to what we may write to: for words and choices only."""
    return os.access(path, os.W_OK)


def may_run(path: str) -> bool:
    """Return whether a path leads to what we may execute: for words and choices only."""
    return os.access(path, os.X_OK)
