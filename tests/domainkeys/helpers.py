"""Short ways to sign and verify one message in a test."""

from __future__ import annotations

from collections.abc import Mapping

from dkconf.crypto.keys import PrivateKey
from dkconf.domainkeys import keyrecord, signer, verifier
from dkconf.mail.header import HeaderField, format_message, parse_message
from dkconf.mail.lookup import ABSENT, TxtAnswer
from dkconf.mail.verdict import Verdict
from tests.signing import KEY_PEM, OTHER_KEY_PEM

KEY = PrivateKey.load_pem(KEY_PEM)
OTHER_KEY = PrivateKey.load_pem(OTHER_KEY_PEM)
NAME = b"jan._domainkey.example.com"
RECORD = keyrecord.format_record("rsa", KEY.public_raw)


def found(*strings: bytes) -> TxtAnswer:
    """Return an answer with these TXT records."""
    return TxtAnswer("found", strings, ttl=60)


ANSWERS: dict[bytes, TxtAnswer] = {NAME: found(RECORD)}


def sign(message: bytes, with_signer: signer.Signer | None = None) -> bytes:
    """Return the message with a signature on top."""
    fields, body = parse_message(message)
    job = (with_signer or signer.Signer("example.com", "jan", KEY)).begin(fields)
    job.update(body)
    return format_message([job.finish(), *fields], body)


def verify(
    message: bytes,
    answers: Mapping[bytes, TxtAnswer] = ANSWERS,
    limits: verifier.Limits = verifier.DEFAULT_LIMITS,
) -> list[Verdict]:
    """Return the verdicts on a message, top to bottom."""
    fields, body = parse_message(message)
    return verify_fields(fields, body, answers, limits)


def verify_fields(
    fields: list[HeaderField],
    body: bytes,
    answers: Mapping[bytes, TxtAnswer] = ANSWERS,
    limits: verifier.Limits = verifier.DEFAULT_LIMITS,
) -> list[Verdict]:
    """Return the verdicts on a message that is parsed already."""
    verdicts = []
    for job in verifier.begin(fields, limits):
        job.update(body)
        verdicts.append(job.finish(answers.get(job.query_name or b"", ABSENT)))
    return verdicts
