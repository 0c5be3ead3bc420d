"""Everything that a host lacks is said at once, before anything is touched."""

from __future__ import annotations

import dataclasses
import os
from pathlib import Path

import pytest

from dkconf.desired.platform import PLATFORMS
from dkconf.desired.state import HostPaths, Service
from dkconf.trial import preflight as checks
from dkconf.trial.preflight import compiled_with, preflight

WITH = "Version 8.17.1\n Compiled with: DNSMAP LOG\n\t\tMILTER MIME7TO8\n\n============ SYSTEM IDENTITY\n"


@pytest.fixture
def paths(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> HostPaths:
    """Paths of a host that has everything."""
    monkeypatch.setattr(checks, "qualified_name", lambda: "mx1.example.test")
    monkeypatch.setattr(checks, "host_name", lambda: "mx1")
    monkeypatch.setattr(checks, "systemd_runs", lambda: True)
    monkeypatch.setattr("os.geteuid", lambda: 0)
    monkeypatch.setattr(checks, "_as_nobody", dict)  # who cannot reach the folders of a test
    cf_m4 = tmp_path / "cf.m4"
    cf_m4.write_text("")
    (tmp_path / "sendmail.mc").write_text(f"include(`{cf_m4}')dnl\n")
    (tmp_path / "sendmail.cf").write_text("")
    program(tmp_path / "m4", "")
    program(tmp_path / "sendmail", WITH)
    names = {name: str(tmp_path / name.replace("_", ".")) for name in ("sendmail_mc", "sendmail_cf", "m4", "sendmail")}
    return dataclasses.replace(PLATFORMS["debian"].paths, **names)


def program(path: Path, says: str) -> None:
    path.write_text(f"#!/bin/sh\ncat <<'END'\n{says}END\n")
    path.chmod(0o755)


def test_nothing_is_missing(paths: HostPaths) -> None:
    """Nothing to say."""
    assert [] == preflight(paths)


@pytest.mark.parametrize(
    "gone,words",
    [("m4", "install the package m4"), ("sendmail", "install sendmail"), ("cf.m4", "install the package sendmail-cf"),
     ("sendmail.mc", "paths.sendmail_mc"), ("sendmail.cf", "paths.sendmail_cf")],
)  # fmt: skip
def test_each_file_that_is_missing(paths: HostPaths, tmp_path: Path, gone: str, words: str) -> None:
    """The path, and what to do."""
    (tmp_path / gone).unlink()
    [said] = preflight(paths)

    assert str(tmp_path / gone) in said
    assert words in said


@pytest.mark.skipif(os.geteuid() != 0, reason="needs root, to be somebody else")
def test_sendmail_is_asked_without_rights_and_settings(passable: Path) -> None:
    """What it was built with stands in no file: /etc/mail, where the mail user may put links, is not read as root."""
    sendmail = passable / "sendmail"
    sendmail.write_text('#!/bin/sh\necho "Compiled with: $(id -u) $(id -G) $*"\n')
    sendmail.chmod(0o755)

    assert {"65534", "-C", "/dev/null", "-d0.1", "-bt"} == compiled_with(str(sendmail))


def test_no_milter(paths: HostPaths, tmp_path: Path) -> None:
    """A sendmail that cannot call filters."""
    program(tmp_path / "sendmail", WITH.replace("MILTER ", ""))

    assert [f"{tmp_path}/sendmail is built without MILTER, so it cannot call any filter; install one that is"] == (
        preflight(paths)
    )
    assert {"DNSMAP", "LOG", "MIME7TO8"} == compiled_with(str(tmp_path / "sendmail"))


def test_no_domain_in_the_host_name(paths: HostPaths, monkeypatch: pytest.MonkeyPatch) -> None:
    """sendmail would sleep; the line for /etc/hosts is in the sentence."""
    monkeypatch.setattr(checks, "qualified_name", lambda: "")
    [said] = preflight(paths)

    assert "mx1" in said
    assert "/etc/hosts" in said


def test_no_right(paths: HostPaths, monkeypatch: pytest.MonkeyPatch) -> None:
    """Only root may do it."""
    monkeypatch.setattr("os.geteuid", lambda: 1000)

    assert ["run dkconf as root"] == [said.rpartition(": ")[2] for said in preflight(paths)]


def test_all_at_once(paths: HostPaths, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Four things missing, four sentences."""
    monkeypatch.setattr("os.geteuid", lambda: 1000)
    program(tmp_path / "sendmail", "")
    (tmp_path / "m4").unlink()
    (tmp_path / "cf.m4").unlink()

    assert 4 == len(preflight(paths))


def service(program: str, *, running: bool = True, managed: bool = True) -> Service:
    return Service("own", "systemd", "dkconf-filter", (program, "--config", "x"), "", running, managed)


def test_a_filter_without_its_program(paths: HostPaths, tmp_path: Path) -> None:
    """A unit that starts nothing is told before it is written; a service that is off or not ours is not asked."""
    [said] = preflight(paths, [service("/nowhere/dkconf-filter")])

    assert "/nowhere/dkconf-filter" in said
    assert "paths.dkconf_filter" in said
    assert [] == preflight(paths, [service(str(tmp_path / "m4"))])
    assert [] == preflight(paths, [service("/nowhere/x", running=False), service("/nowhere/x", managed=False)])


def test_a_host_without_systemd(paths: HostPaths, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A unit that nobody starts is told before it is written; a filter that is off needs no systemd."""
    monkeypatch.setattr(checks, "systemd_runs", lambda: False)
    there = str(tmp_path / "m4")
    [said] = preflight(paths, [service(there)])

    assert "systemd does not run here, so it cannot start own" in said
    assert "service_manager: sysv" in said
    assert [] == preflight(paths, [service(there, running=False), service(there, managed=False)])


def test_an_emergency_asks_for_little(paths: HostPaths, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """No m4, no library, a short host name: the live .cf can lose a filter all the same. Without root it cannot."""
    monkeypatch.setattr(checks, "qualified_name", lambda: "")
    (tmp_path / "m4").unlink()
    (tmp_path / "cf.m4").unlink()

    assert [] == preflight(paths, emergency=True)
    monkeypatch.setattr("os.geteuid", lambda: 1000)
    assert 1 == len(preflight(paths, emergency=True))
