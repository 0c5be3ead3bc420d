"""A host in memory: its files, a fake machine that records what it is asked, a clock that tests move."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field, replace
from pathlib import Path

import pytest

from dkconf.desired.state import HostPaths, Service, SystemUser
from dkconf.errors import DkconfError, NotTold, Refusal
from dkconf.host.machine import Case, Judged, Sendmail, StartedBy
from dkconf.operations.context import Context
from dkconf.sendmail import mc
from tests.memory import MemorySystem

MC = """divert(-1)dnl
divert(0)dnl
include(`/usr/share/sendmail/cf/m4/cf.m4')dnl
OSTYPE(`debian')dnl
DOMAIN(`debian-mta')dnl
define(`confDOMAIN_NAME', `mx1.example.test')dnl
MAILER_DEFINITIONS
MAILER(`local')dnl
MAILER(`smtp')dnl
"""
MC_PATH, CF_PATH, FRAGMENT = "/etc/mail/sendmail.mc", "/etc/mail/sendmail.cf", "/etc/mail/m4/dkconf.m4"
STATE = "/var/lib/dkconf"

INVENTORY = """version: 1
domains:
  example.com:
    selectors: {s1: {}}
    sign: [dkim]
filters:
  signer:
    program: external
    socket: inet:8891@127.0.0.1
    schemes: [dkim]
  second:
    program: external
    socket: inet:8892@127.0.0.1
    schemes: [dkim]
    roles: [verify]
hosts:
  mx1.example.test:
    platform: debian
    service_manager: direct
    filters: [signer, second]   # in this order
    domains: [example.com]
    services:
      signer: {argv: [/usr/sbin/signer], pid_file: /run/signer.pid}
      second: {argv: [/usr/sbin/second], pid_file: /run/second.pid}
"""


OWN_INVENTORY = """version: 1
domains:
  example.com:
    selectors: {s1: {}}
    sign: [dkim]
filters:
  own:
    program: dkconf-filter
    socket: inet:8894@127.0.0.1
hosts:
  mx1.example.test:
    platform: debian
    service_manager: systemd
    filters: [own]
    domains: [example.com]
    paths: {key_dir: /etc/keys, filter_config: /etc/dkconf-settings}
"""
KEY_PATH = "/etc/keys/example.com/s1.private"


class Crash(BaseException):
    """Stands for `kill -9`: no handler of the program may see it."""


@dataclass
class FakeClock:
    """Moved by hand."""

    now: float = 1_800_000_000.0
    boot: float = 1000.0
    id: str = "boot-a"

    def wall(self) -> float:
        return self.now

    def boottime(self) -> float:
        return self.boot

    def boot_id(self) -> str:
        return self.id


@dataclass
class FakeMachine:
    """A machine whose m4 copies the filter calls, and whose ports are well unless told otherwise."""

    system: MemorySystem
    calls: list[str] = field(default_factory=list)
    up: set[str] = field(default_factory=set)
    """Filters that run."""
    at_boot: set[str] = field(default_factory=set)
    """Filters that a boot knows of, be it that they are started or not."""
    made_by: dict[str, str] = field(default_factory=dict)
    """System user -> the run that made it."""
    used: set[str] = field(default_factory=set)
    """System users that a process runs as."""
    missing: tuple[str, ...] = ()
    refusals: tuple[Refusal, ...] = ()
    worse: tuple[str, ...] = ()
    connections: tuple[str, ...] = ()
    fail: str = ""
    """The call that fails, e.g. "tell"."""
    fail_once: bool = True
    argv: tuple[str, ...] = ("/usr/sbin/sendmail", "-bd")
    ran: bool = True
    """sendmail runs."""
    stale: bool = False
    lost: str = ""
    """Why sendmail, which answers, cannot be told."""
    cases: list[Case] = field(default_factory=list)
    armed: str = ""
    m4_fails: bool = False
    loaded: bytes = b""
    """The .cf that the running sendmail has read."""
    before_judging: Callable[[], None] | None = None

    def _call(self, name: str) -> None:
        self.calls.append(name)
        if self.fail and name.startswith(self.fail):
            if self.fail_once:
                self.fail = ""
            raise DkconfError(f"{name}: said no")

    def preflight(
        self, paths: HostPaths, services: tuple[Service, ...] = (), *, emergency: bool = False
    ) -> tuple[str, ...]:
        return self.missing

    def judge(self, case: Case) -> Judged:
        self._call("judge")
        self.cases.append(case)
        if self.before_judging:
            self.before_judging()
        if self.m4_fails:
            if case.stored_cf is None:
                raise DkconfError("m4: said no")
            return Judged(case.stored_cf, self.refusals, ("built from the stored sendmail.cf",))
        return Judged(build_cf(case.mc, case.fragment), self.refusals)

    def sendmail(self, paths: HostPaths, by: StartedBy) -> Sendmail:
        return Sendmail(self.ran, self.argv, stale=self.stale)

    def untold(self, paths: HostPaths, by: StartedBy) -> tuple[Refusal, ...]:
        return (Refusal("", self.lost, "find it"),) if self.lost else ()

    def sendmail_words(self, paths: HostPaths, by: StartedBy) -> tuple[str, str]:
        return ("error", self.lost) if self.lost else ("plain", "sendmail runs")

    def tell_sendmail(self, paths: HostPaths, sendmail: Sendmail) -> None:
        self._call("tell")
        if self.lost:
            raise NotTold(self.lost)
        live = self.system.read(paths.sendmail_cf)
        self.loaded = live.content if live else b""

    def check(self, paths: HostPaths, judged: Judged | None) -> tuple[str, ...]:
        self._call("check")
        return self.worse if judged is not None else ()

    def running(self, service: Service) -> bool | None:
        return service.filter in self.up

    def start(self, service: Service) -> None:
        self._call(f"start {service.filter}")
        self.up.add(service.filter)
        self.at_boot.add(service.filter)

    def reload(self, service: Service) -> None:
        self._call(f"reload {service.filter}")

    def restart(self, service: Service) -> None:
        self._call(f"restart {service.filter}")

    def stop(self, service: Service) -> None:
        self._call(f"stop {service.filter}")
        self.up.discard(service.filter)
        if service.manager != "sysv":
            self.at_boot.discard(service.filter)

    def wait_answers(self, socket: str, seconds: float) -> str:
        return ""

    def read_units(self, service: Service) -> None:
        self._call("read-units")

    def forget(self, service: Service) -> None:
        self._call(f"forget {service.filter}")
        self.at_boot.discard(service.filter)

    def create_user(self, user: SystemUser, platform: str, run: str) -> None:
        self._call(f"user {user.name}")
        if user.name not in self.system.users:
            self.system.users.add(user.name)
            self.made_by[user.name] = run

    def remove_user(self, name: str, platform: str, run: str, places: tuple[str, ...]) -> str:
        self._call(f"user-back {name}")
        if self.made_by.get(name) != run:
            return ""
        if name in self.used:
            return "in use"
        assert not [path for path, state in self.system.files.items() if state.owner == name]
        self.system.users.discard(name)
        del self.made_by[name]
        return ""

    def drain(self, paths: HostPaths, sockets: tuple[str, ...], since: float, seconds: int) -> tuple[str, ...]:
        self._call(f"drain {','.join(sockets)}")
        return self.connections

    def arm(self, state_dir: str, seconds: int, run: str, systemd: bool) -> None:
        self._call("arm")
        self.armed = run

    def disarm(self, state_dir: str) -> None:
        self._call("disarm")


def build_cf(source: bytes, fragment: bytes | None) -> bytes:
    """Return a .cf with the X lines and the list that m4 would make of the two."""
    text = mc.decode(source)
    calls = mc.find_filters(text)
    if fragment is not None and mc.block(text) is not None:
        calls += mc.find_filters(mc.decode(fragment), fragment=True)
    listed = ", ".join(c.name for c in calls if c.called)
    lines = ["O DaemonPortOptions=Family=inet, Name=MTA-v4, Port=smtp, Addr=127.0.0.1"]
    lines.append(f"O InputMailFilters={listed}" if listed else "#O InputMailFilters")
    lines += [f"X{c.name}, {c.equates}" for c in calls]
    return ("\n".join(lines) + "\n").encode()


@dataclass
class Host:
    """The host under test."""

    system: MemorySystem
    machine: FakeMachine
    clock: FakeClock
    inventory: Path
    said: list[str] = field(default_factory=list)

    def ctx(self, **options: object) -> Context:
        """Return the context of one run."""
        base = Context(
            host="mx1.example.test",
            inventory=str(self.inventory),
            state_dir=STATE,
            yes=True,
            machine=self.machine,
            system=self.system,
            clock=self.clock,
            say=lambda style, line: self.said.append(line),
        )
        return replace(base, **options)  # type: ignore[arg-type]

    def edit(self, old: str, new: str) -> None:
        """Edit the inventory."""
        text = self.inventory.read_text()
        assert old in text
        self.inventory.write_text(text.replace(old, new))

    def etc(self) -> dict[str, tuple[bytes, int, str, str]]:
        """Return the host's own files, dkconf's state left out."""
        return {
            p: (s.content, s.mode, s.owner, s.group) for p, s in self.system.files.items() if not p.startswith(STATE)
        }

    def called(self) -> list[str]:
        """Return the filters that the running sendmail calls."""
        for line in self.machine.loaded.decode().splitlines():
            if line.startswith("O InputMailFilters="):
                return line.partition("=")[2].split(", ")
        return []


def make_host(folder: Path) -> Host:
    """Return a host with a stock sendmail, and an inventory of two external filters that run."""
    system = MemorySystem(users=("root", "smmta", "smmsp", "0"))
    system.put(MC_PATH, MC.encode(), group="smmsp")
    system.put(CF_PATH, build_cf(MC.encode(), None), group="smmsp")
    system.put("/etc/mail/m4/.keep", b"")
    system.put("/var/lib/.keep", b"")
    machine = FakeMachine(system, up={"signer", "second"})
    machine.loaded = system.files[CF_PATH].content
    inventory = folder / "inventory.yaml"
    inventory.write_text(INVENTORY)
    return Host(system, machine, FakeClock(), inventory)


def make_own_host(folder: Path, manager: str = "systemd") -> Host:
    """Return a host whose inventory has a dkconf-filter: a user, a unit or a start script, settings and a key."""
    host = make_host(folder)
    host.inventory.write_text(OWN_INVENTORY.replace("systemd", manager))
    host.system.put(KEY_PATH, b"a private key", 0o600)
    host.system.put("/etc/systemd/system/.keep", b"")
    host.system.put("/etc/init.d/.keep", b"")
    host.machine.up.clear()
    return host


@pytest.fixture
def own(tmp_path: Path) -> Host:
    """A host before dkconf, with a dkconf-filter to come."""
    return make_own_host(tmp_path)


@pytest.fixture
def host(tmp_path: Path) -> Host:
    """A host before dkconf."""
    return make_host(tmp_path)
