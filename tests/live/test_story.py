"""The manager's story on a real sendmail: plan, apply, disable, roll back, with OpenDKIM as the signing filter."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from tests.conftest import require
from tests.lab import Lab, build_message, inventory
from tests.lab.filters import Fault, OpenDkim
from tests.lab.nameserver import NameServer
from tests.lab.trees import changes, everything, mail_host

pytestmark = pytest.mark.live
ALICE = "alice@example.org"


def mail(lab: Lab, subject: str) -> list[bytes]:
    """Send a message through port 25; return its DKIM-Signature fields as it left."""
    return lab.deliver(subject, build_message(subject, sender=ALICE)).fields("DKIM-Signature")


@pytest.fixture
def signing(lab: Lab) -> Lab:
    """A lab with OpenDKIM running with a key that dkconf made, its record published, and an inventory that calls it."""
    require("opendkim", "named")
    inventory.write(lab, inventory.external("opendkim", 8892), ["opendkim"])
    zone = inventory.own_key(lab)
    NameServer(lab).publish({}, zone)
    opendkim = OpenDkim(lab, domain=inventory.DOMAIN, selector=inventory.SELECTOR)
    inventory.copy_for_outside(lab, opendkim.key)
    opendkim.start()
    return lab


def test_plan_apply_disable_rollback_release(signing: Lab) -> None:
    """Each step does what it says to the mail that leaves, and release leaves the host as it was found."""
    lab = signing
    found = mail_host(lab)["/etc/mail"]

    assert [] == mail(lab, "before")
    applied = lab.dkconf("apply", "--yes")
    assert 0 == applied.status, applied
    assert 1 == len(mail(lab, "applied"))

    disabled = lab.dkconf("disable-filter", "opendkim", "--yes")
    assert 0 == disabled.status, disabled
    assert [] == mail(lab, "disabled")
    text = (lab.dir / "inventory.yaml").read_text()
    assert "disabled_filters: [opendkim]" in text
    assert "This comment stays" in text
    assert "# in call order" in text

    back = lab.dkconf("rollback", "--yes")
    assert 0 == back.status, back
    assert 1 == len(mail(lab, "rolled back"))

    released = lab.dkconf("release", "--yes")
    assert 0 == released.status, released
    assert [] == mail(lab, "released")
    assert found == mail_host(lab)["/etc/mail"], changes({"": found}, {"": mail_host(lab)["/etc/mail"]})


def test_a_second_apply_changes_nothing(signing: Lab) -> None:
    """The same inventory again: status 0, no new generation, not one octet or time on the host changed."""
    signing.dkconf("apply", "--yes")
    before = everything(signing)
    generations = signing.dkconf("generations", "--json").out

    again = signing.dkconf("apply", "--yes")

    assert 0 == again.status, again
    assert "nothing to do" in again.out
    assert generations == signing.dkconf("generations", "--json").out
    changed = [name for name in changes(before, everything(signing)) if "/var/lib/dkconf" not in name]
    assert [] == changed


@pytest.mark.parametrize("command", [("plan",), ("plan", "--json"), ("status",), ("generations",), ("check",)])
def test_looking_writes_nothing_at_all(signing: Lab, command: tuple[str, ...]) -> None:
    """The whole tree is the same before and after, times included; on an untouched host and on an applied one."""
    for _ in range(2):
        before = everything(signing)
        looked = signing.dkconf(*command)
        assert 0 == looked.status, looked
        assert [] == changes(before, everything(signing))
        assert 0 == signing.dkconf("apply", "--yes").status


def test_without_a_terminal_and_yes_apply_refuses(signing: Lab) -> None:
    """Nobody can be asked: status 8, naming --yes, nothing changed."""
    before = mail_host(signing)

    refused = signing.dkconf("apply")

    assert 8 == refused.status, refused
    assert "--yes" in refused.err + refused.out
    assert before == mail_host(signing)


def test_an_unpublished_key_is_refused(lab: Lab) -> None:
    """A signer goes live only once its key record is out; --accept-risk unpublished-key goes on."""
    require("opendkim", "named")
    inventory.write(lab, inventory.external("opendkim", 8892), ["opendkim"])
    inventory.own_key(lab)
    NameServer(lab).publish({})
    opendkim = OpenDkim(lab, domain=inventory.DOMAIN, selector=inventory.SELECTOR)
    inventory.copy_for_outside(lab, opendkim.key)
    opendkim.start()

    refused = lab.dkconf("apply", "--yes")
    assert 8 == refused.status, refused
    assert "unpublished-key" in refused.out + refused.err

    accepted = lab.dkconf("apply", "--yes", "--accept-risk", "unpublished-key")
    assert 0 == accepted.status, accepted


def test_a_missing_private_half_is_refused(lab: Lab) -> None:
    """apply never generates a key: a host that lacks the private half of a selector is refused with 8."""
    inventory.write(lab, inventory.own_filter(), [inventory.OWN], services=inventory.OWN_SERVICE)
    inventory.own_key(lab)
    inventory.private_key(lab).unlink()

    refused = lab.dkconf("apply", "--yes")

    assert 8 == refused.status, refused
    assert "s1.private" in refused.out + refused.err
    assert not inventory.private_key(lab).exists()


def test_an_unsigned_canary_is_refused(lab: Lab) -> None:
    """A filter that should sign, accepts, and does not sign never goes live: status 8."""
    require("named")
    fault = Fault(lab, port=8892).start()
    inventory.write(lab, inventory.external("opendkim", fault.port), ["opendkim"])
    NameServer(lab).publish({}, inventory.own_key(lab))
    before = mail_host(lab)

    refused = lab.dkconf("apply", "--yes")

    assert 8 == refused.status, refused
    assert before["/etc/mail"] == mail_host(lab)["/etc/mail"]
    assert "canary" in refused.out + refused.err


def test_an_external_filter_that_is_down_is_not_judged(lab: Lab) -> None:
    """What does not answer cannot be tried: status 8."""
    inventory.write(lab, inventory.external("fault", 8891, roles="verify", schemes=""), ["fault"], domains=())

    refused = lab.dkconf("apply", "--yes")

    assert 8 == refused.status, refused
    assert lab.send().accepted


def test_exactly_that_plan_or_stale(signing: Lab) -> None:
    """`apply plan.json` applies what was read; after a hand edit of the fragment it is stale: 7, nothing changed."""
    planned = signing.dkconf("plan", "--out", "plan.json")
    assert 0 == planned.status, planned
    assert "opendkim" in json.dumps(json.loads((signing.dir / "plan.json").read_text()))
    assert 0 == signing.dkconf("apply", "plan.json", "--yes").status

    signing.dkconf("disable-filter", "opendkim", "--yes")
    text = (signing.dir / "inventory.yaml").read_text()
    (signing.dir / "inventory.yaml").write_text(text.replace("disabled_filters: [opendkim]", "disabled_filters: []"))
    signing.dkconf("plan", "--out", "second.json")
    fragment = signing.path("/etc/mail/m4/dkconf.m4")
    fragment.write_text(fragment.read_text() + "dnl by hand\n")
    before = mail_host(signing)

    stale = signing.dkconf("apply", "second.json", "--yes")

    assert 7 == stale.status, stale
    assert before == mail_host(signing)


def test_a_hand_edit_is_drift_and_kept_until_taken_over(signing: Lab) -> None:
    """An edited fragment is shown by status, refused by apply with the flag, and overwritten with --take-over PATH."""
    signing.dkconf("apply", "--yes")
    wanted = mail_host(signing)
    fragment = signing.path("/etc/mail/m4/dkconf.m4")
    fragment.write_text(fragment.read_text() + "dnl by hand\n")

    assert "/etc/mail/m4/dkconf.m4" in signing.dkconf("status").out
    assert 2 == signing.dkconf("status", "--detailed-exitcode").status
    refused = signing.dkconf("apply", "--yes")
    assert 8 == refused.status, refused
    assert "--take-over /etc/mail/m4/dkconf.m4" in refused.out + refused.err
    assert "dnl by hand" in fragment.read_text()

    taken = signing.dkconf("apply", "--yes", "--take-over", "/etc/mail/m4/dkconf.m4")
    assert 0 == taken.status, taken
    assert [] == changes(wanted, mail_host(signing))


def test_no_private_key_octet_leaves_its_file(signing: Lab, tmp_path: Path) -> None:
    """Nothing that dkconf prints, logs or keeps holds a line of the private key."""
    lines = [
        line for line in inventory.private_key(signing).read_text().splitlines() if line and not line.startswith("-")
    ]
    said = ""
    for command in (
        ("plan", "--json", "--out", "plan.json"),
        ("apply", "--yes", "--json"),
        ("status", "--json"),
        ("disable-filter", "opendkim", "--yes"),
        ("rollback", "--yes", "--json"),
        ("generations", "diff", "1", "2"),
        ("keys", "list", "--json"),
    ):
        ran = signing.dkconf(*command, env={"DKCONF_DEBUG": "1"})
        assert 0 == ran.status, ran
        said += str(ran)
    tops = [*(signing.path(top) for top in ("/var", "/run", "/etc/mail", "/tmp")), signing.dir]
    kept = [
        path
        for top in tops
        for path in top.rglob("*")
        if path.is_file() and not path.is_symlink() and path.suffix != ".private" and "world" not in path.parts
    ]

    for line in lines:
        assert line not in said
        assert line not in "\n".join(signing.maillog)
    leaks = [path for path in kept if any(line.encode() in path.read_bytes() for line in lines)]
    assert [] == leaks
    assert any("generations" in path.parts for path in kept)
