"""A filter that runs for one canary: started from the staged settings, on a private socket, and gone afterwards.

Where a filter is off now, or its settings or keys change, the running instance (if any) says nothing about
what will be. The instance gets a copy of its settings in which only the socket, the pid file, the user (where
it does not exist yet), logging and the metrics port are others.
"""

from __future__ import annotations

import grp
import os
import pwd
import signal
import subprocess
import sys
import tomllib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import dkconf
from dkconf.desired.state import DesiredState, MilterFilter, Service
from dkconf.errors import DkconfError
from dkconf.files.making import make_folders
from dkconf.files.standing import give_folder, open_new
from dkconf.files.writing import write_file
from dkconf.host.services import wait_until_answers
from dkconf.host.users import user_exists
from dkconf.probe.live import PATH, stat_of
from dkconf.probe.process import end_members, end_session, hold, start_now
from dkconf.trial.stage import RECORD

START_SECONDS = 15.0
"""Python, the keys and the workers; under a second on an idle host."""
_ENTRY = "import sys; from dkconf.server.main import main; sys.exit(main())"
STOP_SECONDS = 5.0
"""It has no messages to finish."""
MAX_LOG_OCTETS = 4096


class ThrowawayFailed(DkconfError):
    """The filter does not come up with the staged settings; its own words are in the message."""


@dataclass(slots=True)
class Throwaway:
    """A running instance; the caller stops it."""

    name: str
    socket: str
    """Its S=."""
    process: subprocess.Popen[bytes]
    since: int = 0
    """Its start is not before this; see `dkconf.probe.process`."""

    def stop(self) -> None:
        """End it and whatever it started."""
        pid = self.process.pid
        with hold(pid) as held:
            if held is not None and held.signal(signal.SIGTERM) and not held.ended(STOP_SECONDS):
                end_session(pid, held.process.start)
        # Nobody has collected it yet, so its number is nobody else's.
        end_members(pid, self.since)
        self.process.wait()


def start(one: MilterFilter, desired: DesiredState, directory: Path) -> Throwaway:
    """Start a filter from the staged files of `desired`, below the private `directory`.

    Raises:
        ThrowawayFailed: It ends, or does not answer.
    """
    place = directory / f"filter-{one.name}"
    make_folders(str(place), mode=0o755)
    socket = f"local:{place}/socket"
    staged = _stage_files(one, desired, place)
    if one.program == "dkconf-filter":
        argv = _dkconf_filter(one, desired, place, socket, staged)
    else:
        argv = dk_filter_argv(_service(one, desired).argv, socket, str(place / "pid"), staged)
        user = option(argv, "-u")
        if user and user_exists(user):
            # libmilter makes its socket after the user has changed. What we read lies beside it, where he cannot write.
            give_folder(str(place), pwd.getpwnam(user).pw_uid)
    environment = {"PATH": PATH, "PYTHONPATH": str(Path(dkconf.__file__).parent.parent)}
    log = open_new(f"{place}.log", mode=0o600)
    since = start_now()
    try:
        process = subprocess.Popen(
            argv, stdin=subprocess.DEVNULL, stdout=log, stderr=log, env=environment, cwd="/",
            start_new_session=True,
        )  # fmt: skip
    except OSError as error:
        os.close(log)
        raise ThrowawayFailed(f"filter {one.name}: {argv[0]}: {error.strerror}") from error
    running = Throwaway(one.name, socket, process, since)
    state = stat_of(process.pid)
    if state is not None:
        # For the next run, should this one be killed; see stage.sweep.
        write_file(f"{place}{RECORD}", f"{process.pid} {state[1]}\n".encode(), mode=0o600)
    try:
        why = _wait(running)
        if why:
            running.stop()
            said = _end_of(log).decode("utf-8", "replace").strip().replace("\n", "; ")
            raise ThrowawayFailed(f"filter {one.name} does not come up with its new settings: {said or why}")
    finally:
        os.close(log)
    return running


def _end_of(log: int) -> bytes:
    return os.pread(log, MAX_LOG_OCTETS, max(0, os.fstat(log).st_size - MAX_LOG_OCTETS))


def _wait(running: Throwaway) -> str:
    """Return "" once it answers; why not as soon as it has ended, or when the time is over."""
    tries = int(START_SECONDS * 5)
    why = ""
    for _ in range(tries):
        why = wait_until_answers(running.socket, 0.2)
        if not why:
            return ""
        ended = os.waitid(os.P_PID, running.process.pid, os.WEXITED | os.WNOHANG | os.WNOWAIT)
        if ended is not None:
            words = "status" if ended.si_code == os.CLD_EXITED else "signal"
            return f"it ended with {words} {ended.si_status}"
    return why


def _service(one: MilterFilter, desired: DesiredState) -> Service:
    for service in desired.services:
        if service.filter == one.name:
            return service
    raise ThrowawayFailed(f"filter {one.name}: no command line is known to start it with")


def _stage_files(one: MilterFilter, desired: DesiredState, place: Path) -> dict[str, str]:
    """Write copies of the filter's own managed files; return live path -> staged path."""
    staged = {}
    for number, file in enumerate(f for f in desired.files if f.filter == one.name):
        copy = place / f"{number}-{os.path.basename(file.path)}"
        write_file(str(copy), file.content, mode=0o644)
        staged[file.path] = str(copy)
    return staged


def _dkconf_filter(
    one: MilterFilter, desired: DesiredState, place: Path, socket: str, staged: Mapping[str, str]
) -> list[str]:
    settings = next((f for f in desired.files if f.filter == one.name and f.role == "filter-settings"), None)
    if settings is None:
        raise ThrowawayFailed(f"filter {one.name}: it has no settings file")
    text = settings.content.decode("utf-8")
    settings_there = tomllib.loads(text)
    user, group = str(settings_there.get("user", "")), str(settings_there.get("socket_group", ""))
    changes: dict[str, str | int] = {
        "socket": socket, "pid_file": "", "metrics": "", "log": "stderr", "workers": 1,
    }  # fmt: skip
    if group and not _group_exists(group):
        changes["socket_group"] = ""
    if user and not user_exists(user.partition(":")[0]):
        changes["user"] = "nobody"  # its own user is made when this plan is carried out
    write_file(staged[settings.path], override(text, changes).encode(), mode=0o644)
    return [sys.executable, "-P", "-c", _ENTRY, "--config", staged[settings.path], "-f"]


def _group_exists(name: str) -> bool:
    try:
        grp.getgrnam(name)
    except KeyError:
        return False
    return True


def override(text: str, values: Mapping[str, str | int]) -> str:
    """Return a TOML text in which top-level keys have other values, and nothing else is changed.

    Raises:
        ThrowawayFailed: The text is laid out in a way that this cannot do.
    """
    lines, left = text.split("\n"), dict(values)
    for index, line in enumerate(lines):
        if line.startswith("["):
            break
        key = line.partition("=")[0].strip()
        if key in left:
            lines[index] = f"{key} = {_toml(left.pop(key))}"
    changed = "\n".join([f"{key} = {_toml(value)}" for key, value in left.items()] + lines)
    try:
        correct = tomllib.loads(changed) == {**tomllib.loads(text), **values}
    except tomllib.TOMLDecodeError:
        correct = False
    if not correct:
        raise ThrowawayFailed("the settings file cannot be copied with another socket; write each key on its own line")
    return changed


def _toml(value: str | int) -> str:
    return str(value) if isinstance(value, int) else f'"{value}"'


def option(argv: Sequence[str], letter: str) -> str:
    """Return the argument of an option of dk-filter, "" where it is not given."""
    for index, word in enumerate(argv[1:], 1):
        if word == letter and index + 1 < len(argv):
            return argv[index + 1]
        if word.startswith(letter) and not word.startswith("--"):
            return word[len(letter) :]
    return ""


def dk_filter_argv(argv: Sequence[str], socket: str, pid_file: str, staged: Mapping[str, str]) -> list[str]:
    """Return dk-filter's command line with another socket and pid file, staged lists, in the foreground."""
    if not argv:
        raise ThrowawayFailed("no command line is known to start the filter with")
    found, skip = [argv[0]], False
    for word in argv[1:]:
        if skip:
            skip = False
        elif word in ("-p", "-P", "-f", "-A", "-l"):
            skip = word in ("-p", "-P")
        elif word[:2] in ("-p", "-P"):
            continue
        else:
            found.append(staged.get(word, word))
    return [*found, "-f", "-p", socket, "-P", pid_file]
