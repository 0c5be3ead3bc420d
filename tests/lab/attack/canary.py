"""Files of root's that nobody has any business with, in a folder that is closed to everybody else.

An attacker cannot touch them himself; whatever happens to them was done by root, led there. Each write, change of mode,
new or vanished name is told by inotify, even if all looks the same afterwards. Who opens one has to wait until we know
his command line (fanotify): sendmail's own daemon reads /etc/mail wherever that leads, and is not ours to answer for.
"""

from __future__ import annotations

import contextlib
import ctypes
import os
import select
import signal
import struct
import threading
from dataclasses import dataclass
from pathlib import Path

EVENTS = {
    0x002: "written",
    0x004: "attributes",
    0x040: "moved away",
    0x080: "moved here",
    0x100: "made",
    0x200: "deleted",
    0x400: "deleted",
    0x4000: "more than could be told",
}
_MASK = 0x002 | 0x004 | 0x040 | 0x080 | 0x100 | 0x200 | 0x400
NAMES = ("secret", "dkconf.m4", "sendmail.mc", "sendmail.cf", "sendmail.pid", "inventory.yaml", "plan.json", "config")


_CLASS_CONTENT, _CLOEXEC, _MARK_ADD, _ALLOW, _AT_FDCWD = 0x4, 0x1, 0x1, 0x1, -100
_OPEN_PERM, _ON_FOLDERS = 0x10000, 0x40000000
DAEMON = ("/usr/sbin/sendmail -L sm-mta -bd", "sendmail: ")
"""How the command lines of sendmail's daemon begin."""
DRIVER = "attack/driver.py"
"""In the command line of what dkconf runs in; SIGURG has it say where in the source it stands, and harms no other."""


@dataclass(frozen=True, order=True)
class Event:
    path: str
    what: str


class Openings:
    """Notes who opens some paths; each waits until that is done."""

    def __init__(self, paths: list[Path]) -> None:
        self.seen: set[tuple[str, str]] = set()
        """(path, command line)"""
        libc = ctypes.CDLL(None, use_errno=True)
        libc.fanotify_mark.argtypes = [
            ctypes.c_int, ctypes.c_uint, ctypes.c_uint64, ctypes.c_int, ctypes.c_char_p
        ]  # fmt: skip
        handle = libc.fanotify_init(_CLASS_CONTENT | _CLOEXEC, os.O_RDONLY)
        if handle < 0:
            raise OSError(ctypes.get_errno(), "fanotify_init")
        self._handle = handle
        self._end, self._ender = os.pipe()
        for path in paths:
            if libc.fanotify_mark(handle, _MARK_ADD, _OPEN_PERM | _ON_FOLDERS, _AT_FDCWD, os.fsencode(path)) < 0:
                raise OSError(ctypes.get_errno(), "fanotify_mark", str(path))
        self._thread = threading.Thread(target=self._answer, daemon=True)
        self._thread.start()

    def _answer(self) -> None:
        while self._end not in select.select([self._handle, self._end], [], [])[0]:
            octets = os.read(self._handle, 4096)
            while octets:
                length, _, _, _, _, opened, pid = struct.unpack_from("IBBHQii", octets)
                octets = octets[length:]
                with contextlib.suppress(OSError):
                    if pid != os.getpid():
                        who = command_line(pid)
                        self.seen.add((os.readlink(f"/proc/self/fd/{opened}"), who))
                        if DRIVER in who:
                            os.kill(pid, signal.SIGURG)
                os.write(self._handle, struct.pack("iI", opened, _ALLOW))
                os.close(opened)

    def close(self) -> None:
        """End; whoever waits for an answer then is let through."""
        os.write(self._ender, b"x")
        self._thread.join(10)
        for handle in (self._handle, self._end, self._ender):
            os.close(handle)


def command_line(pid: int) -> str:
    """Return a process's command line, "?" if it has gone."""
    with contextlib.suppress(OSError):
        return Path(f"/proc/{pid}/cmdline").read_bytes().replace(b"\0", b" ").decode("utf-8", "replace").strip()
    return "?"


def make(folder: Path) -> None:
    """Make the canaries; the folder itself is new."""
    folder.mkdir(mode=0o700)
    tree = folder / "tree"
    for name in ("", "example.org", "keys", "m4", "mta"):
        (tree / name).mkdir()
    for path in (folder / "secret", *(tree / name for name in NAMES), tree / "example.org/s1.pub.pem"):
        path.write_text("the secret of root\n")
        path.chmod(0o600)
    program = folder / "run"
    program.write_text('#!/bin/sh\necho "$(id -u) $0 $*" >> /var/canary-ran\n')
    program.chmod(0o700)


class Watch:
    """Collects what happens below a folder."""

    def __init__(self, folder: Path) -> None:
        self._libc = ctypes.CDLL(None, use_errno=True)
        self._handle = self._libc.inotify_init1(os.O_NONBLOCK | os.O_CLOEXEC)
        if self._handle < 0:
            raise OSError(ctypes.get_errno(), "inotify_init1")
        self._paths: dict[int, str] = {}
        self._before = self._state(folder)
        self._folder = folder
        for path in (folder, *folder.rglob("*")):
            number = self._libc.inotify_add_watch(self._handle, os.fsencode(path), _MASK)
            if number < 0:
                raise OSError(ctypes.get_errno(), "inotify_add_watch", str(path))
            self._paths[number] = str(path.relative_to(folder))
        self._openings = Openings([folder, *folder.rglob("*")])
        self.events()

    def events(self) -> set[Event]:
        """Return what has happened since the last call."""
        seen, self._openings.seen = self._openings.seen, set()
        found = {Event(path, f"opened by {who}") for path, who in seen if not who.startswith(DAEMON)}
        while True:
            try:
                octets = os.read(self._handle, 65536)
            except BlockingIOError:
                return found
            while octets:
                number, mask, _, length = struct.unpack_from("iIII", octets)
                name = octets[16 : 16 + length].rstrip(b"\0").decode()
                octets = octets[16 + length :]
                path = os.path.normpath(os.path.join(self._paths.get(number, "?"), name))
                found |= {Event(path, words) for bit, words in EVENTS.items() if mask & bit}

    def changed(self) -> list[str]:
        """Return what is not as it was: content, mode, owner, times, names."""
        now = self._state(self._folder)
        return [path for path in {*now, *self._before} if now.get(path) != self._before.get(path)]

    def close(self) -> None:
        self._openings.close()
        os.close(self._handle)

    @staticmethod
    def _state(folder: Path) -> dict[str, tuple[object, ...]]:
        found: dict[str, tuple[object, ...]] = {}
        for path in (folder, *folder.rglob("*")):
            info = path.lstat()
            content = path.read_bytes() if path.is_file() else b""
            found[str(path.relative_to(folder))] = (
                content, info.st_mode, info.st_uid, info.st_gid, info.st_mtime_ns, info.st_nlink
            )  # fmt: skip
        return found
