"""What goes wrong around an apply: a second apply, a full disk, a read-only target, signals."""

from __future__ import annotations

import signal
import threading
from pathlib import Path

import pytest

from tests.lab import Lab, Ran, build_message, inventory
from tests.lab.client import send_until_accepted
from tests.lab.filters import Fault
from tests.lab.lab import eventually
from tests.lab.trees import changes, mail_host
from tests.patience import LAST_RESORT_SECONDS

pytestmark = pytest.mark.live


@pytest.fixture
def switchable(lab: Lab) -> tuple[Lab, Fault]:
    """A lab whose sendmail calls the fault milter, applied by dkconf, and an inventory that wants it off."""
    fault = Fault(lab).start()
    yaml = inventory.external("fault", fault.port, roles="verify", schemes="")
    inventory.write(lab, yaml, ["fault"], domains=())
    applied = lab.dkconf("apply", "--yes")
    assert applied.status == 0, applied
    inventory.write(lab, yaml, ["fault"], domains=(), disabled=["fault"])
    return lab, fault


def settled(lab: Lab) -> None:
    """Assert that mail is taken, and that the next run finds nothing broken."""
    outcome = send_until_accepted(lambda: lab.connect(25), build_message("settled"), LAST_RESORT_SECONDS)
    assert outcome is not None
    assert outcome.accepted, outcome
    again = lab.dkconf("apply", "--yes")
    assert again.status == 0, again
    assert lab.deliver("after it").fields("X-Fault-Filter") == []


def test_two_applies_at_once(switchable: tuple[Lab, Fault]) -> None:
    """One applies; the other is told with status 5 that another run holds the lock."""
    lab, fault = switchable
    fault.order("slow eom 8")  # the live baseline takes so long
    ran: list[Ran] = []
    threads = [threading.Thread(target=lambda: ran.append(lab.dkconf("apply", "--yes"))) for _ in range(2)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()

    assert [0, 5] == sorted(one.status for one in ran), ran
    settled(lab)


@pytest.mark.parametrize("where", ["/var/lib/dkconf", "/etc/mail"])
@pytest.mark.parametrize("room_octets", [0, 5000, 70000])
def test_a_full_disk_changes_nothing(switchable: tuple[Lab, Fault], where: str, room_octets: int) -> None:
    """With the disk full at once or in between, the old state holds or is back, and mail goes on."""
    lab, _ = switchable
    # The directory moves to a small tmpfs, which is filled up to `room_octets`.
    script = f"""
        set -e
        mkdir /tmp/small; mount -t tmpfs -o size=1m,mode=0755 tmpfs /tmp/small
        cp -a {where}/. /tmp/small/; chown --reference={where} /tmp/small; chmod --reference={where} /tmp/small
        mount --bind /tmp/small {where}
        free=$(df --output=avail -B1 {where} | tail -1)
        fill=$((free - {room_octets})); [ $fill -le 0 ] || head -c $fill /dev/zero > {where}/filler
    """
    # In the lab's mount namespace, for all that runs there.
    made = lab.run("sh", "-c", script)
    assert 0 == made.status, made
    before = mail_host(lab)

    failed = lab.dkconf("apply", "--yes")

    if failed.status != 0:
        assert failed.status in (1, 3), failed
        assert "space" in failed.out + failed.err
        assert before == mail_host(lab), changes(before, mail_host(lab))
        assert lab.deliver("still").fields("X-Fault-Filter") == [b"fault"]
    else:
        assert room_octets > 0, failed
    lab.run("rm", "-f", f"{where}/filler")
    settled(lab)


@pytest.mark.parametrize("where", ["/var/lib/dkconf", "/etc/mail", "/etc/mail/m4"])
def test_a_read_only_target_is_told_before_anything(switchable: tuple[Lab, Fault], where: str) -> None:
    """A file system that cannot be written is an error that names it; nothing has changed."""
    lab, _ = switchable
    before = mail_host(lab)
    made = lab.run("sh", "-c", f"mount --bind {where} {where} && mount -o remount,bind,ro {where}")
    assert 0 == made.status, made

    failed = lab.dkconf("apply", "--yes")

    assert failed.status in (1, 3, 8), failed
    assert "read-only" in (failed.out + failed.err).lower()
    assert before == mail_host(lab), changes(before, mail_host(lab))
    lab.run("umount", where)
    settled(lab)


PLANTS = {
    "link for the temporary file": ("ln -s /mnt/victim /etc/mail/.sendmail.cf.dkconf-tmp", (0,)),
    "hard link for the temporary file": ("touch /etc/mail/x; ln /etc/mail/x /etc/mail/.sendmail.cf.dkconf-tmp", (0,)),
    "pipe for the temporary file": ("mkfifo /etc/mail/m4/.dkconf.m4.dkconf-tmp", (0,)),
    "folder for the temporary file": (
        "mkdir -p /etc/mail/m4/.dkconf.m4.dkconf-tmp/x; ln -s /mnt /etc/mail/m4/.dkconf.m4.dkconf-tmp/y",
        (0,),
    ),
    "link for the fragment": ("ln -sf /mnt/victim /etc/mail/m4/dkconf.m4", (1, 8)),
    "pipe for the fragment": ("rm /etc/mail/m4/dkconf.m4; mkfifo /etc/mail/m4/dkconf.m4", (1, 8)),
    "link for the folder": ("mv /etc/mail/m4 /etc/mail/old; ln -s /mnt/folder /etc/mail/m4", (1, 8)),
    "link for sendmail.cf": ("mv /etc/mail/sendmail.cf /etc/mail/y; ln -s /mnt/victim /etc/mail/sendmail.cf", (1, 8)),
    "pipe for sendmail.mc": ("rm /etc/mail/sendmail.mc; mkfifo /etc/mail/sendmail.mc", (1, 8)),
    "pipe that is included": (
        "mkfifo /etc/mail/m4/pipe.m4; sed -i '1i include(`/etc/mail/m4/pipe.m4'\"'\"')dnl' /etc/mail/sendmail.mc",
        (1, 8),
    ),
    "secret that is included": (
        "ln -s /mnt/victim /etc/mail/m4/dialup.m4.new; mv -f /etc/mail/m4/dialup.m4.new /etc/mail/m4/dialup.m4",
        (0, 1, 8),
    ),
}
"""What the mail user, who owns /etc/mail on Debian, may put there; and the statuses that apply may end with."""


@pytest.mark.parametrize("plant", PLANTS)
def test_what_the_mail_user_plants_leads_nowhere(switchable: tuple[Lab, Fault], plant: str) -> None:
    """Nothing outside is written, nothing of a private file is shown, and nobody waits at a pipe."""
    lab, _ = switchable
    command, statuses = PLANTS[plant]
    made = lab.run("sh", "-c", "mount -t tmpfs tmpfs /mnt; umask 077; echo SECRET-OF-ROOT > /mnt/victim; "
                   f"mkdir /mnt/folder; {command}")  # fmt: skip
    assert 0 == made.status, made

    applied = lab.dkconf("apply", "--yes")

    assert applied.status in statuses, applied
    assert "Traceback" not in applied.out + applied.err
    assert "SECRET-OF-ROOT" not in applied.out + applied.err
    left = lab.run("sh", "-c", "cat /mnt/victim; ls -la /mnt/folder; stat -c %a /mnt/victim").out.split()
    assert "SECRET-OF-ROOT" == left[0]
    assert "600" == left[-1]
    assert "dkconf" not in " ".join(left)


@pytest.mark.parametrize("signum", [signal.SIGINT, signal.SIGTERM, signal.SIGHUP])
def test_a_signal_waits_until_activation_is_done(switchable: tuple[Lab, Fault], signum: int) -> None:
    """Whenever the signal comes, the host ends in the old state or in the new one, and is healthy."""
    lab, _ = switchable
    old = mail_host(lab)
    trace = lab.dir / "trace"
    # The tests themselves may run where these are ignored, and what is ignored at the start stays ignored.
    words = ("env", "--default-signal=INT,HUP", "dkconf", "apply", "--yes")
    running = lab.spawn(*words, env={"DKCONF_TRACE_STEPS": str(trace)})
    assert eventually(
        lambda: trace.exists() and "sendmail.cf:before" in trace.read_text(), LAST_RESORT_SECONDS, every=0.005
    )

    status = running.stop(signum)

    now = mail_host(lab)
    assert 130 == status
    if now != old:
        assert "MAIL_FILTER" in lab.path("/etc/mail/m4/dkconf.m4").read_text()
        assert lab.deliver("new state").fields("X-Fault-Filter") == []
    settled(lab)


def test_a_second_daemon_with_its_own_filter_list_is_refused(tmp_path: Path) -> None:
    """A per-daemon InputMailFilters would keep the filter on after a disable: found, named, refused."""
    daemon = "DAEMON_OPTIONS(`Name=extra, Port=2527, Addr=127.0.0.1, InputMailFilters=fault')dnl\n"
    with Lab(tmp_path / "lab", extra_mc="") as lab:
        fault = Fault(lab).start()
        mc = lab.path("/etc/mail/sendmail.mc")
        line = f"INPUT_MAIL_FILTER(`fault', `{fault.equates}, F=T')dnl\n"
        mc.write_text(mc.read_text().replace("MAILER_DEFINITIONS", f"{line}{daemon}MAILER_DEFINITIONS"))
        assert lab.run("sh", "-c", "m4 /etc/mail/sendmail.mc > /etc/mail/sendmail.cf").status == 0
        lab.start_sendmail()
        inventory.write(lab, inventory.external("fault", fault.port, roles="verify", schemes=""), ["fault"], domains=())

        refused = lab.dkconf("apply", "--yes", "--take-over", "fault")

        assert 8 == refused.status, refused
        assert "InputMailFilters=fault" in refused.out + refused.err


def test_a_cf_that_was_edited_by_hand_is_refused(lab: Lab) -> None:
    """If the host's unchanged .mc does not give its live .cf, somebody has edited where dkconf cannot see."""
    fault = Fault(lab).start()
    inventory.write(lab, inventory.external("fault", fault.port, roles="verify", schemes=""), ["fault"], domains=())
    cf = lab.path("/etc/mail/sendmail.cf")
    cf.write_text(cf.read_text().replace("O MaxRecipientsPerMessage", "O MaxRecipientsPerMessage=7\n#O was"))
    cf.write_text(cf.read_text() + "\nO MaxMessageSize=1234567\n")
    before = mail_host(lab)

    refused = lab.dkconf("apply", "--yes")

    assert 8 == refused.status, refused
    assert before == mail_host(lab)
