"""Verifying: RFC 4870 section 3.7. Nothing here waits, asks or knows the time.

`begin` at the end of the headers returns one job per signature field, top to bottom. Each that can be
evaluated hashes the body itself, since header and body share one stream. The top-most job that fits the
sender decides (3.7.1, 3.7.3); the others are reported.
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any

from dkconf.crypto.keys import KeyProblem, PublicKey, public_keys
from dkconf.domainkeys import keyrecord, signature
from dkconf.domainkeys.canonical import BodyStream
from dkconf.domainkeys.causes import Cause
from dkconf.domainkeys.headers import CanonicalFields, chosen
from dkconf.domainkeys.signature import Signature, SignatureError
from dkconf.mail.address import Sender, find_sender
from dkconf.mail.domain import key_name, within
from dkconf.mail.header import HeaderField
from dkconf.mail.limits import (
    MAX_KEY_RECORDS,
    MAX_KEYS_TRIED,
    MAX_RSA_BITS,
    MAX_RSA_EXPONENT_BITS,
    MAX_SIGNATURES,
    MAX_SIGNED_OCTETS,
)
from dkconf.mail.lookup import TxtAnswer
from dkconf.mail.verdict import Verdict

FIELD_NAME = b"domainkey-signature"


@dataclass(frozen=True, slots=True)
class Limits:
    """What this filter accepts."""

    min_rsa_bits: int = 512
    """Shorter keys are `policy`. RFC 4870 section 3.2.3 asks for 512; RFC 8301 is about DKIM alone."""
    max_rsa_bits: int = MAX_RSA_BITS
    max_signatures: int = MAX_SIGNATURES
    """Evaluated from the top; the rest is reported as not evaluated."""


DEFAULT_LIMITS = Limits()


class SignatureJob:
    """One signature on its way to a verdict."""

    __slots__ = (
        "_about",
        "_body",
        "_leads",
        "_limits",
        "_number",
        "_sender",
        "_signature",
        "decides",
        "query_name",
        "verdict",
    )

    query_name: bytes | None
    """The TXT name to look up; None if nothing is to be looked up."""
    decides: bool
    """This is the one whose verdict stands for the message."""
    verdict: Verdict | None
    """Set if it stands already; `finish` returns it."""

    def __init__(self, about: dict[str, Any], limits: Limits) -> None:
        self._about = about
        self._limits = limits
        self._signature: Signature | None = None
        self._sender: Sender | None = None
        self._body: BodyStream | None = None
        self._number = 0  # of this signature's hash in `_body`
        self._leads = False  # the first job of its canonicalization feeds the body to all
        self.query_name = None
        self.decides = False
        self.verdict = None

    def update(self, chunk: bytes | memoryview) -> None:
        """Take the next piece of the body as received; it may be split anywhere. Give each job each piece."""
        if self._leads and self._body is not None:
            self._body.update(chunk)

    def finish(self, answer: TxtAnswer | None) -> Verdict:
        """Return the verdict.

        Args:
            answer: To `query_name`; None counts as no answer.
        """
        if self.verdict is None:
            self.verdict = self._evaluate(answer)
        return self.verdict

    def _settle(self, cause: Cause, detail: str = "", **more: Any) -> Verdict:
        reason = f"{cause.reason}: {detail}" if detail else cause.reason
        return Verdict(
            "domainkeys", result=cause.result, condition=cause.condition, reason=reason, **self._about, **more
        )

    def _evaluate(self, answer: TxtAnswer | None) -> Verdict:
        sig, sender, body = self._signature, self._sender, self._body
        assert sig is not None, "a job without a verdict has a signature"
        assert sender is not None, "a job without a verdict has a sender"
        assert body is not None, "a job without a verdict has a body"
        if answer is None or answer.status == "failed":
            return self._settle(Cause.KEY_UNAVAILABLE, answer.reason if answer else "no answer")
        if answer.status == "absent":
            return self._settle(Cause.NO_KEY)
        if answer.status == "broken":
            return self._settle(Cause.KEY_SYNTAX, answer.reason)
        keys, problem = _usable_keys(answer, sender, self._limits)
        if not keys:
            return self._settle(problem[0], problem[1], testing=problem[2])
        digest = body.digest(self._number)
        fitting = next((pair for pair in keys if pair[1].verify_sha1(sig.signature, digest)), None)
        record, key = fitting or keys[0]
        facts: dict[str, Any] = {"testing": record.testing, "key_bits": key.bits}
        if fitting is None:
            return self._settle(Cause.SIGNATURE, **facts)
        return Verdict("domainkeys", result="pass", reason="", condition="", **self._about, **facts)


def begin(
    fields: Sequence[HeaderField],
    limits: Limits = DEFAULT_LIMITS,
    found_sender: tuple[Sender | None, str] | None = None,
) -> list[SignatureJob]:
    """Return a job for each DomainKey-Signature field, top to bottom; at most one of them decides.

    Where none fits the sender the top-most decides, with the verdict that says why it does not.

    Args:
        fields: All header fields of the message, top to bottom.
        limits: What is accepted.
        found_sender: What `find_sender` says, where the caller knows already.
    """
    positions = [position for position, field in enumerate(fields) if field.lower == FIELD_NAME]
    if not positions:
        return []
    jobs = list(_each(fields, positions, limits, found_sender or find_sender(fields)))
    choose(jobs)
    return jobs


def choose(jobs: Sequence[SignatureJob]) -> None:
    """Say which of all jobs of a message decides, if there are any."""
    if jobs:
        next((job for job in jobs if job.verdict is None), jobs[0]).decides = True


def begin_each(
    fields: Sequence[HeaderField], limits: Limits, found_sender: tuple[Sender | None, str]
) -> Iterator[SignatureJob]:
    """Yield the jobs that `begin` returns, each when it is ready: of a large header one takes a ms. Then `choose`."""
    positions = [position for position, field in enumerate(fields) if field.lower == FIELD_NAME]
    return _each(fields, positions, limits, found_sender)


def _each(
    fields: Sequence[HeaderField], positions: list[int], limits: Limits, found_sender: tuple[Sender | None, str]
) -> Iterator[SignatureJob]:
    common = _Common(fields, *found_sender)
    for number, position in enumerate(positions):
        about: dict[str, Any] = {"domain": "", "selector": "", "algorithm": "", "header_field": position}
        if common.sender is not None:
            about.update(identity=common.sender.address, identity_property=f"header.{common.sender.header}")
        job = SignatureJob(about, limits)
        if number < limits.max_signatures and common.octets <= MAX_SIGNED_OCTETS:
            _begin_one(job, common, position)
        else:
            job.verdict = job._settle(Cause.TOO_MANY_SIGNATURES)
        yield job


class _Common:
    """What the signatures of one message share."""

    __slots__ = ("canonical", "fields", "octets", "problem", "sender", "streams")

    def __init__(self, fields: Sequence[HeaderField], sender: Sender | None, problem: str) -> None:
        self.fields, self.sender, self.problem = fields, sender, problem
        self.canonical = CanonicalFields()
        self.streams: dict[str, BodyStream] = {}
        self.octets = 0
        """Of header that were hashed so far."""


def _begin_one(job: SignatureJob, common: _Common, position: int) -> None:
    """Make a job ready, or settle it."""
    fields, sender = common.fields, common.sender
    try:
        tags = signature.read_tags(fields[position].value)
        job._about.update(_shown(tags))
        sig = signature.from_tags(tags)
        job._about.update(signature=sig.signature_text)
        if sender is None:
            raise SignatureError(Cause.NO_SENDER, common.problem)
        if not within(sender.domain, sig.domain):
            raise SignatureError(Cause.NOT_THE_SENDER)
        if sig.header_names is not None and sender.header.encode("ascii") not in sig.header_names:
            raise SignatureError(Cause.SENDER_NOT_SIGNED)
    except SignatureError as error:
        job.verdict = job._settle(error.cause, error.detail)
        return
    signed = chosen(fields[position + 1 :], sig.header_names)
    if not any(field.lower == sender.header.encode("ascii") for field in signed):
        job.verdict = job._settle(Cause.SENDER_NOT_SIGNED, "it stands above the signature")
        return
    header = common.canonical.header(signed, sig.canonicalization)
    common.octets += len(header)
    job._signature = sig
    job._sender = sender
    sha1 = hashlib.sha1(header, usedforsecurity=False)
    stream = common.streams.get(sig.canonicalization)
    if stream is None:
        stream = common.streams[sig.canonicalization] = BodyStream(sig.canonicalization, sha1)
        job._leads = True
    else:
        job._number = stream.share(sha1)
    job._body = stream
    job.query_name = key_name(sig.selector, sig.domain)


def _shown(tags: dict[bytes, bytes]) -> dict[str, str]:
    """Return what a verdict tells about a signature that may yet turn out to be malformed."""
    shown = {
        name: tags.get(tag, b"")[:253].decode("ascii", "replace").lower()
        for name, tag in (("domain", b"d"), ("selector", b"s"))
    }
    shown["algorithm"] = tags.get(b"a", b"rsa-sha1")[:32].decode("ascii", "replace").lower()
    return shown


_Problem = tuple[Cause, str, bool]
"""A cause, its detail, and whether the record says that the domain is testing."""


def _usable_keys(
    answer: TxtAnswer, sender: Sender, limits: Limits
) -> tuple[list[tuple[keyrecord.KeyRecord, PublicKey]], _Problem]:
    """Return the keys of an answer that may verify mail of this sender, each with its record; and what is wrong if none
    may.

    RFC 4870 section 3.2.2 lets any be picked. The order of records means nothing, since servers turn them round. So
    each is tried, whatever is wrong with others; but a revocation says of the whole selector that it is over.
    """
    keys: list[tuple[keyrecord.KeyRecord, PublicKey]] = []
    unreadable: _Problem | None = None
    unusable: _Problem | None = None
    for string in answer.strings[:MAX_KEY_RECORDS]:
        try:
            record = keyrecord.parse(string)
        except keyrecord.KeyRecordError as error:
            detail = error.reason.removeprefix("key syntax error: ")
            unreadable = unreadable or (Cause.KEY_SYNTAX, detail, False)
            continue
        try:
            keys.append((record, _usable_key(record, sender, limits)))
        except SignatureError as error:
            problem = (error.cause, error.detail, record.testing)
            if error.cause is Cause.KEY_REVOKED:
                return [], problem
            unusable = unusable or problem
    return keys[:MAX_KEYS_TRIED], unusable or unreadable or (Cause.KEY_SYNTAX, "empty answer", False)


def _usable_key(record: keyrecord.KeyRecord, sender: Sender, limits: Limits) -> PublicKey:
    """Return the record's key if it may verify mail of this sender.

    Raises:
        SignatureError: It may not (RFC 4870 sections 3.2.3 and 3.7.4).
    """
    if record.revoked:
        raise SignatureError(Cause.KEY_REVOKED)
    if record.algorithm != "rsa":
        raise SignatureError(Cause.KEY_ALGORITHM, f"k={record.algorithm[:32]}")
    if not record.allows(sender.local):
        raise SignatureError(Cause.KEY_GRANULARITY)
    try:
        key = public_keys.get("rsa", record.public)
    except KeyProblem as error:
        raise SignatureError(Cause.KEY_SYNTAX, str(error)) from None
    if key.bits < limits.min_rsa_bits:
        raise SignatureError(Cause.KEY_TOO_SHORT, f"{key.bits} bits, min-bits {limits.min_rsa_bits}")
    if key.bits > limits.max_rsa_bits:
        raise SignatureError(Cause.KEY_TOO_LONG, f"{key.bits} bits")
    if key.exponent_bits > MAX_RSA_EXPONENT_BITS:
        raise SignatureError(Cause.KEY_TOO_LONG, f"exponent of {key.exponent_bits} bits")
    return key
