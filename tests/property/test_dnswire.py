"""What holds for any octets that a name server, or somebody in its place, may send."""

from __future__ import annotations

import dns.flags
import dns.message
import dns.name
import dns.rcode
import dns.rdatatype
import dns.renderer
import dns.rrset
from hypothesis import given, settings
from hypothesis import strategies as st

from dkconf.mail.lookup import TxtAnswer
from dkconf.server import dnswire

# A busy machine is no fault of what is tested.
ANY_TIME = settings(deadline=None)

NAME = b"s._domainkey.example.org"
QUESTION = dnswire.encode_question(4711, dnswire.encode_name(NAME) or b"")
KINDS = ("answer", "truncated", "alias", "failed", "malformed", "foreign")

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
def test_records_of_the_name_are_read_as_dnspython_reads_them(records, ttl):
    """TXT records of the name itself: their strings and their TTL."""
    octets = _response(records, ttl)
    outcome, expected = dnswire.read_answer(octets, QUESTION), _by_dnspython(octets)

    assert outcome.kind == expected.kind == "answer"
    assert outcome.answer is not None
    assert expected.answer is not None
    assert sorted(outcome.answer.strings) == sorted(expected.answer.strings)
    assert (outcome.answer.status, outcome.answer.ttl) == (expected.answer.status, expected.answer.ttl)


NAMES = ("s._domainkey.example.org.", "S._DomainKey.Example.ORG.", "a.example.net.", "b.a.example.net.", "example.org.")
LINES = st.builds(
    "{} {} IN {}".format,
    st.sampled_from(NAMES),
    st.integers(0, 100_000),
    st.one_of(
        st.sampled_from(NAMES).map("CNAME {}".format),
        st.sampled_from(('TXT "v=DKIM1; p=A"', 'TXT "a" "b"', 'TXT ""', "NS ns.example.org.", "A 192.0.2.1")),
        st.integers(0, 10_000).map("SOA ns.example.org. root.example.org. 1 2 3 4 {}".format),
    ),
)


def _section(most: int) -> st.SearchStrategy[list[str]]:
    """Records without two of a type of which a name has but one: of those dnspython takes the last."""

    def single(line: str) -> object:
        name, _, _, kind, _ = line.split(None, 4)
        return (name.lower(), kind) if kind in ("CNAME", "SOA") else line

    return st.lists(LINES, max_size=most, unique_by=single)


@ANY_TIME
@given(_section(5), _section(3), st.sampled_from([0, 3]), st.booleans())
def test_a_message_is_read_as_dnspython_reads_it(answer, authority, rcode, secure):
    """Whatever well-formed records an answer has, in whatever spelling and order: what it comes to is the same."""
    response = dns.message.make_response(dns.message.from_wire(QUESTION))
    response.set_rcode(dns.rcode.Rcode(rcode))
    response.flags |= dns.flags.AD if secure else 0
    for section, lines in ((response.answer, answer), (response.authority, authority)):
        for line in lines:
            name, ttl, _, kind, rest = line.split(None, 4)
            section.append(dns.rrset.from_text(name, int(ttl), "IN", kind, rest))
    octets = response.to_wire(max_size=65535)

    assert _plain(_by_dnspython(octets)) == _plain(dnswire.read_answer(octets, QUESTION, trust_ad=True))


def _plain(outcome: dnswire.Outcome) -> tuple[object, ...]:
    """An outcome without its words, and records in some order."""
    answer = outcome.answer
    if answer is None:
        return outcome.kind, outcome.alias, outcome.ttl, outcome.secure
    return outcome.kind, answer.status, sorted(set(answer.strings)), answer.ttl, answer.secure


def _by_dnspython(octets: bytes) -> dnswire.Outcome:
    """The reference: what dnspython makes of a message, in our words."""
    message = dns.message.from_wire(octets)
    secure = bool(message.flags & dns.flags.AD)
    try:
        chain = message.resolve_chaining()
    except dns.message.ChainTooLong:
        return dnswire.Outcome("answer", TxtAnswer("broken", (), "", dnswire.BROKEN_TTL_SECONDS))
    except dns.message.AnswerForNXDOMAIN:
        return dnswire.Outcome("malformed")
    ttl = min([dnswire.LONGEST_TTL_SECONDS, *_ttls(message, chain)])
    if chain.answer is not None:
        strings = tuple(b"".join(record.strings) for record in chain.answer)
        return dnswire.Outcome("answer", TxtAnswer("found", strings, "", ttl, secure))
    soa = [rrset for rrset in message.authority if rrset.rdtype == dns.rdatatype.SOA]
    negative = min(soa[0].ttl, soa[0][0].minimum, dnswire.LONGEST_NEGATIVE_TTL_SECONDS) if soa else 0
    if message.rcode() == dns.rcode.NXDOMAIN:
        return dnswire.Outcome("answer", TxtAnswer("absent", (), "", negative, secure))
    if chain.cnames and not soa:
        return dnswire.Outcome("alias", None, chain.canonical_name.to_wire().lower(), "", ttl, secure)
    if message.answer and not chain.cnames and all(rrset.name != chain.canonical_name for rrset in message.answer):
        return dnswire.Outcome("malformed")
    if not soa and any(rrset.rdtype == dns.rdatatype.NS for rrset in message.authority):
        return dnswire.Outcome("failed")
    return dnswire.Outcome("answer", TxtAnswer("absent", (), "", negative, secure))


def _ttls(message: dns.message.Message, chain: dns.message.ChainingResult) -> list[int]:
    """Those of the aliases that were followed, and of the records they led to."""
    return [rrset.ttl for rrset in (*chain.cnames, *([chain.answer] if chain.answer is not None else ()))]


@ANY_TIME
@given(st.binary(max_size=400))
def test_any_octets_have_an_outcome(octets):
    """Nothing is ever raised; what is no answer to our question is foreign or failed."""
    assert dnswire.read_answer(octets, QUESTION).kind in ("foreign", "failed")


COUNTS = st.tuples(*[st.integers(0, 70)] * 3).map(lambda counts: b"".join(n.to_bytes(2, "big") for n in counts))
TAILS = st.lists(
    st.one_of(
        st.binary(max_size=40),
        st.integers(0, 0x3FFF).map(lambda place: (0xC000 | place).to_bytes(2, "big")),
        st.sampled_from(
            [b"\xc0\x0c\0\x10\0\1\0\0\0\x3c", b"\xc0\x0c\0\5\0\1\0\0\0\x3c\0\2\xc0\x0c", b"\1x" * 30, b"\0"]
        ),
    ),
    max_size=30,
).map(b"".join)


@ANY_TIME
@given(st.sampled_from([0x80, 0x83]), COUNTS, TAILS)
def test_any_octets_behind_our_question_have_an_outcome(flags, counts, tail):
    """Pointers anywhere, lengths of any size, counts that are lies: one of the outcomes, and nothing is raised."""
    octets = QUESTION[:2] + bytes([0x81, flags]) + b"\0\1" + counts + QUESTION[12:-11] + tail
    outcome = dnswire.read_answer(octets, QUESTION)

    assert outcome.kind in KINDS
    assert bool(outcome.reason) == (outcome.kind in ("failed", "malformed"))


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
