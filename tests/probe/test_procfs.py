"""Facts from Linux's /proc: its tables as text, and this very process."""

from __future__ import annotations

import os
import socket
import subprocess
import sys
from pathlib import Path

import pytest

from dkconf.probe import master, procfs
from dkconf.probe.facts import Site
from dkconf.sendmail.cf import parse_daemon

# ruff: noqa: E501
TCP = """\
  sl  local_address rem_address   st tx_queue rx_queue tr tm->when retrnsmt   uid  timeout inode
   0: 0100007F:0019 00000000:0000 0A 00000000:00000000 00:00000000 00000000     0        0 38434 1 000000003f5fe18d 100
   1: 00000000:024B 00000000:0000 0A 00000000:00000000 00:00000000 00000000     0        0 38435 1 000000008e2ddbb8 100
   2: 0100007F:0019 0100007F:B9A1 01 00000000:00000000 02:000AFC1A 00000000     0        0 38443 2 0000000011e8c463 20
"""
TCP6 = """\
  sl  local_address                         remote_address                        st tx_queue rx_queue tr tm->when retrnsmt
   0: 00000000000000000000000000000000:0019 00000000000000000000000000000000:0000 0A 0:0 00:0 0     0        0 77 1 0
   1: B80D0120000000000000000001000000:0019 00000000000000000000000000000000:0000 0A 0:0 00:0 0     0        0 78 1 0
   2: 0000000000000000FFFF0000010200C0:0019 00000000000000000000000000000000:0000 0A 0:0 00:0 0     0        0 79 1 0
"""
UNIX = """\
Num       RefCount Protocol Flags    Type St Inode Path
0000000000000000: 00000002 00000000 00010000 0001 01 12345 /run/mta with blank.sock
0000000000000000: 00000003 00000000 00000000 0001 03 12346 /run/mta.sock
0000000000000000: 00000002 00000000 00010000 0001 01 12347
"""


@pytest.mark.skipif(sys.byteorder != "little", reason="the tables are a little-endian machine's")
def test_tables() -> None:
    """Listeners alone, their addresses in one spelling, "" for all."""
    assert [("127.0.0.1", 25, 38434), ("", 587, 38435)] == [
        (one.address, one.port, one.inode) for one in procfs.tcp_listeners(TCP, "inet")
    ]
    assert ["", "2001:db8::1", "192.0.2.1"] == [one.address for one in procfs.tcp_listeners(TCP6, "inet6")]
    assert [("/run/mta with blank.sock", 12345)] == [(one.address, one.inode) for one in procfs.unix_listeners(UNIX)]


def site(port: int, pid_file: str = "/nonexistent") -> Site:
    program = os.readlink("/proc/self/exe")
    return Site(frozenset({program}), (parse_daemon(f"Name=X, Port={port}, Addr=127.0.0.1"),), (pid_file,), "",
                own_id=os.getuid())  # fmt: skip


def test_this_process_is_seen_with_its_listener() -> None:
    """Program, users, place and socket of a real process; who holds the port; and that it answers."""
    with socket.create_server(("127.0.0.1", 0)) as listener:
        here = site(listener.getsockname()[1])
        found = master.find(here)

        assert found.master is not None
        assert (os.getpid(), os.getppid()) == (found.master.pid, found.master.parent)
        assert {"X"} == found.master.holds
        assert found.master.elsewhere == ""
        assert master.confirmed(found.master, here)
        assert os.getpid() in [pid for pid, _ in master.holders(here.daemons[0])]
        assert list(here.daemons) == master.answering(here.daemons)
    assert master.find(here).master is None
    assert not master.confirmed(found.master, here)


def test_a_process_that_has_ended_gets_no_signal() -> None:
    """It is opened first, and confirmed after that."""
    code = "import socket; s = socket.create_server(('127.0.0.1', 0)); print(s.getsockname()[1], flush=True); input()"
    child = subprocess.Popen([sys.executable, "-S", "-c", code], stdin=subprocess.PIPE, stdout=subprocess.PIPE)
    assert child.stdout is not None
    here = site(int(child.stdout.readline()))
    found = master.find(here).master
    assert found is not None
    assert child.pid == found.pid
    import signal

    child.communicate(b"\n")
    with pytest.raises(master.NotConfirmed, match=f"process {child.pid} is gone"):
        master.send(found, here, signal.SIGTERM)


def test_one_that_does_not_listen_any_more_gets_no_signal() -> None:
    """The very same process, which is no longer what it was."""
    import signal

    with socket.create_server(("127.0.0.1", 0)) as listener:
        here = site(listener.getsockname()[1])
        found = master.find(here).master
    assert found is not None
    with pytest.raises(master.NotConfirmed, match="no longer sendmail's master"):
        master.send(found, here, signal.SIGTERM)


@pytest.mark.parametrize("kind", ["none", "pipe", "folder", "link", "huge", "words", "empty", "minus", "long"])
def test_no_pid_file_holds_anybody_up(tmp_path: Path, kind: str) -> None:
    """Whatever lies there is said in words; nothing is waited for, and nothing of it is shown."""
    path, secret = tmp_path / "pid", tmp_path / "secret"
    secret.write_text("4711\nTOP SECRET\n")
    match kind:
        case "pipe":
            os.mkfifo(path)
        case "folder":
            path.mkdir()
        case "huge":
            with open(path, "wb") as file:
                file.truncate(3 << 30)
        case "words":
            path.write_text("TOP SECRET\n")
        case "empty":
            path.write_text("")
        case "minus":
            path.write_text("-1\n")
        case "long":
            path.write_text("1" * 500)
        case "link":
            (tmp_path / "theirs").mkdir()
            if os.geteuid() == 0:
                os.chown(tmp_path / "theirs", 65534, 65534)
            path = tmp_path / "theirs" / "pid"
            path.symlink_to(secret)
            if os.geteuid() == 0:
                os.chown(path, 65534, 65534, follow_symlinks=False)
            else:
                path.unlink()

    pid, words = master.read_pid(str(path))

    assert 0 == pid
    assert str(path) in words
    assert "SECRET" not in words
