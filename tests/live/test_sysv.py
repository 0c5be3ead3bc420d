"""A dkconf-filter under System V, with Debian's own update-rc.d, service and useradd, in a lab's private /etc.

What counts is what the next boot would do: the links of the run levels.
"""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.conftest import require
from tests.lab import Lab, build_message, inventory
from tests.lab.lab import BIN
from tests.lab.nameserver import NameServer

pytestmark = pytest.mark.live

SERVICE = inventory.OWN
STARTED = {f"rc{level}.d/{kind}" for level, kind in zip("0123456", "KKSSSSK", strict=True)}
"""What Debian does with a script whose header says 2 3 4 5 and 0 1 6."""
OFF = {link.replace("S", "K") for link in STARTED}
USER = "dkconf"


@pytest.fixture
def sysv(tmp_path: Path) -> Iterator[Lab]:
    """A lab whose inventory has a dkconf-filter that a start script starts; nothing is applied."""
    require("named", "update-rc.d", "service", "useradd", "userdel")
    with Lab(tmp_path / "lab") as lab:
        lab.start_sendmail()
        host = f"paths: {{dkconf_filter: {BIN}/dkconf-filter}}"
        path = inventory.write(lab, inventory.own_filter(), [inventory.OWN], host=host)
        path.write_text(path.read_text().replace("service_manager: direct", "service_manager: sysv"))
        NameServer(lab).publish({}, inventory.own_key(lab))
        yield lab


def links(lab: Lab) -> set[str]:
    """Return the filter's links of the run levels, without their numbers."""
    found = lab.path("/etc").glob(f"rc?.d/[SK][0-9][0-9]{SERVICE}")
    return {f"{link.parent.name}/{link.name[0]}" for link in found}


def accounts(lab: Lab) -> list[str]:
    """Return the lines about the filter's user in passwd, shadow and group, which may hold it as a member."""
    names = ("passwd", "shadow", "group", "gshadow")
    lines = [line for name in names for line in lab.path(f"/etc/{name}").read_text().splitlines()]
    return [line for line in lines if USER in line]


def do(lab: Lab, *words: str, status: int = 0, **env: str) -> None:
    ran = lab.dkconf(*words, "--yes", env=env)
    assert status == ran.status, ran


def test_what_a_boot_starts(sysv: Lab) -> None:
    """Started, off, started again, and no link at all once dkconf is gone; the filter runs as the links say."""
    do(sysv, "apply")
    assert STARTED == links(sysv)
    do(sysv, "disable-filter", inventory.OWN)
    assert OFF == links(sysv)
    assert not sysv.answers(inventory.OWN_PORT)

    do(sysv, "enable-filter", inventory.OWN)
    assert STARTED == links(sysv)
    assert sysv.answers(inventory.OWN_PORT)
    # What init does at boot: in the order of the run level, each script whose link says so.
    assert 0 == sysv.run("service", SERVICE, "stop").status
    (started,) = sysv.path("/etc/rc2.d").glob(f"S??{SERVICE}")
    assert 0 == sysv.run(f"/etc/rc2.d/{started.name}", "start").status
    sysv.wait_for_port(inventory.OWN_PORT)
    outcome = sysv.send(build_message("booted", sender="alice@example.org"))
    assert outcome.accepted, outcome.final

    do(sysv, "release")
    assert set() == links(sysv)
    assert not sysv.path(f"/etc/init.d/{SERVICE}").exists()
    assert accounts(sysv), "the keys belong to the user"


@pytest.mark.parametrize("off", [False, True], ids=["running", "off"])
def test_a_filter_that_leaves_the_inventory_leaves_no_link(sysv: Lab, off: bool) -> None:
    """Whether it runs or is off when it leaves."""
    do(sysv, "apply")
    if off:
        do(sysv, "disable-filter", inventory.OWN)
    path = sysv.dir / "inventory.yaml"
    text = path.read_text().replace("    disabled_filters: [dkconf-filter]\n", "")
    path.write_text(text.replace("    filters: [dkconf-filter]", "    filters: []"))

    do(sysv, "apply")

    assert set() == links(sysv)
    assert not sysv.path(f"/etc/init.d/{SERVICE}").exists()


def test_a_first_apply_that_fails_leaves_neither_link_nor_user(sysv: Lab) -> None:
    """The filter's port is taken, so that it cannot start: going back takes all away that this run had made."""
    before = accounts(sysv)
    with sysv.listen(inventory.OWN_PORT):
        do(sysv, "apply", status=3)

    assert set() == links(sysv)
    assert not sysv.path(f"/etc/init.d/{SERVICE}").exists()
    assert before == accounts(sysv) == []


@pytest.mark.parametrize("point", [f"user:{USER}:after", f"start:{inventory.OWN}:after", "check:before"])
def test_a_first_apply_that_is_killed_leaves_neither_link_nor_user(sysv: Lab, point: str) -> None:
    """Killed with the user made, or the filter running: the next run undoes it."""
    do(sysv, "apply", status=128 + 9, DKCONF_CRASH_AT=point)
    assert accounts(sysv)

    recovered = sysv.dkconf("recover")

    assert 0 == recovered.status, recovered
    assert set() == links(sysv)
    assert [] == accounts(sysv)
    do(sysv, "apply")
    assert STARTED == links(sysv)
