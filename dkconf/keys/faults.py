"""What is wrong with where a private key lies: its own mode and owner, and every directory above it.

Whoever may write a directory above a key may replace the key. A sticky directory (like /tmp) is let pass: others
cannot rename what is not theirs there.
"""

from __future__ import annotations

import grp
import os
import pwd
import stat
from collections.abc import Iterator
from pathlib import Path

from dkconf.files.folders import ANYWHERE, folders_above
from dkconf.files.looking import look
from dkconf.files.reading import FileProblem


def user_ids(owner: str) -> tuple[int, int] | None:
    """(uid, gid) of USER or USER:GROUP, each a name or a number; None where there is no such user or group."""
    name, _, group = owner.partition(":")
    try:
        entry = pwd.getpwuid(int(name)) if name.isdecimal() else pwd.getpwnam(name)
        if not group:
            return entry.pw_uid, entry.pw_gid
        return entry.pw_uid, int(group) if group.isdecimal() else grp.getgrnam(group).gr_gid
    except (KeyError, OverflowError):
        return None


def user_name(uid: int) -> str:
    """The name of a user, or its number."""
    try:
        return pwd.getpwuid(uid).pw_name
    except KeyError:
        return str(uid)


def parent_faults(path: Path, root: Path = Path("/"), owner: str = "") -> list[str]:
    """One sentence, with the command that helps, for each unsafe directory from `path`'s up to `root`.

    Args:
        owner: The user of the key, who may own directories too; others than root and the caller may not.
    """
    ids = user_ids(owner) if owner else None
    trusted = {0, os.geteuid()} | ({ids[0]} if ids else set())
    return [
        fault
        for name, found in folders_above(str(path), str(root))
        for fault in _directory_faults(name, found, trusted)
    ]


def _directory_faults(directory: str, found: os.stat_result | OSError, trusted: set[int]) -> Iterator[str]:
    if isinstance(found, OSError):
        yield f"{directory}: cannot be looked at ({found.strerror}); run this as root"
        return
    mode = stat.S_IMODE(found.st_mode)
    sticky = mode & stat.S_ISVTX
    writers = [who for bit, who in ((0o020, "its group"), (0o002, "everybody")) if mode & bit and not sticky]
    if writers:
        yield (
            f"{directory}: {' and '.join(writers)} may write it (mode {mode:04o}), and so replace the key; "
            f"chmod go-w {directory}"
        )
    if found.st_uid not in trusted:
        yield (
            f"{directory}: belongs to {user_name(found.st_uid)}, who could replace the key; "
            f"chown root {directory}, or lay the keys elsewhere (paths.key_dir)"
        )


def file_faults(path: Path, owner: str, mode: int, root: Path = Path("/")) -> list[str]:
    """One sentence, with the command that helps, for each fault of a private key file and of what is above it.

    Args:
        path: The file, `root` included.
        owner: Who should own it; "" = not judged.
        mode: The widest mode that is right: 0o600, or 0o640 where two filters share a key.
    """
    try:
        found = look(str(path), within=ANYWHERE)
    except FileProblem as error:
        return [str(error)]
    if found is None:
        return [f"{path}: is missing"]
    out = []
    if not stat.S_ISREG(found.st_mode):
        out.append(f"{path}: is no regular file; put the key itself there")
    elif (has := stat.S_IMODE(found.st_mode)) & ~mode & 0o077:
        out.append(f"{path}: mode {has:04o} lets others read or write it; chmod {mode:04o} {path}")
    ids = user_ids(owner) if owner else None
    if ids and found.st_uid != ids[0]:
        name = owner.partition(":")[0]
        out.append(f"{path}: belongs to {user_name(found.st_uid)}, but {name} must read it; chown {name} {path}")
    return out + parent_faults(path, root, owner)
