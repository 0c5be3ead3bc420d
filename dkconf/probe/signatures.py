"""Verify the signatures of a canary, with the host keys' public halves as the DNS answers."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from dkconf.dkim import verifier as dkim_verifier
from dkconf.dkim.canonical import BodyHasher
from dkconf.domainkeys import verifier as domainkeys_verifier
from dkconf.mail.header import HeaderField
from dkconf.mail.lookup import ABSENT, TxtAnswer
from dkconf.mail.verdict import Verdict
from dkconf.sendmail.qf import Field


def verify(fields: Sequence[Field], body: bytes, records: Mapping[str, bytes], now: int) -> list[Verdict]:
    """Return a verdict per signature field: DomainKeys first, each from the top.

    Args:
        records: Absolute name (no final dot) -> the octets of its TXT record; a name that is missing does not
        exist. now: Seconds since 1970.
    """
    # A field with mailer flags (Return-Path) may stay behind; filters were not shown one that sendmail made itself.
    header = [HeaderField(f.name, f.value) for f in fields if f.name.lower() != b"return-path"]
    verdicts = []
    for job in domainkeys_verifier.begin(header):
        job.update(body)
        verdicts.append(job.finish(_answer(records, job.query_name)))
    for dkim_job in dkim_verifier.begin(header, now):
        hasher = None
        if dkim_job.hash_key is not None:
            hasher = BodyHasher(*dkim_job.hash_key)
            hasher.update(body)
        verdicts.append(dkim_job.finish(_answer(records, dkim_job.query_name), hasher))
    return verdicts


def _answer(records: Mapping[str, bytes], name: bytes | None) -> TxtAnswer | None:
    if name is None:
        return None
    record = records.get(name.decode("ascii", "replace").lower().rstrip("."))
    return ABSENT if record is None else TxtAnswer("found", (record,))
