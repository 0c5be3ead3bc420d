"""Key records: the TXT at `SELECTOR._domainkey.DOMAIN` (RFC 6376 section 3.6.1, RFC 8463 section 4.2).

Reading and writing stand together, so that what is published is what is understood. The key itself stays
octets here; nothing cryptographic is loaded.
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
    """k=: `rsa` (the default) or `ed25519`; others are kept, and fit no signature."""
    public: bytes
    """p= decoded; empty if revoked. SubjectPublicKeyInfo for RSA, 32 raw octets for Ed25519."""
    hashes: frozenset[str] | None = None
    """h=: the hash algorithms allowed; None = all."""
    services: frozenset[str] = frozenset({"*"})
    """s=."""
    flags: frozenset[str] = frozenset()
    """t=."""
    note: str = ""
    """n=, as octets that were quoted-printable are left alone."""

    @property
    def revoked(self) -> bool:
        """p= is empty."""
        return not self.public

    @property
    def testing(self) -> bool:
        """t= has y: treat a failing signature like none."""
        return "y" in self.flags

    @property
    def strict(self) -> bool:
        """t= has s: i= must have exactly the domain of d=."""
        return "s" in self.flags

    @property
    def for_email(self) -> bool:
        """s= allows email."""
        return bool(self.services & {"*", "email"})


@lru_cache(maxsize=CACHED_RECORDS)
def parse(octets: bytes) -> KeyRecord:
    """Return the record.

    Args:
        octets: The character strings of one TXT record, joined.

    Raises:
        KeyRecordError: Not a key record (RFC 6376 section 6.1.2 step 5), or p= is not base64.
    """
    if len(octets) > MAX_KEY_RECORD_OCTETS:
        raise KeyRecordError(f"key record over {MAX_KEY_RECORD_OCTETS} octets")
    try:
        tags = taglist.parse(octets)
    except taglist.TagListError as error:
        raise KeyRecordError(f"key syntax error: {error.reason}") from None
    if b"v" in tags and (next(iter(tags)) != b"v" or tags[b"v"] != b"DKIM1"):
        raise KeyRecordError("key syntax error: v= must come first and be DKIM1")
    if b"p" not in tags:
        raise KeyRecordError("key syntax error: no p=")
    public = base64.decode(tags[b"p"])
    if public is None:
        raise KeyRecordError("key syntax error: p= is not base64")
    return KeyRecord(
        algorithm=_text(tags.get(b"k", b"rsa")).lower(),
        public=public,
        hashes=_words(tags[b"h"]) if b"h" in tags else None,
        services=_words(tags.get(b"s", b"*")),
        flags=_words(tags.get(b"t", b"")),
        note=_text(tags.get(b"n", b"")),
    )


def format_record(
    algorithm: str, public: bytes, *, testing: bool = False, note: str = "", revoked: bool = False
) -> bytes:
    """Return a record that serves DKIM, and for RSA DomainKeys as well.

    Args:
        algorithm: `rsa` or `ed25519`.
        public: DER SubjectPublicKeyInfo for RSA, the raw 32 octets for Ed25519 (`PrivateKey.public_raw`).
        testing: Publish t=y, which means testing for both schemes.
        note: n=; printable ASCII is kept, everything else quoted.
        revoked: Publish an empty p=.

    There is no g= (an empty one matches nobody under RFC 4871) and no h= (DomainKeys verifiers that obey it
    would refuse SHA-1).
    """
    tags = [b"v=DKIM1", b"k=" + algorithm.encode("ascii")]
    if testing:
        tags.append(b"t=y")
    if note:
        tags.append(b"n=" + _quoted_printable(note))
    tags.append(b"p=" + (b"" if revoked else base64.encode(public)))
    return b"; ".join(tags)


def _text(value: bytes) -> str:
    return value.decode("utf-8", "replace")


def _words(value: bytes) -> frozenset[str]:
    """Return the words of a colon list in lower case. An empty list allows nothing."""
    return frozenset(_text(word).strip().lower() for word in value.split(b":"))


def _quoted_printable(note: str) -> bytes:
    """Return the note as a qp-section: `;` and `=` quoted too, blanks within kept (RFC 6376 section
    3.6.1)."""
    return b"".join(
        bytes([octet]) if 32 <= octet < 127 and octet not in b";=" else b"=%02X" % octet
        for octet in note.strip().encode("utf-8")
    )
