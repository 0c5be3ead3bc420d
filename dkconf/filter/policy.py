"""From verdicts to what happens to a message: conditions, actions and reply texts.

One table per scheme says which action a condition has. Where both schemes ask for something, the stricter
holds, with two exceptions: DomainKeys' `no` and `miss` do not act on a message whose DKIM signature passed, nor
before a DKIM signature that could not be looked up has had its second chance.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Final, NamedTuple

from dkconf.filter.config import CONDITIONS, Action, Settings
from dkconf.mail.verdict import Verdict
from dkconf.milter import codec

PROGRAM: Final = "dkconf-filter"

# Strictest first. Discard is below tempfail: what may still pass is not thrown away.
_STRICTNESS: Final = {"reject": 4, "tempfail": 3, "discard": 2, "quarantine": 1, "accept": 0}

_NAMES: Final = {"dkim": "DKIM", "domainkeys": "DomainKeys"}

_MEANING: Final = {
    "bad": "signature not acceptable",
    "dns": "key cannot be looked up",
    "int": "internal error",
    "no": "message not signed",
    "miss": "message not signed, though its domain signs all mail",
    "sec": "header too large",
}

# RFC 3463: X.3.4 is a message too big for the system, X.3.0 a fault of the system.
_CODES: Final = {
    ("reject", "sec"): b"552 5.3.4",
    ("tempfail", "sec"): b"451 4.3.4",
    ("reject", "int"): b"550 5.3.0",
    ("tempfail", "int"): b"451 4.3.0",
}
# The others speak of signatures; for DKIM alone, RFC 7372 section 3.1 (X.7.20: no passing DKIM signature found).
_SIGNATURE_CODES: Final = {
    ("reject", "dkim"): b"550 5.7.20",
    ("reject", "domainkeys"): b"550 5.7.0",
    ("tempfail", "dkim"): b"451 4.7.0",
    ("tempfail", "domainkeys"): b"451 4.7.0",
}


class Finding(NamedTuple):
    """What a scheme found about a message: a condition, and the signature that it is about."""

    scheme: str
    condition: str = ""
    """"" = nothing to act on."""
    reason: str = ""
    domain: str = ""
    selector: str = ""

    def why(self) -> str:
        """The cause in words: `DKIM bad d=example.com s=jan (body hash did not verify)`."""
        words = [_NAMES[self.scheme], self.condition or "pass"]
        if self.domain:
            words.append(f"d={self.domain}")
        if self.selector:
            words.append(f"s={self.selector}")
        return " ".join(words) + (f" ({self.reason})" if self.reason else "")


class Decision(NamedTuple):
    """What happens to a message, and the finding that it comes from (None: there was nothing to act on)."""

    action: Action = "accept"
    finding: Finding | None = None

    @property
    def delivers(self) -> bool:
        """Whether somebody may get to read the message; a quarantine can be opened."""
        return self.action in ("accept", "quarantine")

    def reply(self) -> bytes:
        """The final reply; for quarantine, its request goes before."""
        finding = self.finding
        if self.action == "accept" or finding is None:
            return codec.CONTINUE
        if self.action == "discard":
            return codec.DISCARD
        if self.action == "quarantine":
            return codec.quarantine(self.text().encode("ascii", "replace")) + codec.CONTINUE
        code = _CODES.get((self.action, finding.condition)) or _SIGNATURE_CODES[self.action, finding.scheme]
        return codec.reply_code(code + b" " + self.text().encode("ascii", "replace"))

    def text(self) -> str:
        """What the sender is told: the filter, the condition and why."""
        finding = self.finding
        if finding is None:
            return ""
        return f"{PROGRAM}: {_MEANING[finding.condition]}: {finding.why()}"


ACCEPT: Final = Decision()


class ActionTables:
    """The actions by scheme and condition."""

    __slots__ = ("_table",)

    def __init__(self, settings: Settings) -> None:
        self._table: dict[tuple[str, str], Action] = {}
        for scheme in ("dkim", "domainkeys"):
            table = settings.dkim_conditions if scheme == "dkim" else settings.domainkeys_conditions
            for condition in CONDITIONS:
                action = getattr(table, condition)
                if condition == "bad" and action == "accept" and settings.quarantine:
                    action = "quarantine"
                # DKIM has no `miss`: nothing leads there.
                self._table[scheme, condition] = action or "accept"

    def action(self, finding: Finding) -> Action:
        """The action for one finding."""
        return self._table[finding.scheme, finding.condition] if finding.condition else "accept"

    def differ(self, scheme: str, first: str, second: str) -> bool:
        """Whether two conditions of a scheme have different actions."""
        return self._table[scheme, first] != self._table[scheme, second]

    def quarantines(self) -> bool:
        """Whether any condition asks for quarantine, so that it must be negotiated."""
        return "quarantine" in self._table.values()

    def decide(self, findings: Sequence[Finding], dkim_passed: bool = False) -> Decision:
        """The decision for a message; its finding is the condition that was met, also where that is accepted."""
        pending = any(f.scheme == "dkim" and f.condition == "dns" and self.action(f) == "tempfail" for f in findings)
        best: Decision | None = None
        for finding in findings:
            if not finding.condition:
                continue
            unsigned = finding.scheme == "domainkeys" and finding.condition in ("no", "miss")
            if unsigned and (dkim_passed or pending):
                continue
            action = self.action(finding)
            if best is None or _STRICTNESS[action] > _STRICTNESS[best.action]:
                best = Decision(action, finding)
        return best or ACCEPT


def dkim_finding(verdicts: Sequence[Verdict], author: Callable[[], Sequence[str]]) -> Finding:
    """What the DKIM signatures of a message come to.

    A signature that passes is enough, the top-most of them counts. Else the top-most that fits the sender (d= is
    the domain of From or Sender, or above it), else the top-most. With t=y in the key a failing signature counts
    as none (RFC 6376 section 3.6.1).

    Args:
        author: Returns the domains of the sender, in lower case; asked only where no signature passes.
    """
    for verdict in verdicts:
        if not verdict.condition:
            return Finding("dkim", "", "", verdict.domain, verdict.selector)
    counting = [verdict for verdict in verdicts if not verdict.testing]
    domains = author()
    for verdict in counting:
        if any(_covers(verdict.domain, domain) for domain in domains):
            return _of(verdict)
    if counting:
        return _of(counting[0])
    return Finding("dkim", "no", "test mode: a failing signature counts as none" if verdicts else "")


def _of(verdict: Verdict) -> Finding:
    return Finding(verdict.scheme, verdict.condition, verdict.reason, verdict.domain, verdict.selector)


def _covers(signing: str, sender: str) -> bool:
    return bool(signing) and (sender == signing or sender.endswith("." + signing))
