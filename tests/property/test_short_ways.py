"""The short ways of the filter's path give what the long ones give: what is kept, chosen and looked at in one go."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from dkconf.dkim import signature
from dkconf.dkim.canonical import relaxed_field, simple_field
from dkconf.dkim.headers import HeaderPool
from dkconf.dkim.signature import SignatureError
from dkconf.filter import results
from dkconf.filter.incoming import Outcome
from dkconf.mail.address import Sender
from dkconf.mail.authres import ResInfo, format_authres, result_text, signature_prefixes
from dkconf.mail.header import HeaderField
from dkconf.mail.verdict import Verdict

NAMES = st.sampled_from([b"From", b"To", b"from", b"Received", b"X-A", b"DKIM-Signature"])
VALUES = st.text(st.sampled_from(" ab\t\r\n\v\f;=\0"), max_size=12).map(str.encode) | st.sampled_from(
    [b" a\r\n b", b"\ta \r\n\t ", b" b=x;\r\n c", b""]
)
FIELDS = st.lists(st.builds(HeaderField, NAMES, VALUES), min_size=1, max_size=8)
SIGNED = st.lists(NAMES.map(bytes.lower) | st.just(b"absent"), min_size=1, max_size=12)


@given(FIELDS, SIGNED, st.sampled_from(["simple", "relaxed"]), st.data())
def test_fields_are_taken_from_the_bottom(
    fields: list[HeaderField], names: list[bytes], form: str, data: st.DataObject
) -> None:
    """Each name takes the bottom-most field of that name not yet taken, and never the signature itself (RFC 6376
    section 5.4.2)."""
    own = data.draw(st.integers(-1, len(fields) - 1))
    left = [field for position, field in enumerate(fields) if position != own]
    expected = b""
    for name in names:
        for field in reversed(left):
            if field.lower == name:
                left = [other for other in left if other is not field]
                expected += (
                    simple_field(field.name, field.value) if form == "simple" else relaxed_field(name, field.value)
                )
                break

    assert expected == HeaderPool(fields).canonical(tuple(names), form, own)


@given(FIELDS, st.sampled_from(["simple", "relaxed"]))
def test_own_field(fields: list[HeaderField], form: str) -> None:
    """The signature's own field is canonical by itself, whatever the others look like."""
    pool, (own, *_) = HeaderPool(fields), fields
    alone = simple_field(own.name, own.value) if form == "simple" else relaxed_field(own.lower, own.value)

    assert alone[:-2] == pool.own_field(0, own.value, form)


WORDS = st.text(st.sampled_from('aB.@"\\ ();=\r\n\té/'), max_size=10) | st.just("x" * 300)
PASSES = st.builds(
    lambda domain, selector, identity: Verdict(
        "dkim", domain, selector, "rsa-sha256", "pass", "", "", identity=identity, signature=identity.encode()
    ),
    WORDS,
    WORDS,
    WORDS,
)
FAILURES = st.builds(
    lambda domain, reason, testing: Verdict("dkim", domain, "s", "a", "fail", reason, "bad", testing=testing),
    WORDS,
    WORDS,
    st.booleans(),
)
SENDERS = st.none() | st.builds(lambda local: Sender("from", local.encode("utf-8", "replace"), b"example.com"), WORDS)


@given(WORDS, st.lists(PASSES | FAILURES, max_size=3), SENDERS)
def test_a_kept_result_is_the_result(authserv_id: str, verdicts: list[Verdict], sender: Sender | None) -> None:
    """What is written from memory is what is written anew; what is too long is not kept."""
    outcome = Outcome(tuple(verdicts), (), (), sender, "")
    results._kept_text.cache_clear()
    several = [results.authentication_results(authserv_id, outcome) for _ in range(2)]
    kept = results._kept_text.cache_info().currsize
    short = [v for v in verdicts if len(v.identity) <= results.MAX_KEPT_OCTETS and not v.condition]
    unsigned = sender is None or len(sender.address) <= results.MAX_KEPT_OCTETS

    assert several[0] == several[1]
    assert several[0] == format_authres(authserv_id, [*map(result_text, _infos(verdicts, sender))])
    assert kept <= len(short) + unsigned


def _infos(verdicts: list[Verdict], sender: Sender | None) -> list[ResInfo]:
    prefixes = signature_prefixes([v.signature for v in verdicts]) if len(verdicts) > 1 else [""]
    infos = [
        ResInfo(
            "dkim",
            v.result,
            v.reason + ", test mode" if v.testing else v.reason,
            properties=(
                ("header.d", v.domain),
                ("header.i", v.identity if v.identity != "@" + v.domain else ""),
                ("header.s", v.selector),
                ("header.a", v.algorithm),
                ("header.b", prefix),
            ),
        )
        for v, prefix in zip(verdicts, prefixes, strict=False)
    ] or [ResInfo("dkim", "none")]
    return [
        *infos,
        ResInfo("domainkeys", "none", properties=(("header.from", sender.address),) if sender else ()),
    ]


TAGS = st.fixed_dictionaries(
    {
        b"a": st.sampled_from([b"rsa-sha256", b"RSA-SHA256", b"ed25519-sha256", b"rsa-md5"]),
        b"b": st.just(b"AAAA"),
        b"bh": st.just(b"47DEQpj8HBSa+/TImW+5JCeuQeRkm5NMpJWZG3hSuFU="),
        b"d": st.sampled_from([b"example.com", b"Example.COM", b"example..com", b""]),
        b"h": st.sampled_from([b"from", b"From : To", b"to", b"from:", b"from" + b":x" * 600]),
        b"s": st.sampled_from([b"jan", b"JAN", b"-"]),
        b"v": st.just(b"1"),
    },
    optional={
        b"c": st.sampled_from([b"relaxed/relaxed", b"Relaxed", b"none"]),
        b"i": st.sampled_from([b"@example.com", b"@other"]),
        b"q": st.sampled_from([b"dns/txt", b"x:dns/txt", b"x", b"dns/txt" + b":y" * 600]),
    },
)


@given(st.lists(TAGS, min_size=1, max_size=4))
def test_kept_terms_are_the_terms(several: list[dict[bytes, bytes]]) -> None:
    """A signature says the same whether its signer's terms were kept or not, and errors are never kept; a long h= or
    q= is not kept either."""
    signature._terms.cache_clear()
    kept = [_parsed(tags) for tags in several for _ in range(2)]
    fresh = []
    for tags in several:
        for _ in range(2):
            signature._terms.cache_clear()
            fresh.append(_parsed(tags))
            size = signature._terms.cache_info().currsize
            assert size in (0, 1)
            if max(len(tags[b"h"]), len(tags.get(b"q", b""))) > signature.MAX_CACHED_OCTETS:
                assert 0 == size

    assert kept == fresh


def _parsed(tags: dict[bytes, bytes]) -> object:
    try:
        return signature.from_tags(tags)
    except SignatureError as error:
        return error.cause, error.detail
