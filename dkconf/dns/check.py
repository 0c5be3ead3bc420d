"""Does the DNS say what the host signs? Published records against wanted ones, in words."""

from __future__ import annotations

from dkconf.desired.state import TxtRecord
from dkconf.dkim import keyrecord
from dkconf.domainkeys import policyrecord
from dkconf.mail.lookup import TxtAnswer


def key_problem(wanted: TxtRecord, answer: TxtAnswer) -> str:
    """Return "" when a published key record holds the wanted key, else what is wrong with it.

    Only the key counts: notes and flags may differ, since verifiers take them as they are.
    """
    if answer.status == "failed":
        return f"{wanted.name}: could not be looked up ({answer.reason})"
    if answer.status == "broken":
        return f"{wanted.name}: no verifier can read what is published ({answer.reason})"
    if answer.status == "absent" or not answer.strings:
        return f"{wanted.name}: no TXT record is published ({answer.reason or 'no TXT'})"
    if len(answer.strings) > 1:
        return f"{wanted.name}: {len(answer.strings)} TXT records are published where there must be one"
    try:
        published = keyrecord.parse(answer.strings[0])
    except keyrecord.KeyRecordError as error:
        return f"{wanted.name}: the published record is not a key record ({error})"
    own = keyrecord.parse(wanted.value)
    if not published.public:
        return f"{wanted.name}: the published key is revoked (p= is empty)"
    if (published.algorithm, published.public) != (own.algorithm, own.public):
        return f"{wanted.name}: another key is published than the one that signs"
    return ""


def signs_all(answer: TxtAnswer) -> bool:
    """Return whether a published DomainKeys policy says that all mail is signed (o=-).

    Without an answer it is not known, and False: the DNS being away is no reason to keep a broken filter.
    """
    for string in answer.strings if answer.status == "found" else ():
        try:
            if policyrecord.parse(string).signs_all:
                return True
        except policyrecord.PolicyRecordError:
            continue
    return False
