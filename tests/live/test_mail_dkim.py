"""What we sign Mail::DKIM verifies, and the other way round: both schemes, both canonical forms of each.

Two points where Mail::DKIM and the RFCs part ways are kept out of the random messages and have tests of
their own: a body without a final CRLF under DomainKeys, and blanks at the end of such a body under relaxed.
"""

from __future__ import annotations

import itertools
import os
from collections.abc import Iterator
from pathlib import Path

import pytest
from cryptography.hazmat.primitives import serialization
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from dkconf.crypto.keys import PrivateKey
from dkconf.dkim import keyrecord
from dkconf.dkim import signer as dkim_signer
from dkconf.dkim import verifier as dkim_verifier
from dkconf.dkim.canonical import BodyHasher
from dkconf.domainkeys import signer as domainkeys_signer
from dkconf.domainkeys import verifier as domainkeys_verifier
from dkconf.mail.header import format_message, parse_message
from dkconf.mail.lookup import Records, TxtAnswer
from tests.live.mail_dkim import MailDkim, missing
from tests.signing import KEY_PEM, MESSAGES

NAME = "jan._domainkey.example.com"
KEY = PrivateKey.load_pem(KEY_PEM)
RECORD = keyrecord.format_record("rsa", KEY.public_raw)
RECORDS = {NAME: RECORD.decode("ascii")}
ANSWERS = Records({NAME.encode("ascii"): TxtAnswer("found", (RECORD,))})
DKIM_FORMS = ("simple/simple", "simple/relaxed", "relaxed/simple", "relaxed/relaxed")
DOMAINKEYS_FORMS = ("simple", "nofws")
SLOW = settings(
    max_examples=int(os.environ.get("DKCONF_EXAMPLES", "60")),
    deadline=None,
    suppress_health_check=[HealthCheck.function_scoped_fixture, HealthCheck.too_slow],
)


@pytest.fixture(scope="module")
def peer() -> Iterator[MailDkim]:
    """A running Mail::DKIM."""
    if why := missing():
        if os.environ.get("CI") == "true":
            pytest.fail(f"nothing is skipped in CI: {why}")
        pytest.skip(why)
    with MailDkim() as running:
        yield running


@pytest.fixture(scope="module")
def key_file(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The test key in the form that Mail::DKIM reads."""
    key = serialization.load_pem_private_key(KEY_PEM, None)
    path = tmp_path_factory.mktemp("peer") / "key.pem"
    path.write_bytes(
        key.private_bytes(
            serialization.Encoding.PEM,
            serialization.PrivateFormat.TraditionalOpenSSL,
            serialization.NoEncryption(),
        )
    )
    return path


def sign_dkim(message: bytes, form: str) -> bytes:
    """Return the message with our DKIM-Signature on top."""
    fields, body = parse_message(message)
    header_form, body_form = form.split("/")
    job = dkim_signer.Signer("example.com", "jan", KEY, header_form, body_form).begin(fields)
    hasher = BodyHasher(*job.hash_key)
    hasher.update(body)
    return format_message([job.finish(hasher.digest(), 1700000000), *fields], body)


def sign_domainkeys(message: bytes, form: str) -> bytes:
    """Return the message with our DomainKey-Signature on top."""
    fields, body = parse_message(message)
    job = domainkeys_signer.Signer("example.com", "jan", KEY, form).begin(fields)
    job.update(body)
    return format_message([job.finish(), *fields], body)


def verify(message: bytes) -> list[tuple[str, str, str]]:
    """Return (scheme, result, reason) of each signature, by us."""
    fields, body = parse_message(message)
    verdicts = []
    for job in dkim_verifier.begin(fields, 1700000000):
        hasher = BodyHasher(*job.hash_key) if job.hash_key else None
        if hasher:
            hasher.update(body)
        verdicts.append(job.finish(ANSWERS[job.query_name or b""], hasher))
    for other in domainkeys_verifier.begin(fields):
        other.update(body)
        verdicts.append(other.finish(ANSWERS[other.query_name or b""]))
    return [(verdict.scheme, verdict.result, verdict.reason) for verdict in verdicts]


@pytest.mark.parametrize("form", DKIM_FORMS)
@pytest.mark.parametrize("name", MESSAGES)
def test_our_dkim_signature_passes_there(peer: MailDkim, name: str, form: str) -> None:
    """Every message of the table, as we sign it, verifies in Mail::DKIM."""
    opinions = peer.verify(sign_dkim(MESSAGES[name], form), RECORDS)

    assert [("dkim", "pass")] == [(each.scheme, each.result) for each in opinions], opinions


@pytest.mark.parametrize("form", DOMAINKEYS_FORMS)
@pytest.mark.parametrize("name", MESSAGES)
def test_our_domainkeys_signature_passes_there(peer: MailDkim, name: str, form: str) -> None:
    """Every message of the table, as we sign it, verifies in Mail::DKIM."""
    opinions = peer.verify(sign_domainkeys(MESSAGES[name], form), RECORDS)

    assert [("domainkeys", "pass")] == [(each.scheme, each.result) for each in opinions], opinions


@pytest.mark.parametrize("form", DKIM_FORMS)
@pytest.mark.parametrize("name", MESSAGES)
def test_their_dkim_signature_passes_here(peer: MailDkim, key_file: Path, name: str, form: str) -> None:
    """Every message of the table, as Mail::DKIM signs it, verifies here."""
    signed = peer.sign(MESSAGES[name], scheme="dkim", canon=form, key_file=key_file)

    assert [("dkim", "pass", "")] == verify(signed)


@pytest.mark.parametrize("headers", ["", "all"])
@pytest.mark.parametrize("form", DOMAINKEYS_FORMS)
@pytest.mark.parametrize("name", MESSAGES)
def test_their_domainkeys_signature_passes_here(
    peer: MailDkim, key_file: Path, name: str, form: str, headers: str
) -> None:
    """Every message of the table, as Mail::DKIM signs it, verifies here; with h= and without."""
    names = ":".join(field.lower.decode("ascii") for field in parse_message(MESSAGES[name])[0])
    signed = peer.sign(
        MESSAGES[name], scheme="domainkeys", canon=form, key_file=key_file, headers=names if headers else ""
    )

    assert [("domainkeys", "pass", "")] == verify(signed)


def test_both_schemes_on_one_message(peer: MailDkim) -> None:
    """DomainKeys first, DKIM above it: both verify there and here."""
    signed = sign_dkim(sign_domainkeys(MESSAGES["plain"], "nofws"), "relaxed/simple")

    assert {("dkim", "pass"), ("domainkeys", "pass")} == {
        (each.scheme, each.result) for each in peer.verify(signed, RECORDS)
    }
    assert {("dkim", "pass", ""), ("domainkeys", "pass", "")} == set(verify(signed))


def test_domainkeys_without_final_line_end_differs(peer: MailDkim, key_file: Path) -> None:
    """RFC 4870 section 3.4.2 appends the CRLF that is missing; Mail::DKIM does not. No MTA hands over such
    a body."""
    signed = peer.sign(b"From: a@example.com\r\n\r\ntext", scheme="domainkeys", canon="nofws", key_file=key_file)

    assert [("domainkeys", "fail", "signature did not verify")] == verify(signed)


SHORT_BODIES = [
    b"".join(octets) for size in range(4) for octets in itertools.product((b"\r", b" ", b"a", b"\r\n"), repeat=size)
]


@pytest.mark.parametrize("form", ["relaxed/relaxed", "relaxed/simple", *DOMAINKEYS_FORMS])
def test_lone_line_ends_and_blanks_are_the_same_there(peer: MailDkim, form: str) -> None:
    """Short bodies of CR, blank, letter and CRLF mean the same to Mail::DKIM; each ends in CRLF, as MTAs have it."""
    sign = sign_dkim if "/" in form else sign_domainkeys
    wrong = []
    for body in SHORT_BODIES:
        signed = sign(b"From: a@example.com\r\n\r\n" + body + b"\r\n", form)
        if ["pass"] != [each.result for each in peer.verify(signed, RECORDS)]:
            wrong.append(body)

    assert [] == wrong


def test_a_relaxed_body_without_a_final_line_end_is_the_same_there(peer: MailDkim) -> None:
    """In relaxed form Mail::DKIM adds the CRLF that is missing, too; a lone CR is not an empty body."""
    for body in (b"\r ", b"\r\n\r ", b"\r\t", b"\r", b"a\r ", b" \r", b"  ", b"a "):
        signed = sign_dkim(b"From: a@example.com\r\n\r\n" + body, "relaxed/relaxed")
        assert ["pass"] == [each.result for each in peer.verify(signed, RECORDS)], body


# -- random messages ---------------------------------------------------------------------------------------

printable = bytes(octet if octet > 32 and octet not in (58, 127) else 120 for octet in range(256))
words = st.binary(min_size=1, max_size=12).map(lambda octets: octets.translate(printable))
blanks = st.sampled_from([b" ", b"  ", b"\t", b" \t ", b"\r\n ", b" \r\n\t"])
values = st.lists(st.tuples(blanks, words), min_size=1, max_size=5).map(
    lambda pairs: b"".join(blank + word for blank, word in pairs)
)
names = st.sampled_from([b"Subject", b"To", b"X-Thing", b"x-thing", b"Received", b"MIME-Version", b"Date", b"Cc"])
lines = st.lists(st.one_of(words, st.sampled_from([b" ", b"  ", b"\t", b""])), max_size=6).map(b"".join)


@st.composite
def messages(draw: st.DrawFn) -> bytes:
    """A message with odd blanks, folds and 8-bit octets; every body line ends in CRLF."""
    fields = draw(st.lists(st.tuples(names, values), max_size=6))
    at = draw(st.integers(0, len(fields)))
    fields.insert(at, (b"From", b" Joe <joe@example.com>"))
    body = b"".join(line + b"\r\n" for line in draw(st.lists(lines, max_size=8)))
    return b"".join(b"%b:%b\r\n" % field for field in fields) + b"\r\n" + body


@SLOW
@given(message=messages(), form=st.sampled_from(DKIM_FORMS))
def test_random_dkim_both_ways(peer: MailDkim, key_file: Path, message: bytes, form: str) -> None:
    """Random messages pass there when signed here, and here when signed there."""
    assert ["pass"] == [each.result for each in peer.verify(sign_dkim(message, form), RECORDS)]
    signed = peer.sign(message, scheme="dkim", canon=form, key_file=key_file)
    assert [("dkim", "pass", "")] == verify(signed)


@SLOW
@given(message=messages(), form=st.sampled_from(DOMAINKEYS_FORMS))
def test_random_domainkeys_both_ways(peer: MailDkim, key_file: Path, message: bytes, form: str) -> None:
    """Random messages pass there when signed here, and here when signed there."""
    assert ["pass"] == [each.result for each in peer.verify(sign_domainkeys(message, form), RECORDS)]
    signed = peer.sign(message, scheme="domainkeys", canon=form, key_file=key_file)
    assert [("domainkeys", "pass", "")] == verify(signed)
