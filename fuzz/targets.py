"""Invariant: whatever octets come, a parser returns or raises its own error; never anything else, and never slowly.

One function per parser; each takes octets and checks what must hold of the result. `python -m fuzz.smoke` runs them
over random and mutated seeds; `python -m fuzz.atheris_target NAME` hands one to atheris, where that is installed.
"""

from __future__ import annotations

from collections.abc import Callable

from dkconf.dkim import keyrecord as dkim_keyrecord
from dkconf.dkim import signature as dkim_signature
from dkconf.dkim import verifier as dkim_verifier
from dkconf.dkim.canonical import BodyHasher
from dkconf.domainkeys import keyrecord as domainkeys_keyrecord
from dkconf.domainkeys import policyrecord
from dkconf.domainkeys import signature as domainkeys_signature
from dkconf.domainkeys import verifier as domainkeys_verifier
from dkconf.errors import RemoteProtocolError
from dkconf.mail import address, authres, header, lookup, taglist
from dkconf.mail.domain import is_domain
from dkconf.mail.lookup import ABSENT, TxtAnswer
from dkconf.milter.codec import Decoder
from dkconf.server import dnswire


def tag_list(octets: bytes) -> None:
    """Values are the octets given, and none is longer than the input; deleting one leaves a list that parses."""
    for one_letter in (False, True):
        try:
            tags = taglist.parse(octets, one_letter=one_letter)
        except taglist.TagListError:
            continue
        assert all(value in octets for value in tags.values())
        without = taglist.parse(taglist.without_value(octets, b"b"), one_letter=one_letter)
        assert list(tags) == list(without)
        assert without.get(b"b", b"") == b""


def signature(octets: bytes) -> None:
    """A signature that parses has a domain to ask for."""
    try:
        dkim = dkim_signature.parse(octets)
        assert is_domain(dkim.domain)
        assert is_domain(dkim.selector)
        assert b"from" in dkim.header_names
    except dkim_signature.SignatureError:
        pass
    try:
        domainkeys = domainkeys_signature.parse(octets)
        assert is_domain(domainkeys.domain)
        assert is_domain(domainkeys.selector)
    except domainkeys_signature.SignatureError:
        pass


def key_record(octets: bytes) -> None:
    """A record that parses is revoked or has key octets; a policy is one."""
    for parse in (dkim_keyrecord.parse, domainkeys_keyrecord.parse):
        try:
            record = parse(octets)
            assert record.revoked == (not record.public)
        except (dkim_keyrecord.KeyRecordError, domainkeys_keyrecord.KeyRecordError):
            pass
    try:
        policy = policyrecord.parse(octets)
        assert policyrecord.parse(policyrecord.format_record(policy)).signs_all == policy.signs_all
    except policyrecord.PolicyRecordError:
        pass


def sender_address(octets: bytes) -> None:
    """An address has both its halves."""
    found = address.sender_address(octets)
    if found is not None:
        local, domain = found
        assert domain
        assert domain == domain.lower()
        assert isinstance(local, bytes)


def authentication_results(octets: bytes) -> None:
    """Reading never raises; whose it is claims it; what is written from it is one field with as many results."""
    found = authres.authserv_id_of(octets)
    assert authres.claims(octets, "mx.example.com" if found is None else found)
    parsed = authres.parse_authres(octets)
    assert parsed is None or parsed.authserv_id == found
    if parsed is not None:
        value = authres.format_authres(parsed.authserv_id, [*map(authres.result_text, parsed.results)])
        again = authres.parse_authres(value)
        assert again is not None
        assert len(again.results) == len(parsed.results)
        assert all(line.startswith(b"\t") for line in value.split(b"\n")[1:])
    text = octets.decode("latin-1")
    info = authres.ResInfo("dkim", "fail", text, text, (("header.d", text),))
    injected = authres.parse_authres(authres.format_authres("mx", [authres.result_text(info)]))
    assert injected is not None
    assert len(injected.results) == 1


def records(octets: bytes) -> None:
    """A records file reads, or says which line is wrong."""
    try:
        found = lookup.parse_records(octets.decode("latin-1"))
    except lookup.RecordsError:
        return
    assert all(isinstance(answer, TxtAnswer) for answer in found.values())


def message(octets: bytes) -> None:
    """Any message verifies to a verdict per signature, and no verdict but `pass` is without a condition."""
    fields, body = header.parse_message(octets)
    verdicts = []
    for job in dkim_verifier.begin(fields, 1700000000):
        hasher = None
        if job.hash_key is not None:
            hasher = BodyHasher(*job.hash_key)
            hasher.update(body)
        verdicts.append(job.finish(ABSENT, hasher))
    for other in domainkeys_verifier.begin(fields):
        other.update(body)
        verdicts.append(other.finish(TxtAnswer("found", (b"p=AAAA", octets))))
    assert all((verdict.condition == "") == (verdict.result == "pass") for verdict in verdicts)


def codec(octets: bytes) -> None:
    """A peer that sends rubbish is told so by RemoteProtocolError."""
    for cut in (len(octets), 1, 3):
        decoder = Decoder()
        try:
            for start in range(0, len(octets), cut or 1):
                for _ in decoder.feed(octets[start : start + cut]):
                    pass
        except RemoteProtocolError:
            pass


def dns_answer(octets: bytes) -> None:
    """An answer says one of six things; records come only with "found", and an alias can be asked for."""
    for trust_ad in (False, True):
        # The identifier and the question are ours: whoever cannot see them does not come so far.
        outcome = dnswire.read_answer(_QUESTION[:2] + octets[2:], _QUESTION, trust_ad=trust_ad)
        assert (outcome.answer is not None) == (outcome.kind == "answer")
        assert bool(outcome.reason) == (outcome.kind in ("failed", "malformed"))
        if outcome.answer is not None:
            assert bool(outcome.answer.strings) == (outcome.answer.status == "found")
            assert len(outcome.answer.strings) <= dnswire.MAX_RECORDS
            assert 0 <= outcome.answer.ttl <= dnswire.LONGEST_TTL_SECONDS
            assert trust_ad or not outcome.answer.secure
        assert bool(outcome.alias) == (outcome.kind == "alias")
        assert len(outcome.alias) <= 255


_NAME = dnswire.encode_name(b"s._domainkey.example.org") or b""
_QUESTION = dnswire.encode_question(7, _NAME)

TARGETS: dict[str, Callable[[bytes], None]] = {
    "tag-list": tag_list,
    "signature": signature,
    "key-record": key_record,
    "address": sender_address,
    "authentication-results": authentication_results,
    "records": records,
    "message": message,
    "codec": codec,
    "dns-answer": dns_answer,
}

_SIGNATURE = (
    b" v=1; a=rsa-sha256; c=relaxed/simple; d=example.com; s=jan; i=joe=20x@example.com; t=1; x=2; l=3; q=dns/txt;"
    b"\r\n\th=from:to; bh=47DEQpj8HBSa+/TImW+5JCeuQeRkm5NMpJWZG3hSuFU=; b=AAAA BBBB"
)
_DOMAINKEY = b" a=rsa-sha1; s=jan; d=example.com; c=nofws; q=dns;\r\n\th=from:to;\r\n\tb=AAAA"

_ANSWER = _QUESTION[:2] + b"\x81\x80\0\1\0\2\0\1\0\0" + _QUESTION[12:-11]
_SOA = b"\0\0\6\0\1\0\0\0\x3c\0\x16\0\0\0\0\0\1\0\0\0\2\0\0\0\3\0\0\0\4\0\0\0\5"

SEEDS: dict[str, list[bytes]] = {
    "tag-list": [_SIGNATURE, _DOMAINKEY, b"a=1;b=2;", b"v=DKIM1; k=rsa; p=AAAA"],
    "signature": [_SIGNATURE, _DOMAINKEY],
    "key-record": [b"v=DKIM1; k=rsa; h=sha256; s=email; t=y:s; n=x; p=AAAA", b"g=; k=rsa; p=", b"o=-; t=y; r=a@b; n=x"],
    "address": [b' "Doe, J" (x) <@a,@b:joe@example.com>, x:;', b'g: "a b"@[1.2.3.4], b@c;'],
    "authentication-results": [
        b' mx.example.com 1; dkim=pass (ok) reason="x" header.d=example.com header.b="A/b="; spf=none',
        b" mx; none",
    ],
    "records": [b'a.example 300 IN TXT ( "v=DKIM1; " "p=\\123" ) ; x\nb.example SERVFAIL\n'],
    "message": [
        b"DKIM-Signature:%b\r\nDomainKey-Signature:%b\r\nFrom: joe@example.com\r\n\r\nHi. \r\n"
        % (_SIGNATURE, _DOMAINKEY)
    ],
    "codec": [
        b"\0\0\0\x0dO\0\0\0\6\0\0\1\xff\0\0\xff\xff\0\0\0\x11Cmx.example\x004\0\x19127.0.0.1\0",
        b"\0\0\0\x05Lb\0c\0\0\0\0\x01N\0\0\0\x04Babc\0\0\0\x01E\0\0\0\x01Q",
    ],
    "dns-answer": [
        # An alias and the record it leads to; the record itself; no data; a referral.
        _ANSWER + b"\xc0\x0c\0\5\0\1\0\0\0\x3c\0\4\1x\xc0\x19" + b"\1x\xc0\x19\0\x10\0\1\0\0\0\x3c\0\6\1v\3p=A" + _SOA,
        _ANSWER[:7] + b"\1\0\0" + _ANSWER[10:] + b"\xc0\x0c\0\x10\0\1\0\0\0\x3c\0\6\1v\3p=A",
        _ANSWER[:7] + b"\0" + _ANSWER[8:] + _SOA,
        _ANSWER[:7] + b"\0" + _ANSWER[8:] + b"\0\0\2\0\1\0\0\0\x3c\0\1\0",
    ],
}
