"""Which process is the master: a table of what it must be, and of all that it is not."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from dkconf.probe import facts
from dkconf.probe.facts import Facts, Listener, Site, choose, doing, refusing, retries, role, serves
from dkconf.sendmail.cf import parse_daemon

V4 = parse_daemon("Family=inet, Name=MTA-v4, Port=smtp, Addr=127.0.0.1")
MSP = parse_daemon("Family=inet, Name=MSP-v4, Port=submission, M=Ea")
SITE = Site(frozenset({"/usr/sbin/sendmail"}), (V4, MSP), ("/run/sendmail.pid",), "MTA")
MASTER = Facts(
    pid=100,
    parent=1,
    start=5000,
    image=(1, 2),
    uids=(0, 0, 0),
    program="/usr/sbin/sendmail",
    replaced=False,
    elsewhere="",
    title="sendmail: MTA: accepting connections",
    words=("sendmail: MTA: accepting connections",),
    sockets=frozenset({11, 12}),
    holds=frozenset({"MTA-v4", "MSP-v4"}),
)
BUSY = "sendmail: MTA: rejecting connections on daemon MTA-v4: load average: 13"
CHILD = "sendmail: MTA: 6AS5fe5O000080 mx.example.org [192.0.2.1]: rejecting connections on daemon MTA-v4: x"


def but(**changes: Any) -> Facts:
    return replace(MASTER, **changes)


CLOSED: dict[str, Any] = {"sockets": frozenset(), "holds": frozenset()}


@pytest.mark.parametrize(
    ("process", "expected"),
    [
        (MASTER, "listening"),
        (but(replaced=True), "listening"),
        (but(sockets=frozenset({11}), holds=frozenset({"MTA-v4"})), "listening"),
        (but(title=BUSY, **CLOSED), "busy"),
        (but(title="sendmail: rejecting connections on daemon MTA: 9 children, max 9", **CLOSED), "busy"),
        (but(title="sendmail: MTA: rejecting new messages: min free: 100", **CLOSED), "busy"),
        (but(keeps_pid_file=True, **CLOSED), "apart"),
        (but(title="/usr/sbin/sendmail -L sm-mta -bd -q1m",
             words=("/usr/sbin/sendmail", "-L", "sm-mta", "-bd", "-q1m"), **CLOSED), "starting"),
        (but(title="/usr/sbin/smtpd -q1h", words=("/usr/sbin/smtpd", "-q1h"), **CLOSED), "starting"),
        # not the master
        (but(program="/usr/bin/sleep"), ""),
        (but(uids=(0, 8, 0)), ""),
        (but(uids=(1000, 0, 0)), ""),
        (but(uids=(110, 110, 110)), ""),
        (but(elsewhere="lives in another network namespace"), ""),
        (but(title=BUSY, elsewhere="lives in another process namespace", **CLOSED), ""),
        (but(**CLOSED), ""),
        (but(title=CHILD, **CLOSED), ""),
        (but(title="sendmail: 6AS5fe5O000080 mx [192.0.2.1]: rejecting connections on daemon x: y", **CLOSED), ""),
        (but(title="sendmail: MTA: server mx.example.org [192.0.2.1] cmd read", **CLOSED), ""),
        (but(title="sendmail: MTA: running queue: /var/spool/mqueue", **CLOSED), ""),
        (but(title="sendmail: Queue runner@00:10:00 for /var/spool/clientmqueue", **CLOSED), ""),
        (but(title="/usr/sbin/sendmail -Ac -q10m", words=("/usr/sbin/sendmail", "-Ac", "-q10m"), **CLOSED), ""),
        (but(title="/usr/sbin/sendmail -t", words=("/usr/sbin/sendmail", "-t", "x-bd"), **CLOSED), ""),
    ],
)  # fmt: skip
def test_what_a_process_is(process: Facts, expected: str) -> None:
    """By program, user, place, sockets; by title or command line only where it has no sockets."""
    assert expected == role(process, SITE)
    assert (process if expected else None) == choose([process], SITE, [process.pid]).master


def test_a_child_that_shares_the_listeners_is_not_the_master() -> None:
    """For a moment after its fork it has all that its parent has, the pid file's word included."""
    child = but(pid=101, parent=100)

    assert MASTER == choose([child, MASTER], SITE, [101]).master


def test_one_that_listens_goes_before_one_that_does_not() -> None:
    """A pid file cannot lift a busy or starting one above it."""
    busy = but(pid=50, title=BUSY, **CLOSED)

    assert MASTER == choose([busy, MASTER], SITE, [50]).master


def test_the_one_with_more_ports_is_the_master_and_the_other_is_named() -> None:
    """Two that were started apart: the other would not be told."""
    other = but(pid=50, sockets=frozenset({12}), holds=frozenset({"MSP-v4"}))
    found = choose([other, MASTER], SITE, [50])

    assert MASTER == found.master
    assert (other,) == found.others


def test_two_alike_are_decided_by_the_pid_file_or_not_at_all() -> None:
    """Guessing would tell the wrong one."""
    other = but(pid=50)

    assert choose([other, MASTER], SITE, [50]).master == other
    undecided = choose([other, MASTER], SITE, [7])
    assert undecided.master is None
    assert (other, MASTER) == undecided.ambiguous


@given(st.lists(st.sampled_from([
    but(program="/tmp/sendmail"), but(uids=(110, 110, 110)), but(uids=(0, 0, 110)), but(elsewhere="far away"),
    but(**CLOSED), but(title=CHILD, **CLOSED), but(parent=100, pid=101),
])), st.lists(st.integers(1, 200)))  # fmt: skip
def test_no_claim_makes_a_master_of_anything_else(others: list[Facts], claims: list[int]) -> None:
    """Whatever a pid file says: the master is the one that qualifies, or nobody."""
    numbered = [replace(one, pid=200 + n) if one.pid == 100 else one for n, one in enumerate(others)]

    assert choose([*numbered, MASTER], SITE, claims).master == MASTER
    without = [one for one in numbered if one.pid != 101]
    assert choose(without, SITE, claims).master is None


def test_executed_again() -> None:
    """After a HUP it is another process, or with -bD the same one with another image, or with other sockets."""
    assert MASTER.same_run(but(title="sendmail: x"))
    assert MASTER.same_run(but(**CLOSED))
    for now in (but(pid=101), but(start=5001), but(image=(1, 3)), but(sockets=frozenset({13, 14}))):
        assert not MASTER.same_run(now)


@pytest.mark.parametrize(
    ("daemon", "family", "address", "number", "expected"),
    [
        ("Port=25, Addr=127.0.0.1", "inet", "127.0.0.1", 25, True),
        ("Port=25", "inet", "", 25, True),
        ("Port=25", "inet", "192.0.2.1", 25, True),  # -ODaemonPortOptions=Addr=... on the command line
        ("Port=25, Addr=192.0.2.1", "inet", "", 25, True),
        ("Port=25, Addr=mx.example.org", "inet", "192.0.2.1", 25, True),
        ("Port=25, Addr=127.0.0.1", "inet", "127.0.0.2", 25, False),
        ("Port=25, Addr=127.0.0.1", "inet", "127.0.0.1", 26, False),
        ("Port=25", "inet6", "", 25, True),  # :: serves IPv4 too
        ("Port=25", "inet6", "2001:db8::1", 25, False),
        ("Port=25, Family=inet6, Addr=IPv6:2001:0db8::1", "inet6", "2001:db8::1", 25, True),
        ("Port=25, Family=inet6", "inet", "", 25, False),
        ("Family=local, Addr=/run/mta.sock", "unix", "/run/mta.sock", 0, True),
        ("Family=local, Addr=/run/mta.sock", "unix", "/run/other", 0, False),
        ("Port=nosuchservice", "inet", "", 0, False),
    ],
)
def test_whose_socket_it_is(daemon: str, family: str, address: str, number: int, expected: bool) -> None:
    """Port, family and address, as far as both say one."""
    parsed = parse_daemon(daemon)

    assert expected == serves(Listener(family, address, number, 1), parsed, parsed.port)


@pytest.mark.parametrize(
    ("written", "expected"),
    [("0.0.0.0", ""), ("::", ""), ("IPv6:::1", "::1"), ("::ffff:192.0.2.1", "192.0.2.1"),
     ("[2001:DB8::1]", "2001:db8::1"), ("mx.example.org", "mx.example.org"), ("", "")],
)  # fmt: skip
def test_one_spelling_of_an_address(written: str, expected: str) -> None:
    """As sendmail and the kernel write it."""
    assert expected == facts.canonical(written)


@pytest.mark.parametrize(
    ("title", "expected"),
    [
        ("sendmail: MTA: accepting connections", "accepting connections"),
        ("sendmail: accepting connections", "accepting connections"),
        ("sendmail: other: accepting connections", "accepting connections"),
        ("/usr/sbin/sendmail -bd", ""),
        (CHILD, CHILD.removeprefix("sendmail: MTA: ")),
    ],
)
def test_what_a_title_says(title: str, expected: str) -> None:
    """The prefix is the .cf's, or one word."""
    assert expected == doing(title, "MTA")


LOAD = "rejecting connections on daemon MTA-v4: load average: 13"


@pytest.mark.parametrize(
    ("title", "log", "load", "expected"),
    [
        (BUSY, [], 0.0, {"MTA-v4", "MSP-v4"}),
        ("sendmail: MTA: accepting connections", [LOAD], 13.0, {"MTA-v4"}),
        ("sendmail: MTA: accepting connections", [LOAD.replace("rejecting", "have been rejecting")], 13.0, {"MTA-v4"}),
        # the load has fallen, the port not been opened yet
        ("sendmail: MTA: accepting connections", [LOAD], 10.0, {"MTA-v4"}),
        ("sendmail: MTA: accepting connections", [LOAD, "accepting connections again for daemon MTA-v4"], 13.0, set()),
        # any user can write that
        ("sendmail: MTA: accepting connections", [LOAD], 0.5, set()),
        ("sendmail: MTA: accepting connections", [LOAD.replace("MTA-v4", "other")], 13.0, set()),
        ("sendmail: MTA: accepting connections", ["daemon MTA-v4: problem creating SMTP socket"], 13.0, set()),
        ("sendmail: MTA: accepting connections", [], 99.0, set()),
        (CHILD, [], 99.0, set()),
    ],
)
def test_a_port_that_is_closed_because_of_load(title: str, log: list[str], load: float, expected: set[str]) -> None:
    """sendmail says so itself: in its title, or in a log line that fits the load."""
    assert expected == set(refusing(but(title=title, **CLOSED), SITE, log, load))


def test_a_port_that_is_open_is_not_closed() -> None:
    """What it holds counts more than what was logged."""
    assert {} == refusing(MASTER, SITE, [LOAD], 20.0)


def test_the_limit_of_the_daemon_itself() -> None:
    """r= of the DaemonPortOptions goes before RefuseLA."""
    site = replace(SITE, daemons=(parse_daemon("Name=MTA-v4, Port=25, r=2"),))

    assert {"MTA-v4"} == set(refusing(but(**CLOSED), site, [LOAD], 2.0))


def test_retries_are_counted() -> None:
    """sendmail's own words for a port that it does not get; a missing address is not tried for."""
    lines = [
        "SYSERR(root): opendaemonsocket: daemon MTA: cannot bind: Address already in use",
        "daemon MTA: problem creating SMTP socket",
        "SYSERR(root): opendaemonsocket: daemon six: cannot listen: Address already in use",
        "starting daemon (8.17.1.9): SMTP+queueing@00:01:00",
    ]

    assert 3 == retries(lines)
