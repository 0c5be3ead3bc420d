"""The classic night: a filter goes bad, mail is refused with 451, and dkconf gets it through and back again."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.lab import Lab, inventory
from tests.lab.filters import Fault
from tests.lab.lab import eventually
from tests.lab.trees import mail_host
from tests.patience import LAST_RESORT_SECONDS

pytestmark = pytest.mark.live
TRY_AGAIN = "451 4.3.2 Please try again later"


@pytest.fixture
def faulty(lab: Lab) -> tuple[Lab, Fault]:
    """A lab whose sendmail calls the (healthy) fault milter, applied by dkconf."""
    fault = Fault(lab).start()
    inventory.write(lab, inventory.external("fault", fault.port, roles="verify", schemes=""), ["fault"], domains=())
    applied = lab.dkconf("apply", "--yes")
    assert applied.status == 0, applied
    assert lab.deliver("healthy").fields("X-Fault-Filter") == [b"fault"]
    return lab, fault


def test_disable_lets_the_mail_through_and_rollback_waits_for_the_cure(faulty: tuple[Lab, Fault]) -> None:
    """451 at end of message; disable-filter; rollback refuses with 8, quoting the 451, until the filter is cured."""
    lab, fault = faulty
    fault.order("tempfail eom")
    assert TRY_AGAIN == lab.send().final

    disabled = lab.dkconf("disable-filter", "fault", "--yes")
    assert 0 == disabled.status, disabled
    assert [] == lab.deliver("around").fields("X-Fault-Filter")

    refused = lab.dkconf("rollback", "--yes")
    assert 8 == refused.status, refused
    assert TRY_AGAIN in refused.out + refused.err
    assert "--accept-risk canary" in refused.out + refused.err
    assert lab.send().accepted

    fault.order("ok")
    back = lab.dkconf("rollback", "--yes")
    assert 0 == back.status, back
    assert [b"fault"] == lab.deliver("cured").fields("X-Fault-Filter")


def test_a_late_banner_is_waited_for(tmp_path: Path) -> None:
    """With a greet_pause, a canary that talked early would be refused: it waits, and judges the filter."""
    with Lab(tmp_path / "lab", greet_pause_milliseconds=1500) as lab:
        lab.start_sendmail()
        fault = Fault(lab).start()
        fault.order("tempfail eom")
        inventory.write(lab, inventory.external("fault", fault.port, roles="verify", schemes=""), ["fault"], domains=())

        refused = lab.dkconf("apply", "--yes")
        assert 8 == refused.status, refused
        assert TRY_AGAIN in refused.out + refused.err

        fault.order("ok")
        assert 0 == lab.dkconf("apply", "--yes").status


@pytest.mark.parametrize(("writable", "status"), [(True, 3), (False, 4)])
def test_a_filter_that_goes_bad_meanwhile_goes_back(faulty: tuple[Lab, Fault], writable: bool, status: int) -> None:
    """Good while it was judged, bad once it is live: the old state is back and healthy (3), or could not be put
    back, and the next run does it (4)."""
    lab, fault = faulty
    assert 0 == lab.dkconf("disable-filter", "fault", "--yes").status
    before = mail_host(lab)["/etc/mail"]
    trace = lab.dir / "trace"
    enabling = lab.spawn("dkconf", "enable-filter", "fault", "--yes", env={"DKCONF_TRACE_STEPS": str(trace)})
    assert eventually(
        lambda: trace.exists() and "tell-sendmail:before" in trace.read_text(), LAST_RESORT_SECONDS, every=0.005
    )
    fault.order("tempfail envfrom")
    if not writable:
        assert 0 == lab.run("sh", "-c", "mount --bind /etc/mail /etc/mail && mount -o remount,bind,ro /etc/mail").status

    assert status == enabling.process.wait(LAST_RESORT_SECONDS), (lab.dir / "spawned.log").read_text()

    if not writable:
        assert 0 == lab.run("umount", "/etc/mail").status
        recovered = lab.dkconf("recover")
        assert recovered.status in (0, 3), recovered
    assert before == mail_host(lab)["/etc/mail"]
    assert [] == lab.deliver("as before").fields("X-Fault-Filter")


@pytest.mark.parametrize("order", ["reject eom", "close eom", "garbage eoh", "tempfail envfrom", "discard eom", "down"])
def test_a_bad_filter_is_never_enabled(faulty: tuple[Lab, Fault], order: str) -> None:
    """Whatever is wrong with it, enable-filter refuses with 8 and mail goes on without it."""
    lab, fault = faulty
    assert 0 == lab.dkconf("disable-filter", "fault", "--yes").status
    fault.order(order)
    if order == "down":
        lab.wait_for_port_closed(fault.port)

    refused = lab.dkconf("enable-filter", "fault", "--yes")

    assert 8 == refused.status, refused
    assert [] == lab.deliver("still through").fields("X-Fault-Filter")


@pytest.mark.parametrize("order", ["tempfail eom", "reject envfrom", "down", "garbage connect"])
def test_emergency_needs_nothing_but_the_host(faulty: tuple[Lab, Fault], order: str) -> None:
    """Without inventory and DNS, --emergency gets mail through at once and says what it skipped."""
    lab, fault = faulty
    fault.order(order)
    if order == "down":
        lab.wait_for_port_closed(fault.port)
    (lab.dir / "inventory.yaml").unlink()

    disabled = lab.dkconf("disable-filter", "fault", "--emergency", "--yes")

    assert 0 == disabled.status, disabled
    assert lab.send().accepted
    assert "skipped" in disabled.out + disabled.err


def _by_hand(lab: Lab, fault: Fault) -> str:
    """Let a line of the administrator's own call the filter; return the line."""
    mc = lab.path("/etc/mail/sendmail.mc")
    line = f"INPUT_MAIL_FILTER(`fault', `{fault.equates}, F=T')dnl\n"
    mc.write_text(mc.read_text().replace("MAILER_DEFINITIONS", f"{line}MAILER_DEFINITIONS"))
    assert lab.run("sh", "-c", "m4 /etc/mail/sendmail.mc > /etc/mail/sendmail.cf").status == 0
    lab.restart_sendmail()
    return line


@pytest.mark.parametrize("missing", ["m4", "library", "sense"])
@pytest.mark.parametrize("managed", [True, False])
def test_emergency_where_nothing_can_be_built(lab: Lab, missing: str, managed: bool) -> None:
    """No m4, no cf library, an .mc that m4 stops at: the live sendmail.cf loses the filter, and mail is through."""
    fault = Fault(lab).start()
    mc = lab.path("/etc/mail/sendmail.mc")
    if managed:
        inventory.write(lab, inventory.external("fault", fault.port, roles="verify", schemes=""), ["fault"], domains=())
        assert 0 == lab.dkconf("apply", "--yes").status
    else:
        _by_hand(lab, fault)
    fault.order("tempfail eom")
    assert TRY_AGAIN == lab.send().final
    if missing == "sense":
        mc.write_text(mc.read_text() + "include(`/etc/mail/gone.m4')\ndefine(`unbalanced\n")
    else:
        hidden = {"m4": "/usr/bin/m4", "library": "/usr/share/sendmail/cf/m4/cf.m4"}[missing]
        assert 0 == lab.run("mount", "--bind", "/dev/null", hidden).status
    before = mc.read_text()

    disabled = lab.dkconf("disable-filter", "fault", "--emergency")

    assert 0 == disabled.status, disabled
    assert lab.send().accepted
    assert "since:" in disabled.out + disabled.err
    if missing == "sense":
        assert "include(`/etc/mail/gone.m4')" in mc.read_text()
    if not managed:
        assert before != mc.read_text()


def test_emergency_on_a_hand_written_line(lab: Lab) -> None:
    """The man with a refused mail and no inventory yet: a one-line INPUT_MAIL_FILTER in sendmail.mc is disabled."""
    fault = Fault(lab).start()
    _by_hand(lab, fault)
    fault.order("tempfail eom")
    assert TRY_AGAIN == lab.send().final

    disabled = lab.dkconf("disable-filter", "fault", "--emergency", "--yes")

    assert 0 == disabled.status, disabled
    assert lab.send().accepted


def test_take_over_and_release_of_a_hand_written_line(lab: Lab) -> None:
    """--take-over moves the line into the fragment, release puts it back octet for octet."""
    fault = Fault(lab).start()
    mc = lab.path("/etc/mail/sendmail.mc")
    line = _by_hand(lab, fault)
    found = mc.read_text()
    inventory.write(lab, inventory.external("fault", fault.port, roles="verify", schemes=""), ["fault"], domains=())

    refused = lab.dkconf("apply", "--yes")
    assert 8 == refused.status, refused
    assert "--take-over fault" in refused.out + refused.err

    taken = lab.dkconf("apply", "--yes", "--take-over", "fault")
    assert 0 == taken.status, taken
    assert f"dnl dkconf was: {line.strip()}" in mc.read_text()
    assert [b"fault"] == lab.deliver("taken over").fields("X-Fault-Filter")

    released = lab.dkconf("release", "--yes")
    assert 0 == released.status, released
    assert found == mc.read_text()
    assert [b"fault"] == lab.deliver("released").fields("X-Fault-Filter")
