"""System users for filters: made by a change, and gone again when that change goes back.

A user that a run made bears the run's name in its comment field, written by the same command that makes it: so a run
that dies in between leaves nothing that could not be told apart from somebody else's user. `useradd` and `userdel` have
been run; `pw` is by construction from its manual.
"""

from __future__ import annotations

import grp
import os
import pwd
from collections.abc import Iterable, Iterator
from contextlib import suppress

from dkconf.desired.state import SystemUser
from dkconf.host.services import Runner, ServiceFailed, run_command

MOST_PATHS = 20_000
"""Entries of directories that are looked at; a run's own directories have a handful."""
SHARED_DIRECTORIES = ("/tmp", "/var/tmp", "/dev/shm", "/run", "/var/run")
"""Where a filter could have left files, besides the directories that were made for it."""


def user_exists(name: str) -> bool:
    """Return whether the system knows this user."""
    try:
        pwd.getpwnam(name)
    except KeyError:
        return False
    return True


def comment(run: str) -> str:
    """Return what stands in the comment field of a user that this run makes."""
    return f"mail filter (dkconf run {run})"


def user_command(user: SystemUser, platform: str, run: str) -> tuple[str, ...]:
    """Return the argv that creates a system user with a group of its own name."""
    groups = ",".join(user.groups)
    if platform == "freebsd":
        extra = ("-G", groups) if groups else ()
        return (
            "pw", "useradd", user.name, "-c", comment(run), "-d", user.home, "-s", user.shell, "-w", "no", *extra,
        )  # fmt: skip
    extra = ("--groups", groups) if groups else ()
    return (
        "useradd", "--system", "--user-group", "--comment", comment(run), "--home-dir", user.home,
        "--no-create-home", "--shell", user.shell, *extra, user.name,
    )  # fmt: skip


def create_user(user: SystemUser, platform: str, run: str, runner: Runner = run_command) -> None:
    """Create a system user; nothing if there is one of this name.

    Args:
        run: The name of the run in the journal.

    Raises:
        ServiceFailed: The command says no.
    """
    if user_exists(user.name):
        return
    argv = user_command(user, platform, run)
    done = runner(argv)
    if done.status:
        raise ServiceFailed(f"user {user.name}: {' '.join(argv)} ended with status {done.status}: {done.output}")


def remove_user(name: str, platform: str, run: str, places: Iterable[str], runner: Runner = run_command) -> str:
    """Remove a user that `run` made, and its group; nothing if there is none, or another one.

    Args:
        places: Paths that the run made or changed. What is left of them must not be the user's.

    Returns:
        Why the user stays; "" if it is gone, or was never made by this run. It does no harm, so it is no failure.
    """
    try:
        found = pwd.getpwnam(name)
    except KeyError:
        return ""
    if found.pw_gecos != comment(run):
        return ""
    used = _used_by(found.pw_uid, platform, runner) or _owned_by(found, places)
    if used:
        return used
    argv = ("pw", "userdel", name) if platform == "freebsd" else ("userdel", name)
    done = runner(argv)
    if done.status:
        return f"{' '.join(argv)} ended with status {done.status}: {done.output}"
    return _without_group(name, found.pw_gid, platform, runner)


def _without_group(name: str, gid: int, platform: str, runner: Runner) -> str:
    """Remove the user's own group where `userdel` has left it; `useradd` had made it, or had failed."""
    try:
        group = grp.getgrnam(name)
    except KeyError:
        return ""
    if group.gr_gid != gid or group.gr_mem:
        return ""
    argv = ("pw", "groupdel", name) if platform == "freebsd" else ("groupdel", name)
    done = runner(argv)
    return f"{' '.join(argv)} ended with status {done.status}: {done.output}" if done.status else ""


def _used_by(uid: int, platform: str, runner: Runner) -> str:
    """Return which process runs as this user, "" if none does."""
    if platform == "freebsd":
        done = runner(("pgrep", "-U", str(uid)))
        return f"process {done.output.split()[0]} runs as this user" if done.status == 0 and done.output else ""
    for process in os.listdir("/proc"):
        if process.isdigit():
            with suppress(OSError):
                if str(uid) in _uids(process):
                    return f"process {process} runs as this user"
    return ""


def _uids(process: str) -> list[str]:
    """Return a process's user ids. Its folder is root's where the process is not dumpable; proc(5)."""
    with open(f"/proc/{process}/status", encoding="latin-1") as lines:
        return next((line.split()[1:] for line in lines if line.startswith("Uid:")), [])


def _owned_by(user: pwd.struct_passwd, places: Iterable[str]) -> str:
    """Return a path that belongs to this user or its group, "" if none does."""
    left = MOST_PATHS
    for path in _paths([*places, user.pw_dir], [*SHARED_DIRECTORIES, "/var/mail"]):
        with suppress(OSError):
            about = os.lstat(path)
            if about.st_uid == user.pw_uid or about.st_gid == user.pw_gid:
                return f"{path} belongs to it"
        left -= 1
        if not left:
            return "there are too many files to see whether any belongs to it"
    return ""


def _paths(whole: Iterable[str], flat: Iterable[str]) -> Iterator[str]:
    """Yield the paths of `whole` with all below them, and the entries of the directories of `flat`; follow no link."""
    for top in whole:
        yield top
        for folder, folders, files in () if os.path.islink(top) else os.walk(top):
            yield from (os.path.join(folder, name) for name in (*folders, *files))
    for folder in flat:
        with suppress(OSError):
            yield from (os.path.join(folder, name) for name in os.listdir(folder))
