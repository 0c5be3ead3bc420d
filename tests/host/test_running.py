"""The running sendmail as a change must know it, with a process of our own in its place."""

from __future__ import annotations

import os
import socket
from dataclasses import replace
from pathlib import Path

import pytest

from dkconf.desired.platform import PLATFORMS
from dkconf.desired.state import HostPaths
from dkconf.host import running
from dkconf.host.machine import Sendmail, StartedBy
from dkconf.probe.facts import Site
from dkconf.sendmail.cf import parse_daemon

ARGV = ("/usr/sbin/sendmail", "-bd")


@pytest.fixture
def paths(tmp_path: Path) -> HostPaths:
    """Paths whose .cf is there, and older than this process."""
    cf = tmp_path / "sendmail.cf"
    cf.write_text("")
    os.utime(cf, (1, 1))
    return replace(PLATFORMS["debian"].paths, sendmail_cf=str(cf), pid_file=str(tmp_path / "pid"))


def site(port: int, paths: HostPaths, own_id: int) -> Site:
    program = os.readlink("/proc/self/exe")
    made = parse_daemon(f"Name=X, Port={port}, Addr=127.0.0.1")
    return Site(frozenset({program}), (made,), (paths.pid_file,), own_id=own_id)


def test_one_that_does_not_run(paths: HostPaths) -> None:
    """Nothing answers: nothing is refused, and nothing would be started."""
    with socket.create_server(("127.0.0.1", 0)) as listener:
        port = listener.getsockname()[1]
    here = site(port, paths, os.getuid())

    assert Sendmail(ran=False, start=ARGV) == running.look(here, paths, StartedBy(ARGV))
    assert () == running.refusals(here, paths, StartedBy())
    assert ("warn", "sendmail: does not run") == running.words(here, paths, StartedBy())


def test_one_that_runs(paths: HostPaths) -> None:
    """With the inventory's command, with a noted one, or with none, which status says."""
    with socket.create_server(("127.0.0.1", 0)) as listener:
        here = site(listener.getsockname()[1], paths, os.getuid())

        assert Sendmail(True, ARGV) == running.look(here, paths, StartedBy(ARGV))
        noted = ("systemctl", "restart", "sendmail.service")
        assert Sendmail(True, noted) == running.look(here, paths, StartedBy(remembered=noted))
        assert Sendmail(True) == running.look(here, paths, StartedBy(remembered=(*ARGV, "-C", "/tmp/evil.cf")))
        assert () == running.refusals(here, paths, StartedBy())
        assert "no safe command" in running.words(here, paths, StartedBy())[1]
        assert "plain" == running.words(here, paths, StartedBy(ARGV))[0]


@pytest.mark.parametrize(
    ("began", "mtime", "stale"),
    [
        (-3600, 0, True),
        (-3600, 3600, True),  # a time that was set, in the future
        (-3600, -7200, False),  # put back with its old time
        (-1, 0, False),  # clocks are rounded
        (3600, 0, False),
        (None, 0, False),  # not known when it began
    ],
)
def test_whether_it_has_read_the_cf(paths: HostPaths, began: float | None, mtime: float, stale: bool) -> None:
    """Seconds from when the .cf was written: when sendmail began, and what the file's time says."""
    now = os.stat(paths.sendmail_cf).st_ctime
    os.utime(paths.sendmail_cf, (now + mtime, now + mtime))
    read_at = 0.0 if began is None else os.stat(paths.sendmail_cf).st_ctime + began

    assert stale == running._stale(read_at, paths.sendmail_cf)


def test_one_with_an_older_cf_is_said(paths: HostPaths, monkeypatch: pytest.MonkeyPatch) -> None:
    """With the command that tells it."""
    monkeypatch.setattr(running, "STALE_SECONDS", -86400.0)  # as if this process had begun a day ago
    Path(paths.sendmail_cf).touch()
    with socket.create_server(("127.0.0.1", 0)) as listener:
        here = site(listener.getsockname()[1], paths, os.getuid())

        assert running.look(here, paths, StartedBy(ARGV)).stale
        assert f"kill -HUP {os.getpid()}" in running.words(here, paths, StartedBy(ARGV))[1]


def test_one_that_cannot_be_told_is_refused(paths: HostPaths) -> None:
    """It answers, and is not confirmed: what was looked at, who holds the port, and what goes on."""
    with socket.create_server(("127.0.0.1", 0)) as listener:
        here = site(listener.getsockname()[1], paths, os.getuid() + 1)

        (refusal,) = running.refusals(here, paths, StartedBy(ARGV))

        assert f"held by process {os.getpid()}" in refusal.sentence
        assert f"kill -HUP {os.getpid()}" in refusal.way_on
        assert "if another program has taken the port" in refusal.way_on
        assert "--emergency" in refusal.way_on
        assert Sendmail(True, ARGV) == running.look(here, paths, StartedBy(ARGV))


def test_status_says_what_to_do_about_it(paths: HostPaths, monkeypatch: pytest.MonkeyPatch) -> None:
    """The one who looks is told the same as the one who was refused."""
    seen = running.master.find
    monkeypatch.setattr(running.master, "find", lambda site: replace(seen(site), blind=False))
    with socket.create_server(("127.0.0.1", 0)) as listener:
        here = site(listener.getsockname()[1], paths, os.getuid() + 1)

        style, words = running.words(here, paths, StartedBy(ARGV))

    assert "error" == style
    assert f"if it is sendmail: kill -HUP {os.getpid()}" in words
    assert "if another program has taken the port: stop it and start sendmail" in words


def test_one_that_a_hup_would_end_is_refused_without_a_command(paths: HostPaths) -> None:
    """The pid file says that it has no full path; a command of the inventory's will do."""
    Path(paths.pid_file).write_text(f"{os.getpid()}\nsendmail -bd -C /tmp/evil.cf\n")
    with socket.create_server(("127.0.0.1", 0)) as listener:
        here = site(listener.getsockname()[1], paths, os.getuid())

        (refusal,) = running.refusals(here, paths, StartedBy())
        assert "full path" in str(refusal)
        assert () == running.refusals(here, paths, StartedBy(ARGV))
        assert Sendmail(True, ARGV, full_path=False) == running.look(here, paths, StartedBy(ARGV))


@pytest.mark.parametrize(
    ("sendmail", "expected"),
    [
        (Sendmail(True, ("/any/program", "-x")), ("/any/program", "-x")),
        (Sendmail(True, ("/any/program", "-x"), sure=False), ()),
        (Sendmail(True, ("systemctl", "restart", "sendmail.service"), sure=False),
         ("systemctl", "restart", "sendmail.service")),
    ],
)  # fmt: skip
def test_a_command_that_is_not_sure_is_looked_at(
    paths: HostPaths, sendmail: Sendmail, expected: tuple[str, ...]
) -> None:
    """The inventory may name any program; a journal of an older version may not."""
    assert expected == running.surely(sendmail, site(1, paths, 0), paths)
