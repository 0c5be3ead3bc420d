"""What holds for any octets that a name server, or somebody in its place, may send."""

from __future__ import annotations

import dns.message
import dns.rcode
import dns.rrset
from hypothesis import given, settings
from hypothesis import strategies as st

from dkconf.server import dnswire

# A busy machine is no fault of what is tested.
ANY_TIME = settings(deadline=None)

NAME = b"s._domainkey.example.org"
QUESTION = dnswire.encode_question(4711, dnswire.encode_name(NAME) or b"")
KINDS = ("answer", "truncated", "alias", "failed", "foreign")

RECORDS = st.lists(st.lists(st.binary(max_size=255), min_size=1, max_size=3), max_size=4)
TTLS = st.integers(0, 2**32 - 1)


def _response(records, ttl) -> bytes:
    response = dns.message.make_response(dns.message.from_wire(QUESTION))
    name = response.question[0].name
    if records:
        quoted = [" ".join('"' + "".join(f"\\{c:03d}" for c in s) + '"' for s in strings) for strings in records]
        response.answer.append(dns.rrset.from_text(name, min(ttl, 2**31 - 1), "IN", "TXT", *quoted))
    return response.to_wire(max_size=65535)


@ANY_TIME
@given(RECORDS, TTLS)
def test_the_short_way_reads_what_dnspython_reads(records, ttl):
    """TXT records of the name itself are read alike by both."""
    octets = _response(records, ttl)
    short, long = (dnswire.read_answer(octets, QUESTION, trust_ad=ad) for ad in (False, True))

    assert short.kind == long.kind == "answer"
    assert short.answer is not None
    assert long.answer is not None
    assert sorted(short.answer.strings) == sorted(long.answer.strings)
    assert (short.answer.status, short.answer.ttl) == (long.answer.status, long.answer.ttl)


@ANY_TIME
@given(st.binary(max_size=400))
def test_any_octets_have_an_outcome(octets):
    """Nothing is ever raised; what is no answer to our question is foreign or failed."""
    assert dnswire.read_answer(octets, QUESTION).kind in ("foreign", "failed")


@ANY_TIME
@given(RECORDS, st.lists(st.tuples(st.integers(0, 5000), st.integers(0, 255)), max_size=6), st.integers(0, 600))
def test_a_spoilt_answer_has_an_outcome(records, changes, cut):
    """Octets changed and cut: some outcome, never an exception, by either way of reading."""
    octets = bytearray(_response(records, 300))
    for place, value in changes:
        octets[place % len(octets)] = value
    for ad in (False, True):
        for end in (len(octets), len(octets) - cut % len(octets)):
            assert dnswire.read_answer(bytes(octets[:end]), QUESTION, trust_ad=ad).kind in KINDS


@ANY_TIME
@given(st.binary(max_size=300))
def test_any_name_is_encoded_or_refused(name):
    """What is encoded is a legal question about that name."""
    qname = dnswire.encode_name(name)
    if qname is not None:
        message = dns.message.from_wire(dnswire.encode_question(1, qname))
        assert len(message.question[0].name.labels) == len(name.rstrip(b".").split(b".")) + 1
        assert len(qname) <= 255
