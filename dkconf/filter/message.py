"""One message on its way through the filter: what it is (ours to sign, or to verify), and what it comes to.

Sign if the sender's domain has a key and the origin is ours; only an existing DomainKey-Signature stops
DomainKeys signing, and such a message is verified (RFC 4870 section 3.5.2), while DKIM still signs. Everything
else is verified. A role that is switched off leaves its messages alone.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping, Sequence
from typing import Final, NamedTuple

from dkconf.dkim.canonical import BodyHashes, HashKey
from dkconf.filter.config import SCHEMES
from dkconf.filter.engine import NONE, Engine, Signers
from dkconf.filter.incoming import Outcome, Verification
from dkconf.filter.outgoing import LineWatch, Signing, long_field
from dkconf.filter.policy import ACCEPT, Decision, Finding
from dkconf.mail.address import Sender, find_sender, sender_address
from dkconf.mail.authres import claims
from dkconf.mail.authservid import hides_results
from dkconf.mail.header import HeaderField, from_milter
from dkconf.mail.lookup import TxtAnswer

AUTHRES: Final = b"authentication-results"
STATUS: Final = b"domainkey-status"
_AUTHRES, _STATUS, _SIGNED = 1, 2, 3
_LOOKED_AT: Final = 2
"""Fields that are looked at one after the other: whose an Authentication-Results field is may take a ms to find out."""
_RARE_RESULTS: Final = 16
"""Authentication-Results fields whose authserv-id is no plain name (a comment, quotes, UTF-8, A-labels) that are looked
at; honest mail has next to none. Further ones are removed as they are."""
_HIDING_FIELDS: Final = 16
"""Fields that hide another one and are removed; honest mail has none. A message with more of them is refused."""
_HEAD_OCTETS: Final = 1024
"""Octets in which the authserv-id of such a field must end."""
_PLAIN_NAME: Final = re.compile(rb"[ \t\r\n]{0,500}+([0-9A-Za-z._-]{1,255}+)[ \t\r\n]{0,500}+(?:;|\Z)")
_HEAVY_OCTETS: Final = 32768
"""A longer header may take some ms; sendmail lets none pass unless told otherwise (confMAX_HEADERS_LENGTH)."""
# Fields that are looked at while the header arrives.
_KINDS: Final = {AUTHRES: _AUTHRES, STATUS: _STATUS, b"domainkey-signature": _SIGNED}
_PROPER: Final = {AUTHRES: b"Authentication-Results", STATUS: b"DomainKey-Status"}


class Result(NamedTuple):
    """What a message comes to."""

    decision: Decision
    outcome: Outcome | None
    """None if nothing was verified."""
    signatures: list[HeaderField]
    """In the order in which they are inserted."""


class Message:
    """The state of one message; made at MAIL, gone after its final reply."""

    __slots__ = (
        "_beyond",
        "_hiding",
        "_octets",
        "_rare",
        "_seen",
        "_signed",
        "_unremoved",
        "_updates",
        "attempted",
        "authserv_id",
        "decided",
        "engine",
        "failure",
        "fields",
        "hashes",
        "lines",
        "note",
        "oversize",
        "removals",
        "signing",
        "unread",
        "verification",
    )

    def __init__(self, engine: Engine, authserv_id: str) -> None:
        self.engine = engine
        self.authserv_id = authserv_id
        self.fields: list[HeaderField] = []
        self.oversize = ""
        """Which limit the header broke first: octets or fields; "" = none."""
        self.failure: BaseException | None = None
        """A fault of ours, met before the reply to it is due."""
        self.unread = False
        """It came among the header fields: not all of them were looked at."""
        self.decided = False
        """Whether `decide` has been called."""
        self.attempted = ""
        """A domain of ours that a host which is not ours wrote as its sender."""
        self.note = ""
        """Why the message is not signed, or left alone."""
        self.removals: list[tuple[int, bytes]] = []
        """Fields to be deleted: (occurrence, counted from 1; name)."""
        self.signing: Signing | None = None
        self.verification: Verification | None = None
        self.hashes: BodyHashes | None = None
        self.lines: LineWatch | None = None
        self._updates: tuple[Callable[[bytes | memoryview], None], ...] = ()
        self._signed = False
        self._seen: dict[bytes, int] = {}
        self._octets = self._rare = self._beyond = self._unremoved = self._hiding = 0

    def add(self, pairs: Sequence[tuple[bytes, bytes]], leading_space: bool) -> Sequence[tuple[bytes, bytes]]:
        """Take the next header fields, as the MTA shows them (see `from_milter`); beyond the limits nothing is kept.

        Returns:
            Those that are not taken yet, since enough of them had to be looked at for a while: call again with them.
        """
        settings = self.engine.settings
        fields, octets, limit = self.fields, self._octets, settings.header_octets
        most = 0 if self.oversize else settings.header_fields
        looked = taken = 0
        for name, value in pairs:
            taken += 1
            field = from_milter(name, value, leading_space)
            if field.lower in _KINDS:
                self._notice(field)
                looked += 1
            if field.lower != AUTHRES and hides_results(name, value):
                self._remove_hiding(field)
                looked += 1
            octets += len(name) + len(field.value) + 3
            if octets <= limit and len(fields) < most:
                fields.append(field)
            elif self.oversize:
                self._beyond += 1
            else:
                self.oversize = "octets" if octets > limit else "fields"
                self._beyond, most = len(fields) + 1, 0
                fields.clear()
            if looked == _LOOKED_AT:
                break
        self._octets = octets
        return pairs[taken:]

    def _notice(self, field: HeaderField) -> None:
        """Look at a field whose name alone says something."""
        kind = _KINDS[field.lower]
        if kind == _SIGNED:
            self._signed = True
        elif kind == _AUTHRES:
            # Counted even when the header is too large, so that no amount of header hides a forged result.
            occurrence = self._occurrence(field)
            if self._is_too_rare(field.value) or claims(field.value, self.authserv_id):
                self._remove(occurrence, field)
        elif kind == _STATUS and self.engine.settings.domainkey_status:
            self._remove(self._occurrence(field), field)

    def _is_too_rare(self, value: bytes) -> bool:
        """Whether whose the field is would take too long to find out: it is removed."""
        plain = _PLAIN_NAME.match(value)
        if plain is not None and b"xn--" not in plain[1].lower():
            return False
        self._rare += 1
        return self._rare > _RARE_RESULTS or (len(value) > _HEAD_OCTETS and b";" not in value[:_HEAD_OCTETS])

    def _occurrence(self, field: HeaderField) -> int:
        """Which field of its name this is, from 1. An MTA that keeps blanks before the colon counts that as a name."""
        name = field.name.lower()
        self._seen[name] = count = self._seen.get(name, 0) + 1
        return count

    def _remove_hiding(self, field: HeaderField) -> None:
        """Note a field of any name that hides another one; which of its name it is can be told while all are kept."""
        if field.lower == STATUS and self.engine.settings.domainkey_status:
            return  # noted already
        self._hiding += 1
        if self.oversize or self._hiding > _HIDING_FIELDS:
            self._unremoved += 1
            return
        name = field.name.lower()
        self._remove(1 + sum(one.name.lower() == name for one in self.fields), field)

    def _remove(self, occurrence: int, field: HeaderField) -> None:
        """Note a field that must not pass; as many as a header may have fields, whatever comes."""
        if len(self.removals) < self.engine.settings.header_fields:
            # Whatever its case, but with the blanks that an MTA may have kept.
            proper = _PROPER.get(field.lower, field.name[: len(field.lower)])
            self.removals.append((occurrence, proper + field.name[len(field.lower) :]))
        else:
            self._unremoved += 1

    @property
    def heavy(self) -> bool:
        """Whether `decide` may take some ms."""
        return self._octets > _HEAVY_OCTETS

    @property
    def excess(self) -> str:
        """The limit that the header broke: what, how much of it, what is legal; "" if it broke none."""
        settings = self.engine.settings
        if self.oversize == "octets":
            return f"{self._octets} octets of header, {settings.header_octets} at most"
        return f"{self._beyond} header fields, {settings.header_fields} at most" if self.oversize else ""

    def safe(self, decision: Decision) -> Decision:
        """`decision`, unless it lets pass forged results that cannot be removed.

        More of them than a header may have fields are not kept in mind, and no honest message has them: it is
        refused, whatever `sec` says. Where a fault of ours may have hidden one, the message has to come again.
        """
        if not decision.delivers:
            return decision
        if self._unremoved:
            number = len(self.removals) + self._unremoved
            reason = f"{number} header fields with forged results, {len(self.removals)} at most are removed"
            return Decision("reject", Finding("dkim", "sec", reason))
        return Decision("tempfail", decision.finding) if self.unread else decision

    # --- end of headers

    def decide(self, origin: Callable[[], bool], removes: bool, now: int, *, stepwise: bool = False) -> None:
        """Decide what is to be done, and begin it.

        Args:
            origin: Says whether the message comes from one of ours.
            removes: Whether `removals` will be carried out, so that no signature may cover those fields.
            now: Seconds since 1970.
            stepwise: Leave the signatures to `begin_one`, which is called until it says that nothing is left.
        """
        self.decided = True
        if self.oversize:
            return
        engine, fields = self.engine, self.fields
        signed = self._signed
        sender, fault = find_sender(fields)
        signers, ours = self._signers(sender, fault, origin, signed)
        if ours and not engine.signs:
            self.note, signers = "the role sign is off", NONE
        elif signers:
            self.signing = Signing(signers, self._leaving() if removes else fields)
            self.lines = LineWatch()
        elif ours:
            self.note = "it has a DomainKey-Signature"
        schemes = self._schemes(signers, ours, signed)
        if schemes and not engine.verifies:
            self.note = "" if signers else self.note or "the role verify is off"
        elif schemes:
            self.verification = Verification(
                fields,
                engine.actions,
                now=now,
                sender=(sender, fault),
                schemes=schemes,
                dkim_limits=engine.dkim_limits,
                domainkeys_limits=engine.domainkeys_limits,
                stepwise=stepwise,
            )
        if not stepwise:
            self._begin_body()

    def begin_one(self) -> bool:
        """Read one more signature of what was decided stepwise; whether there is more to do."""
        if self.hashes is not None or self.oversize:
            return False
        if self.verification is not None and self.verification.begin_one():
            return True
        self._begin_body()
        return False

    def _signers(
        self, sender: Sender | None, fault: str, origin: Callable[[], bool], signed: bool
    ) -> tuple[Signers, bool]:
        """What would sign the message, and whether it is ours: a domain with a key, from an origin of ours."""
        keys = self.engine.keys
        if not keys:
            return NONE, False
        if sender is None:
            # RFC 4870 section 3.5.1: without exactly one usable From (and Sender) a message MUST NOT be signed.
            self.note = fault
            return NONE, False
        found = keys.find(sender.local, sender.domain)
        author = self._author(sender)
        if author is not None:
            # Deliberate: DKIM signs for the author where there is a key, since DMARC compares d= with From;
            # DomainKeys signs for the sender (RFC 4870 section 3.1).
            found = Signers(keys.find(*author).dkim or found.dkim, found.domainkeys)
        if not found:
            if origin():
                self.note = f"no key for {sender.domain.decode('ascii', 'backslashreplace')}"
            return NONE, False
        if not origin():
            self.attempted = sender.domain.decode("ascii", "backslashreplace")
            return NONE, False
        return (Signers(found.dkim, ()) if signed else found), True

    def _author(self, sender: Sender) -> tuple[bytes, bytes] | None:
        """The address in From where Sender is somebody else."""
        if sender.header == "from":
            return None
        return sender_address(next(field.value for field in self.fields if field.lower == b"from"))

    def _schemes(self, signers: Signers, ours: bool, signed: bool) -> tuple[str, ...]:
        """What is to be verified."""
        schemes = self.engine.settings.verify_schemes
        if not ours:
            return schemes
        if not signed:
            return ()
        # An own message that has a DomainKeys signature: DKIM is ours to make, not to judge, if we make it.
        return tuple(s for s in schemes if s == "domainkeys" or not signers.dkim)

    def _leaving(self) -> list[HeaderField]:
        """The fields as they leave, without those to be deleted."""
        if not self.removals:
            return self.fields
        gone = {(occurrence, name.lower()) for occurrence, name in self.removals}
        seen: dict[bytes, int] = {}
        out = []
        for field in self.fields:
            name = field.name.lower()
            seen[name] = occurrence = seen.get(name, 0) + 1
            if (occurrence, name) not in gone:
                out.append(field)
        return out

    def _begin_body(self) -> None:
        signing, verification = self.signing, self.verification
        keys: list[HashKey] = []
        updates: list[Callable[[bytes | memoryview], None]] = []
        for work in (signing, verification):
            if work is not None:
                keys += work.hash_keys
                updates += work.updates
        self.hashes = BodyHashes(keys)
        if keys:
            updates.append(self.hashes.update)
        if self.lines is not None:
            updates.append(self.lines.update)
        self._updates = tuple(updates)

    # --- body and end

    def feed(self, chunk: bytes | memoryview) -> None:
        """Take a piece of the body."""
        for update in self._updates:
            update(chunk)

    def judge_one(self, answers: Mapping[bytes, TxtAnswer]) -> bool:
        """Judge one of several signatures ahead of `finish`; whether there was one."""
        verification, hashes = self.verification, self.hashes
        return verification is not None and hashes is not None and verification.judge_one(answers, hashes)

    def finish(self, answers: Mapping[bytes, TxtAnswer], now: int) -> Result | tuple[bytes, ...]:
        """The result; or the names that must be looked up first (call again with all answers)."""
        engine = self.engine
        if self.oversize:
            findings = [Finding(scheme, "sec", self.excess) for scheme in SCHEMES]
            return Result(self.safe(engine.actions.decide(findings)), None, [])
        hashes = self.hashes
        assert hashes is not None  # `decide` made it
        outcome, decision = None, ACCEPT
        if self.verification is not None:
            found = self.verification.finish(answers, hashes)
            if not isinstance(found, Outcome):
                return found
            outcome = found
            decision = engine.actions.decide(outcome.findings, outcome.dkim_passed)
        signatures = self.signing.finish(hashes, now) if self.signing is not None else []
        return Result(self.safe(decision), outcome, signatures)

    def warning(self) -> str:
        """What may break the signatures just made, or ""."""
        if self.lines is not None and self.lines.found:
            return "a body line of over 998 octets: the next MTA may break it, and the signature"
        if self.signing is not None:
            name = long_field(self.fields)
            if name:
                return f"a line of over 998 octets in {name}: the next MTA may break it, and the signature"
        return ""
