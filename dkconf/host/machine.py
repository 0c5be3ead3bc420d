"""What an operation asks of the machine beyond its files: judging, sendmail, filters, users, timers.

One interface, so that every order of events can be tested against a fake; `real.py` is the machine itself.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, Protocol

from dkconf.desired.state import DesiredState, HostPaths, Service, SystemUser
from dkconf.errors import Refusal


@dataclass(frozen=True, slots=True)
class Case:
    """A candidate configuration before the judge."""

    desired: DesiredState
    before: DesiredState | None
    """What is in force; None = dkconf has not applied anything here."""
    mc: bytes
    """The wanted sendmail.mc."""
    fragment: bytes | None
    """The wanted fragment; None = there is none."""
    live_mc: bytes
    live_fragment: bytes | None
    live_cf: bytes
    changed: frozenset[str]
    """Filters that are off now, or whose settings or keys change: they are tried in a throwaway instance."""
    taken_over: frozenset[str] = frozenset()
    stored_cf: bytes | None = None
    """Rollback: the .cf of that generation, used only if m4 fails."""
    gates: bool = True
    """Look up records; False = without network."""
    canary: bool = True
    emergency: bool = False
    """If the sources do not build, or not to what is live, the live .cf itself loses the filter."""
    accepted: frozenset[str] = frozenset()
    """Risks that were accepted: a gate that is accepted need not be asked."""


@dataclass(frozen=True, slots=True)
class Judged:
    """What the judge found."""

    cf: bytes
    """The octets to install."""
    refusals: tuple[Refusal, ...] = ()
    notes: tuple[str, ...] = ()
    before: Any = None
    """How the live ports answered before; `check` compares with it."""
    details: Mapping[str, Any] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class Sendmail:
    """The running sendmail, as it is found before a change."""

    ran: bool = False
    """Its master is confirmed, or a port of it answers."""
    start: tuple[str, ...] = ()
    """The command that starts it again should it end: by what root alone has written. () = none is known."""
    full_path: bool = True
    """It was started by a full path; without one, a SIGHUP ends it."""
    stale: bool = False
    """It has read its configuration before sendmail.cf was last written."""
    sure: bool = True
    """False: `start` was noted by a dkconf that took it from the pid file, which others may have written."""


@dataclass(frozen=True, slots=True)
class StartedBy:
    """What is known of how sendmail is started here, apart from the running process."""

    argv: tuple[str, ...] = ()
    """The inventory's."""
    manager: str = ""
    """The inventory's service manager; "" = there is no inventory."""
    remembered: tuple[str, ...] = ()
    """The command that was noted at the last healthy state."""


class Machine(Protocol):
    """The running machine. Every method may raise a DkconfError that says what the machine said."""

    def preflight(
        self, paths: HostPaths, services: tuple[Service, ...] = (), *, emergency: bool = False
    ) -> tuple[str, ...]:
        """Return everything that is missing or would make any change unsafe, in sentences."""

    def judge(self, case: Case) -> Judged:
        """Build the candidate, compare it with what was meant, try it with a canary; nothing live changes."""

    def sendmail(self, paths: HostPaths, by: StartedBy) -> Sendmail:
        """Return the running sendmail."""

    def untold(self, paths: HostPaths, by: StartedBy) -> tuple[Refusal, ...]:
        """Return why sendmail could not be told of a change, before anything is changed; () = it can."""

    def tell_sendmail(self, paths: HostPaths, sendmail: Sendmail) -> None:
        """Have sendmail read its configuration again and wait for its ports; start it if it ran and has died.

        Nothing happens if it did not run and does not.

        Raises:
            NotTold: A port of it answers, and the process behind that could not be told.
        """

    def sendmail_words(self, paths: HostPaths, by: StartedBy) -> tuple[str, str]:
        """Return (style, sentence) about the running sendmail; ("", "") where there is nothing to say."""

    def check(self, paths: HostPaths, judged: Judged | None) -> tuple[str, ...]:
        """Return what is worse than before the change; () = healthy."""

    def running(self, service: Service) -> bool | None: ...

    def start(self, service: Service) -> None: ...

    def reload(self, service: Service) -> None: ...

    def restart(self, service: Service) -> None: ...

    def stop(self, service: Service) -> None: ...

    def wait_answers(self, socket: str, seconds: float) -> str:
        """Return "" when a filter answers on the socket, else why it does not."""

    def read_units(self, service: Service) -> None:
        """Have the service manager read its unit files again."""

    def forget(self, service: Service) -> None:
        """Have nothing name a service at boot any more; its script goes next."""

    def create_user(self, user: SystemUser, platform: str, run: str) -> None:
        """Create a user that can be told to be this run's; nothing if there is one of this name."""

    def remove_user(self, name: str, platform: str, run: str, places: tuple[str, ...]) -> str:
        """Remove a user and its group if `run` made it; return why it stays, "" if it is gone or not the run's.

        Args:
            places: Paths that the run made or changed: what is left there must not be the user's.
        """

    def drain(self, paths: HostPaths, sockets: tuple[str, ...], since: float, seconds: int) -> tuple[str, ...]:
        """Wait until no connection from before `since` may still call a filter; return who is left."""

    def arm(self, state_dir: str, seconds: int, run: str, systemd: bool) -> None:
        """Have `recover` run in `seconds`, also if this process and its connection are gone by then."""

    def disarm(self, state_dir: str) -> None:
        """Take `arm` back as far as needed; a watcher also ends by itself when its run is over."""


class FilesOnly:
    """The machine of another root: there is none. Nothing runs there and nothing is judged."""

    def preflight(
        self, paths: HostPaths, services: tuple[Service, ...] = (), *, emergency: bool = False
    ) -> tuple[str, ...]:
        return ()

    def judge(self, case: Case) -> Judged:
        return Judged(case.live_cf, notes=("another root: nothing was built, judged or told to sendmail",))

    def sendmail(self, paths: HostPaths, by: StartedBy) -> Sendmail:
        return Sendmail()

    def untold(self, paths: HostPaths, by: StartedBy) -> tuple[Refusal, ...]:
        return ()

    def tell_sendmail(self, paths: HostPaths, sendmail: Sendmail) -> None:
        return None

    def sendmail_words(self, paths: HostPaths, by: StartedBy) -> tuple[str, str]:
        return "", ""

    def check(self, paths: HostPaths, judged: Judged | None) -> tuple[str, ...]:
        return ()

    def running(self, service: Service) -> bool | None:
        return None

    def start(self, service: Service) -> None:
        return None

    def reload(self, service: Service) -> None:
        return None

    def restart(self, service: Service) -> None:
        return None

    def stop(self, service: Service) -> None:
        return None

    def wait_answers(self, socket: str, seconds: float) -> str:
        return ""

    def read_units(self, service: Service) -> None:
        return None

    def forget(self, service: Service) -> None:
        return None

    def create_user(self, user: SystemUser, platform: str, run: str) -> None:
        return None

    def remove_user(self, name: str, platform: str, run: str, places: tuple[str, ...]) -> str:
        return ""

    def drain(self, paths: HostPaths, sockets: tuple[str, ...], since: float, seconds: int) -> tuple[str, ...]:
        return ()

    def arm(self, state_dir: str, seconds: int, run: str, systemd: bool) -> None:
        return None

    def disarm(self, state_dir: str) -> None:
        return None
