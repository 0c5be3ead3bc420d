"""The lab itself: what the live tests stand on, proven with plain sendmail and hand-made fragments."""

from __future__ import annotations

import hashlib
import os
import stat
from pathlib import Path

import pytest

from tests.conftest import require
from tests.lab import Lab, build_message
from tests.lab.filters import Fault, OpenDkim
from tests.lab.nameserver import NameServer
from tests.patience import LAST_RESORT_SECONDS

pytestmark = pytest.mark.live


def add_filter(lab: Lab, line: str) -> None:
    """Put one m4 line into the lab's sendmail.mc, rebuild, and start sendmail."""
    mc = lab.path("/etc/mail/sendmail.mc")
    mc.write_text(mc.read_text().replace("MAILER_DEFINITIONS", f"{line}dnl\nMAILER_DEFINITIONS"))
    ran = lab.run("sh", "-c", "m4 /etc/mail/sendmail.mc > /etc/mail/sendmail.cf")
    assert (0, "") == (ran.status, ran.err)
    lab.start_sendmail()


def whole_tree(top: Path) -> dict[str, tuple[int, int, int, str]]:
    """Return mode, owner, group and content digest of everything below `top`."""
    found = {}
    for path in [top, *top.rglob("*")]:
        about = path.lstat()
        content = path.read_bytes() if stat.S_ISREG(about.st_mode) else b""
        if path.is_symlink():
            content = os.readlink(path).encode()
        found[str(path)] = (about.st_mode, about.st_uid, about.st_gid, hashlib.sha256(content).hexdigest())
    return found


def test_mail_leaves_through_the_sink(lab: Lab) -> None:
    """What a client sends to port 25 arrives at the sink, sendmail's Received on top; 587 wants AUTH as stock does."""
    received = lab.deliver("through")

    assert ("bob@elsewhere.test",) == received.recipients
    assert received.header.startswith(b"Received: from client.example.test")
    assert "530 5.7.0 Authentication required" == lab.send(port=587).final


def test_a_busy_machine_is_no_finding(bare_lab: Lab) -> None:
    """At a load of 99 sendmail listens, takes mail and delivers it."""
    bare_lab.path("/run/loadavg").write_text("99.00 99.00 99.00 9/99 999\n")
    assert 0 == bare_lab.run("mount", "--bind", "/run/loadavg", "/proc/loadavg").status
    bare_lab.start_sendmail()

    assert bare_lab.deliver("under load")


def test_nothing_outside_is_touched(tmp_path: Path) -> None:
    """A lab that runs sendmail and writes everywhere leaves the machine's own mail system octet for octet as it was."""
    require()
    tops = [Path(top) for top in ("/etc/mail", "/etc/passwd", "/etc/hosts", "/run/sendmail", "/var/spool/mqueue")]
    before = [whole_tree(top) for top in tops if top.exists()]
    host = os.uname().nodename

    with Lab(tmp_path / "lab") as lab:
        lab.start_sendmail()
        lab.deliver("inside")
        script = "mkdir -p /etc/dkconf /var/lib/dkconf; useradd --system inside; touch /usr/inside"
        writing = lab.run("sh", "-c", script)

    assert "Read-only file system" in writing.err
    assert before == [whole_tree(top) for top in tops if top.exists()]
    assert host == os.uname().nodename
    assert not Path("/var/lib/dkconf").exists() or "inside" not in os.listdir("/var/lib/dkconf")


def test_everything_ends_with_the_lab(tmp_path: Path) -> None:
    """No process of a lab outlives it."""
    require()
    with Lab(tmp_path / "lab") as lab:
        lab.start_sendmail()
        Fault(lab).start()
        namespace = os.readlink(f"/proc/{lab.pid}/ns/pid")

    left = []
    for entry in Path("/proc").glob("[0-9]*/ns/pid"):
        try:
            if os.readlink(entry) == namespace:
                left.append(entry)
        except OSError:
            continue
    assert [] == left


@pytest.mark.parametrize(
    "order, reply",
    [
        ("tempfail eom", "451 4.3.2 Please try again later"),
        ("tempfail envfrom", "451 4.3.2 Please try again later"),
        ("reject eom", "554 5.7.1 Command rejected"),
        ("reply eom 451 4.7.5 no key", "451 4.7.5 no key"),
        ("close eom", "451 4.3.2 Please try again later"),
        ("garbage eoh", "451 4.3.2 Please try again later"),
        ("down", "451 4.3.2 Please try again later"),
        ("hang body", "451 4.3.2 Please try again later"),
        ("slow eom 0.2", "250"),
        ("discard eom", "250"),
        ("ok", "250"),
    ],
)
def test_each_fault_gives_its_reply(bare_lab: Lab, order: str, reply: str) -> None:
    """sendmail answers each fault of an F=T filter as its manual says."""
    fault = Fault(bare_lab).start()
    read_seconds = 1 if order.startswith("hang") else 20
    equates = f"{fault.equates}, F=T, T=C:20s;S:{read_seconds}s;R:{read_seconds}s;E:40s"
    add_filter(bare_lab, f"INPUT_MAIL_FILTER(`fault', `{equates}')")
    fault.order(order)
    if order == "down":
        bare_lab.wait_for_port_closed(fault.port)

    outcome = bare_lab.send(build_message("fault"))

    assert outcome.final.startswith(reply)
    if order.startswith(("ok", "slow")):
        received = bare_lab.sink.received.wait(lambda item: item.subject == "fault", LAST_RESORT_SECONDS)
        assert received is not None
        assert ([b"fault"] if order == "ok" else []) == received.fields("X-Fault-Filter")


def test_a_filter_defined_but_not_called_is_not_contacted(bare_lab: Lab) -> None:
    """MAIL_FILTER instead of INPUT_MAIL_FILTER is the reversible disable."""
    fault = Fault(bare_lab)
    fault.order("tempfail eom")
    fault.start()
    add_filter(bare_lab, f"MAIL_FILTER(`fault', `{fault.equates}, F=T')")

    assert [] == bare_lab.deliver("around").fields("X-Fault-Filter")
    assert [] == [event for event in fault.events if event.startswith("connect")]


def test_opendkim_signs_and_bind_publishes(bare_lab: Lab) -> None:
    """OpenDKIM signs under the lab's sendmail, and another OpenDKIM verifies against the lab's BIND."""
    require("opendkim", "named", "openssl")
    opendkim = OpenDkim(bare_lab, domain="example.org")
    opendkim.start("sv")
    NameServer(bare_lab).publish({"s1._domainkey.example.org": opendkim.record()})
    add_filter(bare_lab, f"INPUT_MAIL_FILTER(`opendkim', `{opendkim.equates}, F=T')")

    signed = bare_lab.deliver("signed", build_message("signed", sender="alice@example.org"))
    assert 1 == len(signed.fields("DKIM-Signature"))

    own_received = signed.octets.index(b"DKIM-Signature:")
    back = signed.octets[own_received:]
    outcome = bare_lab.send(back, source="198.51.100.1", recipient="carol@example.test")
    assert outcome.accepted
    verified = bare_lab.sink.received.wait(lambda item: item.recipients == ("carol@example.test",), LAST_RESORT_SECONDS)
    assert verified is not None
    assert b"dkim=pass" in b"".join(verified.fields("Authentication-Results"))
