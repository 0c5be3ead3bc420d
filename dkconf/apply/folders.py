"""The way to a folder, which somebody else must not be able to lead elsewhere.

/etc/mail belongs to the mail user on Debian: whoever has that user can put a link in the place of /etc/mail/m4,
and root would write wherever it points.
"""

from __future__ import annotations

import os
import stat

LINKS = 40
"""As many as the kernel follows."""
_PASS = getattr(os, "O_PATH", os.O_RDONLY) | os.O_DIRECTORY | os.O_NOFOLLOW | os.O_CLOEXEC
_LAST = os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW | os.O_CLOEXEC


class Misled(OSError):
    """A link on the way that somebody other than root may have put there."""


def open_folder(path: str, *, to_pass: bool = False) -> int:
    """Return a handle of the folder, the caller's to close; links are followed only if root or we set them.

    Args:
        path: Absolute.
        to_pass: Only to open what is in it: needs no right to read the folder.

    Raises:
        Misled: The link that is not followed is named.
        OSError: As `os.open`.
    """
    last = _PASS if to_pass else _LAST
    left = [part for part in path.split("/") if part][::-1]
    links = 0
    handle = os.open("/", _PASS if left else last)
    try:
        while left:
            name = left.pop()
            info = os.stat(name, dir_fd=handle, follow_symlinks=False)
            if stat.S_ISLNK(info.st_mode):
                links += 1
                if links > LINKS or not _trusted(os.fstat(handle), info):
                    raise Misled(f'"{name}" on the way to {path} is a link that others than root could have put there')
                target = os.readlink(name, dir_fd=handle)
                left += [part for part in target.split("/") if part][::-1]
                if target.startswith("/"):
                    handle = _next(handle, "/", _PASS if left else last)
            else:
                handle = _next(handle, name, _PASS if left else last)
        return _next(handle, ".", last) if links and not to_pass else handle
    except BaseException:
        os.close(handle)
        raise


def _trusted(folder: os.stat_result, link: os.stat_result) -> bool:
    ours = (0, os.geteuid())
    if link.st_uid not in ours or folder.st_uid not in ours:
        return False
    # In a sticky folder nobody can put his own link, which is his, in the place of ours.
    return not folder.st_mode & (stat.S_IWGRP | stat.S_IWOTH) or bool(folder.st_mode & stat.S_ISVTX)


def _next(handle: int, name: str, flags: int) -> int:
    there = os.open(name, flags, dir_fd=handle)
    os.close(handle)
    return there
