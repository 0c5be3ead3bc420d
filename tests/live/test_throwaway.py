"""dkconf's own filter, tried in a throwaway instance before it goes live, then started, drained and stopped."""

from __future__ import annotations

import json

import pytest

from tests.conftest import require
from tests.lab import Lab, build_message, inventory
from tests.lab.lab import BIN
from tests.lab.nameserver import NameServer

pytestmark = pytest.mark.live
BOTH = "sign: [dkim, domainkeys]"


@pytest.fixture
def own(lab: Lab) -> Lab:
    """A lab whose inventory wants a dkconf-filter that signs with both schemes; its record is published."""
    require("named")
    inventory.write(lab, inventory.own_filter(), [inventory.OWN], services=inventory.OWN_SERVICE, domain=BOTH)
    NameServer(lab).publish({}, inventory.own_key(lab))
    return lab


def signatures(lab: Lab, subject: str) -> tuple[int, int]:
    """Return how many DKIM and DomainKeys signatures a message leaves with."""
    left = lab.deliver(subject, build_message(subject, sender=f"alice@{inventory.DOMAIN}"))
    return len(left.fields("DKIM-Signature")), len(left.fields("DomainKey-Signature"))


def test_signs_changes_and_goes(own: Lab) -> None:
    """Enabled, its settings changed, disabled and enabled again: each is judged first, and does what it says."""
    applied = own.dkconf("apply", "--yes")
    assert 0 == applied.status, applied
    assert (1, 1) == signatures(own, "applied")

    inventory.write(own, inventory.own_filter("  canonicalization: {dkim: relaxed/relaxed}\n"), [inventory.OWN],
                    services=inventory.OWN_SERVICE, domain=BOTH)  # fmt: skip
    changed = own.dkconf("apply", "--yes")
    assert 0 == changed.status, changed
    left = own.deliver("changed", build_message("changed", sender=f"alice@{inventory.DOMAIN}"))
    assert b"relaxed/relaxed" in left.fields("DKIM-Signature")[0]

    disabled = own.dkconf("disable-filter", inventory.OWN, "--yes")
    assert 0 == disabled.status, disabled
    assert (0, 0) == signatures(own, "disabled")
    assert not own.answers(inventory.OWN_PORT)

    enabled = own.dkconf("enable-filter", inventory.OWN, "--yes")
    assert 0 == enabled.status, enabled
    assert (1, 1) == signatures(own, "enabled")


def test_a_filter_that_does_not_come_up_is_refused_in_its_own_words(own: Lab) -> None:
    """A key that cannot be used: the throwaway instance says why, and the host stays as it was."""
    inventory.private_key(own).write_text("no key\n")
    before = own.sendmail_pid()

    refused = own.dkconf("apply", "--yes")

    assert 0 != refused.status
    assert before == own.sendmail_pid()
    assert [] == own.deliver("as before").fields("DKIM-Signature")


def test_nothing_is_left_behind(own: Lab) -> None:
    """No staging directory, no queue and no throwaway process outlives an apply."""
    assert 0 == own.dkconf("apply", "--yes").status

    left = own.run(
        "sh",
        "-c",
        "find /run/dkconf-manager -mindepth 1 -maxdepth 1 -type d; pgrep -fa '[/]run/dkconf-manager/canary' || true",
    )
    assert "" == left.out, left
    assert "" == own.run("find", "/var/spool/mqueue", "-name", "qf*").out


def test_a_filter_is_not_stopped_under_a_conversation(own: Lab) -> None:
    """A client that is in the middle of a message keeps its filter: status 6 at the drain's cap, and it runs on."""
    assert 0 == own.dkconf("apply", "--yes").status
    with own.connect(25) as link, link.makefile("rwb") as talk:
        for line in (b"", b"HELO client.example.test\r\n", b"MAIL FROM:<alice@example.org>\r\n"):
            talk.write(line)
            talk.flush()
            assert talk.readline()[:1] == b"2"

        disabled = own.dkconf("disable-filter", inventory.OWN, "--yes", "--drain-timeout", "2s")
        assert 6 == disabled.status, disabled
        assert own.answers(inventory.OWN_PORT)
        assert (0, 0) == signatures(own, "meanwhile")

        talk.write(b"QUIT\r\n")
        talk.flush()
        talk.read()


def test_a_unix_socket(lab: Lab) -> None:
    """The same over /run/dkconf/filter.sock: its directory is the filter's, and sendmail finds it safe."""
    require("named")
    filters = inventory.own_filter().replace(f"inet:{inventory.OWN_PORT}@127.0.0.1", "local:/run/dkconf/filter.sock")
    inventory.write(lab, filters, [inventory.OWN], services=inventory.OWN_SERVICE, domain=BOTH)
    NameServer(lab).publish({}, inventory.own_key(lab))

    applied = lab.dkconf("apply", "--yes")

    assert 0 == applied.status, applied
    assert (1, 1) == signatures(lab, "over a Unix socket")


def test_dk_filters_command_line(lab: Lab) -> None:
    """A dk-filter, of which dkconf-filter is the drop-in here: tried, and started, by its own options."""
    require("named")
    filters = (
        "dk-filter:\n  program: dk-filter\n  socket: local:/run/dk-filter/dk.sock\n  on_failure: tempfail\n"
        "  timeouts: {connect: 20s, send: 20s, read: 20s, end_of_message: 60s}\n  user: root\n"
    )
    key = f"/etc/dkconf-filter/keys/{inventory.DOMAIN}/{inventory.SELECTOR}.private"
    options = f"-b sv -c nofws -H -l -d {inventory.DOMAIN} -S {inventory.SELECTOR} -s {key} -u root"
    argv = [f"{BIN}/dkconf-filter", *options.split(), "-p", "local:/run/dk-filter/dk.sock", "-P", "/run/dk-filter.pid"]
    inventory.write(lab, filters, ["dk-filter"], domain="sign: [domainkeys]",
                    services=f"dk-filter: {{argv: {json.dumps(argv)}, pid_file: /run/dk-filter.pid}}")  # fmt: skip
    NameServer(lab).publish({}, inventory.own_key(lab))

    applied = lab.dkconf("apply", "--yes")

    assert 0 == applied.status, applied
    assert (0, 1) == signatures(lab, "signed")
