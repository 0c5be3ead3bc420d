"""Key records as DomainKeys reads them: RFC 4870 section 3.2.3.

A record written for DKIM serves as well: `v=DKIM1` is an unknown letter, and unknown letters are ignored
(so is DKIM's h=, unlike in Mail::DKIM). What is read differently is g=, where empty means everyone.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import lru_cache

from dkconf.errors import DkconfError
from dkconf.mail import base64, taglist
from dkconf.mail.limits import CACHED_RECORDS, MAX_KEY_RECORD_OCTETS


class KeyRecordError(DkconfError):
    """The octets are no key record that can be used; `reason` says why."""

    def __init__(self, reason: str) -> None:
        self.reason = reason
        super().__init__(reason)


@dataclass(frozen=True, slots=True)
class KeyRecord:
    """A key record as published."""

    algorithm: str
    """k=: `rsa` is the default and the only one of use here."""
    public: bytes
    """p= decoded: DER SubjectPublicKeyInfo; empty if revoked."""
    granularity: bytes = b""
    """g=: the local part that may sign; empty = anyone."""
    testing: bool = False
    """t= has y: unverified mail must not be treated differently from verified mail."""
    note: str = ""
    """n=."""

    @property
    def revoked(self) -> bool:
        """p= is empty."""
        return not self.public

    def allows(self, local: bytes) -> bool:
        """Return True if a sender with this local part may sign; octet by octet, as the RFC has it.

        Deliberate: `*` is everyone too. RFC 4871 introduced it, and records are shared between the schemes.
        """
        return self.granularity in (b"", b"*", local)


@lru_cache(maxsize=CACHED_RECORDS)
def parse(octets: bytes) -> KeyRecord:
    """Return the record.

    Args:
        octets: The character strings of one TXT record, joined.

    Raises:
        KeyRecordError: Not a key record (RFC 4870 section 3.7.4), or p= is not base64.
    """
    if len(octets) > MAX_KEY_RECORD_OCTETS:
        raise KeyRecordError(f"key record over {MAX_KEY_RECORD_OCTETS} octets")
    try:
        tags = taglist.parse(octets, one_letter=True)
    except taglist.TagListError as error:
        raise KeyRecordError(f"key syntax error: {error.reason}") from None
    if b"p" not in tags:
        raise KeyRecordError("key syntax error: no p=")
    public = base64.decode(tags[b"p"])
    if public is None:
        raise KeyRecordError("key syntax error: p= is not base64")
    return KeyRecord(
        algorithm=tags.get(b"k", b"rsa").decode("utf-8", "replace").lower(),
        public=public,
        granularity=tags.get(b"g", b""),
        testing=has_flag(tags.get(b"t", b""), b"y"),
        note=tags.get(b"n", b"").decode("utf-8", "replace"),
    )


def has_flag(flags: bytes, flag: bytes) -> bool:
    """Return True if t= has this flag. Records shared with DKIM list flags with colons (`t=y:s`)."""
    return flag in [word.strip() for word in flags.lower().split(b":")]


def format_record(
    algorithm: str, public: bytes, *, testing: bool = False, note: str = "", revoked: bool = False
) -> bytes:
    """Return a record for DomainKeys alone: no v=, which old verifiers never saw.

    Args:
        algorithm: `rsa`; DomainKeys has no other.
        public: DER SubjectPublicKeyInfo.
        testing: Publish t=y.
        note: n=; octets outside printable ASCII, and `;`, become `?` (this n= is not quoted-printable).
        revoked: Publish an empty p=.

    There is no g=: an empty one matches nobody for a DKIM verifier of RFC 4871.
    """
    tags = [b"k=" + algorithm.encode("ascii")]
    if testing:
        tags.append(b"t=y")
    if note:
        tags.append(b"n=" + plain_note(note))
    tags.append(b"p=" + (b"" if revoked else base64.encode(public)))
    return b"; ".join(tags)


def plain_note(note: str) -> bytes:
    """Return a note that is a valid value of RFC 4870's tag-lists."""
    plain = [char if " " <= char <= "~" and char != ";" else "?" for char in note.strip()]
    return "".join(plain).encode("ascii")
