"""Policy records: the TXT at `_domainkey.DOMAIN`, DOMAIN being the sending domain (RFC 4870 section 3.6).

To be asked for only when a message is unsigned or its signature fails.
"""

from __future__ import annotations

from dataclasses import dataclass

from dkconf.domainkeys.keyrecord import has_flag, plain_note
from dkconf.errors import DkconfError
from dkconf.mail import taglist
from dkconf.mail.limits import MAX_KEY_RECORD_OCTETS
from dkconf.mail.lookup import TxtAnswer


class PolicyRecordError(DkconfError):
    """The octets are no policy record; `reason` says why."""

    def __init__(self, reason: str) -> None:
        self.reason = reason
        super().__init__(reason)


@dataclass(frozen=True, slots=True)
class PolicyRecord:
    """A domain's policy; the defaults are those of a domain without a record."""

    signs_all: bool = False
    """o=-: all mail of the domain is signed. Otherwise (o=~) some."""
    testing: bool = False
    """t=y: unverified mail is treated like verified mail."""
    report: str = ""
    """r=: where reports go."""
    note: str = ""
    """n=."""


_FIRST_LABEL = b"_domainkey."


def query_name(domain: bytes) -> bytes:
    """Return the name to ask for, by the sending domain."""
    return _FIRST_LABEL + domain.lower()


def is_policy(name: bytes) -> bool:
    """Return whether a name is one of `query_name`."""
    return name.startswith(_FIRST_LABEL)


def parse(octets: bytes) -> PolicyRecord:
    """Return the record.

    Raises:
        PolicyRecordError: Not a policy record.
    """
    if len(octets) > MAX_KEY_RECORD_OCTETS:
        raise PolicyRecordError(f"policy record over {MAX_KEY_RECORD_OCTETS} octets")
    try:
        tags = taglist.parse(octets, one_letter=True)
    except taglist.TagListError as error:
        raise PolicyRecordError(f"policy syntax error: {error.reason}") from None
    outbound = tags.get(b"o", b"~")
    if outbound not in (b"~", b"-"):
        raise PolicyRecordError("policy syntax error: o= must be ~ or -")
    return PolicyRecord(
        signs_all=outbound == b"-",
        testing=has_flag(tags.get(b"t", b""), b"y"),
        report=tags.get(b"r", b"").decode("utf-8", "replace"),
        note=tags.get(b"n", b"").decode("utf-8", "replace"),
    )


def from_answer(answer: TxtAnswer) -> tuple[PolicyRecord | None, str]:
    """Return the policy of a domain from the answer to its query, and what is wrong with the answer.

    The policy is None where there is no record, or none that can be read: then the default holds, since a domain
    must not become stricter by a typing error.
    """
    if answer.status == "failed":
        return None, f"policy lookup failed: {answer.reason}"
    if answer.status == "broken":
        return None, f"policy syntax error: {answer.reason}"
    faults: list[str] = []
    for string in answer.strings:
        try:
            return parse(string), ""
        except PolicyRecordError as error:
            faults.append(error.reason)
    return None, faults[0] if faults else ""


def format_record(policy: PolicyRecord) -> bytes:
    """Return the record as it is published."""
    tags = [b"o=-" if policy.signs_all else b"o=~"]
    if policy.testing:
        tags.append(b"t=y")
    if policy.report:
        tags.append(b"r=" + plain_note(policy.report))
    if policy.note:
        tags.append(b"n=" + plain_note(policy.note))
    return b"; ".join(tags)
