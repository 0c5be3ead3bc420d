"""Writing: whole or not at all, through descriptors of the folders, and never through a link of somebody else's.

A file comes into being beside its place under a name of its own, gets owner and mode before its content, and then
takes its place by one rename. Nothing is ever opened for writing, or given an owner or a mode, by its path.
"""

from __future__ import annotations

import errno
import os
import secrets
import stat
from collections.abc import Iterator
from contextlib import contextmanager, suppress

from dkconf.files.folders import Misled, Way
from dkconf.files.making import NOBODYS, OPEN, Owner, make_folders
from dkconf.files.problems import FileProblem, kind, said
from dkconf.files.reading import given_descriptor

__all__ = ["drafted", "look_in", "make_folders", "opened_place", "place", "write_all", "write_file", "write_given"]

_NEW = os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW | os.O_CLOEXEC
_NO_LINKS = frozenset((errno.EPERM, errno.ENOTSUP, errno.EOPNOTSUPP, errno.ENOSYS, errno.EMLINK))
"""What link(2) says on a file system that has no hard links (FAT, some FUSE)."""


def write_file(
    path: str,
    content: bytes,
    *,
    mode: int | None = None,
    owner: Owner = NOBODYS,
    within: str = "",
    replace: bool = True,
) -> None:
    """Write a file whole; what was there before stays until the new one takes its place.

    Args:
        mode: Exactly this, whatever the umask; None = mode and owner of the file whose place it takes, or else a new
            file as the umask has it.
        owner: Whom the file is given to before it has content.
        within: As for `read_file`.
        replace: False = refuse if anything is there.

    Raises:
        FileExistsError: Something is there, and `replace` is False.
        FileProblem: Something else than a regular file is there, or the system cannot write it; nothing is left behind.
    """
    with opened_place(path, within, replace) as (folder, name):
        if replace:
            old = _regular_or_none(path, folder, name)
            if mode is None and old:
                mode = stat.S_IMODE(old.st_mode) & 0o777
                owner = (old.st_uid, old.st_gid) if os.geteuid() == 0 else owner
        with drafted(folder, name, content, mode, owner) as draft:
            if replace:
                os.rename(draft, name, src_dir_fd=folder, dst_dir_fd=folder)
            else:
                place(folder, draft, name, content)
        _sync(folder)


def write_given(path: str, content: bytes) -> None:
    """Write where the user says on the command line: to a file, to `-`, /dev/stdout or /dev/fd/N, or to /dev/null.

    Raises:
        As `write_file`.
    """
    if path == os.devnull:
        return
    handle = given_descriptor(path, standard=1)
    if handle is None:
        write_file(path, content)
        return
    try:
        write_all(handle, content)
    except OSError as error:
        raise FileProblem(f"{path}: cannot be written ({said(error)})") from error
    finally:
        os.close(handle)


def make_link(path: str, target: str) -> None:
    """Point a symbolic link at `target`; one that is there stays as it is.

    Raises:
        FileProblem: The system says no.
    """
    with suppress(FileExistsError), opened_place(path, follow=False) as (folder, name):
        os.symlink(target, name, dir_fd=folder)


@contextmanager
def drafted(
    folder: int, name: str, content: bytes, mode: int | None, owner: Owner = NOBODYS, *, sync: bool = True
) -> Iterator[str]:
    """Give the name of a complete draft of `name` in an open folder; it is gone again at the end.

    Args:
        mode: None = as the umask has it.
        sync: Wait until its content is on the disk.
    """
    draft = f".{name[:200]}.{secrets.token_hex(6)}"
    handle = os.open(draft, _NEW, 0o666 if mode is None else 0o600, dir_fd=folder)
    try:
        try:
            if owner != NOBODYS:
                os.fchown(handle, *owner)
            if mode is not None:
                os.fchmod(handle, mode)
            write_all(handle, content)
            if sync:
                os.fsync(handle)
        finally:
            os.close(handle)
        yield draft
    finally:
        with suppress(FileNotFoundError):
            os.unlink(draft, dir_fd=folder)


def place(folder: int, draft: str, name: str, content: bytes) -> None:
    """Give a draft its name, which nothing has yet; link(2) is atomic and never replaces.

    Raises:
        FileExistsError: Something has that name.
    """
    try:
        os.link(draft, name, src_dir_fd=folder, dst_dir_fd=folder, follow_symlinks=False)
    except OSError as error:
        if error.errno not in _NO_LINKS:
            raise
        _copy_exclusively(folder, draft, name, content)


def write_all(handle: int, content: bytes) -> None:
    """Write all of `content` to a descriptor."""
    view = memoryview(content)
    while view:
        view = view[os.write(handle, view) :]


def _copy_exclusively(folder: int, draft: str, name: str, content: bytes) -> None:
    handle = os.open(name, _NEW, 0o600, dir_fd=folder)
    try:
        try:
            found = os.stat(draft, dir_fd=folder, follow_symlinks=False)
            if os.geteuid() == 0:
                os.fchown(handle, found.st_uid, found.st_gid)
            os.fchmod(handle, stat.S_IMODE(found.st_mode))
            write_all(handle, content)
            os.fsync(handle)
        finally:
            os.close(handle)
    except BaseException:
        os.unlink(name, dir_fd=folder)
        raise


@contextmanager
def opened_place(path: str, within: str = "", follow: bool = True) -> Iterator[tuple[int, str]]:
    """Give the open folder that a file is to lie in, and its name there; an error of the system names the path."""
    try:
        with Way(path, within) as way:
            name = way.to_last(follow=follow)
            way.check(way.folder)
            folder = os.open(".", OPEN, dir_fd=way.folder)
            try:
                yield folder, name
            finally:
                os.close(folder)
    except Misled as error:
        raise FileProblem(f"{path}: is not written: {error}; name the file itself") from None
    except FileExistsError:
        raise
    except OSError as error:
        raise FileProblem(f"{path}: cannot be written ({said(error)})") from error


def _regular_or_none(path: str, folder: int, name: str) -> os.stat_result | None:
    """Return what is known of the file whose place another takes, None if there is none."""
    found = look_in(folder, name)
    if found and not stat.S_ISREG(found.st_mode):
        raise FileProblem(f"{path}: is {kind(found.st_mode)}; only a regular file is written over")
    return found


def look_in(folder: int, name: str) -> os.stat_result | None:
    try:
        return os.stat(name, dir_fd=folder, follow_symlinks=False)
    except FileNotFoundError:
        return None


def _sync(folder: int) -> None:
    """Have the names in a folder on disk."""
    os.fsync(folder)
