"""Verifying one message: which names to ask for, and what the answers come to.

Pure: header fields in, names to look up out, the body fed to `updates`, answers in, `Outcome` out. The milter
session and `dkconf mail verify` both use it.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import NamedTuple

from dkconf.dkim import verifier as dkim
from dkconf.dkim.canonical import BodyHashes, HashKey
from dkconf.domainkeys import policyrecord
from dkconf.domainkeys import verifier as domainkeys
from dkconf.domainkeys.causes import Cause
from dkconf.domainkeys.policyrecord import PolicyRecord
from dkconf.filter.policy import ActionTables, Finding, dkim_finding
from dkconf.mail.address import Sender, find_sender, sender_address
from dkconf.mail.header import HeaderField
from dkconf.mail.lookup import TxtAnswer
from dkconf.mail.verdict import Verdict

NOT_THE_SENDER = Cause.NOT_THE_SENDER.reason
"""Signatures of others alone leave a message unsigned (RFC 4870 section 3.7.1)."""


class Outcome(NamedTuple):
    """What became of all signatures of a message."""

    dkim: tuple[Verdict, ...]
    domainkeys: tuple[Verdict, ...]
    findings: tuple[Finding, ...]
    """One per scheme that was looked at."""
    sender: Sender | None
    sender_fault: str
    """Why there is no sender; "" if there is one."""
    decisive: Verdict | None = None
    """The DomainKeys signature that counts: the top-most that fits the sender, else the top-most."""
    policy: PolicyRecord | None = None
    """The sender domain's DomainKeys policy; None = not asked for, not there, or not readable."""
    policy_fault: str = ""
    schemes: tuple[str, ...] = ("dkim", "domainkeys")
    dkim_passed: bool = False
    """Whether a DKIM signature holds."""


class Verification:
    """One message being verified."""

    __slots__ = (
        "_ahead",
        "_dkim",
        "_dkim_left",
        "_domainkeys",
        "_domainkeys_left",
        "_fields",
        "_policy_name",
        "_schemes",
        "_tables",
        "hash_keys",
        "queries",
        "sender",
        "sender_fault",
        "updates",
    )

    def __init__(
        self,
        fields: Sequence[HeaderField],
        tables: ActionTables,
        *,
        now: int,
        sender: tuple[Sender | None, str] | None = None,
        schemes: Sequence[str] = ("dkim", "domainkeys"),
        dkim_limits: dkim.Limits = dkim.DEFAULT_LIMITS,
        domainkeys_limits: domainkeys.Limits = domainkeys.DEFAULT_LIMITS,
        stepwise: bool = False,
    ) -> None:
        """Begin.

        Args:
            fields: All header fields of the message, top to bottom.
            now: Seconds since 1970.
            sender: What `find_sender` says, where the caller knows already.
            stepwise: Only make ready to begin: `begin_one` is called until it says that nothing is left.
        """
        self._tables, self._schemes = tables, tuple(schemes)
        self.sender, self.sender_fault = found = sender or find_sender(fields)
        self._fields = fields
        self._dkim: list[dkim.SignatureJob] = []
        self._domainkeys: list[domainkeys.SignatureJob] = []
        self._dkim_left: Iterator[dkim.SignatureJob] = iter(())
        self._domainkeys_left: Iterator[domainkeys.SignatureJob] = iter(())
        if "dkim" in schemes:
            if stepwise:
                self._dkim_left = dkim.begin_each(fields, now, dkim_limits)
            else:
                self._dkim = dkim.begin(fields, now, dkim_limits)
        if "domainkeys" in schemes:
            if stepwise:
                self._domainkeys_left = domainkeys.begin_each(fields, domainkeys_limits, found)
            else:
                self._domainkeys = domainkeys.begin(fields, domainkeys_limits, found)
        self._policy_name = policyrecord.query_name(self.sender.domain) if self.sender else b""
        self._ahead: list[dkim.SignatureJob | domainkeys.SignatureJob] = []
        """Signatures that are to be judged, where there are several."""
        self.hash_keys: list[HashKey] = []
        """The body hashes that `finish` will ask for."""
        self.updates: list[Callable[[bytes | memoryview], None]] = []
        """Functions that take each piece of the body beside them."""
        self.queries: tuple[bytes, ...] = ()
        """TXT names to look up while the body arrives."""
        if not stepwise:
            self._begun()

    def begin_one(self) -> bool:
        """Read one more signature; whether there was one."""
        job = next(self._dkim_left, None)
        if job is not None:
            self._dkim.append(job)
            return True
        other = next(self._domainkeys_left, None)
        if other is not None:
            self._domainkeys.append(other)
            return True
        domainkeys.choose(self._domainkeys)
        self._begun()
        return False

    def _begun(self) -> None:
        # Loops, since there is a job or two: a comprehension costs more than what it does.
        names: list[bytes] = []
        for job in self._dkim:
            if job.hash_key is not None and job.query_name:
                self.hash_keys.append(job.hash_key)
                names.append(job.query_name)
        for other in self._domainkeys:
            if other.query_name:
                self.updates.append(other.update)
                names.append(other.query_name)
        if len(names) > 1:
            self._ahead = [*self._dkim, *self._domainkeys]
        if not self._dkim and not self._domainkeys and "domainkeys" in self._schemes and self._policy_name:
            # Nothing is signed: the policy will be needed. Else only a failure asks for it, at the end.
            names.append(self._policy_name)
        self.queries = tuple(dict.fromkeys(names))

    def judge_one(self, answers: Mapping[bytes, TxtAnswer], hashes: BodyHashes) -> bool:
        """Judge one of several signatures ahead of `finish`, which has less to do then; whether there was one left.

        With the arguments of `finish`. A public key operation may take a ms, and a message have twenty.
        """
        if not self._ahead:
            return False
        job = self._ahead.pop()
        if isinstance(job, dkim.SignatureJob):
            _finish_dkim(job, answers, hashes)
        else:
            _finish_domainkeys(job, answers)
        return True

    def finish(self, answers: Mapping[bytes, TxtAnswer], hashes: BodyHashes) -> Outcome | tuple[bytes, ...]:
        """The outcome; or the names that must be looked up first (call again with all answers)."""
        dkim_verdicts, domainkeys_verdicts = [], []
        for job in self._dkim:
            dkim_verdicts.append(_finish_dkim(job, answers, hashes))
        policy, fault, decisive = None, "", None
        for other in self._domainkeys:
            verdict = _finish_domainkeys(other, answers)
            domainkeys_verdicts.append(verdict)
            if other.decides:
                decisive = verdict
        findings: list[Finding] = []
        dkim_passed = False
        if "dkim" in self._schemes:
            findings.append(self._dkim_finding(dkim_verdicts))
            dkim_passed = not findings[0].condition
        if "domainkeys" in self._schemes:
            if self._wants_policy(decisive, dkim_passed):
                answer = answers.get(self._policy_name)
                if answer is None:
                    return (self._policy_name,)
                policy, fault = policyrecord.from_answer(answer)
            findings.append(self._domainkeys_finding(decisive, policy, fault))
        return Outcome(
            tuple(dkim_verdicts),
            tuple(domainkeys_verdicts),
            tuple(findings),
            self.sender,
            self.sender_fault,
            decisive,
            policy,
            fault,
            self._schemes,
            dkim_passed,
        )

    def _dkim_finding(self, verdicts: list[Verdict]) -> Finding:
        if self.sender is None and "From field" in self.sender_fault:
            # A signature says nothing about a message that has no From, or two of which a reader sees one.
            verdicts[:] = [
                v if v.condition else v._replace(result="policy", reason=self.sender_fault, condition="bad")
                for v in verdicts
            ]
        finding = dkim_finding(verdicts, lambda: _author_domains(self.sender, self._fields))
        if finding.condition == "no" and self.sender is None and not finding.reason:
            finding = finding._replace(reason=self.sender_fault)
        return finding

    def _wants_policy(self, decisive: Verdict | None, dkim_passed: bool) -> bool:
        """The record is asked for only where the message is unsigned or its signature fails (section 3.6).

        Deliberate: also not where a DKIM signature passed and there is no other: then nothing depends on it.
        """
        if not self._policy_name:
            return False
        return not dkim_passed if decisive is None else bool(decisive.condition)

    def _domainkeys_finding(self, decisive: Verdict | None, policy: PolicyRecord | None, fault: str) -> Finding:
        testing = policy is not None and policy.testing
        if decisive is not None and decisive.reason != NOT_THE_SENDER:
            condition = decisive.condition
            if condition and (decisive.testing or testing):
                # RFC 4870 section 3.6 and 3.2.3, t=y: unverified mail is handled like verified mail.
                condition = ""
            return Finding("domainkeys", condition, decisive.reason, decisive.domain, decisive.selector)
        domain = self.sender.domain.decode("ascii", "replace") if self.sender else ""
        if testing:
            return Finding("domainkeys", "", "policy is in test mode", domain)
        if policy is not None and policy.signs_all:
            return Finding("domainkeys", "miss", "policy o=-: all mail is signed", domain)
        if fault.startswith("policy lookup") and self._tables.differ("domainkeys", "no", "miss"):
            # The answer would have decided, so the message may have to wait for it.
            return Finding("domainkeys", "dns", fault, domain)
        return Finding("domainkeys", "no", self.sender_fault or (decisive.reason if decisive else ""), domain)


def _finish_dkim(job: dkim.SignatureJob, answers: Mapping[bytes, TxtAnswer], hashes: BodyHashes) -> Verdict:
    body = hashes[job.hash_key] if job.hash_key else None
    return job.finish(answers.get(job.query_name or b""), body)


def _finish_domainkeys(job: domainkeys.SignatureJob, answers: Mapping[bytes, TxtAnswer]) -> Verdict:
    return job.finish(answers.get(job.query_name or b""))


def _author_domains(sender: Sender | None, fields: Sequence[HeaderField]) -> tuple[str, ...]:
    """The domains of From and of the sender, as far as they can be read."""
    if sender is None:
        return ()
    domains = [sender.domain]
    if sender.header != "from":
        value = next(field.value for field in fields if field.lower == b"from")
        found = sender_address(value)
        if found:
            domains.insert(0, found[1])
    return tuple(domain.decode("ascii", "replace") for domain in domains)
