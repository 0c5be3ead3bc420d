"""RFC 4870 section 3.7: from message and answer to verdict."""

from __future__ import annotations

import base64
import itertools

import pytest

from dkconf.crypto.keys import PrivateKey
from dkconf.domainkeys import keyrecord, signer, verifier
from dkconf.mail.header import HeaderField, parse_message
from dkconf.mail.lookup import TxtAnswer
from dkconf.mail.verdict import Verdict
from tests.dkim.helpers import rsa_public
from tests.domainkeys.helpers import KEY, NAME, OTHER_KEY, RECORD, found, sign, verify, verify_fields
from tests.signing import MESSAGES

PLAIN = MESSAGES["plain"]
SIGNED = sign(PLAIN)
PUBLIC = base64.b64encode(KEY.public_raw)


def only(verdicts: list[Verdict]) -> Verdict:
    """Return the one verdict there is."""
    (verdict,) = verdicts
    return verdict


def test_pass() -> None:
    """A good signature: all that is known about it is told."""
    verdict = only(verify(SIGNED))

    assert ("domainkeys", "pass", "", "") == (verdict.scheme, verdict.result, verdict.reason, verdict.condition)
    assert ("example.com", "jan", "rsa-sha1", 1024) == (
        verdict.domain,
        verdict.selector,
        verdict.algorithm,
        verdict.key_bits,
    )
    assert ("joe@example.com", "header.from") == (verdict.identity, verdict.identity_property)


def test_unsigned() -> None:
    """No signature, no job."""
    assert [] == verify(PLAIN)


ANSWERS_AND_VERDICTS: dict[str, tuple[TxtAnswer | None, str, str, str]] = {
    "no answer at all": (None, "temperror", "dns", "key unavailable: no answer"),
    "SERVFAIL": (TxtAnswer("failed", reason="SERVFAIL"), "temperror", "dns", "key unavailable: SERVFAIL"),
    "absent": (TxtAnswer("absent"), "neutral", "bad", "no key"),
    "revoked": (found(b"k=rsa; p="), "permerror", "bad", "key revoked"),
    "no p=": (found(b"k=rsa"), "permerror", "bad", "key syntax error: no p="),
    "not base64": (found(b"p=***"), "permerror", "bad", "key syntax error: p= is not base64"),
    "undecodable": (found(b"p=AAAA"), "permerror", "bad", "key syntax error: the public key cannot be decoded"),
    "two-letter tag": (found(b"kk=1; p=" + PUBLIC), "permerror", "bad", "key syntax error: bad tag name"),
    "k= unknown": (found(b"k=dsa; p=" + PUBLIC), "permerror", "bad", "inappropriate key algorithm: k=dsa"),
    "a DKIM record": (found(b"v=DKIM1; k=rsa; h=sha256; s=email; t=s; p=" + PUBLIC), "pass", "", ""),
    "g= empty is everyone": (found(b"g=; p=" + PUBLIC), "pass", "", ""),
    "g=*": (found(b"g=*; p=" + PUBLIC), "pass", "", ""),
    "g= the local part": (found(b"g=joe; p=" + PUBLIC), "pass", "", ""),
    "g= in another case": (found(b"g=Joe; p=" + PUBLIC), "fail", "bad", "g= does not match the sender"),
    "g= a prefix": (found(b"g=jo; p=" + PUBLIC), "fail", "bad", "g= does not match the sender"),
    "another key": (
        found(keyrecord.format_record("rsa", OTHER_KEY.public_raw)),
        "fail",
        "bad",
        "signature did not verify",
    ),
    "junk first": (found(b"hello", RECORD), "pass", "", ""),
    "64 KiB": (found(b"n=" + b"x" * 65536), "permerror", "bad", "key syntax error: key record over 4096 octets"),
}


@pytest.mark.parametrize("name", ANSWERS_AND_VERDICTS)
def test_answers(name: str) -> None:
    """RFC 4870 section 3.7.4, with what dk-filter did wrong put right: `bad` where it deferred for ever."""
    answer, result, condition, reason = ANSWERS_AND_VERDICTS[name]
    fields, body = parse_message(SIGNED)
    (job,) = verifier.begin(fields)
    job.update(body)
    verdict = job.finish(answer)

    assert (result, condition, reason) == (verdict.result, verdict.condition, verdict.reason)
    assert job.decides
    assert job.query_name == NAME


def test_testing_flag() -> None:
    """t=y is told with the verdict (RFC 4870 section 3.2.3)."""
    verdict = only(verify(SIGNED + b"more\r\n", {NAME: found(b"t=y; p=" + PUBLIC)}))

    assert ("fail", True) == (verdict.result, verdict.testing)


def test_short_keys_verify() -> None:
    """512 bits must be supported (RFC 4870 section 3.2.3); RFC 8301 is about DKIM. A minimum can be set."""
    key = PrivateKey.load_pem(SHORT_PEM)
    signed = sign(PLAIN, signer.Signer("example.com", "jan", key))
    answers = {NAME: found(keyrecord.format_record("rsa", key.public_raw))}

    assert ("pass", 512) == (only(verify(signed, answers)).result, only(verify(signed, answers)).key_bits)
    verdict = only(verify(signed, answers, verifier.Limits(min_rsa_bits=1024)))
    assert ("policy", "bad") == (verdict.result, verdict.condition)


@pytest.mark.parametrize("old", [b"Joe.", b"dinner", b"From: Joe", b"by mx"])
def test_one_octet_changed(old: bytes) -> None:
    """Body or header: one stream, one verdict."""
    changed = SIGNED.replace(old, old[:-1] + bytes([old[-1] ^ 1]))
    verdict = only(verify(changed))

    assert ("fail", "bad", "signature did not verify") == (verdict.result, verdict.condition, verdict.reason)


def test_field_names_keep_their_case() -> None:
    """A change of case breaks even nofws, unlike DKIM's relaxed."""
    assert "fail" == only(verify(SIGNED.replace(b"Subject:", b"subject:"))).result


def test_fields_above_do_not_count_fields_below_do() -> None:
    """A Received on top is harmless; a listed name added below breaks; an unlisted one does not."""
    fields, body = parse_message(SIGNED)
    assert "pass" == only(verify_fields([HeaderField(b"Received", b" by later"), *fields], body)).result
    assert "fail" == only(verify_fields([*fields, HeaderField(b"Subject", b" again")], body)).result
    assert "pass" == only(verify_fields([*fields, HeaderField(b"X-Foo", b" bar")], body)).result


def test_without_h_everything_below_counts() -> None:
    """Mail of old signers has no h=."""
    fields, body = parse_message(without_h(PLAIN))
    assert "pass" == only(verify_fields(fields, body)).result
    assert "fail" == only(verify_fields([*fields, HeaderField(b"X-Foo", b" bar")], body)).result


def without_h(message: bytes) -> bytes:
    """Return the message signed as dk-filter did without -H, and without c= and q=."""
    import hashlib

    from dkconf.domainkeys.canonical import BodyStream
    from dkconf.domainkeys.headers import canonical_header

    fields, body = parse_message(message)
    stream = BodyStream("simple", hashlib.sha1(canonical_header(fields, "simple")))
    stream.update(body)
    value = b" a=rsa-sha1; s=jan; d=example.com; b=" + base64.b64encode(KEY.sign_sha1(stream.digest()))
    return b"DomainKey-Signature:" + value + b"\r\n" + message


SENDERS: dict[str, tuple[bytes, str, str]] = {
    "no From": (b"To: a@b.c\r\n", "permerror", "no usable sender: no From field"),
    "two Froms": (
        b"From: joe@example.com\r\nFrom: joe@example.com\r\n",
        "permerror",
        "no usable sender: more than one From field",
    ),
    "no domain": (b"From: joe\r\n", "permerror", "no usable sender: no usable address in From"),
    "bad Sender": (
        b"From: joe@example.com\r\nSender: x\r\n",
        "permerror",
        "no usable sender: no usable address in Sender",
    ),
    "another domain": (b"From: joe@example.org\r\n", "neutral", "d= is not the sender's domain"),
    "Sender elsewhere": (
        b"From: joe@example.com\r\nSender: l@lists.example.org\r\n",
        "neutral",
        "d= is not the sender's domain",
    ),
    "a domain that ends alike": (b"From: joe@notexample.com\r\n", "neutral", "d= is not the sender's domain"),
}


@pytest.mark.parametrize("name", SENDERS)
def test_senders(name: str) -> None:
    """Sections 3.1 and 3.7.3: without a fitting sender the signature is worth nothing, and no key is asked for."""
    header, result, reason = SENDERS[name]
    fields, _ = parse_message(SIGNED)
    others, _ = parse_message(header + b"\r\n")
    (job,) = verifier.begin([fields[0], *others])

    assert job.query_name is None
    verdict = job.finish(None)
    assert (result, "bad", reason) == (verdict.result, verdict.condition, verdict.reason)


def test_sender_wins_over_from() -> None:
    """A list that added Sender signs for itself (section 3.1)."""
    message = b"Sender: list@lists.example.com\r\nFrom: joe@example.org\r\n\r\nHi.\r\n"
    verdict = only(verify(sign(message)))

    assert ("pass", "list@lists.example.com", "header.sender") == (
        verdict.result,
        verdict.identity,
        verdict.identity_property,
    )


def test_a_folded_from_is_read() -> None:
    """Where Mail::DKIM gives up."""
    assert "pass" == only(verify(sign(b"From: Joe\r\n <joe@example.com>\r\n\r\nHi.\r\n"))).result


def test_the_senders_field_must_be_signed() -> None:
    """h= must name it (section 3.3), and it must stand below the signature."""
    edited = SIGNED.replace(b"from:", b"x-from:", 1)
    assert ("neutral", "sender's field not signed") == (only(verify(edited)).result, only(verify(edited)).reason)
    fields, body = parse_message(SIGNED)
    above = [field for field in fields if field.lower == b"from"]
    below = [field for field in fields if field.lower != b"from"]
    verdict = only(verify_fields([*above, *below], body))
    assert verdict.reason.startswith("sender's field not signed")


def test_the_top_most_fitting_signature_decides() -> None:
    """Sections 3.7.1 and 3.7.3; all are reported."""
    fields, body = parse_message(SIGNED)
    rubbish = HeaderField(b"DomainKey-Signature", b" rubbish")
    foreign = HeaderField(b"DomainKey-Signature", fields[0].value.replace(b"d=example.com", b"d=example.org"))
    jobs = verifier.begin([rubbish, foreign, fields[0], *fields])

    assert [False, False, True, False] == [job.decides for job in jobs]
    assert [None, None, NAME, NAME] == [job.query_name for job in jobs]
    for job in jobs:
        job.update(body)
    assert ["neutral", "neutral", "pass", "pass"] == [
        job.finish(found(RECORD) if job.query_name else None).result for job in jobs
    ]


def test_none_fits_and_the_top_most_tells_why() -> None:
    """Some verdict must stand for the message."""
    jobs = verifier.begin(
        parse_message(b"DomainKey-Signature: x\r\nDomainKey-Signature: y\r\nFrom: a@example.com\r\n\r\n")[0]
    )

    assert [True, False] == [job.decides for job in jobs]


def test_two_hundred_signatures() -> None:
    """Ten are evaluated; the rest costs no lookup and no pass over the body."""
    fields, body = parse_message(SIGNED)
    jobs = verifier.begin([fields[0]] * 200 + fields[1:])

    assert 10 == sum(job.query_name is not None for job in jobs)
    for job in jobs:
        job.update(body)
    assert "policy" == jobs[-1].finish(None).result


@pytest.mark.parametrize(
    ("modulus_bits", "exponent", "reason"),
    [(16384, 65537, "key too long: 16384 bits"), (2048, 2**1023 + 1, "key too long: exponent of 1024 bits")],
)
def test_keys_that_cost_too_much(modulus_bits: int, exponent: int, reason: str) -> None:
    """A modulus of 16384 bits and an exponent of 1024 are not calculated with."""
    verdict = only(verify(SIGNED, {NAME: found(b"p=" + rsa_public((1 << modulus_bits) - 1, exponent))}))

    assert ("policy", "bad", reason) == (verdict.result, verdict.condition, verdict.reason)


def test_signatures_share_the_pass_over_the_body() -> None:
    """Two of each form, with headers of their own: each verdict is its own."""
    simple = signer.Signer("example.com", "jan", KEY, "simple")
    signed = sign(sign(sign(sign(PLAIN), simple)), simple)
    fields, body = parse_message(signed)
    jobs = verifier.begin(fields)
    for start in range(0, len(body), 3):
        for job in jobs:
            job.update(body[start : start + 3])

    assert 2 == len({id(job._body) for job in jobs})
    assert ["pass"] * 4 == [job.finish(found(RECORD)).result for job in jobs]
    fields[2] = HeaderField(fields[2].name, fields[2].value.replace(b"b=", b"b=AAAA"))
    assert ["fail", "fail", "fail", "pass"] == [verdict.result for verdict in verify_fields(fields, body)]


SHORT_PEM = b"""\
-----BEGIN RSA PRIVATE KEY-----
MIIBOwIBAAJBAOyyWXqOHUEArcl1hWCH41OoqNzZ1C2Vtpk/xVkR/Th/AThJGi98
INUtr208DcJjJf3g/PffEypc+Xsxp+mqIq8CAwEAAQJBANcviZOWsdfPwy8dDYXl
5HDBK8ukqXZL3rbSOBsy9JAvfwDeE6HBv2cpv+zNw6Aq4U3X5zBVklCSO5ofXs91
bbkCIQD7YJaGTcLHFijVOVDusDQZBaaV8bUTjT9st/S38Y4gvQIhAPEMpj+U7ZAj
W8T0ESLwNk5DV3cJaLkKUCAPQ3J20TXbAiEArjQ0fGRdLCzOJV3wGUmhAQoqdNUp
gKAtKQGepO7QaR0CIAcLIpR7CpIKpnTT2OhXco7I4vZkfP3jMkItj//5PtW/AiBT
WLu0H8z/PwUfDyPfbVqCH7/AndoiByXdVkLsJNRwEw==
-----END RSA PRIVATE KEY-----
"""


CUT = RECORD[: len(RECORD) // 2]
OTHER_RECORD = keyrecord.format_record("rsa", OTHER_KEY.public_raw)


@pytest.mark.parametrize(
    ("records", "result", "reason"),
    [
        ((RECORD, CUT), "pass", ""),
        ((RECORD, b""), "pass", ""),
        ((RECORD, OTHER_RECORD), "pass", ""),
        ((RECORD, b"g=ann; " + RECORD), "pass", ""),
        ((RECORD, b"k=rsa; p="), "permerror", "key revoked"),
        ((OTHER_RECORD, CUT), "fail", "signature did not verify"),
        ((b"",), "permerror", "key syntax error: no p="),
    ],
)
def test_the_order_of_records_means_nothing(records: tuple[bytes, ...], result: str, reason: str) -> None:
    """Servers turn them round. Any that fits will do (RFC 4870 3.2.2); a revocation is for the whole selector."""
    for order in itertools.permutations(records):
        verdict = only(verify(SIGNED, {NAME: found(*order)}))
        assert (result, reason) == (verdict.result, verdict.reason)


def test_an_answer_that_nobody_can_read_is_permanent() -> None:
    """It would be the same tomorrow: permerror and bad, with what is wrong."""
    verdict = only(verify(SIGNED, {NAME: TxtAnswer("broken", reason="CNAME loop")}))

    assert ("permerror", "bad", "key syntax error: CNAME loop") == (verdict.result, verdict.condition, verdict.reason)
