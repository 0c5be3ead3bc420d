"""RFC 6376 section 6, RFC 8301, RFC 8463: from message and answer to verdict."""

from __future__ import annotations

import base64
import itertools
from dataclasses import replace

import pytest

from dkconf.dkim import keyrecord, signer, verifier
from dkconf.mail.header import HeaderField, parse_message
from dkconf.mail.lookup import TxtAnswer
from dkconf.mail.verdict import Verdict
from tests.dkim.helpers import (
    ANSWERS,
    ED25519_KEY,
    KEY,
    NAME,
    NOW,
    OTHER_KEY,
    RECORD,
    found,
    rsa_public,
    sign,
    sign_with_length,
    verify,
    verify_fields,
)
from tests.signing import MESSAGES

PLAIN = MESSAGES["plain"]
SIGNED = sign(PLAIN)
PUBLIC = base64.b64encode(KEY.public_raw)
# The public half of an RSA key of 512 bits, and of one whose modulus has 16384 bits (no private half exists).
SHORT_KEY = (
    b"MFwwDQYJKoZIhvcNAQEBBQADSwAwSAJBAL2KyIR7sjbGmdgCMD8Zg+5w4SB6Lh+tvHhvSGCjI3WPd0zLxL5rWZl+3B1E0JUpQYTGZN4UzVvF"
    b"lD8cbkqZpkMCAwEAAQ=="
)


def only(verdicts: list[Verdict]) -> Verdict:
    """Return the one verdict there is."""
    (verdict,) = verdicts
    return verdict


def test_pass() -> None:
    """A good signature: all that is known about it is told."""
    verdict = only(verify(SIGNED))

    assert ("dkim", "pass", "", "") == (verdict.scheme, verdict.result, verdict.reason, verdict.condition)
    assert ("example.com", "jan", "rsa-sha256", "@example.com") == (
        verdict.domain,
        verdict.selector,
        verdict.algorithm,
        verdict.identity,
    )
    assert (1024, 0, False) == (verdict.key_bits, verdict.header_field, verdict.testing)
    assert len(verdict.signature) == 172


def test_unsigned() -> None:
    """No signature, no job."""
    assert [] == verify(PLAIN)


ANSWERS_AND_VERDICTS: dict[str, tuple[TxtAnswer | None, str, str, str]] = {
    "no answer at all": (None, "temperror", "dns", "key unavailable: no answer"),
    "SERVFAIL": (TxtAnswer("failed", reason="SERVFAIL"), "temperror", "dns", "key unavailable: SERVFAIL"),
    "timeout": (TxtAnswer("failed", reason="timeout"), "temperror", "dns", "key unavailable: timeout"),
    "absent": (TxtAnswer("absent"), "permerror", "bad", "no key for signature"),
    "found but empty": (TxtAnswer("found"), "permerror", "bad", "key syntax error: empty answer"),
    "revoked": (found(b"v=DKIM1; p="), "permerror", "bad", "key revoked"),
    "no p=": (found(b"v=DKIM1; k=rsa"), "permerror", "bad", "key syntax error: no p="),
    "SPF": (found(b"v=spf1 -all"), "permerror", "bad", "key syntax error: v= must come first and be DKIM1"),
    "v= not first": (
        found(b"k=rsa; v=DKIM1; p=" + PUBLIC),
        "permerror",
        "bad",
        "key syntax error: v= must come first and be DKIM1",
    ),
    "not base64": (found(b"p=***"), "permerror", "bad", "key syntax error: p= is not base64"),
    "base64 of nothing": (found(b"p=AAAA"), "permerror", "bad", "key syntax error: the public key cannot be decoded"),
    "DER cut short": (
        found(b"p=" + PUBLIC[:100]),
        "permerror",
        "bad",
        "key syntax error: the public key cannot be decoded",
    ),
    "an Ed25519 key under k=rsa": (
        found(b"p=" + base64.b64encode(ED25519_KEY.public_der)),
        "permerror",
        "bad",
        "key syntax error: the public key is not RSA",
    ),
    "k=ed25519": (
        found(b"k=ed25519; p=" + base64.b64encode(ED25519_KEY.public_raw)),
        "permerror",
        "bad",
        "inappropriate key algorithm: k=ed25519",
    ),
    "k= unknown": (found(b"k=foo; p=" + PUBLIC), "permerror", "bad", "inappropriate key algorithm: k=foo"),
    "h=sha1": (found(b"h=sha1; p=" + PUBLIC), "permerror", "bad", "inappropriate hash algorithm"),
    "h= empty": (found(b"h=; p=" + PUBLIC), "permerror", "bad", "inappropriate hash algorithm"),
    "h=sha1:sha256": (found(b"h=sha1 : sha256; p=" + PUBLIC), "pass", "", ""),
    "s=other": (found(b"s=other; p=" + PUBLIC), "permerror", "bad", "key is not for email"),
    "s=other:email": (found(b"s=other:email; p=" + PUBLIC), "pass", "", ""),
    "t=s": (found(b"t=s; p=" + PUBLIC), "pass", "", ""),
    "g= is ignored": (found(b"v=DKIM1; g=; p=" + PUBLIC), "pass", "", ""),
    "unknown tags": (found(b"v=DKIM1; xyz=1; n=a note; p=" + PUBLIC), "pass", "", ""),
    "blanks in p=": (found(b"p= " + PUBLIC[:50] + b" \r\n " + PUBLIC[50:] + b" ;"), "pass", "", ""),
    "another key": (
        found(keyrecord.format_record("rsa", OTHER_KEY.public_raw)),
        "fail",
        "bad",
        "signature did not verify",
    ),
    "junk first": (found(b"v=spf1 -all", b"hello", RECORD), "pass", "", ""),
    "junk only": (found(b"hello", b"v=spf1 -all"), "permerror", "bad", "key syntax error: tag without ="),
    "64 KiB": (
        found(b"n=" + b"x" * 65536 + b"; p=" + PUBLIC),
        "permerror",
        "bad",
        "key syntax error: key record over 4096 octets",
    ),
    "a duplicate tag": (found(b"p=; p=" + PUBLIC), "permerror", "bad", "key syntax error: duplicate tag p="),
}


@pytest.mark.parametrize("name", ANSWERS_AND_VERDICTS)
def test_answers(name: str) -> None:
    """RFC 6376 section 6.1.2. What is wrong with the key is `bad`; only a failed lookup is `dns`; nothing
    is `int`."""
    answer, result, condition, reason = ANSWERS_AND_VERDICTS[name]
    fields, body = parse_message(SIGNED)
    (job,) = verifier.begin(fields, NOW)
    hashes = verifier_body(job, body)
    verdict = job.finish(answer, hashes)

    assert (result, condition, reason) == (verdict.result, verdict.condition, verdict.reason)
    assert verdict is job.finish(None, None), "a verdict stands"


def verifier_body(job: verifier.SignatureJob, body: bytes) -> verifier.FinishedBody:
    """Return the body hash that a job asks for."""
    from dkconf.dkim.canonical import BodyHasher

    assert job.hash_key is not None
    hasher = BodyHasher(*job.hash_key)
    hasher.update(body)
    return hasher


def test_testing_flag() -> None:
    """t=y is told with the verdict, whichever it is (RFC 6376 section 3.6.1)."""
    answers = {NAME: found(b"v=DKIM1; t=y:s; p=" + PUBLIC)}

    assert only(verify(SIGNED, answers)).testing
    broken = only(verify(SIGNED + b"more\r\n", answers))
    assert ("fail", True) == (broken.result, broken.testing)


def test_strict_flag_forbids_a_subdomain_in_the_identity() -> None:
    """t=s: i= must have the very domain of d= (RFC 6376 section 3.6.1)."""
    signed = sign(PLAIN, signer.Signer("example.com", "jan", KEY, auid="joe@mail.example.com"))

    assert "pass" == only(verify(signed)).result
    verdict = only(verify(signed, {NAME: found(b"t=s; p=" + PUBLIC)}))
    assert ("permerror", "key forbids i= below d=") == (verdict.result, verdict.reason)


def edited(old: bytes, new: bytes) -> bytes:
    """Return the signed message with an edit in its signature."""
    assert old in SIGNED
    return SIGNED.replace(old, new, 1)


def test_rsa_sha1_is_permerror() -> None:
    """RFC 8301 section 3.1: rsa-sha1 must not be used for verifying; no key is asked for."""
    fields, _ = parse_message(
        edited(b"rsa-sha256", b"rsa-sha1").replace(b"bh=", b"bh=uoq1oCgLlTqpdDX/iUbLy7J1Wic=; z=")
    )
    (job,) = verifier.begin(fields, NOW)

    assert job.query_name is None
    assert job.hash_key is None
    assert ("permerror", "bad") == (job.finish(None, None).result, job.finish(None, None).condition)


def test_short_keys() -> None:
    """RFC 8301 section 3.2: under 1024 bits is permerror, whatever minimum is configured."""
    answers = {NAME: found(b"p=" + SHORT_KEY)}
    for limits in (verifier.Limits(), verifier.Limits(min_rsa_bits=512), verifier.Limits(min_rsa_bits=2048)):
        verdict = only(verify(SIGNED, answers, limits=limits))
        assert ("permerror", "bad", "key too short (RFC 8301): 512 bits") == (
            verdict.result,
            verdict.condition,
            verdict.reason,
        )


def test_a_bare_rsa_public_key_serves() -> None:
    """RFC 6376 section 3.6.1 says RSAPublicKey, practice SubjectPublicKeyInfo: both are read."""
    from cryptography.hazmat.primitives.serialization import load_der_public_key

    numbers = load_der_public_key(KEY.public_der).public_numbers()  # type: ignore[union-attr]
    answers = {NAME: found(b"p=" + rsa_public(numbers.n, numbers.e))}  # type: ignore[union-attr]

    assert "pass" == only(verify(SIGNED, answers)).result


@pytest.mark.parametrize(
    ("modulus_bits", "exponent", "reason"),
    [(16384, 65537, "key too long: 16384 bits"), (2048, 2**1023 + 1, "key too long: exponent of 1024 bits")],
)
def test_keys_that_cost_too_much(modulus_bits: int, exponent: int, reason: str) -> None:
    """A modulus of 16384 bits and an exponent of 1024 are not calculated with (RFC 6376 section 8.13)."""
    answers = {NAME: found(b"p=" + rsa_public((1 << modulus_bits) - 1, exponent))}
    verdict = only(verify(SIGNED, answers))

    assert ("policy", "bad", reason) == (verdict.result, verdict.condition, verdict.reason)


def test_times() -> None:
    """x= and t= are judged by the time handed in, with some drift allowed (RFC 6376 section 3.5)."""
    signed = sign(PLAIN, signer.Signer("example.com", "jan", KEY, ttl_seconds=1000))

    assert "pass" == only(verify(signed, now=NOW + 1000)).result
    assert "pass" == only(verify(signed, now=NOW + 1300)).result
    assert "signature expired" == only(verify(signed, now=NOW + 1301)).reason
    assert "pass" == only(verify(signed, now=NOW - 300)).result
    future = only(verify(signed, now=NOW - 301))
    assert ("policy", "bad", "signature timestamp in the future") == (future.result, future.condition, future.reason)


def test_one_octet_changed_in_the_body() -> None:
    """The body hash tells."""
    verdict = only(verify(SIGNED.replace(b"Joe.\r\n", b"Job.\r\n")))

    assert ("fail", "bad", "body hash did not verify") == (verdict.result, verdict.condition, verdict.reason)


@pytest.mark.parametrize("name", [b"Subject: dinner", b"t=17", b"Date: Fri"])
def test_one_octet_changed_in_the_header(name: bytes) -> None:
    """The signature tells, for signed fields and for the signature's own tags."""
    changed = SIGNED.replace(name, name[:-1] + bytes([name[-1] ^ 1]), 1)
    verdict = only(verify(changed))

    assert ("fail", "bad", "signature did not verify") == (verdict.result, verdict.condition, verdict.reason)


@pytest.mark.parametrize("name", ["From", "Subject", "To"])
def test_a_field_added_on_top_breaks_an_oversigned_message(name: str) -> None:
    """Oversigning: one more occurrence than the signature promised (RFC 6376 section 8.15)."""
    fields, body = parse_message(SIGNED)
    fields.insert(0, HeaderField(name.encode("ascii"), b" Eve <eve@example.org>"))

    assert "signature did not verify" == only(verify_fields(fields, body)).reason


def test_fields_not_signed_may_be_added() -> None:
    """A trace field on top, a Date below where there was none: the signature holds."""
    fields, body = parse_message(sign(MESSAGES["trailing blanks"]))
    fields.insert(0, HeaderField(b"Received", b" by later"))
    fields.append(HeaderField(b"Date", b" Fri, 11 Jul 2003 21:00:37 -0700"))
    fields.append(HeaderField(b"Message-ID", b" <new@example.com>"))

    assert "pass" == only(verify_fields(fields, body)).result


def test_body_length() -> None:
    """l= beyond the body fails; a body beyond l= passes, or is policy where that is set, and both say how much."""
    fields, body = parse_message(sign_with_length(PLAIN, 5))

    loose = only(verify_fields(fields, body + b"appended\r\n"))
    assert ("pass", "") == (loose.result, loose.condition)
    assert f"{len(body) - 5 + 10} octets unsigned" == loose.reason
    strict = replace(verifier.DEFAULT_LIMITS, allow_unsigned_content=False)
    verdict = only(verify_fields(fields, body, limits=strict))
    assert ("policy", "bad") == (verdict.result, verdict.condition)
    assert f"{len(body) - 5} octets unsigned" == verdict.reason
    short = only(verify_fields(*parse_message(sign_with_length(PLAIN, 10_000))))
    assert ("fail", "bad", "l= exceeds the body") == (short.result, short.condition, short.reason)


@pytest.mark.parametrize(
    "form, canonical_octets",
    [("simple", len(b"a  b \r\n\r\nc\t\r\n")), ("relaxed", len(b"a b\r\n\r\nc\r\n"))],
)
def test_unsigned_octets_are_those_of_the_canonical_body(form: str, canonical_octets: int) -> None:
    """Counted as l= counts; empty lines at the end are nobody's, and where all is signed there is nothing to say."""
    body = b"a  b \r\n\r\nc\t\r\n\r\n\r\n"
    message = b"From: joe@example.com\r\nSubject: x\r\n\r\n" + body
    strict = replace(verifier.DEFAULT_LIMITS, allow_unsigned_content=False)
    for length in range(canonical_octets + 1):
        signed = sign_with_length(message, length, form)
        unsigned = canonical_octets - length
        reason = f"{unsigned} octets unsigned" if unsigned else ""

        assert ("pass", reason) == only(verify(signed))[4:6]
        assert ("policy" if unsigned else "pass", reason) == only(verify(signed, limits=strict))[4:6]


def test_a_broken_signature_says_nothing_of_what_is_unsigned() -> None:
    """Text behind l= is no excuse for the text before it."""
    fields, body = parse_message(sign_with_length(PLAIN, 5))

    assert ("fail", "body hash did not verify") == only(verify_fields(fields, b"x" + body))[4:6]


def test_b_in_the_middle_with_blanks() -> None:
    """b= may stand anywhere; its value is emptied with the blanks around it, all else stays (section 3.7)."""
    import hashlib

    from dkconf.dkim.headers import HeaderPool

    fields, body = parse_message(PLAIN)
    body_hash = base64.b64encode(hashlib.sha256(body).digest())
    for form in ("simple", "relaxed"):
        template = b" v=1; b=%%b; a=rsa-sha256;\r\n\tc=%b; bh=%b; d=example.com; s=jan; h = from : subject ;" % (
            form.encode("ascii"),
            body_hash,
        )
        pool = HeaderPool([*fields, HeaderField(b"DKIM-Signature", template % b"")])
        octets = pool.canonical([b"from", b"subject"], form)
        octets += pool.own_field(len(fields), template % b"", form)
        text = base64.b64encode(KEY.sign_sha256(hashlib.sha256(octets).digest()))
        value = template % (b" " + text[:60] + b"\r\n " + text[60:] + b" ")
        signed = [HeaderField(b"DKIM-Signature", value), *fields]

        assert "pass" == only(verify_fields(signed, body)).result


def test_the_own_field_is_never_signed() -> None:
    """h= naming dkim-signature means the others, even where there are none (section 3.5)."""
    first = sign(PLAIN)
    both = sign(first, signer.Signer("example.com", "jan", KEY, sign_headers=["From", "DKIM-Signature"]))
    assert ["pass", "pass"] == [verdict.result for verdict in verify(both)]
    alone = sign(PLAIN, signer.Signer("example.com", "jan", KEY, sign_headers=["From"], oversign=["from"]))
    fields, body = parse_message(alone)
    pool_names = fields[0].value.replace(b"h=from:from", b"h=from:dkim-signature")
    broken = only(verify_fields([HeaderField(fields[0].name, pool_names), *fields[1:]], body))
    assert "signature did not verify" == broken.reason


def test_several_signatures_in_order() -> None:
    """Top to bottom, each with its own verdict; a broken one does not spoil the others."""
    two = sign(sign(PLAIN), signer.Signer("example.com", "ed", ED25519_KEY, "simple", "simple"))
    fields, body = parse_message(two)
    fields.insert(0, HeaderField(b"DKIM-Signature", b" v=1; rubbish"))

    assert [("neutral", ""), ("pass", "ed"), ("pass", "jan")] == [
        (verdict.result, verdict.selector) for verdict in verify_fields(fields, body)
    ]


def test_two_hundred_signatures() -> None:
    """Ten are evaluated, the rest is reported without a lookup or a hash."""
    fields, body = parse_message(SIGNED)
    fields = [fields[0]] * 200 + fields[1:]
    jobs = verifier.begin(fields, NOW)
    verdicts = verify_fields(fields, body)

    assert 10 == sum(job.query_name is not None for job in jobs)
    assert 10 == sum(job.hash_key is not None for job in jobs)
    assert ["pass"] * 10 + ["policy"] * 190 == [verdict.result for verdict in verdicts]
    assert {"bad"} == {verdict.condition for verdict in verdicts[10:]}


def test_a_malformed_signature_still_tells_its_domain() -> None:
    """An operator must see whose signature it was."""
    verdict = only(verify(edited(b"v=1;", b"v=9;")))

    assert ("neutral", "bad", "incompatible version") == (verdict.result, verdict.condition, verdict.reason)
    assert ("example.com", "jan", "rsa-sha256") == (verdict.domain, verdict.selector, verdict.algorithm)


def test_ed25519() -> None:
    """RFC 8463, with our own key; a wrong signature of any length fails."""
    signed = sign(PLAIN, signer.Signer("example.com", "ed", ED25519_KEY))

    assert ("pass", 256) == (only(verify(signed)).result, only(verify(signed)).key_bits)
    fields, body = parse_message(signed)
    head, _, text = fields[0].value.rpartition(b"b=")
    for wrong in (b"AAAA", text[:-4], b"QUJD" + text):
        bad = only(verify_fields([HeaderField(b"DKIM-Signature", head + b"b=" + wrong), *fields[1:]], body))
        assert ("fail", "signature did not verify") == (bad.result, bad.reason)


def test_ed25519_key_of_the_wrong_size() -> None:
    """A concatenation of two records, for one: a key error, not a crash."""
    signed = sign(PLAIN, signer.Signer("example.com", "ed", ED25519_KEY))
    name = b"ed._domainkey.example.com"
    for raw in (b"\x00" * 31, b"\x00" * 64, b"\xff" * 32):
        verdict = only(verify(signed, {name: found(b"k=ed25519; p=" + base64.b64encode(raw))}))
        assert "bad" == verdict.condition


OTHER_RECORD = keyrecord.format_record("rsa", OTHER_KEY.public_raw)
ED_RECORD = keyrecord.format_record("ed25519", ED25519_KEY.public_raw)
REVOKED = keyrecord.format_record("rsa", b"", revoked=True)
CUT = RECORD[: len(RECORD) // 2]


@pytest.mark.parametrize(
    ("records", "result", "reason"),
    [
        ((RECORD, CUT), "pass", ""),
        ((RECORD, b""), "pass", ""),
        ((RECORD, b"v=spf1 -all"), "pass", ""),
        ((RECORD, ED_RECORD), "pass", ""),
        ((RECORD, OTHER_RECORD), "pass", ""),
        ((RECORD, RECORD.replace(b"k=rsa", b"k=rsa; h=sha1")), "pass", ""),
        ((RECORD, RECORD.replace(b"k=rsa", b"k=rsa; s=other")), "pass", ""),
        ((RECORD, REVOKED), "permerror", "key revoked"),
        ((OTHER_RECORD, CUT), "fail", "signature did not verify"),
        ((ED_RECORD, b""), "permerror", "inappropriate key algorithm: k=ed25519"),
        ((b"",), "permerror", "key syntax error: no p="),
    ],
)
def test_the_order_of_records_means_nothing(records: tuple[bytes, ...], result: str, reason: str) -> None:
    """Servers turn them round. Any that fits will do; a revocation is for the whole selector (RFC 6376 6.1.2)."""
    for order in itertools.permutations(records):
        verdict = only(verify(SIGNED, {NAME: found(*order)}))
        assert (result, reason) == (verdict.result, verdict.reason)


def test_an_answer_that_nobody_can_read_is_permanent() -> None:
    """It would be the same tomorrow: permerror and bad, with what is wrong; a lookup that failed is not."""
    for status, result, condition, reason in (
        ("broken", "permerror", "bad", "key syntax error: CNAME loop"),
        ("failed", "temperror", "dns", "key unavailable: CNAME loop"),
    ):
        verdict = only(verify(SIGNED, {NAME: TxtAnswer(status, reason="CNAME loop")}))
        assert (result, condition, reason) == (verdict.result, verdict.condition, verdict.reason)


def test_the_header_that_is_hashed_is_bounded() -> None:
    """Four signatures over 32 KiB are evaluated, not ten; of a larger header one always is."""
    for size, evaluated in ((32_000, 5), (200_000, 1), (1000, 10)):
        padding = b"X: " + b"x" * size + b"\r\n"
        signed = sign(padding + PLAIN, signer.Signer("example.com", "jan", KEY, sign_headers=["From", "X"]))
        fields, body = parse_message(signed)
        results = [verdict.result for verdict in verify_fields([fields[0]] * 10 + fields[1:], body)]
        assert ["pass"] * evaluated + ["policy"] * (10 - evaluated) == results


def test_no_from_and_two_froms() -> None:
    """A message without From, or with two, is a verdict like any other; never an exception."""
    fields, body = parse_message(SIGNED)
    without = [field for field in fields if field.lower != b"from"]
    assert "fail" == only(verify_fields(without, body)).result
    twice = [*fields, HeaderField(b"From", b" eve@example.org")]
    assert "fail" == only(verify_fields(twice, body)).result


def test_everything_is_answered_by_name() -> None:
    """The name that is asked for is in lower case, without a final dot."""
    fields, _ = parse_message(edited(b"d=example.com", b"d=EXAMPLE.com").replace(b"s=jan", b"s=JAN", 1))
    (job,) = verifier.begin(fields, NOW)

    assert NAME == job.query_name
    assert job.query_name in ANSWERS
