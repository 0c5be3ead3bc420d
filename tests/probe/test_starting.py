"""The command that starts sendmail again: only what root alone can have written, and only harmless words of that."""

from __future__ import annotations

import os
import string
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from dkconf.probe import master, procfs, starting
from dkconf.probe.facts import Facts, Site

PROGRAM = "/bin/cat" if os.path.realpath("/bin/cat") == "/bin/cat" else os.path.realpath("/bin/cat")
"""Stands for sendmail: a program that only root can have put where it is."""
SITE = Site(frozenset({PROGRAM}), (), ())
root_only = pytest.mark.skipif(os.geteuid() != 0, reason="gives files to other users")


@pytest.mark.parametrize(
    "words",
    [
        "-L sm-mta -bd -q1m",
        "-bd -q1h",
        "-Lsm-mta -Am -bD -q1d2h30m",
        "-bd -qp10m",
        "-bd -q",
        "-L sm-mta -bd -q30m -ODaemonPortOptions=Addr=localhost",
        "-bd -ODaemonPortOptions=Name=MSA,Port=587,Addr=192.0.2.1",
        "-om -i -bd",
    ],
)
def test_harmless_command_lines(words: str) -> None:
    """As packages start it."""
    assert (PROGRAM, *words.split()) == starting.harmless(f"{PROGRAM} {words}", SITE, PROGRAM)
    assert (PROGRAM, *words.split()) == starting.harmless(f"sendmail {words}", SITE, PROGRAM)


@pytest.mark.parametrize(
    "line",
    [
        "",
        "/bin/sh -bd",
        "/tmp/sendmail -bd",
        "evil -bd",
        "./sendmail -bd",
        "../sendmail -bd",
        f"{PROGRAM}",
        f"{PROGRAM} -q1m",
        f"{PROGRAM} -bd -C/tmp/evil.cf",
        f"{PROGRAM} -bd -C /tmp/evil.cf",
        f"{PROGRAM} -bd -X /etc/cron.d/evil",
        f"{PROGRAM} -bd -X/etc/cron.d/evil",
        f"{PROGRAM} -bd -D /etc/evil",
        f"{PROGRAM} -bd -d0-99.100",
        f"{PROGRAM} -bd -OQueueDirectory=/tmp",
        f"{PROGRAM} -bd -O QueueDirectory=/tmp",
        f"{PROGRAM} -bd -OPidFile=/etc/passwd",
        f"{PROGRAM} -bd -oQ/tmp",
        f"{PROGRAM} -bd -oA/tmp/aliases",
        f"{PROGRAM} -bd -p smtp:evil",
        f"{PROGRAM} -bd -M{{x}}y",
        f"{PROGRAM} -bd -f evil",
        f"{PROGRAM} -bd -Ac",
        f"{PROGRAM} -bd -L",
        f"{PROGRAM} -L ../../etc -bd",
        f"{PROGRAM} -L -C/tmp/evil.cf -bd",
        f"{PROGRAM} -bd root@example.org",
        f"{PROGRAM} -bd -qGgroup",
        f"{PROGRAM} -bd -qI../../x",
        f"{PROGRAM} -bd -ODaemonPortOptions=InputMailFilters=x",
        f"{PROGRAM} -bd -ODaemonPortOptions=Addr=/etc/x",
        f"{PROGRAM} -bd -bs",
    ],
)
def test_every_other_word_makes_the_line_worthless(line: str) -> None:
    """-C, -X, -D, -O and the like name files, programs and options: whoever wrote them would be root."""
    assert () == starting.harmless(line, SITE, PROGRAM)


@given(st.lists(st.text(string.ascii_letters + string.digits + "-/=.,:{} \t\n$", max_size=12), max_size=6))
def test_what_is_taken_has_no_path_and_no_option(words: list[str]) -> None:
    """Whatever a line says: the program is the configured one, and no word behind it names a file."""
    found = starting.harmless(f"{PROGRAM} -bd {' '.join(words)}", SITE, PROGRAM)

    assert found[:1] in ((), (PROGRAM,))
    assert not any("/" in word or word.startswith(("-C", "-X", "-D", "-d", "-M", "-p")) for word in found[1:])
    assert all(word.startswith("-ODaemonPortOptions=") for word in found[1:] if word.startswith("-O"))


def test_a_program_in_a_folder_of_others_is_not_started(tmp_path: Path) -> None:
    """Root owns the file, and others could put another in its place."""
    program = tmp_path / "sendmail"
    program.write_text("#!/bin/sh\n")
    tmp_path.chmod(0o777)
    site = replace(SITE, programs=frozenset({str(program)}))

    assert () == starting.harmless(f"{program} -bd", site, str(program))


def test_what_was_noted_earlier_is_looked_at_again() -> None:
    """A generation by an older dkconf may hold a line of the pid file's."""
    assert ("systemctl", "restart", "sendmail.service") == starting.checked(
        ("systemctl", "restart", "sendmail.service"), SITE, PROGRAM
    )
    assert (PROGRAM, "-bd") == starting.checked((PROGRAM, "-bd"), SITE, PROGRAM)
    for evil in (("systemctl", "restart", "evil.service"), ("/tmp/evil",), (PROGRAM, "-bd", "-C", "/tmp/x"), ()):
        assert () == starting.checked(evil, SITE, PROGRAM)


@pytest.mark.parametrize(
    ("groups", "unit"),
    [
        ("0::/system.slice/sendmail.service\n", "sendmail.service"),
        ("12:pids:/x\n1:name=systemd:/system.slice/sendmail.service\n", "sendmail.service"),
        ("0::/system.slice/system-mta.slice/mta@1.service\n", "mta@1.service"),
        ("0::/user.slice/user-0.slice/session-1.scope\n", ""),
        ("0::/system.slice/docker-0123.scope\n", ""),
        ("0::/\n", ""),
        ("", ""),
    ],
)
def test_the_unit_of_a_process(groups: str, unit: str) -> None:
    """From the control group, into which root alone puts processes."""
    assert unit == starting.unit_in(groups)


# — the record —


@contextmanager
def daemon(pid_file: Path, line: str, *, keep: bool = True) -> Iterator[tuple[Facts, Site]]:
    """Run a process that writes a pid file, as sendmail does, and keeps it open (or not)."""
    code = (
        "import os, sys\n"
        "f = open(sys.argv[1], 'w'); os.chmod(sys.argv[1], 0o640)\n"
        "f.write(f'{os.getpid()}\\n{sys.argv[2]}\\n'); f.flush()\n"
        "sys.argv[3] == 'keep' or f.close()\n"
        "print(flush=True); sys.stdin.read()"
    )
    argv = [sys.executable, "-S", "-c", code, str(pid_file), line, "keep" if keep else "close"]
    child = subprocess.Popen(argv, stdin=subprocess.PIPE, stdout=subprocess.PIPE)
    try:
        assert child.stdout is not None
        child.stdout.readline()
        program = os.readlink("/proc/self/exe")
        site = Site(frozenset({program}), (), (str(pid_file),), own_id=os.geteuid())
        process = next(one for one in procfs.processes(site) if one.pid == child.pid)
        yield process, site
    finally:
        child.communicate(b"")


LINE = "/usr/sbin/sendmail -L sm-mta -bd -q1m"


def test_the_record_that_the_process_itself_keeps_open(tmp_path: Path) -> None:
    """Wherever its folder is: what is read is the file that the process has open."""
    tmp_path.chmod(0o777)
    with daemon(tmp_path / "pid", LINE) as (process, site):
        assert process.keeps_pid_file
        assert LINE == starting.recorded(process, site)


@pytest.mark.parametrize("how", ["another", "hard link", "writable", "pipe", "link", "gone", "huge"])
def test_another_file_in_its_place_is_not_believed(tmp_path: Path, how: str) -> None:
    """What somebody else may have put there has no say, and does not hide the record that the process keeps open; a
    file of the process's own that others can write has none either.
    """
    tmp_path.chmod(0o777)
    path, evil = tmp_path / "pid", tmp_path / "evil"
    with daemon(path, LINE) as (process, site):
        evil.write_text(f"{process.pid}\n/tmp/evil -bd\n")
        match how:
            case "another":
                os.replace(evil, path)
            case "hard link":
                os.link(path, tmp_path / "second")
            case "writable":
                path.chmod(0o666)
            case "pipe":
                path.unlink()
                os.mkfifo(path)
            case "link":
                path.unlink()
                path.symlink_to(evil)
            case "gone":
                path.unlink()
            case "huge":
                with open(path, "ab") as file:
                    file.truncate(3 << 30)

        # That the file was moved away changes nothing of it; whoever has another name of it, or can write it, may have.
        assert (LINE if how in ("another", "pipe", "link", "gone") else "") == starting.recorded(process, site)


@root_only
def test_a_file_of_another_user_is_not_believed(tmp_path: Path) -> None:
    """Also where the process has opened it: its owner can write it."""
    tmp_path.chmod(0o777)
    with daemon(tmp_path / "pid", LINE) as (process, site):
        os.chown(tmp_path / "pid", 65534, -1)

        assert "" == starting.recorded(process, site)


@root_only
@pytest.mark.parametrize("mode", [0o755, 0o777, 0o1777, 0o775])
def test_a_file_that_is_not_kept_open_counts_in_a_folder_of_roots(mode: int) -> None:
    """As on hosts whose sendmail closes it; in a folder where others can put something it does not."""
    folder = Path(f"/run/dkconf-test-{os.getpid()}")
    folder.mkdir()
    folder.chmod(mode)
    try:
        with daemon(folder / "pid", LINE, keep=False) as (process, site):
            assert not process.keeps_pid_file
            assert (LINE if mode == 0o755 else "") == starting.recorded(process, site)
    finally:
        (folder / "pid").unlink()
        folder.rmdir()


def test_a_claim_tells_whether_a_hup_would_end_it(tmp_path: Path) -> None:
    """It is believed for that alone, and never run."""
    path = tmp_path / "pid"
    path.write_text("1\nsendmail -bd\n")
    site = replace(SITE, pid_files=(str(tmp_path / "none"), str(path)))

    assert "sendmail -bd" == starting.claimed(site)
    assert starting.relative("sendmail -bd")
    assert not starting.relative(LINE)
    assert not starting.relative("")


def test_where_the_program_may_be(tmp_path: Path) -> None:
    """Links and alternatives are resolved, and the places of packages counted in."""
    (tmp_path / "real").write_text("")
    (tmp_path / "alternative").symlink_to("real")
    (tmp_path / "sendmail").symlink_to("alternative")

    found = master.programs(str(tmp_path / "sendmail"))

    assert {str(tmp_path / "real"), "/usr/libexec/sendmail/sendmail", "/usr/lib/sm.bin/sendmail"} <= found
