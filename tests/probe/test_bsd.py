"""FreeBSD's tools as their manual pages show them: rows to facts. By construction; no such host was at hand."""

from __future__ import annotations

from dkconf.probe import bsd
from dkconf.probe.facts import Listener

# ruff: noqa: E501
PS = """\
  812     1     0     0     0  0 Mon Jan  5 10:20:30 2026     sendmail: accepting connections (sendmail)
  815     1    25    25    25  0 Mon Jan  5 10:20:31 2026     sendmail: Queue runner@00:30:00 for /var/spool/clientmqueue
 2000     1     0     0     0  3 Tue Jan  6 00:00:00 2026     /usr/sbin/sendmail -L sm-mta -bd -q30m
garbage
"""
SOCKSTAT = """\
root     sendmail   812   4   tcp4   127.0.0.1:25          *:*
root     sendmail   812   5   tcp6   *:587                 *:*
root     sendmail   812   6   tcp6   fe80::1%lo0:25        *:*
root     syslogd    700   7   dgram  /var/run/log
root     sendmail   812   8   stream /var/run/mta.sock
?        ?          ?     ?   tcp4   10.0.0.1:22           *:*
"""


def test_ps_rows() -> None:
    """Process, parent, three users, jail, start, title."""
    rows = bsd.ps_rows(PS)

    assert [(812, 1, 0, 0, 0), (815, 1, 25, 25, 25), (2000, 1, 0, 0, 0)] == [row[0] for row in rows]
    assert [0, 0, 3] == [row[1] for row in rows]
    assert 1767608430 == rows[0][2]
    assert rows[2][3] == "/usr/sbin/sendmail -L sm-mta -bd -q30m"


def test_sockstat_rows() -> None:
    """Listeners by process: addresses in one spelling, "" for all."""
    rows = [(pid, one.family, one.address, one.port) for pid, one in bsd.sockstat_rows(SOCKSTAT)]

    assert [
        (812, "inet", "127.0.0.1", 25),
        (812, "inet6", "", 587),
        (812, "inet6", "fe80::1", 25),
        (812, "unix", "/var/run/mta.sock", 0),
    ] == rows
    assert isinstance(bsd.sockstat_rows(SOCKSTAT)[0][1], Listener)


def test_the_program_of_a_process() -> None:
    """procstat -h -b: PID COMM OSREL PATH."""
    assert "/usr/libexec/sendmail/sendmail" == bsd.program_of(
        "  812 sendmail         1400097 /usr/libexec/sendmail/sendmail\n"
    )
    assert "" == bsd.program_of("")


def test_a_tool_that_is_not_there_says_nothing() -> None:
    """Then nobody is confirmed, and nobody is signalled."""
    assert "" == bsd.run(["/nonexistent/ps"])
