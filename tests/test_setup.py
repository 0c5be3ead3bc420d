"""scripts/setup.sh, with an apt-get that only pretends: what it refuses, and that it then touches nothing."""

from __future__ import annotations

import os
import shutil
import subprocess
from pathlib import Path

import pytest

from tests.patience import LAST_RESORT_SECONDS

CHECKOUT = Path(__file__).resolve().parents[1]


class Machine:
    """A copy of the script in a checkout of its own, on a machine of stubs."""

    def __init__(self, top: Path) -> None:
        self.checkout, self.stubs = top / "checkout", top / "stubs"
        self.log = top / "apt.log"
        (self.checkout / "scripts").mkdir(parents=True)
        self.stubs.mkdir()
        shutil.copy(CHECKOUT / "scripts" / "setup.sh", self.checkout / "scripts")
        shutil.copy(CHECKOUT / "pyproject.toml", self.checkout)
        self.stub("dpkg-query", "exit 1")
        self.stub("id", "echo 0")

    def stub(self, name: str, script: str) -> None:
        (self.stubs / name).write_text(f'#!/bin/sh\necho "$0 $*" >> {self.log}\n{script}\n')
        (self.stubs / name).chmod(0o755)

    def run(self) -> subprocess.CompletedProcess[str]:
        env = {**os.environ, "PATH": f"{self.stubs}:{os.environ['PATH']}"}
        script = [str(self.checkout / "scripts" / "setup.sh")]
        return subprocess.run(script, env=env, capture_output=True, text=True, check=False, timeout=LAST_RESORT_SECONDS)

    @property
    def installed(self) -> bool:
        """Whether apt-get was called for more than a look or the lists."""
        calls = [line for line in self.log.read_text().splitlines() if "/apt-get " in line]
        return any(" -s " not in call and " update" not in call for call in calls)


@pytest.fixture
def machine(tmp_path: Path) -> Machine:
    return Machine(tmp_path)


def one_line(ran: subprocess.CompletedProcess[str]) -> str:
    """Return what was said on standard error, which must be one line, with status 1."""
    assert ran.returncode == 1, ran
    (line,) = ran.stderr.splitlines()
    return line


def test_it_refuses_to_remove_a_package(machine: Machine) -> None:
    """If sendmail-bin would push out another mail transport agent, nothing is installed."""
    machine.stub("apt-get", 'echo "Remv exim4-base [4.96]"; echo "Inst sendmail-bin (8.17)"')

    line = one_line(machine.run())

    assert "refused" in line
    assert "exim4-base" in line
    assert not machine.installed
    assert not (machine.checkout / ".venv").exists()


def test_without_root_it_says_what_is_missing(machine: Machine) -> None:
    """Only root can install: the missing packages are named, apt-get is not called."""
    machine.stub("id", "echo 1000")
    machine.stub("apt-get", "exit 0")

    line = one_line(machine.run())

    assert "sendmail-bin" in line
    assert "root" in line
    assert not machine.installed


def test_without_a_network_it_says_so(machine: Machine) -> None:
    """If the package lists cannot be had, that is one line, with apt's own reason."""
    machine.stub("apt-get", 'echo "E: Could not resolve deb.debian.org"; exit 100')

    line = one_line(machine.run())

    assert "Could not resolve" in line
    assert not machine.installed


def test_opendmarc_comes_without_a_database(machine: Machine) -> None:
    """Debian's package would bring a database's client of 100 MB; a machine that has one for others keeps it."""
    machine.stub("id", "echo 1000")

    assert "opendmarc" in one_line(machine.run())
    assert "dbconfig-no-thanks" in one_line(machine.run())
    machine.stub("dpkg-query", 'echo "installed=dbconfig-mysql "')
    assert "dbconfig-no-thanks" not in one_line(machine.run())


def test_where_nothing_is_missing_apt_is_not_called(machine: Machine) -> None:
    """A second run is quick, and needs neither root nor a network."""
    machine.stub("dpkg-query", "for package; do printf 'installed=%s ' \"$package\"; done")
    machine.stub("id", "echo 1000")
    machine.stub("python3", "exit 0")
    (machine.checkout / ".venv" / "bin").mkdir(parents=True)
    (machine.checkout / ".venv" / "made-by").write_text(f"{machine.stubs}/python3\n")
    (machine.checkout / ".venv" / "bin" / "python").symlink_to(machine.stubs / "python3")

    ran = machine.run()

    assert (0, "") == (ran.returncode, ran.stderr)
    assert not machine.installed
    assert "apt-get" not in machine.log.read_text()
