"""Staging and telling a real sendmail: each fault that m4 or sendmail lets pass is caught before it is live."""

from __future__ import annotations

import json
import sys

import pytest

from tests.lab import Lab

pytestmark = pytest.mark.live

# Runs in the lab: builds variants of the host's own .mc, one word or sentence each, as JSON.
STAGE = """
import json, os, sys
from pathlib import Path
from dkconf.trial import stage
from dkconf.desired.platform import PLATFORMS
from dkconf.sendmail import mc

paths = PLATFORMS["debian"].paths
text = mc.decode(Path(paths.sendmail_mc).read_bytes())
live = Path(paths.sendmail_cf).read_bytes()
FILTER = "INPUT_MAIL_FILTER(`a', `S=inet:8891@127.0.0.1, F=T')dnl\\n"

def attempt(line="", fragment=FILTER):
    body = mc.insert_block(text, paths.fragment)
    try:
        with stage.stage(paths, body.replace("MAILER(`local')", line + "MAILER(`local')"), fragment) as staged:
            return "built: " + ",".join(staged.model.input_filters)
    except stage.StageFailed as error:
        return str(error)

def owner():
    secret = Path("/etc/mail/m4/secret.m4")
    secret.write_text("dnl\\n")
    secret.chmod(0o600)
    os.chown(secret, 0, 0)
    return attempt("include(`/etc/mail/m4/secret.m4')dnl\\n")

def same(cf):
    try:
        stage.baseline(paths, text, None, cf).discard()
        return "same"
    except stage.BaselineDiffers as error:
        return str(error)

print(json.dumps({
    "good": attempt(),
    "missing include": attempt("include(`/etc/mail/m4/none.m4')dnl\\n"),
    "open quote": attempt("`"),
    "listed twice": attempt("define(`confINPUT_MAIL_FILTERS', `a, a')dnl\\n"),
    "undefined": attempt("define(`confINPUT_MAIL_FILTERS', `b')dnl\\n"),
    "socket type": attempt(fragment="INPUT_MAIL_FILTER(`a', `S=foo:8891@127.0.0.1')dnl\\n"),
    "unknown option": attempt("LOCAL_CONFIG\\nO NoSuchOption=1\\n"),
    "runs a command": attempt("syscmd(`id -u > /etc/mail/m4/ran; echo made by id >&2')dnl\\n"),
    "reads root's": owner(),
    "same": same(live),
    "edited": same(live + b"O LogLevel=15\\n"),
    "left": os.listdir("/run/dkconf-manager"),
}))
"""

TELL = """
import json
from pathlib import Path
from dkconf.desired.platform import PLATFORMS
from dkconf.probe import live, master, ports, starting
from dkconf.sendmail import cf

paths = PLATFORMS["debian"].paths
path = Path(paths.sendmail_cf)
good = path.read_bytes()
model = cf.parse(good.decode("latin-1"))
site = master.site_of(paths, model)
said = []
first = master.find(site).master
argv = starting.how_to_start(first, site, paths.sendmail)
how = live.How(argv)
before = ports.probe_all(model)
second = live.tell(site, how, told=said.append)
path.write_bytes(good + b"O InputMailFilters=nope\\n")
try:
    live.tell(site, how, told=said.append)
    died = "no"
except live.NotReady as error:
    died = str(error)
path.write_bytes(good)
try:
    live.tell(site, live.How(), told=said.append)
    helpless = "no"
except live.NotReady as error:
    helpless = str(error)
off = live.tell(site, live.How(argv, ran=False))
third = live.tell(site, how, told=said.append)
again = starting.how_to_start(third, site, paths.sendmail)
path.write_bytes(good + b"Xdown, S=inet:8899@127.0.0.1, F=T\\nO InputMailFilters=down\\n")
live.tell(site, how, told=said.append)
print(json.dumps({
    "argv": argv, "other": second.pid != first.pid, "died": died, "said": said, "helpless": helpless,
    "again": again == argv, "before": str(before), "off": off,
    "worse": ports.worse(before, ports.probe_all(model)),
}))
"""


def inside(lab: Lab, program: str) -> dict[str, object]:
    """Run a program in the lab; return the JSON object that it prints."""
    ran = lab.run(sys.executable, "-c", program)
    assert 0 == ran.status, ran
    found: dict[str, object] = json.loads(ran.out.splitlines()[-1])
    return found


def test_each_fault_is_caught_while_staging(lab: Lab) -> None:
    """m4's status and words, the model, and sendmail's own start; and m4 cannot do what root could."""
    found = inside(lab, STAGE)

    expected = {
        "good": "built: a",
        "missing include": "m4 ended with status 1",
        "open quote": "m4 ended with status 1",
        "listed twice": "names filter a twice",
        "undefined": "names filter b, which is not defined",
        "socket type": "status 71",
        "unknown option": "sendmail would not start",
        "runs a command": "m4 complains",
        "reads root's": "m4 ended with status 1",
        "same": "same",
        "edited": "option loglevel: ",
    }
    for case, words in expected.items():
        assert words in str(found[case]), (case, found[case])
    assert [] == found["left"]
    assert not lab.path("/etc/mail/m4/ran").exists()


def test_hup_death_and_start(lab: Lab) -> None:
    """A HUP gives a new master; one that dies of its .cf is noticed, and started again by its own command line."""
    found = inside(lab, TELL)

    assert ["/usr/sbin/sendmail", "-L", "sm-mta", "-bd", "-q1m"] == found["argv"]
    assert found["other"]
    assert found["again"]
    assert "InputFilter nope not defined" in str(found["died"])
    assert "start it by hand at once" in str(found["helpless"])
    assert found["off"] is None
    assert "port 25 (MTA-v4): accepts" in str(found["before"])
    [worse] = found["worse"]  # type: ignore[misc]
    assert str(worse).startswith("port 25 (MTA-v4): MAIL: 451 4.3.2 Please try again later (before: 250")
