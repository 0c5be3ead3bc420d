"""The host's files on disk: `RealSystem`, the only code that writes them."""

from __future__ import annotations

import errno
import fcntl
import grp
import json
import os
import pwd
import shutil
import stat
from collections.abc import Iterator
from contextlib import AbstractContextManager, contextmanager, suppress
from typing import Any

from dkconf.errors import Locked
from dkconf.files.folders import LINK_ERRORS, Misled, folders_above, holds, open_folder, others_write
from dkconf.files.making import make_folders, new_folder
from dkconf.files.problems import FileProblem, kind
from dkconf.files.reading import read_file, read_handle, refuse_others
from dkconf.files.removing import out_of_the_way
from dkconf.files.writing import write_all
from dkconf.host.steps import Hook, Steps
from dkconf.host.system import TEMPORARY, SystemProblem, holder_words, said
from dkconf.plan.actual import FileState

_READ = os.O_RDONLY | os.O_NOFOLLOW | os.O_CLOEXEC | os.O_NONBLOCK
MAX_OCTETS = 512 * 1024 * 1024
"""Of a file in a folder of root's: the manifest of a host with 10,000 domains takes 22 MB, a journal holds two of them,
and the largest inventory has 80,000."""
MAX_OTHERS_OCTETS = 16 * 1024 * 1024
"""Of a file in a folder that others can write, as /etc/mail is on Debian: as much as m4 may write for a .cf."""


class RealSystem:
    """Files below `root`, with the durability that a crash asks for."""

    def __init__(self, root: str = "/", hook: Hook | None = None) -> None:
        self.root = os.path.abspath(root)
        self._steps = Steps(hook)

    def step(self, name: str) -> AbstractContextManager[None]:
        return self._steps.step(name)

    # reading

    def read(self, path: str) -> FileState | None:
        return self._state(path, content=True)

    def attributes(self, path: str) -> FileState | None:
        return self._state(path, content=False)

    def listdir(self, path: str) -> tuple[str, ...]:
        handle = self._folder(path, to_pass=False)
        if handle < 0:
            return ()
        try:
            return tuple(sorted(os.listdir(handle)))
        finally:
            os.close(handle)

    def is_directory(self, path: str) -> bool:
        try:
            handle = self._folder(path)
        except SystemProblem as exc:
            if isinstance(exc.__cause__, PermissionError):
                return False
            raise
        if handle >= 0:
            os.close(handle)
        return handle >= 0

    def link(self, path: str) -> str:
        real = self._real(path)
        folder = self._folder(os.path.dirname(path) or "/")
        if folder < 0:
            return ""
        try:
            return os.readlink(os.path.basename(real), dir_fd=folder)
        except FileNotFoundError:
            return ""
        except OSError as exc:
            if exc.errno == errno.EINVAL:
                return ""
            raise SystemProblem(f"{real}: {said(exc)}") from exc
        finally:
            os.close(folder)

    def unsafe(self, path: str) -> str:
        if os.geteuid() != 0:
            return ""
        real = self._real(path)
        for folder, found in folders_above(f"{real}/x", self.root):
            if isinstance(found, OSError) or others_write(found):
                return (
                    f"{folder}: others than root can write there, but what dkconf keeps in {real} must be root's "
                    f"alone; chown root {folder} and chmod go-w {folder}, or set paths.state_dir"
                )
        return ""

    def known_user(self, name: str) -> bool:
        return self._id(name, "passwd", missing=-1) != -1

    def known_group(self, name: str) -> bool:
        return self._id(name, "group", missing=-1) != -1

    def real_path(self, path: str) -> str:
        return self._real(path)

    # changing

    def write(self, path: str, state: FileState) -> None:
        with self.step(f"write:{path}"), self._parent(path) as (folder, name):
            uid, gid = self._ids(path, state.owner, state.group)
            temporary = f".{name}{TEMPORARY}"
            out_of_the_way(folder, temporary)
            flags = os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW | os.O_CLOEXEC
            handle = os.open(temporary, flags, 0o600, dir_fd=folder)
            try:
                try:
                    os.fchown(handle, uid, gid)
                    os.fchmod(handle, state.mode)
                    _copy_xattrs(folder, name, handle)
                    write_all(handle, state.content)
                    if state.mtime_ns:
                        os.utime(handle, ns=(state.mtime_ns, state.mtime_ns))
                    os.fsync(handle)
                finally:
                    os.close(handle)
                os.rename(temporary, name, src_dir_fd=folder, dst_dir_fd=folder)
            except BaseException:
                with suppress(OSError):
                    os.unlink(temporary, dir_fd=folder)
                raise
            os.fsync(folder)

    def set_attributes(self, path: str, mode: int, owner: str, group: str) -> None:
        with self.step(f"attributes:{path}"), self._parent(path) as (folder, name):
            uid, gid = self._ids(path, owner, group)
            flags = os.O_RDONLY | os.O_NOFOLLOW | os.O_CLOEXEC | os.O_NONBLOCK
            handle = os.open(name, flags, dir_fd=folder)
            try:
                refuse_others(self._real(path), handle, folder)
                # A second name could be that of a private file, put here for us to give it a wider mode.
                if os.fstat(handle).st_nlink > 1:
                    raise SystemProblem(f"{self._real(path)}: has a second name (hard link); remove that first")
                os.fchown(handle, uid, gid)
                os.fchmod(handle, mode)
                os.fsync(handle)
            finally:
                os.close(handle)

    def remove(self, path: str) -> None:
        with self.step(f"remove:{path}"):
            if not self.is_directory(os.path.dirname(path)):
                return
            with self._parent(path) as (folder, name):
                with suppress(FileNotFoundError):
                    os.unlink(name, dir_fd=folder)
                os.fsync(folder)

    def rename(self, path: str, to: str) -> None:
        with self.step(f"rename:{path}"), self._parent(path) as (folder, name):
            os.rename(name, to.rpartition("/")[2], src_dir_fd=folder, dst_dir_fd=folder)
            os.fsync(folder)

    def mkdir(self, path: str, mode: int, owner: str, group: str) -> None:
        with self.step(f"mkdir:{path}"), self._parent(path) as (folder, name):
            if not holds(folder, name):
                handle = new_folder(folder, name, mode, self._ids(path, owner, group))
                if handle is not None:
                    os.close(handle)
            os.fsync(folder)

    def rmdir(self, path: str) -> None:
        with self.step(f"rmdir:{path}"), suppress(SystemProblem), self._parent(path) as (folder, name):
            os.rmdir(name, dir_fd=folder)

    def make_private(self, path: str) -> None:
        if self.is_directory(path):
            return
        with self.step(f"mkdir:{path}"):
            real = self._real(path)
            try:
                made = make_folders(real, mode=0o700)
            except FileProblem as exc:
                raise SystemProblem(str(exc)) from exc
            for each in made:
                self._sync(os.path.dirname(each))

    def remove_tree(self, path: str) -> None:
        if not self.is_directory(path):
            return
        with self.step(f"remove-tree:{path}"), self._parent(path) as (folder, name):
            shutil.rmtree(name, dir_fd=folder)
            os.fsync(folder)

    def symlink(self, path: str, target: str) -> None:
        with self.step(f"symlink:{path}"), self._parent(path) as (folder, name):
            temporary = f".{name}{TEMPORARY}"
            out_of_the_way(folder, temporary)
            os.symlink(target, temporary, dir_fd=folder)
            os.rename(temporary, name, src_dir_fd=folder, dst_dir_fd=folder)
            os.fsync(folder)

    def clean(self, path: str) -> None:
        if not self.is_directory(os.path.dirname(path)):
            return
        with self._parent(path, to_pass=True) as (folder, name):
            temporary = f".{name}{TEMPORARY}"
            # Looked for first: on a read-only file system even a name that is not there cannot be unlinked.
            if holds(folder, temporary):
                out_of_the_way(folder, temporary)

    @contextmanager
    def lock(self, path: str, holder: dict[str, Any]) -> Iterator[None]:
        # flock and not a file that exists: the kernel drops it when the holder dies, however it dies.
        flags = os.O_RDWR | os.O_CREAT | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC
        with self._parent(path) as (folder, name):
            handle = os.open(name, flags, 0o600, dir_fd=folder)
        try:
            if not stat.S_ISREG(os.fstat(handle).st_mode):
                raise SystemProblem(f"{self._real(path)}: is {kind(os.fstat(handle).st_mode)}; remove it")
            try:
                fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
            except BlockingIOError:
                raise Locked(holder_words(path, os.pread(handle, 4096, 0))) from None
            os.ftruncate(handle, 0)
            os.pwrite(handle, json.dumps(holder).encode(), 0)
            yield
        finally:
            os.close(handle)

    # helpers

    def _real(self, path: str) -> str:
        """Return the path on this machine, refusing one that leaves the root by a link or by dots."""
        if not path.startswith("/") or "/../" in path + "/":
            raise SystemProblem(f"{path}: not an absolute path of the host")
        if self.root == "/":
            return path
        real = self.root + path
        parent = os.path.realpath(os.path.dirname(real))
        if parent != self.root and not parent.startswith(self.root + "/"):
            raise SystemProblem(f"{path}: a link leads out of {self.root}, to {parent}")
        return real

    @contextmanager
    def _parent(self, path: str, *, to_pass: bool = False) -> Iterator[tuple[int, str]]:
        real = self._real(path)
        directory, name = os.path.split(real)
        try:
            folder = open_folder(directory, to_pass=to_pass)
        except Misled as exc:
            raise SystemProblem(f"{real}: {exc}; remove it") from None
        except OSError as exc:
            raise SystemProblem(f"{directory}: {said(exc)}") from exc
        try:
            yield folder, name
        except FileProblem as exc:
            raise SystemProblem(str(exc)) from exc
        except OSError as exc:
            raise SystemProblem(f"{real}: {said(exc)}") from exc
        finally:
            os.close(folder)

    def _folder(self, path: str, *, to_pass: bool = True) -> int:
        """Return a handle of a folder, -1 if there is none."""
        real = self._real(path)
        try:
            return open_folder(real, to_pass=to_pass)
        except Misled as exc:
            raise SystemProblem(f"{real}: {exc}; remove it") from None
        except (FileNotFoundError, NotADirectoryError):
            return -1
        except OSError as exc:
            raise SystemProblem(f"{real}: {said(exc)}") from exc

    def _sync(self, real: str) -> None:
        """Have the names in a directory on disk."""
        handle = open_folder(real)
        try:
            os.fsync(handle)
        finally:
            os.close(handle)

    def _state(self, path: str, *, content: bool) -> FileState | None:
        real = self._real(path)
        folder = self._folder(os.path.dirname(path) or "/")
        if folder < 0:
            return None
        handle = -1
        try:
            handle = os.open(os.path.basename(real), _READ, dir_fd=folder)
            # Of a private key only owner and mode are looked at: it may be closed to whoever owns its folder.
            refuse_others(real, handle, folder, closed=not content)
            limit = MAX_OTHERS_OCTETS if others_write(os.fstat(folder)) else MAX_OCTETS
            octets = read_handle(handle, real, limit) if content else b""
            return self._file_state(os.fstat(handle), octets)
        except FileNotFoundError:
            return None
        except FileProblem as exc:
            raise SystemProblem(str(exc)) from exc
        except OSError as exc:
            if exc.errno in LINK_ERRORS:
                raise SystemProblem(
                    f"{real}: a symbolic link; name the file it points at under hosts.HOST.paths"
                ) from None
            raise SystemProblem(f"{real}: {said(exc)}") from exc
        finally:
            os.close(folder)
            if handle >= 0:
                os.close(handle)

    def _file_state(self, info: os.stat_result, content: bytes) -> FileState:
        return FileState(
            content=content,
            mode=stat.S_IMODE(info.st_mode),
            owner=self._name(info.st_uid, "passwd"),
            group=self._name(info.st_gid, "group"),
            mtime_ns=info.st_mtime_ns,
        )

    def _ids(self, path: str, owner: str, group: str) -> tuple[int, int]:
        return self._id(owner, "passwd", path), self._id(group, "group", path)

    def _id(self, name: str, table: str, path: str = "", missing: int | None = None) -> int:
        """Return the number of a user or group; `missing`, where given, if there is none."""
        if name.isdigit():
            return int(name)
        if self.root != "/":
            found = self._table(table).get(name)
            if found is not None:
                return found
        if self.root == "/" or not self._table(table):
            with suppress(KeyError):
                return pwd.getpwnam(name).pw_uid if table == "passwd" else grp.getgrnam(name).gr_gid
        if missing is not None:
            return missing
        if self.root != "/":
            # Files only: the user comes into being when the tree is booted and applied there.
            return os.geteuid() if table == "passwd" else os.getegid()
        word = "user" if table == "passwd" else "group"
        raise SystemProblem(f'{path}: no {word} "{name}" on this host')

    def _name(self, number: int, table: str) -> str:
        if self.root != "/":
            for name, known in self._table(table).items():
                if known == number:
                    return name
        if self.root == "/" or not self._table(table):
            with suppress(KeyError):
                return pwd.getpwuid(number).pw_name if table == "passwd" else grp.getgrgid(number).gr_name
        return str(number)

    def _table(self, table: str) -> dict[str, int]:
        """Return names and numbers of the other root's passwd or group; {} if it has none."""
        try:
            text = read_file(os.path.join(self.root, "etc", table), limit=MAX_OCTETS).decode("utf-8", "replace")
        except (FileProblem, FileNotFoundError):
            return {}
        rows = [line.split(":") for line in text.split("\n")]
        return {row[0]: int(row[2]) for row in rows if len(row) > 2 and row[2].isdigit()}


def _copy_xattrs(folder: int, name: str, handle: int) -> None:
    """Carry SELinux labels and access lists over to the file that takes the old one's place.

    Not those of somebody else's file: his access list would let him at the new one.
    """
    if not hasattr(os, "listxattr"):
        return
    try:
        old = os.open(name, _READ, dir_fd=folder)
    except OSError:
        return  # no such file yet
    try:
        if os.fstat(old).st_uid in (0, os.geteuid(), os.fstat(handle).st_uid):
            for label in os.listxattr(old):
                with suppress(OSError):
                    os.setxattr(handle, label, os.getxattr(old, label))
    except OSError:
        return
    finally:
        os.close(old)
