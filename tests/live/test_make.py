"""Debian's own make after an apply: it finds sendmail.cf up to date, so that no hook and no reload rebuilds it."""

from __future__ import annotations

import shutil
from pathlib import Path

import pytest

from tests.lab import Lab, inventory
from tests.lab.filters import Fault

pytestmark = pytest.mark.live
DEBIANS = ("Makefile", "databases", "sendmail.conf")
CF = "/etc/mail/sendmail.cf"


@pytest.fixture
def with_makefile(lab: Lab) -> Lab:
    """A lab with the Makefile that Debian has generated for this machine."""
    for name in DEBIANS:
        if not Path(f"/etc/mail/{name}").exists():
            pytest.skip(f"no /etc/mail/{name} on this machine; sendmail-base makes it")
        shutil.copy2(f"/etc/mail/{name}", lab.dir / name)
        assert 0 == lab.run("cp", "-p", f"{lab.dir}/{name}", f"/etc/mail/{name}").status
    assert 0 == lab.run("touch", CF).status
    return lab


def make(lab: Lab) -> bytes:
    """Run make for sendmail.cf as Debian's scripts do; it must find nothing to do. Return the file."""
    assert 0 == lab.run("make", "-q", "-C", "/etc/mail", CF).status
    done = lab.run("make", "-C", "/etc/mail", CF)
    assert 0 == done.status, done
    return lab.path(CF).read_bytes()


def test_make_finds_nothing_to_do(with_makefile: Lab) -> None:
    """After apply, disable, rollback and release alike the octets that were judged stay in place."""
    lab = with_makefile
    fault = Fault(lab).start()
    inventory.write(lab, inventory.external("fault", fault.port, roles="verify", schemes=""), ["fault"], domains=())
    before = make(lab)

    for command in (("apply",), ("disable-filter", "fault"), ("rollback",), ("release",)):
        ran = lab.dkconf(*command, "--yes")
        assert 0 == ran.status, ran
        installed = lab.path(CF).read_bytes()
        assert installed == make(lab), command

    assert before == lab.path(CF).read_bytes()


def test_a_fragment_that_make_has_come_to_name_stays_as_an_empty_file(with_makefile: Lab) -> None:
    """Debian's make lists every included file as a prerequisite: after release none of them may be missing."""
    lab = with_makefile
    fault = Fault(lab).start()
    inventory.write(lab, inventory.external("fault", fault.port, roles="verify", schemes=""), ["fault"], domains=())
    assert 0 == lab.dkconf("apply", "--yes").status
    databases = lab.path("/etc/mail/databases")
    databases.write_text(databases.read_text() + "INCLUDE:-:-:/etc/mail/m4/dkconf.m4:-:\n")

    assert 0 == lab.dkconf("release", "--yes").status

    assert b"" == lab.path("/etc/mail/m4/dkconf.m4").read_bytes()
