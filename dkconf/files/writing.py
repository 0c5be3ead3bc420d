"""Writing: whole or not at all, through descriptors of the folders, and never through a link of somebody else's.

A file comes into being beside its place under a name of its own, gets owner and mode before its content, and then
takes its place by one rename. Nothing is ever opened for writing, or given an owner or a mode, by its path.
"""

from __future__ import annotations

import errno
import os
import secrets
import shutil
import stat
from collections.abc import Iterator
from contextlib import contextmanager, suppress

from dkconf.files.folders import LINK_ERRORS, TO_PASS, Misled, Way, holds
from dkconf.files.problems import FileProblem, kind, said
from dkconf.files.reading import given_descriptor, read_handle

_NEW = os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW | os.O_CLOEXEC
_OPEN = os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW | os.O_CLOEXEC
_NO_LINKS = frozenset((errno.EPERM, errno.ENOTSUP, errno.EOPNOTSUPP, errno.ENOSYS, errno.EMLINK))
"""What link(2) says on a file system that has no hard links (FAT, some FUSE)."""
_TRIES = 10
Owner = tuple[int, int]
"""The numbers of user and group; -1 leaves one as it is."""
NOBODYS = (-1, -1)


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


def make_folders(path: str, *, mode: int | None = None, owner: Owner = NOBODYS, within: str = "") -> tuple[str, ...]:
    """Make a folder and those above it that are missing; return those made, the highest first.

    Another run that makes one of them at the same time is no harm: the next try finds it.

    Args:
        mode: Of each that is made, exactly this, None = as the umask has it; one that is there stays as it is.
        owner: Whom each that is made is given to.

    Raises:
        FileProblem: Something else is there, a link is not followed, or the system says no.
    """
    mode = 0o777 & ~_umask() if mode is None else mode
    for _ in range(_TRIES):
        with suppress(FileNotFoundError):  # another run put its own in the place of an empty one that we had open
            return _make_missing(os.path.abspath(path), mode, owner, within)
    raise FileProblem(f"{path}: cannot be made; it goes again and again")


def _make_missing(path: str, mode: int, owner: Owner, within: str) -> tuple[str, ...]:
    missing: list[str] = []
    at = path
    while True:
        try:
            handle = _opened(at, within)
            break
        except FileNotFoundError:
            missing.append(at)
            at = os.path.dirname(at)
    made = []
    try:
        for each in reversed(missing):
            below, new = _made(handle, each, mode, owner)
            os.close(handle)
            handle = below
            made += [each] if new else []
    finally:
        os.close(handle)
    return tuple(made)


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
        self._handle = _opened(top, "")
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


def change_socket(path: str, inode: tuple[int, int], *, uid: int = -1, gid: int = -1, mode: int = -1) -> None:
    """Give the Unix socket that we have bound to somebody, or another mode.

    Its folder may be that of the filter's user, who can put anything in its place at any moment: so what is changed
    is what is held open, and that only if it is the socket.

    Args:
        inode: Device and inode number of the socket.
        mode: -1 leaves it as it is.

    Raises:
        OSError: Something else is there, or the system says no.
    """
    # A socket cannot be opened but for its name. FreeBSD has no /proc, but can change what is no link by its path.
    handle = os.open(path, getattr(os, "O_PATH", 0) | os.O_NOFOLLOW | os.O_CLOEXEC)
    try:
        found = os.fstat(handle)
        if (found.st_dev, found.st_ino) != inode or not stat.S_ISSOCK(found.st_mode):
            raise OSError(errno.EEXIST, "somebody else put something in its place", path)
        held = f"/proc/self/fd/{handle}"
        name, options = (held, {}) if os.path.exists(held) else (path, {"follow_symlinks": False})
        if (uid, gid) != NOBODYS:
            os.chown(name, uid, gid, **options)
        if mode >= 0:
            os.chmod(name, mode, **options)
    finally:
        os.close(handle)


def give_folder(path: str, uid: int) -> None:
    """Give a folder, which has to be one and no link, to a user.

    Raises:
        FileProblem: It is none, or the system says no.
    """
    with opened_place(path, follow=False) as (folder, name):
        handle = os.open(name, _OPEN, dir_fd=folder)
        try:
            os.fchown(handle, uid, -1)
        finally:
            os.close(handle)


def write_kept(path: str, content: bytes, *, mode: int) -> int:
    """Write a file as `write_file` does; return a descriptor of it, the caller's to close.

    Where we may write the file that is there, but not its folder, its content alone is exchanged: not as root, who
    may write every file that somebody gave a second name there.

    Raises:
        OSError: Something else than a regular file is there, or the system says no.
    """
    with Way(path) as way:
        name = way.to_last(follow=False)
        if (old := _look(way.folder, name)) and not stat.S_ISREG(old.st_mode):
            raise OSError(errno.EINVAL, "it is there already and no file")
        draft = f".{name[:200]}.{secrets.token_hex(6)}"
        flags = os.O_RDWR | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC
        try:
            handle = os.open(draft, flags | os.O_CREAT | os.O_EXCL, 0o600, dir_fd=way.folder)
        except PermissionError:
            if os.geteuid() == 0:
                raise
            handle, draft = os.open(name, flags, dir_fd=way.folder), ""
        try:
            if draft:
                os.fchmod(handle, mode)
            os.ftruncate(handle, 0)
            write_all(handle, content)
            if draft:
                os.rename(draft, name, src_dir_fd=way.folder, dst_dir_fd=way.folder)
        except BaseException:
            os.close(handle)
            if draft:
                with suppress(OSError):
                    os.unlink(draft, dir_fd=way.folder)
            raise
    return handle


def remove_kept(path: str, handle: int) -> None:
    """Remove a file that was written by `write_kept`, if it is still that one.

    Raises:
        OSError: The system says no.
    """
    with Way(path) as way:
        name = way.to_last(follow=False)
        found = _look(way.folder, name)
        if found and os.path.samestat(os.fstat(handle), found):
            os.unlink(name, dir_fd=way.folder)


def open_to_append(path: str, *, mode: int) -> int:
    """Return a descriptor that writes to the end of a file, which is made if it is not there; the caller closes it.

    Raises:
        FileProblem: Something else than a regular file is there, or the system says no.
    """
    return _opened_for_writing(path, os.O_APPEND | os.O_CREAT, mode)


def open_new(path: str, *, mode: int) -> int:
    """Return a descriptor that reads and writes a file which is not there yet; the caller closes it.

    Raises:
        FileProblem: Something is there, or the system says no.
    """
    return _opened_for_writing(path, os.O_CREAT | os.O_EXCL, mode)


def _opened_for_writing(path: str, flags: int, mode: int) -> int:
    try:
        with opened_place(path, follow=False) as (folder, name):
            common = os.O_RDWR | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC
            handle = os.open(name, common | flags, 0o600, dir_fd=folder)
            try:
                found = os.fstat(handle)
                if not stat.S_ISREG(found.st_mode) or found.st_nlink != 1:
                    raise FileProblem(f"{path}: is {kind(found.st_mode)}, or has a second name; remove it")
                os.fchmod(handle, mode)
            except BaseException:
                os.close(handle)
                raise
            return handle
    except FileExistsError:
        raise FileProblem(f"{path}: is there already; remove it") from None


def make_link(path: str, target: str) -> None:
    """Point a symbolic link at `target`; one that is there stays as it is.

    Raises:
        FileProblem: The system says no.
    """
    with suppress(FileExistsError), opened_place(path, follow=False) as (folder, name):
        os.symlink(target, name, dir_fd=folder)


def remove_file(path: str) -> None:
    """Remove a file or link; nothing happens if there is none.

    Raises:
        FileProblem: The system says no.
    """
    with opened_place(path, follow=False) as (folder, name), suppress(FileNotFoundError):
        os.unlink(name, dir_fd=folder)


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
            folder = os.open(".", _OPEN, dir_fd=way.folder)
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
    found = _look(folder, name)
    if found and not stat.S_ISREG(found.st_mode):
        raise FileProblem(f"{path}: is {kind(found.st_mode)}; only a regular file is written over")
    return found


def _look(folder: int, name: str) -> os.stat_result | None:
    try:
        return os.stat(name, dir_fd=folder, follow_symlinks=False)
    except FileNotFoundError:
        return None


def _opened(path: str, within: str) -> int:
    try:
        with Way(path, within) as way:
            return way.open(TO_PASS)
    except Misled as error:
        raise FileProblem(f"{path}: nothing is made there: {error}; remove the link") from None
    except FileNotFoundError:
        raise
    except NotADirectoryError:
        raise FileProblem(f"{path}: is no folder, or lies below a file; a folder belongs there") from None
    except OSError as error:
        raise FileProblem(f"{path}: cannot be opened ({said(error)})") from error


def _made(parent: int, path: str, mode: int, owner: Owner) -> tuple[int, bool]:
    """Return a handle of the folder at `path`, and whether it was made now; `parent` is that of the folder above."""
    name = os.path.basename(path)
    try:
        if not holds(parent, name):
            handle = new_folder(parent, name, mode, owner)
            if handle is not None:
                return handle, True
        return os.open(name, TO_PASS, dir_fd=parent), False
    except FileNotFoundError:
        raise
    except OSError as error:
        if error.errno in LINK_ERRORS:
            raise FileProblem(f"{path}: is no folder, or a link; a folder belongs there") from None
        raise FileProblem(f"{path}: cannot be made ({said(error)})") from error


def new_folder(parent: int, name: str, mode: int, owner: Owner) -> int | None:
    """Return a handle of a new folder, None if another run was first.

    It gets owner and mode under a name that no other run knows, and then its own: nobody sees it half made.
    """
    draft = f".{name[:200]}.{secrets.token_hex(6)}"
    os.mkdir(draft, 0o700, dir_fd=parent)
    handle = -1
    try:
        handle = os.open(draft, _OPEN, dir_fd=parent)
        _refuse_exchanged(handle)
        if owner != NOBODYS:
            os.fchown(handle, *owner)
        os.fchmod(handle, mode)
        if _renamed(parent, draft, name):
            return handle
    except BaseException:
        _close_and_remove(handle, parent, draft)
        raise
    _close_and_remove(handle, parent, draft)
    return None


def _umask() -> int:
    mask = os.umask(0o077)
    os.umask(mask)
    return mask


def _renamed(parent: int, draft: str, name: str) -> bool:
    try:
        os.rename(draft, name, src_dir_fd=parent, dst_dir_fd=parent)
    except OSError as error:
        if error.errno in (errno.ENOTEMPTY, errno.EEXIST, errno.ENOTDIR):
            return False
        raise
    return True


def _close_and_remove(handle: int, parent: int, draft: str) -> None:
    if handle >= 0:
        os.close(handle)
    with suppress(OSError):
        os.rmdir(draft, dir_fd=parent)


def _refuse_exchanged(handle: int) -> None:
    """Refuse a folder that somebody put in the place of the one that was just made: it is not given away."""
    info = os.fstat(handle)
    if info.st_uid != os.geteuid() or stat.S_IMODE(info.st_mode) & 0o777 != 0o700 or os.listdir(handle):
        raise OSError(errno.EBUSY, "somebody exchanged it while it was made")


def _sync(folder: int) -> None:
    """Have the names in a folder on disk."""
    os.fsync(folder)
