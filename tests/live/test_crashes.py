"""The crash matrix: dkconf is killed before and after every single step, and mail goes on.

After each death the host, in whatever mixture of old and new, must start and take mail; after the next run of dkconf
its files are the old generation's or the new one's, mode and owner included. Enabling and disabling, with an external
filter and with a dkconf-filter that dkconf itself starts and stops.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import pytest

from tests.conftest import require
from tests.lab import Lab, build_message, inventory
from tests.lab.client import send_until_accepted
from tests.lab.filters import Fault
from tests.lab.nameserver import NameServer
from tests.lab.trees import changes, mail_host
from tests.patience import LAST_RESORT_SECONDS

pytestmark = pytest.mark.live
RETRY_SECONDS = LAST_RESORT_SECONDS
KILLED = 128 + 9
SHARDS = 4
"""Each command's points are dealt out to so many tests, so that they can run side by side."""


@dataclass
class Host:
    """A lab with one filter that can be switched."""

    lab: Lab
    filter: str

    def switch(self, on: bool, **env: str) -> int:
        """Enable or disable the filter; return dkconf's status."""
        ran = self.lab.dkconf("enable-filter" if on else "disable-filter", self.filter, "--yes", env=env)
        assert ran.status in (0, KILLED), ran
        return ran.status

    def is_on(self) -> bool:
        """Return whether sendmail.cf calls the filter."""
        return f"InputMailFilters={self.filter}" in self.lab.path("/etc/mail/sendmail.cf").read_text()

    def takes_mail(self, when: str) -> None:
        """Assert that a client which retries gets in."""
        message = build_message(when, sender="alice@example.org")
        outcome = send_until_accepted(lambda: self.lab.connect(25), message, RETRY_SECONDS)
        assert outcome is not None, f"{when}: nobody answers"
        assert outcome.accepted, f"{when}: {outcome.final}"

    def points(self, on: bool) -> list[str]:
        """Switch once, and return every point at which that can die."""
        trace = self.lab.dir / f"trace-{on}"
        assert 0 == self.switch(on, DKCONF_TRACE_STEPS=str(trace))
        return trace.read_text().splitlines()

    def now(self, point: str) -> str:
        """Return the point's name in the next run: generations are numbered."""
        last = int(self.lab.path("/var/lib/dkconf/generations/last").read_text())
        return re.sub(r"(?<=generations/)\d{6}", f"{last + 1:06d}", point)


def external_host(lab: Lab) -> Host:
    fault = Fault(lab).start()
    inventory.write(lab, inventory.external("fault", fault.port, roles="verify", schemes=""), ["fault"], domains=())
    return Host(lab, "fault")


def own_host(lab: Lab) -> Host:
    inventory.write(lab, inventory.own_filter(), [inventory.OWN], services=inventory.OWN_SERVICE)
    NameServer(lab).publish({}, inventory.own_key(lab))
    return Host(lab, inventory.OWN)


KINDS = {"external": external_host, "own": own_host}


@pytest.fixture
def host(tmp_path: Path, request: pytest.FixtureRequest) -> Iterator[Host]:
    """A host of the asked kind, its filter applied."""
    require("named")
    with Lab(tmp_path / "lab") as lab:
        lab.start_sendmail()
        made = KINDS[request.param](lab)
        applied = lab.dkconf("apply", "--yes")
        assert applied.status == 0, applied
        yield made


@pytest.mark.parametrize("shard", range(SHARDS))
@pytest.mark.parametrize("on", [False, True], ids=["disable", "enable"])
@pytest.mark.parametrize("host", KINDS, indirect=True)
def test_killed_at_every_step(host: Host, on: bool, shard: int) -> None:
    """Whatever the step, mail goes on at once and after a restart of sendmail, and the next run leaves no mixture."""
    states = {True: mail_host(host.lab)}
    first = host.points(False)
    states[False] = mail_host(host.lab)
    points = host.points(True)
    if on:
        assert 0 == host.switch(False)
    else:
        points = first
    assert len(points) > 20
    started: list[object] = []

    for point in points[shard::SHARDS]:
        assert host.is_on() is not on, point
        assert KILLED == host.switch(on, DKCONF_CRASH_AT=host.now(point)), f"{point} was not met"

        host.takes_mail(f"killed at {point}")
        mixture = mail_host(host.lab)
        if mixture not in started:
            host.lab.restart_sendmail()
            host.takes_mail(f"killed at {point}, sendmail restarted")
            started.append(mixture)

        repaired = host.lab.dkconf("recover")
        assert repaired.status in (0, 3), f"{point}: {repaired}"
        now = mail_host(host.lab)
        assert now in states.values(), f"{point}: {changes(states[host.is_on()], now)}"
        host.takes_mail(f"repaired after {point}")

        if host.is_on() is on:
            assert 0 == host.switch(not on), point


@pytest.mark.parametrize("host", ["own"], indirect=True)
def test_a_step_that_was_cut_off_is_told(host: Host) -> None:
    """status says that a run was cut off, and writes nothing; the next apply repairs first."""
    points = host.points(False)
    assert 0 == host.switch(True)
    point = next(point for point in points if point.startswith("tell-sendmail"))
    assert KILLED == host.switch(False, DKCONF_CRASH_AT=host.now(point))
    mixture = mail_host(host.lab)

    told = host.lab.dkconf("status")
    assert "recover" in told.out + told.err
    assert mixture == mail_host(host.lab)

    assert host.lab.dkconf("apply", "--yes").status in (0, 3)
    host.takes_mail("repaired")
