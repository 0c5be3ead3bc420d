"""Many files below one folder, which is opened once: reading or writing ten thousand is no slower than by path."""

from __future__ import annotations

import os
import stat
from collections.abc import Collection, Iterator
from contextlib import contextmanager, suppress

from dkconf.files.folders import CHECKOUT, LINK_ERRORS, TO_LIST, TO_PASS, holds, open_folder
from dkconf.files.looking import list_folder
from dkconf.files.making import opened_folder
from dkconf.files.problems import FileProblem, said
from dkconf.files.reading import FLAGS, read_file, read_handle, regular, told
from dkconf.files.writing import drafted


class Tree:
    """Many files below one folder, which is opened once: reading ten thousand is no slower than by their paths."""

    def __init__(self, path: str, within: str = CHECKOUT) -> None:
        """Remember where; nothing is opened yet."""
        self.path, self._within = path, within
        self._handle = -1

    def read(self, folder: str, name: str, *, limit: int) -> bytes:
        """Return the content of `folder/name`, each of them one part of a path.

        Raises:
            As `read_file`.
        """
        path = f"{self.path}/{folder}/{name}"
        with told(path):
            if self._handle < 0:
                self._handle = open_folder(self.path, to_pass=True, within=self._within)
            try:
                below = os.open(folder, TO_PASS, dir_fd=self._handle)
            except NotADirectoryError:  # a link, or a file: the whole way knows which
                return read_file(path, limit=limit, within=self._within)
            try:
                handle = regular(path, os.open(name, FLAGS, dir_fd=below), below)
            except OSError as error:
                if error.errno not in LINK_ERRORS:
                    raise
                return read_file(path, limit=limit, within=self._within)
            finally:
                os.close(below)
        try:
            return read_handle(handle, path, limit)
        finally:
            os.close(handle)

    def names(self, folder: str) -> tuple[str, ...]:
        """Return the names in one of its folders ("" = in itself), sorted; none in what is no folder.

        Raises:
            As `list_folder`.
        """
        path = f"{self.path}/{folder}" if folder else self.path
        with told(path):
            if self._handle < 0:
                self._handle = open_folder(self.path, to_pass=True, within=self._within)
            try:
                handle = os.open(folder or ".", TO_LIST, dir_fd=self._handle)
            except NotADirectoryError:
                return list_folder(path, within=self._within)
            try:
                return tuple(sorted(os.listdir(handle)))
            finally:
                os.close(handle)

    def __del__(self) -> None:
        if self._handle >= 0:
            os.close(self._handle)


def read_below(
    path: str, *, limit: int, leave_out: Collection[str] = (), closed: bool = False
) -> dict[str, bytes | FileProblem]:
    """Return every file below a folder by its relative path; for what is not read, why. No link below is followed.

    Args:
        leave_out: Names of folders that are not looked into.
        closed: As for `read_file`.

    Raises:
        As `list_folder`.
    """
    found: dict[str, bytes | FileProblem] = {}
    with told(path):
        top = open_folder(path)
        try:
            for base, folders, names, handle in os.fwalk(".", dir_fd=top):
                links = [n for n in folders if stat.S_ISLNK(os.stat(n, dir_fd=handle, follow_symlinks=False).st_mode)]
                folders[:] = sorted(n for n in folders if n not in leave_out and n not in links)
                for name in sorted((*names, *(n for n in links if n not in leave_out))):
                    relative = os.path.normpath(f"{base}/{name}")
                    found[relative] = _read_in(handle, name, f"{path}/{relative}", limit, closed)
        except RecursionError:
            raise FileProblem(f"{path}: has folders within folders without end; take them away") from None
        finally:
            os.close(top)
    return found


def _read_in(folder: int, name: str, path: str, limit: int, closed: bool) -> bytes | FileProblem:
    try:
        with told(path):
            handle = regular(path, os.open(name, FLAGS, dir_fd=folder), folder, closed)
        try:
            return read_handle(handle, path, limit)
        finally:
            os.close(handle)
    except FileNotFoundError:
        return FileProblem(f"{path}: is gone again")
    except FileProblem as problem:
        return problem


class Below:
    """Many files below one folder, none of them through a link; use it in `with`.

    Nothing waits for the disk: what is written here can be made again.
    """

    def __init__(self, top: str) -> None:
        """Open the folder.

        Raises:
            FileProblem: It cannot be opened.
        """
        self._top = top
        self._handle = opened_folder(top, "")
        self._last: tuple[str, int] = ("", self._handle)

    def __enter__(self) -> Below:
        return self

    def __exit__(self, *_: object) -> None:
        self._leave()
        os.close(self._handle)

    def write(self, path: str, content: bytes) -> None:
        """Make a file hold `content`, and the folders on the way; one that holds it already stays as it is.

        Raises:
            FileProblem: A folder on the way is a link, or the system says no.
        """
        base, _, name = path.rpartition("/")
        with self._told(path):
            folder = self._folder(base, make=True)
            if _same(folder, name, content):
                return
            with drafted(folder, name, content, None, sync=False) as draft:
                os.rename(draft, name, src_dir_fd=folder, dst_dir_fd=folder)

    def remove(self, path: str) -> None:
        """Remove a file and the folders that it leaves empty.

        Raises:
            As `write`.
        """
        base, _, name = path.rpartition("/")
        with self._told(path), suppress(FileNotFoundError):
            os.unlink(name, dir_fd=self._folder(base))
            while base:
                base, _, name = base.rpartition("/")
                try:
                    os.rmdir(name, dir_fd=self._folder(base))
                except OSError:
                    return

    def _folder(self, base: str, *, make: bool = False) -> int:
        """Return the handle of a folder below the top, open until another one is asked for."""
        if self._last[0] != base:
            self._leave()
            handle = os.open(".", TO_PASS, dir_fd=self._handle)
            try:
                for name in filter(None, base.split("/")):
                    if make and not holds(handle, name):
                        with suppress(FileExistsError):
                            os.mkdir(name, dir_fd=handle)
                    try:
                        below = os.open(name, TO_PASS, dir_fd=handle)
                    except NotADirectoryError:
                        what = f"{name} is a symbolic link, or no folder"
                        raise FileProblem(f"{self._top}/{base}: {what}; remove it, or write elsewhere") from None
                    os.close(handle)
                    handle = below
            except BaseException:
                os.close(handle)
                raise
            self._last = (base, handle)
        return self._last[1]

    def _leave(self) -> None:
        if self._last[1] != self._handle:
            os.close(self._last[1])
        self._last = ("", self._handle)

    @contextmanager
    def _told(self, path: str) -> Iterator[None]:
        try:
            yield
        except OSError as error:
            raise FileProblem(f"{self._top}/{path}: cannot be written ({said(error)})") from error


def _same(folder: int, name: str, content: bytes) -> bool:
    try:
        handle = os.open(name, os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC, dir_fd=folder)
    except OSError:
        return False
    try:
        found = os.fstat(handle)
        if not stat.S_ISREG(found.st_mode) or found.st_size != len(content):
            return False
        return read_handle(handle, name, len(content)) == content
    except FileProblem:
        return False
    finally:
        os.close(handle)
