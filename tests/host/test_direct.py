"""A filter that dkconf starts itself is known by descent; its pid file has power over nobody else's process."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from dkconf.desired.state import Service
from dkconf.host import direct
from dkconf.host.direct import ServiceFailed
from dkconf.host.services import Services
from dkconf.probe.process import look
from tests.patience import LAST_RESORT_SECONDS

ROOT = os.geteuid() == 0
USER = 65534 if ROOT else os.getuid()
"""Whom the filter becomes: nobody, where the tests may become somebody."""
OTHER = 65533 if ROOT else os.getuid()

PROGRAM = f"""#!{sys.executable}
import os, signal, sys
way, own, heard = sys.argv[1:]
if way == "twice" and os.fork():
    os._exit(0)
if way != "foreground":
    if os.fork():
        os._exit(0)
    os.setsid()
signal.signal(signal.SIGHUP, lambda *_: open(heard, "a").write("HUP"))
if os.getuid() != {USER}:
    os.setgroups([])
    os.setgid({USER})
    os.setuid({USER})
if own:
    with open(own + ".new", "w") as file:
        file.write(str(os.getpid()))
    os.rename(own + ".new", own)
while True:
    signal.pause()
"""
SLEEPER = "import os, signal, sys; {0}print(flush=True); signal.pause()"
BECOME = "os.setgroups([]); os.setgid({0}); os.setuid({0}); "


class Place:
    """A filter, its directories, and what its user can write to."""

    def __init__(self, path: Path) -> None:
        path.chmod(0o711)
        self.ours, self.theirs = path / "ours", path / "theirs"
        self.theirs.mkdir()
        os.chown(self.theirs, USER, USER) if ROOT else None
        self.program = path / "dkconf-filter-x"
        self.program.write_text(PROGRAM)
        self.program.chmod(0o755)
        self.pid_file, self.heard = self.theirs / "filter.pid", self.theirs / "heard"
        self.services = Services(directory=str(self.ours))

    def service(self, way: str = "background", own: bool = True) -> Service:
        pid_file = str(self.pid_file) if own else ""
        argv = (str(self.program), way, pid_file, str(self.heard))
        return Service("x", "direct", "", argv, pid_file, running=True, managed=True)

    def says(self, pid: int, uid: int = USER) -> None:
        """The filter's user writes another number into its pid file."""
        self.pid_file.unlink(missing_ok=True)
        self.pid_file.write_text(f"{pid}\n")
        os.chown(self.pid_file, uid, uid) if ROOT else None

    @property
    def pid(self) -> int:
        """Of the filter, by dkconf's own record."""
        return int(json.loads((self.ours / "x.process").read_bytes())["pid"])

    def by_hand(self, way: str = "background") -> int:
        """Somebody else than dkconf starts the filter."""
        subprocess.run(self.service(way).argv, check=True)
        wait(self.pid_file.exists)
        return int(self.pid_file.read_text())


def wait(until: object) -> None:
    deadline = time.monotonic() + LAST_RESORT_SECONDS
    while not until():  # type: ignore[operator]
        assert time.monotonic() < deadline
        time.sleep(0.01)


@pytest.fixture
def place(passable: Path) -> Iterator[Place]:
    # Others can pass through it, as through /run.
    made = Place(passable)
    yield made
    made.services.stop(made.service())


@pytest.fixture
def victims(place: Place) -> Iterator[dict[str, subprocess.Popen[bytes]]]:
    """Processes that must not be signalled, whatever a pid file says."""
    become = BECOME if ROOT else ""
    copy = place.program.with_name("copy")
    copy.write_bytes(place.program.read_bytes())
    copy.chmod(0o755)
    running = {
        "root's": subprocess.Popen(["/bin/sh", "-c", "echo; exec sleep 600"], stdout=subprocess.PIPE),
        "root's, same executable": subprocess.Popen([sys.executable, "-c", SLEEPER.format("")], stdout=subprocess.PIPE),
        "the user's, same executable": subprocess.Popen(
            [sys.executable, "-c", SLEEPER.format(become.format(USER))], stdout=subprocess.PIPE
        ),
        "another user's": subprocess.Popen(
            [sys.executable, "-c", SLEEPER.format(become.format(OTHER))], stdout=subprocess.PIPE
        ),
    }
    for process in running.values():
        assert process.stdout is not None
        process.stdout.readline()
    yield running
    for process in running.values():
        process.kill()
        process.communicate()


VICTIMS = ["root's", "root's, same executable", "the user's, same executable", "another user's"]


@pytest.mark.parametrize("victim", VICTIMS)
def test_a_pid_file_that_was_rewritten_has_nobody_stopped(
    place: Place, victims: dict[str, subprocess.Popen[bytes]], victim: str
) -> None:
    """The filter's user names another process: dkconf tells, finds and ends the filter, and the other one never."""
    place.services.start(place.service())
    filter_pid = place.pid
    assert filter_pid == int(place.pid_file.read_text())
    place.says(victims[victim].pid)

    place.services.reload(place.service())
    wait(place.heard.exists)
    assert "running" == place.services.status(place.service())
    place.services.stop(place.service())

    assert look(filter_pid) is None
    assert "stopped" == place.services.status(place.service())
    assert all(process.poll() is None for process in victims.values())


@pytest.mark.parametrize("victim", VICTIMS)
@pytest.mark.parametrize("ended", [True, False], ids=["our filter has died", "no record"])
def test_where_no_filter_of_ours_runs_a_pid_file_names_nobody_else(
    place: Place, victims: dict[str, subprocess.Popen[bytes]], victim: str, ended: bool
) -> None:
    """No record holds: what the user of the filter claims is confirmed by user, program and command line."""
    if ended:
        place.services.start(place.service())
        os.kill(place.pid, signal.SIGKILL)
        wait(lambda: look(place.pid) is None)
    place.says(victims[victim].pid)

    assert "stopped" == place.services.status(place.service())
    place.services.stop(place.service())

    assert all(process.poll() is None for process in victims.values())


@pytest.mark.skipif(not ROOT, reason="needs a second user")
@pytest.mark.parametrize("victim", VICTIMS[:2])
def test_a_command_line_is_only_a_claim(place: Place, victim: str) -> None:
    """A process of root's with the filter's own executable and command line: the file's owner has no power over it."""
    argv = [sys.executable, "-c", SLEEPER.format(""), *place.service().argv]
    with subprocess.Popen(argv, stdout=subprocess.PIPE) as process:
        assert process.stdout is not None
        process.stdout.readline()
        place.says(process.pid)
        place.services.stop(place.service())
        assert process.poll() is None
        process.kill()


def test_a_filter_that_was_started_by_hand_is_found(place: Place) -> None:
    """Its pid file counts where user, program and command line are those of the service."""
    pid = place.by_hand()

    assert "running" == place.services.status(place.service())
    place.services.start(place.service())
    assert not (place.ours / "x.process").exists()
    place.services.stop(place.service())
    assert look(pid) is None


@pytest.mark.parametrize("way", ["foreground", "background", "twice"])
@pytest.mark.parametrize("own", [True, False], ids=["pid file", "no pid file"])
def test_the_filter_is_known_by_descent(place: Place, way: str, own: bool) -> None:
    """However often it forks, with a pid file or without."""
    service = place.service(way, own)
    place.services.start(service)
    pid = place.pid
    seen = look(pid)

    assert seen is not None
    assert {USER} == seen.uids
    assert "running" == place.services.status(service)
    place.services.stop(service)
    assert look(pid) is None
    assert [] == [name for name in os.listdir(place.ours) if not name.endswith(".err")]


def test_a_pid_file_that_lies_from_the_start(place: Place, victims: dict[str, subprocess.Popen[bytes]]) -> None:
    """What is recorded comes from what was started, even where the program writes another number at once."""
    other = victims["the user's, same executable"].pid
    place.program.write_text(PROGRAM.replace("str(os.getpid())", repr(str(other))))
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(direct, "START_SECONDS", 1.0)
        place.services.start(place.service())

    assert place.pid != other
    place.services.stop(place.service())
    assert victims["the user's, same executable"].poll() is None


def _link(place: Place, pid: int) -> None:
    target = place.theirs / "target"
    target.write_text(f"{pid}\n")
    os.chown(target, USER, USER) if ROOT else None
    place.pid_file.symlink_to(target)
    os.chown(place.pid_file, USER, USER, follow_symlinks=False) if ROOT else None


def _pipe(place: Place, pid: int) -> None:
    os.mkfifo(place.pid_file)


def _huge(place: Place, pid: int) -> None:
    place.says(pid)
    os.truncate(place.pid_file, 3 << 30)


def _open_to_all(place: Place, pid: int) -> None:
    place.says(pid)
    place.pid_file.chmod(0o666)


def _others(place: Place, pid: int) -> None:
    place.says(pid, uid=OTHER)


def _young(place: Place, pid: int) -> None:
    place.says(pid)
    os.utime(place.pid_file, (1, 1))


@pytest.mark.parametrize("made", [_link, _pipe, _huge, _open_to_all, _others, _young])
def test_what_is_no_pid_file_names_nobody(place: Place, made: object) -> None:
    """A link, a pipe, 3 GB, a file that all may write, a third user's, one older than the process; no reader waits."""
    if made in (_link, _others) and not ROOT:
        pytest.skip("needs a second user")
    pid = place.by_hand()
    place.pid_file.unlink()
    made(place, pid)  # type: ignore[operator]

    assert "stopped" == place.services.status(place.service())
    os.kill(pid, signal.SIGKILL)
    place.pid_file.unlink()


def test_a_filter_of_an_older_dkconf_is_found(place: Place) -> None:
    """It kept the number alone, directly after the start; a number that was written at another time names nobody."""
    service = place.service("foreground", own=False)
    place.services.start(service)
    (place.ours / "x.process").unlink()
    number = place.ours / "x.pid"

    assert "running" == place.services.status(service)
    written = number.stat().st_mtime
    for shift in (-60, 60):
        os.utime(number, (written + shift, written + shift))
        assert "stopped" == place.services.status(service)
    os.utime(number, (written, written))
    place.services.stop(service)
    assert "stopped" == place.services.status(service)


@pytest.mark.parametrize(
    "change", [{"boot": "another"}, {"start": 1}, {"format": 2}, {"uids": [12345]}, {"pid": None}, {"start": "x"}]
)
def test_a_record_that_does_not_hold_names_nobody(place: Place, change: dict[str, object]) -> None:
    """Of another boot, another process, another form, another user: not ours, and not signalled."""
    service = place.service("foreground", own=False)
    place.services.start(service)
    pid = place.pid
    record = json.loads((place.ours / "x.process").read_bytes())
    (place.ours / "x.process").write_text(json.dumps({**record, **change}))
    os.utime(place.ours / "x.pid", (1, 1))

    assert "stopped" == place.services.status(service)
    place.services.stop(service)
    assert look(pid) is not None
    os.kill(pid, signal.SIGKILL)


def test_the_record_is_kept_where_only_we_can_write(place: Place) -> None:
    """Else it would be a claim like any other."""
    place.ours.mkdir()
    place.ours.chmod(0o777)
    with pytest.raises(ServiceFailed, match="only we may write to"):
        place.services.start(place.service())


@pytest.mark.parametrize("spoil", ["folder", "file", "owner"])
def test_a_record_that_others_could_have_written_names_nobody(place: Place, spoil: str) -> None:
    """Not even where it is right."""
    if spoil == "owner" and not ROOT:
        pytest.skip("needs a second user")
    service = place.service("foreground", own=False)
    place.services.start(service)
    (place.ours / "x.pid").unlink()
    if spoil == "folder":
        place.ours.chmod(0o777)
    elif spoil == "file":
        (place.ours / "x.process").chmod(0o666)
    else:
        os.chown(place.ours / "x.process", USER, USER)

    assert "stopped" == place.services.status(service)
    place.ours.chmod(0o711)
    (place.ours / "x.process").chmod(0o600)
    os.chown(place.ours / "x.process", os.getuid(), os.getgid())
    assert "running" == place.services.status(service)
    place.services.stop(service)


def test_a_filter_is_known_even_if_dkconf_is_killed_while_it_comes_up(
    place: Place, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The record is there before anything is waited for."""
    service = place.service("foreground", own=False)
    monkeypatch.setattr(direct.Direct, "_settle", lambda *_: (_ for _ in ()).throw(KeyboardInterrupt))
    with pytest.raises(KeyboardInterrupt):
        place.services.start(service)
    monkeypatch.undo()

    assert "running" == place.services.status(service)
    pid = place.pid
    place.services.stop(service)
    assert look(pid) is None


def test_orphans_of_others_are_left_alone(place: Place) -> None:
    """A child that dkconf had before is not taken for the filter."""
    with subprocess.Popen([sys.executable, "-c", SLEEPER.format("")], stdout=subprocess.PIPE) as child:
        assert child.stdout is not None
        child.stdout.readline()
        place.services.start(place.service("background", own=False))
        assert place.pid != child.pid
        place.services.stop(place.service("background", own=False))
        assert child.poll() is None
        child.kill()


@pytest.mark.parametrize(
    "line,program",
    [
        (b"#!/bin/sh\n", "/bin/sh"),
        (b"#! /bin/sh -e\n", "/bin/sh"),
        (b"#!/usr/bin/env sh\n", "/bin/sh"),
        (b"#!/usr/bin/env -S sh -e\n", "/bin/sh"),
        (b"\x7fELF", ""),
        (b"#!\n", ""),
        (b"#!/usr/bin/env no-such-program\n", ""),
    ],
)
def test_a_scripts_executable_is_its_interpreter(tmp_path: Path, line: bytes, program: str) -> None:
    """What /proc/PID/exe shows."""
    script = tmp_path / "script"
    script.write_bytes(line)

    assert (os.path.realpath(program or script),) == direct.programs(str(script))
