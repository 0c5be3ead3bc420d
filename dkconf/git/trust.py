"""Who else could change what git does in a repository: everybody who may write to it, or to a folder above it.

Whoever can rename a folder above a repository can put another in its place between two looks at it. So the question
is asked of every folder from / down, each opened below the one before, and where the answer is "only root" nobody is
left who could change it afterwards. A repository of root's own is looked through to its last file: its settings name
programs, and git follows what lies in it.
"""

from __future__ import annotations

import os
import pwd
import re
import stat
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass

NOBODY = 65534
"""A user and a group that own nothing."""
LINKS = 40
"""As many as the kernel follows."""
MAX_NAME_OCTETS = 64 * 1024
"""Of a file that names folders (.git, commondir, alternates) or of a configuration; more is not read."""

_FOLDER = getattr(os, "O_PATH", os.O_RDONLY) | os.O_NOFOLLOW | os.O_CLOEXEC
_READ = os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC
_INCLUDES = re.compile(rb"\[\s*include", re.IGNORECASE)

Writer = tuple[str, int]
"""("user", uid), ("group", gid) or ("all", 0): others than root who may change something."""


class Untold(OSError):
    """The repository's folders change while they are looked at, or cannot be looked at."""


@dataclass(frozen=True, slots=True)
class Identity:
    """Who git runs as."""

    uid: int
    gid: int


def identity(writers: set[Writer]) -> Identity | None:
    """Return who git has to run as when root asks: the only other writer, or nobody; None = root itself.

    A user's own first group counts as the user.
    """
    if not writers:
        return None
    users = [number for kind, number in writers if kind == "user"]
    if len(users) != 1:
        return Identity(NOBODY, NOBODY)
    gid = NOBODY
    with suppress(KeyError):
        gid = pwd.getpwuid(users[0]).pw_gid
    return Identity(users[0], gid) if writers <= {("user", users[0]), ("group", gid)} else Identity(NOBODY, NOBODY)


class Look:
    """One look at a repository; `writers` are the others who may write to what was seen."""

    def __init__(self) -> None:
        self.writers: set[Writer] = set()

    def repository(self, top: str) -> int:
        """Look at the repository whose work tree is `top`; return a handle of `top`, the caller's to close.

        What is in a file is read only while nobody else was found: it says where to look on, and others could have
        put there the name of anything.

        Raises:
            OSError: Something in it changes meanwhile, or is not what git makes.
        """
        handle = self.open(top)
        try:
            with closing_handle(self.open(f"{top}/.git")) as git:
                self._settings(git)
                apart = not stat.S_ISDIR(os.fstat(git).st_mode)
            if not self.writers:
                self._whole(handle)
            folders = [f"{top}/.git"]
            if apart and not self.writers:
                folders = [os.path.join(top, self._named(folders[0], "gitdir:"))]
            for folder in folders:
                if not self.writers:
                    folders += self._git_folder(folder)
            return handle
        except BaseException:
            os.close(handle)
            raise

    def _git_folder(self, path: str) -> list[str]:
        """Look through a folder of git's own; return the one that it shares with others, if it does."""
        with closing_handle(self.open(path)) as handle:
            self._settings(handle)
            self._whole(handle)
        if self.writers:
            return []
        for name in ("config", "config.worktree", "objects/info/alternates"):
            with suppress(FileNotFoundError):
                content = _read(f"{path}/{name}")
                if _INCLUDES.search(content) if name.startswith("config") else content.strip():
                    # Git would follow it to files that nobody has looked at.
                    self.writers.add(("all", 0))
        with suppress(FileNotFoundError):
            return [os.path.join(path, self._named(f"{path}/commondir", ""))]
        return []

    def _named(self, file: str, word: str) -> str:
        """Return the folder that the first line of a file names behind `word`."""
        line = os.fsdecode(_read(file).partition(b"\n")[0])
        if not line.startswith(word):
            raise Untold(f"{file}: not what git makes")
        return line.removeprefix(word).strip()

    def _settings(self, git: int) -> None:
        """Note who can change what says which programs git runs."""
        if not stat.S_ISDIR(os.fstat(git).st_mode):
            return
        for name in ("config", "config.worktree", "commondir"):
            with suppress(FileNotFoundError), closing_handle(os.open(name, _FOLDER, dir_fd=git)) as handle:
                self._itself(os.fstat(handle))

    def open(self, path: str) -> int:
        """Open a folder or file by its absolute path, each folder below the one before; links are followed."""
        left = [part for part in path.split("/") if part][::-1]
        links = 0
        stack = [os.open("/", _FOLDER)]
        try:
            self._inside(os.fstat(stack[-1]), None)
            while left:
                name = left.pop()
                if name == ".":
                    continue
                if name == "..":
                    if len(stack) > 1:
                        os.close(stack.pop())
                    continue
                entry = os.open(name, _FOLDER, dir_fd=stack[-1])
                info = os.fstat(entry)
                self._inside(os.fstat(stack[-1]), info)
                if stat.S_ISLNK(info.st_mode):
                    links += 1
                    target = _target(entry, name, stack[-1])
                    os.close(entry)
                    if links > LINKS:
                        raise Untold(f"{path}: too many links")
                    if target.startswith("/"):
                        while len(stack) > 1:
                            os.close(stack.pop())
                    left += [part for part in target.split("/") if part][::-1]
                    continue
                stack.append(entry)
            self._itself(os.fstat(stack[-1]))
            return stack.pop()
        finally:
            for handle in stack:
                os.close(handle)

    def _inside(self, folder: os.stat_result, entry: os.stat_result | None) -> None:
        """Note who can put something else in the place of an entry; None = of the root, which nobody can."""
        if folder.st_uid != 0:
            self.writers.add(("user", folder.st_uid))
        if entry is not None and folder.st_mode & stat.S_ISVTX:
            # In a sticky folder an entry can be renamed by its owner and the folder's alone.
            if folder.st_mode & (stat.S_IWGRP | stat.S_IWOTH) and entry.st_uid != 0:
                self.writers.add(("user", entry.st_uid))
            return
        self._mode(folder)

    def _itself(self, info: os.stat_result) -> None:
        """Note who can change a file's content, or put something into a folder."""
        if info.st_uid != 0:
            self.writers.add(("user", info.st_uid))
        self._mode(info)

    def _mode(self, info: os.stat_result) -> None:
        # Of an access list the group's bits are the mask: even where the group is root's they may speak of others.
        if info.st_mode & stat.S_IWGRP:
            self.writers.add(("group", info.st_gid))
        if info.st_mode & stat.S_IWOTH:
            self.writers.add(("all", 0))

    def _whole(self, folder: int) -> None:
        """Note everybody who can change anything below a folder of root's; others' folders are not entered."""
        with closing_handle(os.open(".", os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC, dir_fd=folder)) as handle:
            here = os.fstat(handle)
            self._itself(here)
            with os.scandir(handle) as entries:
                found = [(entry.name, entry.stat(follow_symlinks=False)) for entry in entries]
            # Whoever could put another entry in the place of one of these by now was found with the folder itself.
            for name, info in found:
                if stat.S_ISLNK(info.st_mode):
                    self._inside(here, info)
                    continue
                self._itself(info)
                if stat.S_ISDIR(info.st_mode) and info.st_uid == 0:
                    with closing_handle(os.open(name, _FOLDER, dir_fd=handle)) as below:
                        self._whole(below)


@contextmanager
def closing_handle(handle: int) -> Iterator[int]:
    """Close a handle at the end."""
    try:
        yield handle
    finally:
        os.close(handle)


def _target(entry: int, name: str, folder: int) -> str:
    """Return what the very link that was looked at points to."""
    with suppress(OSError):
        return os.readlink("", dir_fd=entry)  # Linux: of the handle itself
    return os.readlink(name, dir_fd=folder)


def _read(path: str) -> bytes:
    """Return a small regular file, in a folder that only root can change."""
    with closing_handle(os.open(path, _READ)) as handle:
        info = os.fstat(handle)
        if not stat.S_ISREG(info.st_mode) or info.st_size > MAX_NAME_OCTETS:
            raise Untold(f"{path}: not what git makes")
        return os.read(handle, MAX_NAME_OCTETS)
