"""What the daemon has left once it serves: no way back to root, and in a worker no descriptor that is not its own."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.server.mta import ROOT, Daemon, sign_one

NOBODY = 65534
ROOTS_FILES = 0b1110
"""CAP_DAC_OVERRIDE, CAP_DAC_READ_SEARCH and CAP_FOWNER."""
needs_root = pytest.mark.skipif(os.getuid() != 0, reason="only root can become somebody else")

AS_NOBODY = f"""
import os, sys
from dkconf.server.main import main
os.setgroups([])
os.setgid({NOBODY})
os.setuid({NOBODY})
sys.exit(main())
"""
INTRUDER = f"""
import ctypes, os, sys
os.setgroups([])
os.setgid({NOBODY})
os.setuid({NOBODY})
pid, got = int(sys.argv[1]), []
for name in ("mem", "environ", "maps", "fd/2"):
    try:
        os.close(os.open(f"/proc/{{pid}}/{{name}}", os.O_RDONLY))
        got.append(name)
    except OSError:
        pass
libc = ctypes.CDLL(None)
if libc.syscall(438, os.pidfd_open(pid), 2, 0) >= 0:
    got.append("pidfd_getfd")
if libc.ptrace(16, pid, 0, 0) == 0:
    got.append("ptrace")
print(*got)
"""


@pytest.fixture
def daemon(key: Path) -> Iterator[Daemon]:
    """In a folder that everybody can pass through, whose key everybody can read."""
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        folder.chmod(0o777)
        copy = folder / "key.pem"
        copy.write_bytes(key.read_bytes())
        copy.chmod(0o644)
        made = Daemon(folder, copy)
        try:
            yield made
        finally:
            made.__exit__()


def everyone(daemon: Daemon) -> list[int]:
    assert daemon.process is not None
    return [daemon.process.pid, *daemon.children()]


def status(pid: int) -> dict[str, str]:
    return dict(line.split(":\t", 1) for line in Path(f"/proc/{pid}/status").read_text().splitlines() if ":\t" in line)


def capabilities(pid: int) -> dict[str, int]:
    """Inh, Prm, Eff, Bnd, Amb."""
    return {name.removeprefix("Cap"): int(mask, 16) for name, mask in status(pid).items() if name.startswith("Cap")}


def core_limits(pid: int) -> list[str]:
    [line] = [x for x in Path(f"/proc/{pid}/limits").read_text().splitlines() if x.startswith("Max core file size")]
    return line.split()[4:6]


@needs_root
def test_after_u_nothing_leads_back(daemon: Daemon) -> None:
    """Parent and workers, those that replace one that died too: no capability now or ever, no privilege to gain."""
    daemon.start("-u", "nobody")
    [first, _] = daemon.children()
    os.kill(first, signal.SIGKILL)
    daemon.wait_for("replaced")
    while first in daemon.children() or len(daemon.children()) < 2:
        pass
    sign_one(daemon)
    for pid in everyone(daemon):
        assert {"Inh": 0, "Prm": 0, "Eff": 0, "Bnd": 0, "Amb": 0} == capabilities(pid)
        assert ["1", "1"] == [status(pid)["NoNewPrivs"].strip(), str(len(set(status(pid)["Uid"].split())))]
        assert ["0", "0"] == core_limits(pid)
        # The kernel gives /proc/PID/fd of a process that is not dumpable to root.
        assert os.stat(f"/proc/{pid}/fd").st_uid == 0


@needs_root
def test_its_own_user_cannot_look_into_it(daemon: Daemon) -> None:
    """Keys are in its memory: another process of that user reads no memory, traces nothing, takes no descriptor."""
    daemon.start("-u", "nobody")
    for pid in everyone(daemon):
        done = subprocess.run([sys.executable, "-c", INTRUDER, str(pid)], capture_output=True, text=True, check=True)
        assert done.stdout.split() == []


@needs_root
def test_who_stays_root_keeps_little(daemon: Daemon) -> None:
    """The parent: to read and to remove files; workers: nothing. And a reload still reads what is closed to root."""
    daemon.start()
    parent, *workers = everyone(daemon)
    assert {"Inh": 0, "Prm": ROOTS_FILES, "Eff": ROOTS_FILES, "Bnd": 0, "Amb": 0} == capabilities(parent)
    for pid in workers:
        assert {"Inh": 0, "Prm": 0, "Eff": 0, "Bnd": 0, "Amb": 0} == capabilities(pid)
    for pid in (parent, *workers):
        assert ("1", ["0", "0"]) == (status(pid)["NoNewPrivs"].strip(), core_limits(pid))
    assert daemon.key is not None
    daemon.key.chmod(0o000)
    os.chown(daemon.key, NOBODY, NOBODY)
    daemon.signal(signal.SIGHUP)
    daemon.wait_for("new messages use them")
    sign_one(daemon)


@needs_root
def test_a_plain_user_gives_up_what_can_be_given_up(daemon: Daemon) -> None:
    """Started as the user, as systemd does: no privilege to gain, no core, closed to others of that user."""
    with daemon.log_path.open("ab") as log:
        argv = [sys.executable, "-c", AS_NOBODY, "--config", str(daemon.config), "-f"]
        daemon.process = subprocess.Popen(argv, stderr=log, cwd=ROOT)
    daemon.wait_for("ready on")
    sign_one(daemon)
    for pid in everyone(daemon):
        masks = capabilities(pid)
        assert (0, 0, 0, 0) == (masks["Inh"], masks["Prm"], masks["Eff"], masks["Amb"])
        assert ("1", ["0", "0"]) == (status(pid)["NoNewPrivs"].strip(), core_limits(pid))
        assert os.stat(f"/proc/{pid}/fd").st_uid == 0


@pytest.mark.parametrize("background", [True, False])
def test_a_worker_can_write_to_nothing_but_its_sockets_and_its_log(daemon: Daemon, background: bool) -> None:
    """No pid file, no lock, no other worker's channel, nothing that whoever started us left open."""
    pid_file, lock = daemon.path / "pid", daemon.path / "lock"
    daemon.config.write_text(daemon.config.read_text().replace("workers = 2", "workers = 3"))
    argv = [sys.executable, "-m", "dkconf.server.main", "--config", str(daemon.config), "-P", str(pid_file)]
    argv += ["-u", "nobody"] if os.getuid() == 0 else []
    with lock.open("w") as left_open, daemon.log_path.open("ab") as log:
        given = (left_open.fileno(), os.dup(left_open.fileno()))
        os.dup2(left_open.fileno(), 700)
        process = subprocess.Popen(
            [*argv, *([] if background else ["-f"])], pass_fds=(*given, 700), stderr=log, stdout=log, cwd=ROOT
        )
        os.close(given[1])
        os.close(700)
    if not background:
        daemon.process = process
    daemon.wait_for("ready on")
    parent = int(pid_file.read_text())
    try:
        children = Path(f"/proc/{parent}/task/{parent}/children").read_text().split()
        assert 3 == len(children)
        counts = set()
        for pid in children:
            found = {int(name): os.readlink(f"/proc/{pid}/fd/{name}") for name in os.listdir(f"/proc/{pid}/fd")}
            assert ["/dev/null", "/dev/null", str(daemon.log_path)] == [found.pop(number) for number in range(3)]
            files = {path for path in found.values() if not path.startswith(("socket:", "anon_inode:[eventpoll]"))}
            assert set() == files
            counts.add(len(found))
        # The first worker has as few as the last one: nothing of those that were there before it.
        assert 1 == len(counts)
    finally:
        os.kill(parent, signal.SIGTERM)
        process.wait(20)
        while Path(f"/proc/{parent}").exists() and not background:
            pass
