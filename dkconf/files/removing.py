"""Taking away: by the folder that it lies in, and never through a link."""

from __future__ import annotations

import os
import secrets
import shutil
from contextlib import suppress

from dkconf.files.problems import FileProblem
from dkconf.files.writing import opened_place


def remove_file(path: str) -> None:
    """Remove a file or link; nothing happens if there is none, nor a folder that it could lie in.

    Raises:
        FileProblem: The system says no.
    """
    try:
        with opened_place(path, follow=False) as (folder, name):
            os.unlink(name, dir_fd=folder)
    except FileProblem as problem:
        if not isinstance(problem.__cause__, FileNotFoundError):
            raise


def remove_tree(path: str) -> None:
    """Remove a folder and all that is in it, no link followed; what cannot be removed stays."""
    with suppress(FileProblem), opened_place(path, follow=False) as (folder, name):
        remove_all(folder, name)


def remove_all(folder: int, name: str) -> None:
    """Remove a folder in an open one, with all that is in it, no link followed; what cannot be removed stays."""
    # Somebody may have made folders within folders, more than there are calls on a stack.
    with suppress(RecursionError):
        shutil.rmtree(name, ignore_errors=True, dir_fd=folder)


def out_of_the_way(folder: int, name: str) -> None:
    """Free a name in an open folder of what stands there: of a run that was killed, or put there to be in the way.

    Raises:
        OSError: The system says no.
    """
    try:
        os.unlink(name, dir_fd=folder)
    except FileNotFoundError:
        pass
    except (IsADirectoryError, PermissionError):  # which of the two a folder gives differs between kernels
        # Renamed first: what cannot be removed whole is no longer in the way.
        aside = f".{secrets.token_hex(6)}"
        os.rename(name, aside, src_dir_fd=folder, dst_dir_fd=folder)
        remove_all(folder, aside)
