"""`make demo`: the main job of dkconf, on a real sendmail in a private lab, in under a minute.

A mail host of its own is made for the time of the demo (own host name, network, /etc, /var, queue and syslog; see
tests/lab): nothing of this machine is touched. Status 0 if every step did what it should.
"""

from __future__ import annotations

import sys
import tempfile
import time
from pathlib import Path

CHECKOUT = Path(__file__).resolve().parents[1]
sys.path.insert(0, str(CHECKOUT))

from tests.lab import Lab, LabError, Ran, Received, build_message, inventory, missing_tools  # noqa: E402
from tests.lab.nameserver import NameServer  # noqa: E402

SENDER = "alice@example.org"
LONGEST_DIFF = 12
"""Lines of one file's diff that are shown."""
COLOURS = {"step": "1;34", "good": "32", "bad": "31", "dim": "2", "command": "1"}


class Demo:
    """Runs the steps and tells of each."""

    def __init__(self, lab: Lab) -> None:
        self.lab = lab
        self.failed = False
        self._number = 0
        self._plan = ""

    def say(self, text: str, colour: str = "") -> None:
        code = COLOURS.get(colour, "")
        print(f"\x1b[{code}m{text}\x1b[0m" if code and sys.stdout.isatty() else text, flush=True)

    def step(self, title: str) -> None:
        self._number += 1
        self.say(f"\n{self._number}. {title}", "step")

    def dkconf(self, *args: str) -> Ran:
        """Run a command in the lab, show it and what it says, and hold it to status 0."""
        self.say(f"   mx1# dkconf {' '.join(args)}", "command")
        started = time.monotonic()
        ran = self.lab.dkconf(*args)
        said = ran.out + ran.err
        if self._plan and said.startswith(self._plan):
            said = "(the plan as above)\n" + said.removeprefix(self._plan)
        self._plan = ran.out if args[0] == "plan" else ""
        for line in shortened(said.splitlines()):
            self.say(f"      {line}")
        self.check(ran.status == 0, f"status {ran.status}, {time.monotonic() - started:.1f} s")
        return ran

    def check(self, right: bool, what: str) -> None:
        """Say how something turned out."""
        self.failed |= not right
        self.say(f"   {'ok' if right else 'WRONG'}: {what}", "good" if right else "bad")

    def mail(self, subject: str, *, signed: bool) -> None:
        """Send a message through port 25 and show what left."""
        self.say(f'   alice sends "{subject}" through port 25', "command")
        received = self.lab.deliver(subject, build_message(subject, sender=SENDER))
        for name in ("DKIM-Signature", "DomainKey-Signature", "Received", "Subject"):
            for value in received.fields(name):
                text = b" ".join(value.split()).decode("latin-1")
                self.say(f"      {name}: {text[:72]}{'...' if len(text) > 72 else ''}")
        there = bool(received.fields("DKIM-Signature")) and bool(received.fields("DomainKey-Signature"))
        none = not received.fields("DKIM-Signature") and not received.fields("DomainKey-Signature")
        self.check(there if signed else none, f"it left {'with both signatures' if signed else 'without a signature'}")
        if signed:
            self.verify(received)

    def verify(self, received: Received) -> None:
        """Have the signatures verified against the lab's name server."""
        path = self.lab.dir / "left.eml"
        path.write_bytes(received.octets)
        self.dkconf("mail", "verify", path.name)


def shortened(lines: list[str]) -> list[str]:
    """Return the lines, long diffs and long lines cut."""
    shown: list[str] = []
    hidden = run = 0
    for line in [*lines, ""]:
        in_diff = line.startswith(("+", "-", " ", "@@")) and not line.startswith(("+ ", "+++", "---"))
        run = run + 1 if in_diff else 0
        if run > LONGEST_DIFF:
            hidden += 1
            continue
        if hidden:
            shown.append(f"... {hidden} more lines of this file")
            hidden = 0
        shown.append(line if len(line) <= 110 else line[:107] + "...")
    return shown[:-1]


def story(demo: Demo) -> None:
    """The whole of it."""
    lab = demo.lab
    inventory.write(
        lab,
        inventory.own_filter(),
        [inventory.OWN],
        services=inventory.OWN_SERVICE,
        domain="sign: [domainkeys, dkim]",
    )
    demo.step("An inventory says what should be; a key is made, and its record published (BIND, in the lab)")
    demo.dkconf("check")
    demo.dkconf("keys", "generate", inventory.DOMAIN, inventory.SELECTOR)
    NameServer(lab).publish({}, inventory.record(lab))

    demo.step("Before anything: mail leaves unsigned")
    demo.mail("before", signed=False)

    demo.step("What would change? plan writes nothing")
    demo.dkconf("plan")

    demo.step("apply: tried apart from the running sendmail first, then activated, then checked again")
    demo.dkconf("apply", "--yes")
    demo.mail("through the filter", signed=True)

    demo.step("The filter is in the way? disable-filter: sendmail forgets it first, then it stops")
    demo.dkconf("disable-filter", inventory.OWN, "--yes")
    demo.mail("around the filter", signed=False)

    demo.step("rollback: the filter is started and tried before sendmail calls it again")
    demo.dkconf("rollback", "--yes")
    demo.mail("through it again", signed=True)

    demo.step("Where the host stands")
    demo.dkconf("generations")
    demo.dkconf("status")


def main() -> int:
    started = time.monotonic()
    if why := missing_tools("named"):
        print(f"demo: {why}", file=sys.stderr)
        return 1
    with tempfile.TemporaryDirectory(prefix="dkconf-demo-") as directory:
        try:
            with Lab(Path(directory) / "lab") as lab:
                demo = Demo(lab)
                version = lab.run("sh", "-c", "sendmail -C /etc/mail/sendmail.cf -bt -d0.1 < /dev/null").out
                number = version.partition("Version ")[2].split("\n")[0]
                demo.say(f"A mail host of its own, mx1.example.test, sendmail {number}; nothing outside is touched.")
                lab.start_sendmail()
                story(demo)
        except LabError as error:
            print(f"demo: {error}", file=sys.stderr)
            return 1
    seconds = time.monotonic() - started
    demo.say("")
    demo.check(not demo.failed, f"{'every step did what it said' if not demo.failed else 'see above'}, {seconds:.0f} s")
    return int(demo.failed)


if __name__ == "__main__":
    sys.exit(main())
