"""Starting and stopping filters: systemd, System V scripts, FreeBSD's rc.d, or directly (see `dkconf.host.direct`).

One table of commands per service manager. `direct`, the System V scripts and `update-rc.d` have been run; the commands
of systemd, `chkconfig` and rc.d are by construction from their manuals.
"""

from __future__ import annotations

import glob
import os
import select
import shutil
import signal
import subprocess
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

from dkconf.desired.state import Service
from dkconf.host.direct import Direct
from dkconf.host.direct import ServiceFailed as ServiceFailed
from dkconf.host.places import RUN_DIRECTORY
from dkconf.probe import live, milterping

State = Literal["running", "stopped", "unknown"]
Verb = Literal["start", "stop", "reload", "restart", "status", "register", "enable", "disable", "forget", "read-units"]
"""`register` makes a service known to what starts at boot, `enable` and `disable` say whether it is started then, and
`forget` undoes `register`."""

COMMAND_TIMEOUT_SECONDS = 120
"""systemd gives a unit 90 s to start or stop."""
DIRECT_DIRECTORY = RUN_DIRECTORY
"""What is known of filters that are started directly: which processes they are, what they said on standard error."""
NO_SUCH_UNIT = 4
"""Status of `systemctl is-active`; systemctl(1), "Exit status"."""
STARTING: tuple[Verb, ...] = ("register", "enable", "start")
NEEDLESS: frozenset[Verb] = frozenset({"stop", "disable", "read-units"})
"""Where systemd does not run, nothing runs under it: going back must not fail for want of it."""
SEARCH_PATH = "/usr/local/sbin:/usr/local/bin:" + live.PATH

# {name} is the service's name. () = nothing to do there.
COMMANDS: Mapping[str, Mapping[Verb, tuple[str, ...]]] = {
    "systemd": {
        "start": ("systemctl", "start", "{name}.service"),
        "stop": ("systemctl", "stop", "{name}.service"),
        "reload": ("systemctl", "reload-or-restart", "{name}.service"),
        "restart": ("systemctl", "restart", "{name}.service"),
        "status": ("systemctl", "is-active", "--quiet", "{name}.service"),
        "register": (),
        "enable": ("systemctl", "enable", "--quiet", "{name}.service"),
        "disable": ("systemctl", "disable", "--quiet", "{name}.service"),
        "forget": (),
        "read-units": ("systemctl", "daemon-reload"),
    },
    "sysv": {
        "start": ("service", "{name}", "start"),
        "stop": ("service", "{name}", "stop"),
        "reload": ("service", "{name}", "reload"),
        "restart": ("service", "{name}", "restart"),
        "status": ("service", "{name}", "status"),
        # A system that has chkconfig instead is told by `_boot_command`. `defaults` makes links only where there are
        # none, so it does not turn the K links of `disable` into S links again.
        "register": ("update-rc.d", "{name}", "defaults"),
        "enable": ("update-rc.d", "{name}", "enable"),
        "disable": ("update-rc.d", "{name}", "disable"),
        "forget": ("update-rc.d", "-f", "{name}", "remove"),
        "read-units": (),
    },
    "rcd": {
        # The "one" forms work whether or not NAME_enable is set; that is a file of its own in rc.conf.d.
        "start": ("service", "{name}", "onestart"),
        "stop": ("service", "{name}", "onestop"),
        "reload": ("service", "{name}", "onereload"),
        "restart": ("service", "{name}", "onerestart"),
        "status": ("service", "{name}", "onestatus"),
        "register": (),
        "enable": (),
        "disable": (),
        "forget": (),
        "read-units": (),
    },
}
CHKCONFIG: Mapping[Verb, tuple[str, ...]] = {
    "register": ("chkconfig", "--add", "{name}"),
    "enable": ("chkconfig", "{name}", "on"),
    "disable": ("chkconfig", "{name}", "off"),
    "forget": ("chkconfig", "--del", "{name}"),
}
"""Instead of `update-rc.d`. `on` refuses a script that was never added, and `--del` one that is gone."""
BOOT_LINKS = "/etc/rc[2345S].d/{kind}[0-9][0-9]{name}"
"""The run levels in which a system works; kind is S (started at boot), K (not started) or both."""
SCRIPT_DIRECTORIES: Mapping[str, tuple[str, ...]] = {
    "sysv": ("/etc/init.d",),
    "rcd": ("/etc/rc.d", "/usr/local/etc/rc.d"),
}
"""Where service(8) looks."""


@dataclass(frozen=True, slots=True)
class Done:
    status: int
    output: str


Runner = Callable[[Sequence[str]], Done]


def run_command(argv: Sequence[str]) -> Done:
    """Run a command of the system, its output kept; raises ServiceFailed where it cannot be run."""
    try:
        done = subprocess.run(
            list(argv),
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            env={"PATH": SEARCH_PATH, "LC_ALL": "C"},
            cwd="/",
            timeout=COMMAND_TIMEOUT_SECONDS,
            check=False,
            # A Ctrl-C on the terminal is held until the change is done; it must not end what the change waits for.
            start_new_session=True,
        )
    except OSError as error:
        raise ServiceFailed(f"{argv[0]}: {error.strerror}") from error
    except subprocess.TimeoutExpired as error:
        raise ServiceFailed(f"{' '.join(argv)}: not done within {COMMAND_TIMEOUT_SECONDS} s") from error
    return Done(done.returncode, done.stdout.decode("utf-8", "replace").strip())


def command(manager: str, verb: Verb, name: str) -> tuple[str, ...]:
    """Return the argv for a service under a manager other than `direct`."""
    return tuple(word.format(name=name) for word in COMMANDS[manager][verb])


def _boot_command(verb: Verb, argv: tuple[str, ...], name: str) -> tuple[str, ...]:
    """Return the command of the System V flavour that this host has for starting a service at boot."""
    if argv[:1] != ("update-rc.d",) or shutil.which("update-rc.d", path=SEARCH_PATH):
        return argv
    if shutil.which("chkconfig", path=SEARCH_PATH):
        return tuple(word.format(name=name) for word in CHKCONFIG[verb])
    return ()


def boot_links(name: str, kind: str) -> list[str]:
    """Return the links of a System V script; `kind` is "S" (it is started at boot), "K" or "[SK]"."""
    return sorted(glob.glob(BOOT_LINKS.format(kind=kind, name=glob.escape(name))))


def systemd_runs() -> bool:
    """Return whether systemd is this machine's first process; sd_booted(3)."""
    return os.path.isdir("/run/systemd/system")


def _is_needless(service: Service, verb: Verb) -> bool:
    """Return whether a command that said no had nothing to do: going back must not fail for want of it.

    `update-rc.d` and `chkconfig` say no to a script that has no links at all.
    """
    if service.manager == "systemd":
        return verb in NEEDLESS and not systemd_runs()
    kinds = {"disable": "S", "forget": "[SK]"}
    return service.manager == "sysv" and verb in kinds and not boot_links(service.name, kinds[verb])


class Services:
    """Acts on filters as services."""

    def __init__(self, run: Runner = run_command, directory: str = DIRECT_DIRECTORY) -> None:
        self._run, self._direct = run, Direct(directory)

    def start(self, service: Service) -> None:
        """Start a filter, at boot too; nothing if it runs."""
        if service.manager == "direct":
            if not self._direct.runs(service):
                self._direct.start(service)
            return
        for verb in STARTING:
            self._do(service, verb)

    def stop(self, service: Service) -> None:
        """Stop a filter, at boot too, and wait until it has ended; nothing if it does not run."""
        if service.manager == "direct":
            self._direct.stop(service)
            return
        there = True
        try:
            self._do(service, "stop")
        except ServiceFailed:
            # A unit that is not there, as when going back is done a second time, cannot be stopped and need not be.
            there = not self._is_unknown(service)
            if there:
                raise
        if there:
            self._do(service, "disable")

    def reload(self, service: Service) -> None:
        """Have a filter read its settings again: by SIGHUP, or by a restart where the program has none."""
        if service.manager != "direct":
            self._do(service, "reload")
            return
        if not self._direct.runs(service):
            self._direct.start(service)
        elif Path(service.argv[0]).name.startswith("dkconf-filter") or "dkconf.server.main" in service.argv:
            self._direct.signal(service, signal.SIGHUP)
        else:
            # dk-filter ends on SIGHUP, as libmilter does (smfi_stop).
            self.restart(service)

    def restart(self, service: Service) -> None:
        """Stop and start a filter."""
        if service.manager == "direct":
            self._direct.stop(service)
            self._direct.start(service)
        else:
            self._do(service, "restart")

    def status(self, service: Service) -> State:
        """Return whether a filter runs, as its manager sees it."""
        if service.manager == "direct":
            return "running" if self._direct.runs(service) else "stopped"
        argv = command(service.manager, "status", service.name)
        try:
            done = self._run(argv)
        except ServiceFailed:
            return "unknown"
        return "running" if done.status == 0 else "stopped"

    def read_units(self, service: Service) -> None:
        """Have systemd read its unit files again."""
        if service.manager != "direct":
            self._do(service, "read-units")

    def forget(self, service: Service) -> None:
        """Have nothing name a service at boot any more: it is stopped, and its script goes next."""
        if service.manager != "direct":
            self._do(service, "forget")

    def _is_unknown(self, service: Service) -> bool:
        """Return whether systemd answers, and has no such unit; or whether there is no such script and nothing runs."""
        status = self._run(command(service.manager, "status", service.name)).status
        if service.manager == "systemd":
            return status == NO_SUCH_UNIT
        folders = SCRIPT_DIRECTORIES.get(service.manager, ())
        return status != 0 and not any(os.path.exists(f"{folder}/{service.name}") for folder in folders)

    def _do(self, service: Service, verb: Verb) -> None:
        if not service.name:
            raise ServiceFailed(f"filter {service.filter}: no service name is known; set services.{service.filter}")
        argv = _boot_command(verb, command(service.manager, verb, service.name), service.name)
        if not argv:
            return
        done = self._run(argv)
        if done.status and not _is_needless(service, verb):
            said = f": {done.output}" if done.output else ""
            raise ServiceFailed(f"filter {service.filter}: {' '.join(argv)} ended with status {done.status}{said}")


def wait_until_answers(socket: str, seconds: float) -> str:
    """Return "" as soon as the filter behind an S= negotiates, else why it did not within `seconds`."""
    deadline = time.monotonic() + seconds
    while True:
        why = milterping.answers(socket, max(0.5, min(5.0, deadline - time.monotonic())))
        if not why or time.monotonic() >= deadline:
            return why
        # A socket that is not there yet can only be looked for again.
        select.select([], [], [], 0.05)
