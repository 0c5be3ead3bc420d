"""Who is connected to a filter, from the kernel's own tables."""

from __future__ import annotations

import socket
import time
from dataclasses import replace
from pathlib import Path

import pytest

from dkconf.probe.facts import Choice, Facts, Site
from dkconf.probe.live import boot_ticks_now
from dkconf.probe.master import Found
from dkconf.probe.peers import older_processes, peers, tcp_peers, unix_peers

UNIX = """\
Num       RefCount Protocol Flags    Type St Inode Path
0000000000000000: 00000002 00000000 00010000 0001 01 12345 /run/dkconf/filter.sock
0000000000000000: 00000003 00000000 00000000 0001 03 12346 /run/dkconf/filter.sock
0000000000000000: 00000003 00000000 00000000 0001 03 12347 /run/other.sock
0000000000000000: 00000003 00000000 00000000 0001 03 12348
"""
TCP = """\
  sl  local_address rem_address   st tx_queue rx_queue tr tm->when retrnsmt   uid  timeout inode
   0: 0100007F:22BB 00000000:0000 0A 00000000:00000000 00:00000000 00000000     0        0 1 1 0
   1: 0100007F:22BB 0100007F:D431 01 00000000:00000000 00:00000000 00000000     0        0 2 1 0
   2: 0100007F:D431 0100007F:22BB 01 00000000:00000000 00:00000000 00000000     0        0 3 1 0
   3: 0100007F:22BB 0100007F:D432 06 00000000:00000000 00:00000000 00000000     0        0 0 3 0
"""


def test_unix_table() -> None:
    """Connected ends of that path; the listener and other paths are none."""
    assert 1 == unix_peers(UNIX, "/run/dkconf/filter.sock")
    assert 0 == unix_peers(UNIX, "/run/none")


def test_tcp_table() -> None:
    """Established connections to the local port; the client's end, listeners and TIME_WAIT are none."""
    assert 1 == tcp_peers(TCP, 0x22BB)
    assert 0 == tcp_peers(TCP, 25)


def test_a_real_connection_is_seen_and_gone(tmp_path: Path) -> None:
    """The kernel's table of this very machine, for a TCP connection."""
    with socket.create_server(("127.0.0.1", 0)) as listener:
        value = f"inet:{listener.getsockname()[1]}@127.0.0.1"
        assert 0 == peers(value)
        with socket.create_connection(listener.getsockname()):
            link, _ = listener.accept()
            with link:
                assert 1 == peers(value)


MASTER = Facts(100, 1, 5000, (), (0, 0, 0), "/usr/sbin/sendmail", False, "", "sendmail: MTA: accepting connections",
               (), frozenset({1}), frozenset({"MTA"}))  # fmt: skip
SITE = Site(frozenset({"/usr/sbin/sendmail"}), (), (), "MTA")


@pytest.mark.parametrize(
    ("title", "counts"),
    [
        ("sendmail: MTA: server mx.example.org [192.0.2.1] cmd read", True),
        ("sendmail: MTA: 6AS5fe localhost [127.0.0.1]: DATA", True),
        # What a client says stands in the title of its process: it must not take itself out of the count.
        ("sendmail: MTA: 6AS5fe localhost [127.0.0.1]: running queue", True),
        ("sendmail: MTA: 6AS5fe localhost [127.0.0.1]: accepting connections", True),
        ("sendmail: MTA: running queue: /var/spool/mqueue", False),
        ("sendmail: Queue runner@00:10:00 for /var/spool/mqueue", False),
    ],
)
def test_who_may_still_call(title: str, counts: bool) -> None:
    """Whoever serves a client; not one that runs the queue, nor the master, nor a container's."""
    child = replace(MASTER, pid=101, title=title)
    there = (MASTER, child, replace(child, pid=102, elsewhere="lives in another network namespace"))
    found = Found(SITE, Choice(MASTER, "listening"), there)

    assert ([child] if counts else []) == older_processes(found, time.time())


def test_younger_ones_have_the_new_configuration() -> None:
    """They began after sendmail was told."""
    child = replace(MASTER, pid=101, title="sendmail: MTA: server x [1.2.3.4] cmd read", start=boot_ticks_now())

    assert [] == older_processes(Found(SITE, Choice(MASTER), (MASTER, child)), time.time() - 60)
