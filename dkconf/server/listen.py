"""Listening sockets: `inet:PORT@HOST`, `inet6:PORT@HOST`, `local:PATH`, `unix:PATH`, `fd:NUMBER`.

A Unix socket is bound with its mode, gets its group, and only then listens: at no time can somebody connect who may
not. One left behind is removed only if nobody answers on it.
"""

from __future__ import annotations

import contextlib
import errno
import fcntl
import grp
import os
import socket
import stat
import time
from collections.abc import Iterator, Mapping
from dataclasses import dataclass

from dkconf.files.standing import change_socket
from dkconf.server.fault import EX_NOUSER, EX_UNAVAILABLE, StartFailure

# More than a kernel's default; it cuts the number to its own limit.
BACKLOG = 4096

_FIRST_INHERITED = 3
_MOST_INHERITED = 1024
_TURN_SECONDS = 3.0


@dataclass(slots=True)
class Listener:
    """An open listening socket, and what is to be cleaned up when it closes."""

    sock: socket.socket
    spec: str
    path: str = ""
    """The Unix socket that we made; "" for others."""
    inode: tuple[int, int] = (0, 0)

    def close(self, *, unlink: bool) -> None:
        """Close it, and remove its path if it is still ours."""
        self.sock.close()
        path, self.path = self.path, ""
        if not unlink or not path:
            return
        with contextlib.suppress(OSError):
            found = os.lstat(path)
            if (found.st_dev, found.st_ino) == self.inode:
                os.unlink(path)


def split_spec(spec: str) -> tuple[str, str, str]:
    """Return (family, address, port) of a socket; the families are inet, inet6, local and fd."""
    scheme, colon, rest = spec.partition(":")
    if not colon or spec.startswith("/"):
        return "local", spec, ""
    if scheme in ("inet", "inet6"):
        port, _, host = rest.partition("@")
        return scheme, host.strip("[]"), port
    return ("local" if scheme in ("local", "unix") else scheme), rest, ""


def inherited(environ: Mapping[str, str], pid: int) -> list[int]:
    """Return the descriptors handed over by socket activation (LISTEN_PID, LISTEN_FDS)."""
    if environ.get("LISTEN_PID") != str(pid):
        return []
    count = environ.get("LISTEN_FDS", "")
    if not count.isdecimal():
        return []
    return list(range(_FIRST_INHERITED, _FIRST_INHERITED + min(int(count), _MOST_INHERITED)))


def open_listener(spec: str, mode: int = 0o660, group: str = "") -> Listener:
    """Return the listening socket that `spec` names.

    Raises:
        StartFailure: It cannot be opened (69), or the group is unknown (65).
    """
    family, address, port = split_spec(spec)
    try:
        if family == "fd":
            return adopt(int(address), spec)
        if family == "local":
            return _open_unix(spec, address, mode, group)
        return _open_inet(spec, family, address, int(port))
    except OSError as error:
        hint = "; stop the program that listens there, or name another socket" * (error.errno == errno.EADDRINUSE)
        raise StartFailure(f"{spec}: {error.strerror or error}{hint}", EX_UNAVAILABLE) from None


def adopt(descriptor: int, spec: str) -> Listener:
    """Return the listening socket that is already open as `descriptor`.

    Raises:
        StartFailure: It is none (69).
    """
    try:
        sock = socket.socket(fileno=descriptor)
        if not sock.getsockopt(socket.SOL_SOCKET, socket.SO_ACCEPTCONN):
            sock.listen(BACKLOG)
    except OSError as error:
        raise StartFailure(
            f"{spec}: descriptor {descriptor} is no listening socket: {error.strerror}", EX_UNAVAILABLE
        ) from None
    sock.setblocking(False)
    os.set_inheritable(descriptor, False)
    return Listener(sock, spec)


def _open_inet(spec: str, family: str, host: str, port: int) -> Listener:
    kind = socket.AF_INET6 if family == "inet6" else socket.AF_INET
    try:
        found = socket.getaddrinfo(host or None, port, kind, socket.SOCK_STREAM, 0, socket.AI_PASSIVE)
    except socket.gaierror as error:
        raise StartFailure(f"{spec}: {host}: {error.strerror}", EX_UNAVAILABLE) from None
    sock = socket.socket(kind, socket.SOCK_STREAM)
    try:
        sock.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        if kind == socket.AF_INET6:
            sock.setsockopt(socket.IPPROTO_IPV6, socket.IPV6_V6ONLY, 1)
        sock.bind(found[0][4])
        sock.listen(BACKLOG)
    except OSError:
        sock.close()
        raise
    sock.setblocking(False)
    return Listener(sock, spec)


def _open_unix(spec: str, path: str, mode: int, group: str) -> Listener:
    gid = _group_id(spec, group) if group else -1
    with _turn(path):
        return _bind_unix(spec, path, mode, gid)


@contextlib.contextmanager
def _turn(path: str) -> Iterator[None]:
    """Let those who open sockets in one directory do so one after another.

    Else of two that find a stale socket the slower one removes what the other one has just made in its place, and
    both believe that they serve it. Without the lock in time we go on: anybody who may read the directory can hold it;
    so do we where we may not read it.
    """
    try:
        descriptor = os.open(os.path.dirname(path) or ".", os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
    except OSError:
        yield
        return
    try:
        until = time.monotonic() + _TURN_SECONDS
        while time.monotonic() < until:
            try:
                fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
                break
            except BlockingIOError:
                time.sleep(0.02)
            except OSError:
                # Some network file systems have no locks.
                break
        yield
    finally:
        os.close(descriptor)


def _bind_unix(spec: str, path: str, mode: int, gid: int) -> Listener:
    _remove_stale(spec, path)
    sock = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
    mask = os.umask(0o777 & ~mode)
    try:
        sock.bind(path)
    except OSError:
        sock.close()
        raise
    finally:
        os.umask(mask)
    found = os.lstat(path)
    listener = Listener(sock, spec, os.path.abspath(path), (found.st_dev, found.st_ino))
    try:
        if gid >= 0:
            change_socket(path, listener.inode, gid=gid)
        # Where the folder has an access list the umask did not count.
        change_socket(path, listener.inode, mode=mode)
        sock.listen(BACKLOG)
    except OSError:
        listener.close(unlink=True)
        raise
    sock.setblocking(False)
    return listener


def _group_id(spec: str, group: str) -> int:
    if group.isdecimal():
        return int(group)
    try:
        return grp.getgrnam(group).gr_gid
    except KeyError:
        raise StartFailure(f"{spec}: no such group {group}", EX_NOUSER) from None


def _remove_stale(spec: str, path: str) -> None:
    """Remove a socket that nobody serves; refuse everything else that is in the way."""
    try:
        found = os.lstat(path)
    except FileNotFoundError:
        return
    if not stat.S_ISSOCK(found.st_mode):
        raise StartFailure(f"{spec}: is there already and no socket; remove it, or name another path",
                           EX_UNAVAILABLE)  # fmt: skip
    with socket.socket(socket.AF_UNIX, socket.SOCK_STREAM) as probe:
        probe.settimeout(5)
        try:
            probe.connect(path)
        except OSError as error:
            if error.errno == errno.ECONNREFUSED:
                os.unlink(path)
                return
            raise
    raise StartFailure(f"{spec}: another process serves it", EX_UNAVAILABLE)


def owner_for(listener: Listener, uid: int, gid: int = -1) -> None:
    """Let `uid` own the Unix socket, so that it can remove it at its end, and `gid`; -1 leaves the group as it is."""
    if listener.path:
        with contextlib.suppress(OSError):
            change_socket(listener.path, listener.inode, uid=uid, gid=gid)
