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

from dkconf.apply.steps import Hook, Steps
from dkconf.apply.system import TEMPORARY, SystemProblem, holder_words, said
from dkconf.errors import Locked
from dkconf.files.folders import Misled, open_folder
from dkconf.plan.actual import FileState


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
        try:
            return tuple(sorted(os.listdir(self._real(path))))
        except (FileNotFoundError, NotADirectoryError):
            return ()

    def is_directory(self, path: str) -> bool:
        return os.path.isdir(self._real(path))

    def link(self, path: str) -> str:
        try:
            return os.readlink(self._real(path))
        except (FileNotFoundError, NotADirectoryError):
            return ""
        except OSError as exc:
            if exc.errno == errno.EINVAL:
                return ""
            raise

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
            _out_of_the_way(temporary, folder)
            flags = os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW | os.O_CLOEXEC
            handle = os.open(temporary, flags, 0o600, dir_fd=folder)
            try:
                try:
                    os.fchown(handle, uid, gid)
                    os.fchmod(handle, state.mode)
                    self._copy_xattrs(os.path.join(self._real(os.path.dirname(path)), name), handle)
                    _write_all(handle, state.content)
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
            if not os.path.isdir(self._real(os.path.dirname(path))):
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
            with suppress(FileExistsError):
                uid, gid = self._ids(path, owner, group)
                os.mkdir(name, 0o700, dir_fd=folder)
                handle = os.open(name, os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW, dir_fd=folder)
                try:
                    os.fchown(handle, uid, gid)
                    os.fchmod(handle, mode)
                finally:
                    os.close(handle)
            os.fsync(folder)

    def rmdir(self, path: str) -> None:
        with self.step(f"rmdir:{path}"), suppress(OSError):
            os.rmdir(self._real(path))

    def make_private(self, path: str) -> None:
        if self.is_directory(path):
            return
        with self.step(f"mkdir:{path}"):
            parents = [path]
            while not self.is_directory(parents[-1]):
                parents.append(os.path.dirname(parents[-1]))
            before = os.umask(0o077)
            try:
                os.makedirs(self._real(path), 0o700)
                for parent in parents[1:]:
                    _sync(self._real(parent))
            except OSError as exc:
                raise SystemProblem(f"{self._real(path)}: {said(exc)}") from exc
            finally:
                os.umask(before)

    def remove_tree(self, path: str) -> None:
        if not self.is_directory(path):
            return
        with self.step(f"remove-tree:{path}"):
            try:
                shutil.rmtree(self._real(path))
                _sync(self._real(os.path.dirname(path)))
            except OSError as exc:
                raise SystemProblem(f"{self._real(path)}: {said(exc)}") from exc

    def symlink(self, path: str, target: str) -> None:
        with self.step(f"symlink:{path}"), self._parent(path) as (folder, name):
            temporary = f".{name}{TEMPORARY}"
            _out_of_the_way(temporary, folder)
            os.symlink(target, temporary, dir_fd=folder)
            os.rename(temporary, name, src_dir_fd=folder, dst_dir_fd=folder)
            os.fsync(folder)

    def clean(self, path: str) -> None:
        directory, name = os.path.split(self._real(path))
        temporary = f".{name}{TEMPORARY}"
        # Looked for first: on a read-only file system even a name that is not there cannot be unlinked.
        if os.path.lexists(os.path.join(directory, temporary)):
            with self._parent(path) as (folder, _):
                _out_of_the_way(temporary, folder)

    @contextmanager
    def lock(self, path: str, holder: dict[str, Any]) -> Iterator[None]:
        # flock and not a file that exists: the kernel drops it when the holder dies, however it dies.
        handle = os.open(self._real(path), os.O_RDWR | os.O_CREAT | os.O_NOFOLLOW | os.O_CLOEXEC, 0o600)
        try:
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
    def _parent(self, path: str) -> Iterator[tuple[int, str]]:
        real = self._real(path)
        directory, name = os.path.split(real)
        try:
            folder = open_folder(directory)
        except Misled as exc:
            raise SystemProblem(f"{real}: {exc}; remove it") from None
        except OSError as exc:
            raise SystemProblem(f"{directory}: {said(exc)}") from exc
        try:
            yield folder, name
        except OSError as exc:
            raise SystemProblem(f"{real}: {said(exc)}") from exc
        finally:
            os.close(folder)

    def _state(self, path: str, *, content: bool) -> FileState | None:
        real = self._real(path)
        try:
            folder = open_folder(os.path.dirname(real), to_pass=True)
            try:
                flags = os.O_RDONLY | os.O_NOFOLLOW | os.O_CLOEXEC | os.O_NONBLOCK
                handle = os.open(os.path.basename(real), flags, dir_fd=folder)
            finally:
                os.close(folder)
        except (FileNotFoundError, NotADirectoryError):
            return None
        except Misled as exc:
            raise SystemProblem(f"{real}: {exc}; remove it") from None
        except OSError as exc:
            if exc.errno == errno.ELOOP:
                raise SystemProblem(
                    f"{real}: a symbolic link; name the file it points at under hosts.HOST.paths"
                ) from None
            raise SystemProblem(f"{real}: {said(exc)}") from exc
        info = os.fstat(handle)
        if not stat.S_ISREG(info.st_mode):
            os.close(handle)
            raise SystemProblem(f"{real}: not a regular file")
        with os.fdopen(handle, "rb") as source:
            return FileState(
                content=source.read() if content else b"",
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
            with open(os.path.join(self.root, "etc", table), encoding="utf-8", errors="replace") as source:
                rows = [line.split(":") for line in source]
        except OSError:
            return {}
        return {row[0]: int(row[2]) for row in rows if len(row) > 2 and row[2].isdigit()}

    @staticmethod
    def _copy_xattrs(source: str, handle: int) -> None:
        """Carry SELinux labels and access lists over to the file that takes the old one's place."""
        try:
            names = os.listxattr(source, follow_symlinks=False)
        except (OSError, AttributeError):
            return  # no such file yet, or no extended attributes on this platform
        for name in names:
            with suppress(OSError):
                os.setxattr(handle, name, os.getxattr(source, name, follow_symlinks=False))


def _out_of_the_way(temporary: str, folder: int) -> None:
    """Remove what stands at the name of a temporary file: of a run that was killed, or put there to be in the way."""
    try:
        os.unlink(temporary, dir_fd=folder)
    except FileNotFoundError:
        pass
    except (IsADirectoryError, PermissionError):  # which of the two a folder gives differs between kernels
        shutil.rmtree(temporary, dir_fd=folder)


def _sync(directory: str) -> None:
    """Have the names in a directory on disk."""
    handle = os.open(directory, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
    try:
        os.fsync(handle)
    finally:
        os.close(handle)


def _write_all(handle: int, content: bytes) -> None:
    view = memoryview(content)
    while view:
        view = view[os.write(handle, view) :]
