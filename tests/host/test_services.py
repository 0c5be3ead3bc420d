"""Commands per service manager, by table; `direct` with real processes."""

from __future__ import annotations

import dataclasses
import os
import sys
from collections.abc import Sequence
from pathlib import Path

import pytest

from dkconf.desired.state import Service
from dkconf.host import services
from dkconf.host.services import COMMANDS, Done, ServiceFailed, Services, command

SLEEPER = "import signal; signal.pause()"


class Recorder:
    """A runner that notes the commands and gives prepared answers."""

    def __init__(self, *answers: Done) -> None:
        self.seen: list[tuple[str, ...]] = []
        self._answers = list(answers)

    def __call__(self, argv: Sequence[str]) -> Done:
        self.seen.append(tuple(argv))
        return self._answers.pop(0) if self._answers else Done(0, "")


def service(manager: str, **changes: object) -> Service:
    base = Service("signer", "systemd", "dkconf-signer", (), "", running=True, managed=True)
    return dataclasses.replace(base, manager=manager, **changes)  # type: ignore[arg-type]


@pytest.mark.parametrize(
    "manager,verb,argv",
    [
        ("systemd", "start", "systemctl start x.service"),
        ("systemd", "stop", "systemctl stop x.service"),
        ("systemd", "reload", "systemctl reload-or-restart x.service"),
        ("systemd", "status", "systemctl is-active --quiet x.service"),
        ("systemd", "read-units", "systemctl daemon-reload"),
        ("sysv", "start", "service x start"),
        ("sysv", "register", "update-rc.d x defaults"),
        ("sysv", "enable", "update-rc.d x enable"),
        ("sysv", "forget", "update-rc.d -f x remove"),
        ("rcd", "start", "service x onestart"),
        ("rcd", "stop", "service x onestop"),
        ("rcd", "enable", ""),
    ],
)
def test_commands(manager: str, verb: str, argv: str) -> None:
    """One argv per manager and verb."""
    assert tuple(argv.split()) == command(manager, verb, "x")  # type: ignore[arg-type]


def test_every_manager_knows_every_verb() -> None:
    """No verb is missing for one of them."""
    assert 1 == len({frozenset(verbs) for verbs in COMMANDS.values()})


def test_start_and_stop_count_for_the_next_boot_too() -> None:
    """Enabled before it is started, disabled after it is stopped."""
    run = Recorder()
    Services(run).start(service("systemd"))
    Services(run).stop(service("systemd"))

    assert ["enable", "start", "stop", "disable"] == [argv[1] for argv in run.seen]


@pytest.fixture
def links(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A place for the links of run levels and for scripts; no other one is looked at."""
    for name in ("init.d", "rc2.d", "rc3.d"):
        (tmp_path / name).mkdir()
    monkeypatch.setattr(services, "BOOT_LINKS", f"{tmp_path}/rc[23].d/{{kind}}[0-9][0-9]{{name}}")
    monkeypatch.setattr(services, "SCRIPT_DIRECTORIES", {"sysv": (f"{tmp_path}/init.d",)})
    return tmp_path


def flavour(monkeypatch: pytest.MonkeyPatch, tool: str) -> None:
    """Have this host's tool for System V links be `tool`; "" = it has none."""
    monkeypatch.setattr(services.shutil, "which", lambda name, path: f"/sbin/{name}" if name == tool else None)


@pytest.mark.parametrize(
    "tool,start,stop,forget",
    [
        ("update-rc.d", ["update-rc.d x defaults", "update-rc.d x enable", "service x start"],
         ["service x stop", "update-rc.d x disable"], ["update-rc.d -f x remove"]),
        ("chkconfig", ["chkconfig --add x", "chkconfig x on", "service x start"],
         ["service x stop", "chkconfig x off"], ["chkconfig --del x"]),
        ("", ["service x start"], ["service x stop"], []),
    ],
)  # fmt: skip
def test_each_flavour_of_system_v(
    monkeypatch: pytest.MonkeyPatch, tool: str, start: list[str], stop: list[str], forget: list[str]
) -> None:
    """A script is made known before it is enabled: each command refuses, or leaves alone, what the other one did."""
    flavour(monkeypatch, tool)
    one = service("sysv", name="x")
    for act, expected in ((Services.start, start), (Services.stop, stop), (Services.forget, forget)):
        run = Recorder()
        act(Services(run), one)
        assert expected == [" ".join(argv) for argv in run.seen]


@pytest.mark.parametrize("manager", ["systemd", "rcd", "direct"])
def test_others_have_nothing_to_forget(manager: str) -> None:
    """systemd's links go with `disable`; rc.d's variable is a file of dkconf's."""
    run = Recorder()
    Services(run).forget(service(manager))

    assert [] == run.seen


def test_what_has_no_links_needs_none_taken_away(monkeypatch: pytest.MonkeyPatch, links: Path) -> None:
    """Going back from a start that failed: update-rc.d says no to a script without links, and that is no failure."""
    flavour(monkeypatch, "update-rc.d")
    no = Done(1, "update-rc.d: error: no runlevel symlinks to modify, aborting!")
    one = service("sysv")
    Services(Recorder(Done(0, ""), no)).stop(one)
    Services(Recorder(no)).forget(one)

    (links / "rc3.d" / "S01dkconf-signer").symlink_to("../init.d/dkconf-signer")
    with pytest.raises(ServiceFailed, match="no runlevel symlinks"):
        Services(Recorder(Done(0, ""), no)).stop(one)
    (links / "rc3.d" / "S01dkconf-signer").rename(links / "rc3.d" / "K01dkconf-signer")
    Services(Recorder(Done(0, ""), no)).stop(one)
    with pytest.raises(ServiceFailed, match="no runlevel symlinks"):
        Services(Recorder(no)).forget(one)


def test_a_script_that_is_not_there_is_stopped(links: Path) -> None:
    """Going back a second time, after the script is gone, is no failure; what runs, or has a script, is one."""
    gone = Done(1, "dkconf-signer: unrecognized service")
    one = service("sysv")
    run = Recorder(gone, gone)
    Services(run).stop(one)
    assert ["stop", "status"] == [argv[2] for argv in run.seen]

    with pytest.raises(ServiceFailed, match="unrecognized"):
        Services(Recorder(gone, Done(0, "is running"))).stop(one)
    (links / "init.d" / "dkconf-signer").touch()
    with pytest.raises(ServiceFailed, match="unrecognized"):
        Services(Recorder(gone, Done(3, "is not running"))).stop(one)


def test_a_failing_command_is_quoted() -> None:
    """Filter, command, status and what it said."""
    run = Recorder(Done(0, ""), Done(5, "Unit dkconf-signer.service not found."))
    with pytest.raises(ServiceFailed, match=r"filter signer: systemctl start .* status 5: Unit .* not found"):
        Services(run).start(service("systemd"))


def test_a_unit_that_is_not_there_is_stopped(monkeypatch: pytest.MonkeyPatch) -> None:
    """Going back a second time, after the unit file is gone, is no failure; one that goes on running is."""
    monkeypatch.setattr(services, "systemd_runs", lambda: True)
    gone = Recorder(Done(5, "Unit dkconf-signer.service not loaded."), Done(4, ""))
    Services(gone).stop(service("systemd"))
    assert ["stop", "is-active"] == [argv[1] for argv in gone.seen]

    with pytest.raises(ServiceFailed, match="timed out"):
        Services(Recorder(Done(1, "timed out"), Done(0, ""))).stop(service("systemd"))


def test_without_systemd_nothing_needs_to_be_stopped(monkeypatch: pytest.MonkeyPatch) -> None:
    """Going back works in a container that has no systemd; starting does not."""
    monkeypatch.setattr(services, "systemd_runs", lambda: False)
    no = Done(1, "System has not been booted with systemd as init system (PID 1). Can't operate.")
    Services(Recorder(no, no)).stop(service("systemd"))
    Services(Recorder(no)).read_units(service("systemd"))

    with pytest.raises(ServiceFailed, match="not been booted"):
        Services(Recorder(Done(0, ""), no)).start(service("systemd"))


def test_no_name_is_said() -> None:
    """An external filter without a service name cannot be started."""
    with pytest.raises(ServiceFailed, match=r"set services\.signer"):
        Services(Recorder()).start(service("systemd", name=""))


@pytest.mark.parametrize("status,state", [(0, "running"), (3, "stopped")])
def test_status(status: int, state: str) -> None:
    """By the exit status of the manager's own command."""
    assert state == Services(Recorder(Done(status, ""))).status(service("systemd"))


def test_direct_starts_tells_and_stops(tmp_path: Path) -> None:
    """A program that stays in the foreground, without a pid file of its own."""
    services = Services(directory=str(tmp_path))
    one = service("direct", argv=(sys.executable, "-c", SLEEPER))

    assert "stopped" == services.status(one)
    services.start(one)
    assert "running" == services.status(one)
    first = (tmp_path / "signer.pid").read_text()
    services.start(one)
    assert first == (tmp_path / "signer.pid").read_text()
    services.stop(one)
    assert "stopped" == services.status(one)
    services.stop(one)
    os.waitpid(int(first), 0)


def test_direct_waits_for_the_programs_own_pid_file(tmp_path: Path) -> None:
    """A program that goes into the background is known by the pid file that it writes."""
    program = tmp_path / "daemon.py"
    pid_file = tmp_path / "own.pid"
    program.write_text(
        "import os, signal, sys\n"
        "if os.fork(): os._exit(0)\n"
        "os.setsid()\n"
        f"open({str(pid_file)!r}, 'w').write(str(os.getpid()))\n"
        "signal.pause()\n"
    )
    services = Services(directory=str(tmp_path))
    one = service("direct", argv=(sys.executable, str(program)), pid_file=str(pid_file))

    services.start(one)
    while not pid_file.exists() or not pid_file.read_text():
        os.sched_yield()
    assert "running" == services.status(one)
    services.stop(one)
    assert "stopped" == services.status(one)


def test_direct_program_that_ends_is_quoted(tmp_path: Path) -> None:
    """Its status and what it said on standard error."""
    one = service("direct", argv=(sys.executable, "-c", "import sys; sys.exit('no such key')"))
    with pytest.raises(ServiceFailed, match=r"filter signer: .* ended with status 1: no such key"):
        Services(directory=str(tmp_path)).start(one)


def test_direct_without_argv_is_said(tmp_path: Path) -> None:
    """Nothing to start."""
    with pytest.raises(ServiceFailed, match=r"set services\.signer\.argv"):
        Services(directory=str(tmp_path)).start(service("direct"))


def test_stale_pid_file_is_no_process(tmp_path: Path) -> None:
    """A number that now belongs to a younger process is not ours: it must not be stopped."""
    (tmp_path / "signer.pid").write_text(f"{os.getpid()}\n")
    os.utime(tmp_path / "signer.pid", (1, 1))

    assert "stopped" == Services(directory=str(tmp_path)).status(service("direct"))
