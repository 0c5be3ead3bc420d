"""Short ways to sign and verify one message in a test."""

from __future__ import annotations

import base64
import hashlib
from collections.abc import Mapping

from dkconf.crypto.keys import PrivateKey
from dkconf.dkim import keyrecord, signer, verifier
from dkconf.dkim.canonical import BodyHasher
from dkconf.dkim.headers import HeaderPool
from dkconf.mail.header import HeaderField, format_message, parse_message
from dkconf.mail.lookup import ABSENT, TxtAnswer
from dkconf.mail.verdict import Verdict
from tests.signing import ED25519_PEM, KEY_PEM, OTHER_KEY_PEM

NOW = 1700000000
KEY = PrivateKey.load_pem(KEY_PEM)
OTHER_KEY = PrivateKey.load_pem(OTHER_KEY_PEM)
ED25519_KEY = PrivateKey.load_pem(ED25519_PEM)
NAME = b"jan._domainkey.example.com"
RECORD = keyrecord.format_record("rsa", KEY.public_raw)


def found(*strings: bytes) -> TxtAnswer:
    """Return an answer with these TXT records."""
    return TxtAnswer("found", strings, ttl=60)


ANSWERS: dict[bytes, TxtAnswer] = {
    NAME: found(RECORD),
    b"ed._domainkey.example.com": found(keyrecord.format_record("ed25519", ED25519_KEY.public_raw)),
}


def sign(message: bytes, with_signer: signer.Signer | None = None, now: int = NOW) -> bytes:
    """Return the message with a signature on top."""
    fields, body = parse_message(message)
    job = (with_signer or signer.Signer("example.com", "jan", KEY)).begin(fields)
    hasher = BodyHasher(*job.hash_key)
    hasher.update(body)
    return format_message([job.finish(hasher.digest(), now), *fields], body)


def sign_with_length(message: bytes, length: int, body_canon: str = "simple") -> bytes:
    """Return the message signed with l=, which our signer never writes."""
    fields, body = parse_message(message)
    hasher = BodyHasher(body_canon, "sha256", length)
    hasher.update(body)
    value = b" v=1; a=rsa-sha256; c=simple/%b; d=example.com; s=jan; l=%d; h=from:subject; bh=%b; b=" % (
        body_canon.encode(),
        length,
        base64.b64encode(hasher.digest()),
    )
    pool = HeaderPool([*fields, HeaderField(b"DKIM-Signature", value)])
    octets = pool.canonical([b"from", b"subject"], "simple") + pool.own_field(len(fields), value, "simple")
    value += base64.b64encode(KEY.sign_sha256(hashlib.sha256(octets).digest()))
    return b"DKIM-Signature:" + value + b"\r\n" + message


def verify(
    message: bytes,
    answers: Mapping[bytes, TxtAnswer] = ANSWERS,
    now: int = NOW,
    limits: verifier.Limits = verifier.DEFAULT_LIMITS,
) -> list[Verdict]:
    """Return the verdicts on a message, top to bottom."""
    fields, body = parse_message(message)
    return verify_fields(fields, body, answers, now, limits)


def verify_fields(
    fields: list[HeaderField],
    body: bytes,
    answers: Mapping[bytes, TxtAnswer] = ANSWERS,
    now: int = NOW,
    limits: verifier.Limits = verifier.DEFAULT_LIMITS,
) -> list[Verdict]:
    """Return the verdicts on a message that is parsed already."""
    verdicts = []
    for job in verifier.begin(fields, now, limits):
        hasher = None
        if job.hash_key is not None:
            hasher = BodyHasher(*job.hash_key)
            hasher.update(body)
        verdicts.append(job.finish(answers.get(job.query_name or b"", ABSENT), hasher))
    return verdicts


def rsa_public(modulus: int, exponent: int) -> bytes:
    """Return the base64 of a bare RSAPublicKey (RFC 8017 appendix A.1.1)."""

    def der(tag: int, content: bytes) -> bytes:
        if len(content) < 128:
            return bytes([tag, len(content)]) + content
        size = len(content).to_bytes((len(content).bit_length() + 7) // 8, "big")
        return bytes([tag, 0x80 | len(size)]) + size + content

    def integer(value: int) -> bytes:
        return der(2, value.to_bytes(value.bit_length() // 8 + 1, "big"))

    return base64.b64encode(der(0x30, integer(modulus) + integer(exponent)))
