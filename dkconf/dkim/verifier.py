"""Verifying: RFC 6376 section 6, RFC 8301 section 3, RFC 8463. Nothing here waits, asks or knows the time.

`begin` at the end of the headers returns one job per signature field, top to bottom. A job says which name
to look up and which body hash it needs; `finish` turns the answer and the hash into a verdict. What is
broken for good is a job whose verdict stands already, and asks for nothing.
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Protocol

from dkconf.crypto.keys import KeyProblem, PublicKey, public_keys
from dkconf.dkim import keyrecord, signature
from dkconf.dkim.canonical import HashKey
from dkconf.dkim.causes import Cause
from dkconf.dkim.headers import HeaderPool
from dkconf.dkim.signature import Signature, SignatureError
from dkconf.mail import taglist
from dkconf.mail.domain import key_name
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
from dkconf.mail.verdict import Condition, Result, Verdict

FIELD_NAME = b"dkim-signature"
FLOOR_RSA_BITS = 1024
"""RFC 8301 section 3.2: verifiers MUST NOT consider signatures by shorter RSA keys."""


@dataclass(frozen=True, slots=True)
class Limits:
    """What this filter accepts beyond what the RFC demands."""

    min_rsa_bits: int = FLOOR_RSA_BITS
    """Shorter keys are `policy`; below 1024 bits the RFC's permerror holds whatever stands here."""
    max_rsa_bits: int = MAX_RSA_BITS
    max_signatures: int = MAX_SIGNATURES
    """Evaluated from the top; the rest is reported as not evaluated."""
    clock_skew_seconds: int = 300
    """By how much x= may have passed, or t= be in the future."""
    allow_unsigned_content: bool = True
    """False: a body that goes on behind l= makes the verdict `policy` (RFC 6376 section 6.1.3, note)."""
    allow_rsa_sha1: bool = False
    """True verifies rsa-sha1 against RFC 8301; for old archives only."""


DEFAULT_LIMITS = Limits()


class FinishedBody(Protocol):
    """What a job needs of a body hash: `BodyHasher` or an entry of `BodyHashes`."""

    @property
    def octets(self) -> int: ...

    def digest(self) -> bytes: ...


class SignatureJob:
    """One signature on its way to a verdict."""

    __slots__ = ("_header_digest", "_limits", "_position", "_signature", "_words", "hash_key", "query_name", "verdict")

    query_name: bytes | None
    """The TXT name to look up; None if nothing is to be looked up."""
    hash_key: HashKey | None
    """The body hash that `finish` needs; None if none."""
    verdict: Verdict | None
    """Set if it stands already; `finish` returns it."""

    def __init__(self, position: int, limits: Limits) -> None:
        self._position, self._limits = position, limits
        self._words = ("", "", "")  # domain, selector, algorithm
        self._signature: Signature | None = None
        self._header_digest = b""
        self.query_name = None
        self.hash_key = None
        self.verdict = None

    def finish(self, answer: TxtAnswer | None, body: FinishedBody | None) -> Verdict:
        """Return the verdict.

        Args:
            answer: To `query_name`; None counts as no answer.
            body: The finished hash for `hash_key`.
        """
        if self.verdict is None:
            self.verdict = self._evaluate(answer, body)
        return self.verdict

    def _settle(self, cause: Cause, detail: str = "", testing: bool = False, key_bits: int = 0) -> Verdict:
        reason = f"{cause.reason}: {detail}" if detail else cause.reason
        return self._verdict(cause.result, reason, cause.condition, testing, key_bits)

    def _verdict(self, result: Result, reason: str, condition: Condition, testing: bool, key_bits: int) -> Verdict:
        sig = self._signature
        identity, text = (sig.identity, sig.signature_text) if sig is not None else ("", b"")
        return Verdict(
            "dkim", *self._words, result, reason, condition, testing, identity, key_bits, text, self._position
        )

    def _evaluate(self, answer: TxtAnswer | None, body: FinishedBody | None) -> Verdict:
        sig = self._signature
        assert sig is not None, "a job without a verdict has a signature"
        assert body is not None, "a job without a verdict needs its body hash"
        if answer is None or answer.status == "failed":
            return self._settle(Cause.KEY_UNAVAILABLE, answer.reason if answer else "no answer")
        if answer.status == "absent":
            return self._settle(Cause.NO_KEY)
        if answer.status == "broken":
            return self._settle(Cause.KEY_SYNTAX, answer.reason)
        keys, problem = _usable_keys(sig, answer, self._limits)
        if not keys:
            return self._settle(*problem)
        testing, bits = keys[0][0].testing, keys[0][1].bits
        digest = body.digest()  # first: it makes `octets` final
        if sig.length is not None and body.octets < sig.length:
            return self._settle(Cause.BODY_LENGTH, "", testing, bits)
        if digest != sig.body_hash:  # nothing here is secret: timing is no matter
            return self._settle(Cause.BODY_HASH, "", testing, bits)
        for record, key in keys:
            if _holds(sig, key, self._header_digest):
                testing, bits = record.testing, key.bits
                break
        else:
            return self._settle(Cause.SIGNATURE, "", testing, bits)
        if sig.length is not None and body.octets > sig.length:
            # Anybody can have written the rest (RFC 6376 section 8.2), so it is told in any case.
            cause, unsigned = Cause.UNSIGNED_CONTENT, f"{body.octets - sig.length} {Cause.UNSIGNED_CONTENT.reason}"
            if not self._limits.allow_unsigned_content:
                return self._verdict(cause.result, unsigned, cause.condition, testing, bits)
            return self._verdict("pass", unsigned, "", testing, bits)
        return self._verdict("pass", "", "", testing, bits)


def begin(fields: Sequence[HeaderField], now: int, limits: Limits = DEFAULT_LIMITS) -> list[SignatureJob]:
    """Return a job for each DKIM-Signature field, top to bottom.

    Args:
        fields: All header fields of the message, top to bottom.
        now: Seconds since 1970, for x= and t=.
        limits: What is accepted.
    """
    positions = [position for position, field in enumerate(fields) if field.lower == FIELD_NAME]
    return list(_each(fields, positions, now, limits)) if positions else []


def begin_each(fields: Sequence[HeaderField], now: int, limits: Limits) -> Iterator[SignatureJob]:
    """Yield the jobs that `begin` returns, each when it is ready: of a large header one takes a ms or two."""
    positions = [position for position, field in enumerate(fields) if field.lower == FIELD_NAME]
    return _each(fields, positions, now, limits)


def _each(fields: Sequence[HeaderField], positions: list[int], now: int, limits: Limits) -> Iterator[SignatureJob]:
    pool = HeaderPool(fields, several=len(positions) > 1)
    octets = 0
    for number, position in enumerate(positions):
        job = SignatureJob(position, limits)
        if number < limits.max_signatures and octets <= MAX_SIGNED_OCTETS:
            octets += _begin_one(job, pool, fields[position], now)
        else:
            job.verdict = job._settle(Cause.TOO_MANY_SIGNATURES)
        yield job


def _begin_one(job: SignatureJob, pool: HeaderPool, field: HeaderField, now: int) -> int:
    """Make a job ready, or settle it; return the octets of header that were hashed for it."""
    position, limits = job._position, job._limits
    try:
        tags = signature.read_tags(field.value)
        try:
            job._signature = sig = signature.from_tags(tags)
        except SignatureError:
            job._words = _words(tags)
            raise
        job._words = sig.words
        if sig.algorithm == "rsa-sha1" and not limits.allow_rsa_sha1:
            raise SignatureError(Cause.RSA_SHA1)
        if sig.expiration is not None and sig.expiration + limits.clock_skew_seconds < now:
            raise SignatureError(Cause.EXPIRED)
        if sig.timestamp is not None and sig.timestamp - limits.clock_skew_seconds > now:
            raise SignatureError(Cause.FUTURE)
    except SignatureError as error:
        job.verdict = job._settle(error.cause, error.detail)
        return 0
    header_hash = hashlib.sha256() if sig.hash_name == "sha256" else hashlib.sha1(usedforsecurity=False)
    header = pool.canonical(sig.header_names, sig.header_canonicalization, position)
    header_hash.update(header)
    emptied = taglist.without_value(field.value, b"b")
    header_hash.update(pool.own_field(position, emptied, sig.header_canonicalization))
    job._header_digest = header_hash.digest()
    job.query_name = key_name(sig.selector, sig.domain)
    job.hash_key = HashKey(sig.body_canonicalization, sig.hash_name, sig.length)
    return len(header)


def _words(tags: dict[bytes, bytes]) -> tuple[str, str, str]:
    """Return what a verdict tells about a signature that may yet turn out to be malformed: domain, selector,
    algorithm."""
    domain, selector, algorithm = tags.get(b"d", b""), tags.get(b"s", b""), tags.get(b"a", b"")
    return (
        domain[:253].decode("ascii", "replace").lower(),
        selector[:253].decode("ascii", "replace").lower(),
        algorithm[:253].decode("ascii", "replace").lower(),
    )


_Problem = tuple[Cause, str, bool]
"""A cause, its detail, and whether the record says that the domain is testing."""


def _usable_keys(
    sig: Signature, answer: TxtAnswer, limits: Limits
) -> tuple[list[tuple[keyrecord.KeyRecord, PublicKey]], _Problem]:
    """Return the keys of an answer that may verify this signature, each with its record; and what is wrong if none may.

    RFC 6376 section 6.1.2 step 4 leaves the choice to us. The order of records means nothing, since servers turn them
    round. So each is tried, whatever is wrong with others; but a revocation says of the whole selector that it is over.
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
            keys.append((record, _usable_key(sig, record, limits)))
        except SignatureError as error:
            problem = (error.cause, error.detail, record.testing)
            if error.cause is Cause.KEY_REVOKED:
                return [], problem
            unusable = unusable or problem
    return keys[:MAX_KEYS_TRIED], unusable or unreadable or (Cause.KEY_SYNTAX, "empty answer", False)


def _holds(sig: Signature, key: PublicKey, digest: bytes) -> bool:
    if sig.key_algorithm == "ed25519":
        return key.verify_ed25519(sig.signature, digest)
    return (
        key.verify_sha256(sig.signature, digest)
        if sig.hash_name == "sha256"
        else key.verify_sha1(sig.signature, digest)
    )


def _usable_key(sig: Signature, record: keyrecord.KeyRecord, limits: Limits) -> PublicKey:
    """Return the record's key if it may verify this signature: RFC 6376 section 6.1.2 steps 6 to 8, RFC 8301.

    Raises:
        SignatureError: It may not.
    """
    if not record.for_email:
        raise SignatureError(Cause.KEY_SERVICE)
    if record.hashes is not None and sig.hash_name not in record.hashes:
        raise SignatureError(Cause.HASH_NOT_ALLOWED)
    if record.revoked:
        raise SignatureError(Cause.KEY_REVOKED)
    if record.algorithm != sig.key_algorithm:
        raise SignatureError(Cause.KEY_ALGORITHM, f"k={record.algorithm[:32]}")
    if record.strict and sig.identity_domain != sig.domain:
        raise SignatureError(Cause.KEY_SUBDOMAIN)
    try:
        key = public_keys.get("ed25519" if sig.key_algorithm == "ed25519" else "rsa", record.public)
    except KeyProblem as error:
        raise SignatureError(Cause.KEY_SYNTAX, str(error)) from None
    if key.algorithm == "rsa":
        if key.bits < FLOOR_RSA_BITS:
            raise SignatureError(Cause.KEY_TOO_SHORT, f"{key.bits} bits")
        if key.bits < limits.min_rsa_bits:
            raise SignatureError(Cause.KEY_BELOW_MINIMUM, f"{key.bits} bits, min-bits {limits.min_rsa_bits}")
        if key.bits > limits.max_rsa_bits:
            raise SignatureError(Cause.KEY_TOO_LONG, f"{key.bits} bits")
        if key.exponent_bits > MAX_RSA_EXPONENT_BITS:
            raise SignatureError(Cause.KEY_TOO_LONG, f"exponent of {key.exponent_bits} bits")
    return key
