"""Lookups against a name server of our own on the loopback."""

from __future__ import annotations

import asyncio
import os
import socket
import struct
from contextlib import asynccontextmanager

import dns.flags
import dns.message
import dns.rcode
import dns.rrset
import pytest

from dkconf.mail.lookup import TxtAnswer, parse_records
from dkconf.server import dnswire
from dkconf.server.budget import DOMAIN_FLIGHTS
from dkconf.server.cache import AnswerCache
from dkconf.server.nameservers import Nameservers, from_resolv_conf, from_settings
from dkconf.server.resolver import RecordsResolver, Resolver
from tests.patience import LAST_RESORT_SECONDS

NAME = b"s._domainkey.example.org"
KEY = "v=DKIM1; p=" + "A" * 300
SOA = "example.org. 60 IN SOA ns.example.org. root.example.org. 1 2 3 4 30"


def _rrsets(text: str) -> list[dns.rrset.RRset]:
    return [dns.rrset.from_text(*line.split(None, 4)[:4], line.split(None, 4)[4]) for line in text.splitlines()]


def _txt(name: str, value: str = KEY, ttl: int = 300) -> str:
    parts = " ".join(f'"{value[i : i + 255]}"' for i in range(0, len(value), 255))
    return f"{name}. {ttl} IN TXT {parts}"


class NameServer(asyncio.DatagramProtocol):
    """Answers what `answer` returns: octets, several, or nothing."""

    def __init__(self, answer) -> None:
        self.answer, self.asked = answer, []

    def connection_made(self, transport) -> None:
        self.transport = transport

    def datagram_received(self, data, addr) -> None:
        query = dns.message.from_wire(data)
        self.asked.append(query)
        for octets in self.answer(query):
            self.transport.sendto(octets, addr)


def _reply(query, answer="", authority="", rcode=dns.rcode.NOERROR) -> bytes:
    response = dns.message.make_response(query)
    response.set_rcode(rcode)
    response.answer += _rrsets(answer)
    response.authority += _rrsets(authority)
    return response.to_wire(max_size=65535)


@asynccontextmanager
async def _served(answer, timeout=5.0, tcp=None, servers=1, **options):
    loop = asyncio.get_running_loop()
    transports, protocols, addresses = [], [], []
    for _ in range(servers):
        transport, protocol = await loop.create_datagram_endpoint(
            lambda: NameServer(answer), local_addr=("127.0.0.1", 0)
        )
        transports.append(transport)
        protocols.append(protocol)
        addresses.append(transport.get_extra_info("sockname"))
    stream = None
    if tcp is not None:
        stream = await asyncio.start_server(tcp, *addresses[0])
    resolver = Resolver(loop, Nameservers(tuple(addresses), **options), timeout)
    try:
        yield resolver, protocols
    finally:
        resolver.close()
        for transport in transports:
            transport.close()
        if stream is not None:
            stream.close()
            await stream.wait_closed()


async def _ask(resolver, name=b"s._domainkey.example.org") -> TxtAnswer:
    future = asyncio.get_running_loop().create_future()
    answer = resolver.lookup(name, lambda _, answer: future.set_result(answer))
    return answer if answer is not None else await asyncio.wait_for(future, LAST_RESORT_SECONDS)


def _run(coroutine):
    return asyncio.run(coroutine)


def test_a_record_is_found_and_kept():
    """The strings of a record are joined; the second lookup is answered from the cache."""

    async def go():
        async with _served(lambda q: [_reply(q, _txt("s._domainkey.example.org"))]) as (resolver, [server]):
            first, second = await _ask(resolver), await _ask(resolver, b"S._DOMAINKEY.example.org.")
            return first, second, len(server.asked)

    first, second, asked = _run(go())
    assert TxtAnswer("found", (KEY.encode(),), "", 300) == first == second
    assert 1 == asked


def test_several_records_stay_apart():
    """Two TXT records are two strings; which one holds is the verifier's business."""

    async def go():
        name = "s._domainkey.example.org"
        answer = f"{_txt(name, 'one')}\n{_txt(name, 'two')}"
        async with _served(lambda q: [_reply(q, answer)]) as (resolver, _):
            return await _ask(resolver)

    assert {b"one", b"two"} == set(_run(go()).strings)


@pytest.mark.parametrize(("rcode", "reason"), [(dns.rcode.NXDOMAIN, "NXDOMAIN"), (dns.rcode.NOERROR, "no TXT record")])
def test_negative_answers_live_as_long_as_the_soa_says(rcode, reason):
    """NXDOMAIN and no data are "absent", kept for the lesser of the SOA's TTL and minimum (RFC 2308 5)."""

    async def go():
        async with _served(lambda q: [_reply(q, authority=SOA, rcode=rcode)]) as (resolver, [server]):
            return await _ask(resolver), await _ask(resolver), len(server.asked)

    first, second, asked = _run(go())
    assert TxtAnswer("absent", (), reason, 30) == first == second
    assert 1 == asked


def test_a_negative_answer_without_soa_is_not_kept():
    """RFC 2308 section 5."""

    async def go():
        async with _served(lambda q: [_reply(q, rcode=dns.rcode.NXDOMAIN)]) as (resolver, [server]):
            await _ask(resolver)
            await _ask(resolver)
            return len(server.asked)

    assert 2 == _run(go())


@pytest.mark.parametrize("rcode", [dns.rcode.SERVFAIL, dns.rcode.REFUSED, dns.rcode.NOTIMP])
def test_an_error_is_a_failure_once_all_servers_were_asked(rcode):
    """Every server is tried; then it is "failed" with the reason, without waiting for the timeout."""

    async def go():
        async with _served(lambda q: [_reply(q, rcode=rcode)], servers=3) as (resolver, servers):
            return await _ask(resolver), [len(s.asked) for s in servers]

    answer, asked = _run(go())
    assert "failed" == answer.status
    assert dns.rcode.to_text(rcode) in answer.reason
    assert [1, 1, 1] == asked


def test_silence_is_a_timeout():
    """No answer at all: failed, after the timeout and several attempts."""

    async def go():
        async with _served(lambda q: [], timeout=1.5) as (resolver, [server]):
            return await _ask(resolver), len(server.asked)

    answer, asked = _run(go())
    assert ("failed", "timeout") == (answer.status, answer.reason)
    assert 3 == asked


def test_nobody_there_is_a_failure():
    """A closed port says so at once."""

    async def go():
        with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as sock:
            sock.bind(("127.0.0.1", 0))
            address = sock.getsockname()
        resolver = Resolver(asyncio.get_running_loop(), Nameservers((address,)), 5.0)
        return await _ask(resolver)

    answer = _run(go())
    assert "failed" == answer.status
    assert "refused" in answer.reason.lower()


@pytest.mark.parametrize(
    ("address", "reason"),
    [("255.255.255.255", "Permission denied"), ("fe80::1%no-such-if", "no interface with this name")],
)
def test_where_nobody_can_even_be_asked_the_answer_is_there_at_once(address, reason):
    """No route, no such interface: a connection that was told to wait would wait for its deadline."""

    async def test():
        told: list = []
        resolver = Resolver(asyncio.get_running_loop(), Nameservers(((address, 53),)), 5.0)
        answer = resolver.lookup(NAME, lambda *answer: told.append(answer))
        assert TxtAnswer("failed", (), f"{address}: {reason}", 0) == answer
        assert [] == told
        resolver.close()

    _run(test())


@pytest.mark.parametrize(
    ("answer", "authority", "status", "reason"),
    [
        ("", "example.org. 60 IN NS ns.example.org.", "failed", "referral"),
        (_txt("other.example.org"), "", "broken", "answer for another name"),
        ("example.org. 60 IN DNAME example.net.", "", "broken", "answer for another name"),
    ],
)
def test_what_says_nothing_about_the_name_is_not_believed_at_once(answer, authority, status, reason):
    """A lame server, one that is muddled: the key is not absent; the next one is asked, and what is wrong with the
    answers of all of them is certain."""

    async def test():
        def both(query):
            calls.append(query)
            yield _reply(query, answer, authority) if len(calls) % 2 else _reply(query, _txt(NAME.decode()))

        calls: list = []
        async with _served(both, servers=2) as (resolver, _):
            assert (KEY.encode(),) == (await _ask(resolver)).strings
        async with _served(lambda query: [_reply(query, answer, authority)]) as (resolver, _):
            failed = await _ask(resolver)
            assert (status, f"{reason} from 127.0.0.1") == (failed.status, failed.reason)

    _run(test())


def test_the_second_server_answers_for_the_first():
    """One that is silent costs one attempt."""
    state = []

    def answer(query):
        state.append(query)
        return [] if len(state) == 1 else [_reply(query, _txt("s._domainkey.example.org"))]

    async def go():
        async with _served(answer, timeout=9.0, servers=2) as (resolver, _):
            return await _ask(resolver)

    assert "found" == _run(go()).status


def test_one_flight_per_name():
    """A hundred lookups of one name are one question, and all are answered."""

    async def go():
        async with _served(lambda q: [_reply(q, _txt("s._domainkey.example.org"))]) as (resolver, [server]):
            answers = await asyncio.gather(*(_ask(resolver) for _ in range(100)))
            return answers, len(server.asked)

    answers, asked = _run(go())
    assert {"found"} == {answer.status for answer in answers}
    assert 1 == asked


def test_an_alias_within_the_answer_is_followed():
    """A CNAME chain in the answer leads to the record; the least TTL counts."""

    async def go():
        chain = "s._domainkey.example.org. 60 IN CNAME k.example.net.\n" + _txt("k.example.net")
        async with _served(lambda q: [_reply(q, chain)]) as (resolver, _):
            return await _ask(resolver)

    assert TxtAnswer("found", (KEY.encode(),), "", 60) == _run(go())


def test_an_alias_of_a_whole_tree_is_followed():
    """A DNAME comes with the CNAME that the server made of it (RFC 6672), and perhaps with its signature."""

    async def go():
        chain = (
            "_domainkey.example.org. 60 IN DNAME keys.example.net.\n"
            "s._domainkey.example.org. 60 IN CNAME s.keys.example.net.\n" + _txt("s.keys.example.net")
        )
        async with _served(lambda q: [_reply(q, chain)]) as (resolver, _):
            return await _ask(resolver)

    assert TxtAnswer("found", (KEY.encode(),), "", 60) == _run(go())


def test_no_socket_is_left_behind():
    """Silence, errors, aliases, garbage, truncation without TCP: each lookup ends with what it began with."""

    def answer(query):
        name = query.question[0].name.to_text(omit_final_dot=True)
        kind = name.partition(".")[0].rstrip("0123456789")
        return {
            "silent": [],
            "error": [_reply(query, rcode=dns.rcode.SERVFAIL)],
            "alias": [_reply(query, f"{name}. 60 IN CNAME error.example.org.")],
            "garbage": [b"\0" * 40],
            "truncated": [_truncated(query)],
            "good": [_reply(query, _txt(name)), _reply(query, _txt(name))],
        }[kind]

    async def go():
        async with _served(answer, timeout=2.0) as (resolver, _):
            await _ask(resolver, b"good.example.org")
            before = len(os.listdir("/proc/self/fd"))
            kinds = ("silent", "error", "alias", "garbage", "truncated", "good")
            names = [b"%b%d.example.org" % (kind.encode(), number) for kind in kinds for number in range(20)]
            answers = await asyncio.gather(*(_ask(resolver, name) for name in names))
            await asyncio.sleep(0)  # what was closed leaves the loop
            return before, len(os.listdir("/proc/self/fd")), [answer.status for answer in answers]

    before, after, statuses = _run(go())
    assert before == after
    assert ["failed"] * 100 == statuses[:100]


def _truncated(query) -> bytes:
    response = dns.message.make_response(query)
    response.flags |= dns.flags.TC
    return response.to_wire()


def test_an_alias_without_its_target_is_asked_for():
    """A server that does not follow: the target is looked up here."""

    def answer(query):
        name = query.question[0].name.to_text(omit_final_dot=True)
        if name == "k.example.net":
            return [_reply(query, _txt(name))]
        return [_reply(query, f"{name}. 60 IN CNAME k.example.net.")]

    async def go():
        async with _served(answer) as (resolver, _):
            return await _ask(resolver)

    assert (KEY.encode(),) == _run(go()).strings


@pytest.mark.parametrize(("alias_ttl", "ttl", "kept"), [(5, 300, 5), (300, 7, 7), (0, 300, 0)])
def test_what_an_alias_leads_to_lives_no_longer_than_the_alias(alias_ttl, ttl, kept):
    """A key is changed by pointing the alias elsewhere. And an answer is secure if all of the way is."""

    def answer(query):
        name = query.question[0].name.to_text(omit_final_dot=True)
        if name == "k.example.net":
            response = dns.message.from_wire(_reply(query, _txt(name, ttl=ttl)))
            response.flags |= dns.flags.AD
            return [response.to_wire()]
        return [_reply(query, f"{name}. {alias_ttl} IN CNAME k.example.net.")]

    async def go():
        async with _served(answer, trust_ad=True) as (resolver, _):
            return await _ask(resolver), await _ask(resolver, b"k.example.net")

    by_alias, direct = _run(go())
    assert (kept, False) == (by_alias.ttl, by_alias.secure)
    assert (ttl, True) == (direct.ttl, direct.secure)


def test_aliases_without_end_are_broken():
    """Eight are followed, no more."""

    def answer(query):
        name = query.question[0].name.to_text(omit_final_dot=True)
        return [_reply(query, f"{name}. 60 IN CNAME x{name}.")]

    async def go():
        async with _served(answer) as (resolver, [server]):
            return await _ask(resolver), len(server.asked)

    got, asked = _run(go())
    assert ("broken", "more than 8 aliases") == (got.status, got.reason)
    assert 9 == asked


def test_foreign_answers_are_not_believed():
    """Wrong identifier, wrong question, no response, garbage: none of them is the answer."""

    def answer(query):
        right = _reply(query, _txt("s._domainkey.example.org"))
        other = dns.message.make_query("t._domainkey.example.org", "TXT", id=query.id)
        forged = _reply(other, _txt("t._domainkey.example.org", "forged"))
        wrong_id = struct.pack("!H", query.id ^ 1) + right[2:]
        return [b"", b"\0" * 12, wrong_id, forged, query.to_wire(), right]

    async def go():
        async with _served(answer) as (resolver, _):
            return await _ask(resolver)

    assert (KEY.encode(),) == _run(go()).strings


@pytest.mark.parametrize("opcode", range(1, 16))
def test_what_is_no_answer_to_a_query_is_foreign(opcode):
    """A notification or an update with our identifier and question; dnspython makes other objects of them."""

    async def test():
        def twice(query):
            octets = bytearray(_reply(query, _txt(NAME.decode(), "forged")))
            octets[2] |= opcode << 3
            octets[-1] ^= 1
            yield bytes(octets)
            octets[3] |= 1
            yield bytes(octets)
            yield _reply(query, _txt(NAME.decode()))

        async with _served(twice) as (resolver, _):
            assert (KEY.encode(),) == (await _ask(resolver)).strings

    _run(test())


@pytest.mark.parametrize(("cut", "status"), [(12, "failed"), (30, "failed"), (60, "broken"), (100, "broken")])
def test_a_cut_answer(cut, status):
    """Without our question it is nobody's answer; with it, it is one that cannot be read, whoever is asked."""

    async def go():
        async with _served(lambda q: [_reply(q, _txt("s._domainkey.example.org"))[:cut]], 0.3) as (resolver, _):
            return await _ask(resolver)

    assert status == _run(go()).status


def _by_tcp(answer):
    """A server by TCP that answers what `answer` returns."""

    async def serve(reader, writer):
        length = int.from_bytes(await reader.readexactly(2), "big")
        octets = answer(dns.message.from_wire(await reader.readexactly(length)))
        writer.write(len(octets).to_bytes(2, "big") + octets)
        await writer.drain()
        writer.close()

    return serve


def test_a_truncated_answer_is_asked_for_by_tcp():
    """TC: the same server again, over TCP; records of 7 KB come that way."""
    long_value = "x" * 7000

    async def go():
        tcp = _by_tcp(lambda query: _reply(query, _txt("s._domainkey.example.org", long_value)))
        async with _served(lambda query: [_truncated(query)], tcp=tcp) as (resolver, _):
            return await _ask(resolver)

    assert (long_value.encode(),) == _run(go()).strings


def _malformed(query) -> bytes:
    """An answer to the question whose record is cut."""
    return _reply(query, _txt("s._domainkey.example.org"))[:100]


LONG = _txt("s._domainkey.example.org", "x" * 9000)
MANY = "\n".join(_txt("s._domainkey.example.org", f"v=DKIM1; n={number}") for number in range(65))
LOOP = "s._domainkey.example.org. 60 IN CNAME a.example.org.\na.example.org. 60 IN CNAME s._domainkey.example.org."


@pytest.mark.parametrize(
    ("udp", "tcp", "status", "reason"),
    [
        (_malformed, _malformed, "broken", "malformed answer: a record goes beyond the end from 127.0.0.1"),
        (_malformed, lambda q: _reply(q, _txt(NAME.decode())), "found", ""),
        (_malformed, None, "broken", "malformed answer: a record goes beyond the end from 127.0.0.1"),
        (_malformed, lambda q: _reply(q, rcode=dns.rcode.SERVFAIL), "failed", "SERVFAIL from 127.0.0.1"),
        ("truncated", lambda q: _reply(q, LONG), "broken", "answer of over 8192 octets from 127.0.0.1"),
        (lambda q: _reply(q, LONG), lambda q: _reply(q, LONG), "broken", "answer of over 8192 octets from 127.0.0.1"),
        ("truncated", lambda q: _reply(q, MANY), "broken", "answer of 65 records, 64 are read at most from 127.0.0.1"),
        (lambda q: _reply(q, LOOP), None, "broken", "CNAME loop"),
        ("truncated", lambda q: b"", "failed", "foreign answer by TCP from 127.0.0.1"),
    ],
)
def test_what_cannot_be_read_is_certain_once_it_came_again(udp, tcp, status, reason):
    """By TCP, or by a second question where nobody answers by TCP; not if anybody says anything else."""

    def answer(query):
        return [_truncated(query) if udp == "truncated" else udp(query)]

    async def go():
        async with _served(answer, tcp=None if tcp is None else _by_tcp(tcp)) as (resolver, [server]):
            return await _ask(resolver), await _ask(resolver), len(server.asked)

    got, again, asked = _run(go())
    assert (status, reason) == (got.status, got.reason)
    if status == "broken":
        assert got == again
        assert got.ttl == dnswire.BROKEN_TTL_SECONDS
        assert asked <= 2, "the second lookup is answered from the cache"


@pytest.mark.parametrize(
    ("other", "status"), [([], "broken"), ([dns.rcode.SERVFAIL], "failed"), ([dns.rcode.NOERROR], "found")]
)
def test_what_one_server_garbles_another_one_may_know(other, status):
    """All servers are asked before an answer that cannot be read counts; one that is down does not object."""
    asked: list[int] = []

    def answer(query):
        # One function serves both: the first question is for the first server, and so on in turn.
        asked.append(query.id)
        if len(asked) % 2:
            return [_malformed(query)]
        return [_reply(query, "" if code else _txt(NAME.decode()), rcode=code) for code in other]

    async def go():
        async with _served(answer, timeout=0.6, servers=2) as (resolver, _):
            return await _ask(resolver)

    assert status == _run(go()).status


def test_a_loop_over_two_answers_is_broken():
    """A server that does not follow aliases tells of one at a time."""

    def answer(query):
        name = query.question[0].name.to_text(omit_final_dot=True)
        target = "s._domainkey.example.org" if name == "a.example.org" else "a.example.org"
        return [_reply(query, f"{name}. 60 IN CNAME {target}.")]

    async def go():
        async with _served(answer) as (resolver, [server]):
            return await _ask(resolver), len(server.asked)

    got, asked = _run(go())
    assert ("broken", "CNAME loop") == (got.status, got.reason)
    assert 2 == asked


def test_an_alias_begins_without_doubt():
    """One answer about the name and one about its alias could not be read: neither came again."""

    def by_tcp(query):
        name = query.question[0].name.to_text(omit_final_dot=True)
        return _reply(query, _txt(name) if name == "k.example.net" else f"{name}. 60 IN CNAME k.example.net.")

    async def go():
        async with _served(lambda query: [_malformed(query)], tcp=_by_tcp(by_tcp)) as (resolver, _):
            return await _ask(resolver)

    assert (KEY.encode(),) == _run(go()).strings


def test_a_record_without_a_string_is_an_empty_one():
    """It is no key; and that is certain at once."""

    async def go():
        def answer(query):
            octets = bytearray(_reply(query))
            octets[7] = 1
            end = len(octets) - 11 if query.edns >= 0 else len(octets)
            return [bytes(octets[:end]) + b"\xc0\x0c\0\x10\0\1\0\0\1\x2c\0\0" + bytes(octets[end:])]

        async with _served(answer) as (resolver, _):
            return await _ask(resolver)

    assert TxtAnswer("found", (b"",), "", 300) == _run(go())


def test_an_answer_in_pieces_comes_together():
    """By TCP, one octet at a time at first: it is read, and the socket is looked at a few times only."""
    value = "v=DKIM1; p=" + "A" * 2000

    async def tcp(reader, writer):
        length = int.from_bytes(await reader.readexactly(2), "big")
        octets = _reply(dns.message.from_wire(await reader.readexactly(length)), _txt(NAME.decode(), value))
        octets = len(octets).to_bytes(2, "big") + octets
        for position in range(60):
            writer.write(octets[position : position + 1])
            await writer.drain()
            await asyncio.sleep(0)
        writer.write(octets[60:])
        await writer.drain()
        writer.close()

    async def go():
        async with _served(lambda query: [_truncated(query)], tcp=tcp) as (resolver, _):
            return await _ask(resolver)

    assert (value.encode(),) == _run(go()).strings


def test_a_flood_of_foreign_answers_ends_a_lookup():
    """What answers something else is counted too."""

    async def go():
        async with _served(lambda query: [b"\0" * 1000] * 70, timeout=5.0) as (resolver, _):
            return await _ask(resolver)

    got = _run(go())
    assert ("failed", "over 65536 octets of answers") == (got.status, got.reason)


def test_a_domain_has_a_budget():
    """Whoever asks for a hundred names of one domain at once waits; others do not, and later it is well again."""

    async def go():
        async with _served(lambda query: [], timeout=0.2) as (resolver, _):
            told: list[bytes] = []
            for number in range(DOMAIN_FLIGHTS):
                assert (
                    resolver.lookup(b"s%d._domainkey.a.example.org" % number, lambda name, _: told.append(name)) is None
                )
            more = resolver.lookup(b"more._domainkey.b.example.org", lambda *answer: None)
            assert more is not None
            assert ("failed", "100 lookups for example.org are under way") == (more.status, more.reason)
            assert resolver.lookup(b"s._domainkey.example.net", lambda *answer: None) is None
            while len(told) < DOMAIN_FLIGHTS:
                await asyncio.sleep(0.01)
            assert resolver.lookup(b"more._domainkey.b.example.org", lambda *answer: None) is None

    _run(go())


@pytest.mark.parametrize("silent", [True, False])
def test_strangers_do_not_use_up_what_a_domain_needs(silent):
    """Signatures in its name with selectors that do not exist: its real key, and its policy, are asked for all the
    same when they are due again. That the servers of the domain do not answer such questions any more (many limit
    answers of NXDOMAIN) makes it easy for the stranger, and is no difference.
    """

    def answer(query):
        real = str(query.question[0].name).startswith(("real.", "_domainkey."))
        if silent and not real:
            return []
        return [_reply(query, _txt(NAME.decode(), ttl=1).replace("s._", "real._") if real else "", SOA)]

    async def go():
        async with _served(answer, timeout=2.0) as (resolver, _):
            assert "found" == (await _ask(resolver, b"real._domainkey.example.org")).status
            resolver._cache = AnswerCache()
            refused, number = "", 0
            while not refused:
                more = resolver.lookup(b"junk%d._domainkey.example.org" % number, lambda *answer: None)
                refused, number = more.reason if more is not None else "", number + 1
                if not silent:
                    await asyncio.sleep(0)
            assert refused
            assert "found" == (await _ask(resolver, b"real._domainkey.example.org")).status
            assert "failed" != (await _ask(resolver, b"_domainkey.example.org")).status

    _run(go())


def test_thousands_of_lookups_that_wait_keep_nobody_from_known_names():
    """Many domains whose servers are silent: what was found before is asked for all the same; new names, and the
    policies of new domains, are not.
    """

    async def go():
        async with _served(lambda query: [_reply(query, _txt(NAME.decode(), ttl=1))], timeout=2.0) as (resolver, _):
            resolver._most_flights = 30
            assert "found" == (await _ask(resolver)).status
            resolver._cache = AnswerCache()
            resolver._next_attempt = lambda flight: None
            for number in range(30):
                assert resolver.lookup(b"s._domainkey.%d.example" % number, lambda *answer: None) is None
            for name in (b"s._domainkey.new.example", b"_domainkey.new.example"):
                answer = resolver.lookup(name, lambda *answer: None)
                assert answer is not None
                assert "30 lookups are under way" == answer.reason
            del resolver._next_attempt
            assert "found" == (await _ask(resolver)).status

    _run(go())


def test_a_truncated_answer_and_nobody_on_tcp():
    """A firewall that lets only UDP through: the log says so in the kernel's words."""

    async def test():
        async with _served(lambda query: [_truncated(query)]) as (resolver, _):
            answer = await _ask(resolver)
            assert ("failed", "TCP: Connection refused from 127.0.0.1") == (answer.status, answer.reason)

    _run(test())


def test_edns_is_used_and_given_up_for_an_old_server():
    """The question carries EDNS with 1,232 octets; after FORMERR it is asked once more without."""

    def answer(query):
        if query.edns >= 0:
            return [_reply(query, rcode=dns.rcode.FORMERR)]
        return [_reply(query, _txt("s._domainkey.example.org"))]

    async def go():
        async with _served(answer) as (resolver, [server]):
            return await _ask(resolver), [q.edns for q in server.asked], server.asked[0].payload

    got, edns, payload = _run(go())
    assert "found" == got.status
    assert [0, -1] == edns
    assert 1232 == payload


@pytest.mark.parametrize("name", [b"a..b", b"x" * 64 + b".example.org", b"", b".".join([b"x" * 60] * 5)])
def test_an_illegal_name_does_not_exist(name):
    """Empty and overlong labels cannot be asked for."""

    async def go():
        async with _served(lambda q: []) as (resolver, [server]):
            return await _ask(resolver, name), len(server.asked)

    answer, asked = _run(go())
    assert "absent" == answer.status
    assert 0 == asked


def test_a_retired_resolver_ends_its_lookups_and_keeps_nothing():
    """After a reload it lives on for a while, for those who wait for it."""

    async def test():
        async with _served(lambda query: [_reply(query, _txt(query.question[0].name.to_text(True)))]) as (resolver, _):
            await _ask(resolver)
            future = asyncio.get_running_loop().create_future()
            assert resolver.lookup(b"b.example.org", lambda _, answer: future.set_result(answer)) is None
            resolver.retire()
            assert (KEY.encode(),) == (await asyncio.wait_for(future, LAST_RESORT_SECONDS)).strings
            for name in (NAME, b"b.example.org"):
                assert resolver.lookup(name, lambda *answer: None) is None

    _run(test())


def test_lookups_under_way_are_bounded():
    """One more is a failure at once; as one ends there is room again."""

    async def test():
        async with _served(lambda query: [], timeout=0.2) as (resolver, _):
            resolver._most_flights = 50
            told: list[bytes] = []
            for number in range(50):
                assert resolver.lookup(b"n%d.example.org" % number, lambda name, _: told.append(name)) is None
            answer = resolver.lookup(b"more.example.org", lambda *answer: None)
            assert answer is not None
            assert ("failed", "50 lookups are under way") == (answer.status, answer.reason)
            while len(told) < 50:
                await asyncio.sleep(0.01)
            assert resolver.lookup(b"more.example.org", lambda *answer: None) is None

    _run(test())


def test_a_forgotten_lookup_calls_nobody():
    """A connection that is gone is not called; the answer is kept all the same."""

    async def go():
        called = []

        def done(name, answer):
            called.append(name)

        async with _served(lambda q: [_reply(q, _txt("s._domainkey.example.org"))]) as (resolver, _):
            assert resolver.lookup(b"s._domainkey.example.org", done) is None
            resolver.forget(b"s._domainkey.example.org", done)
            await _ask(resolver)
            return called

    assert [] == _run(go())


def test_dnssec_counts_only_where_the_server_is_trusted():
    """The AD flag is believed with trust-ad only (resolv.conf(5))."""

    def answer(query):
        octets = bytearray(_reply(query, _txt("s._domainkey.example.org")))
        octets[3] |= 0x20
        return [bytes(octets)]

    async def go(trust):
        async with _served(answer, trust_ad=trust) as (resolver, _):
            return (await _ask(resolver)).secure

    assert [False, True] == [_run(go(False)), _run(go(True))]


def test_a_records_file_answers_at_once():
    """What is not in the file does not exist."""
    resolver = RecordsResolver(parse_records('s._domainkey.example.org TXT "v=DKIM1; p="\nx SERVFAIL\n'))

    def never(name, answer):
        raise AssertionError

    assert (b"v=DKIM1; p=",) == resolver.lookup(b"S._domainkey.example.org.", never).strings
    assert "failed" == resolver.lookup(b"x", never).status
    assert "absent" == resolver.lookup(b"y", never).status


def test_nameservers():
    """resolv.conf and the settings name servers, with ports in the settings."""
    conf = "# c\nnameserver 192.0.2.1\nnameserver 2001:db8::1 ; x\nnameserver nonsense\noptions trust-ad\n"
    assert Nameservers((("192.0.2.1", 53), ("2001:db8::1", 53)), True) == from_resolv_conf(conf)
    assert Nameservers((("127.0.0.1", 53),)) == from_resolv_conf("")
    assert (("192.0.2.1", 5300), ("::1", 54), ("::1", 53)) == from_settings(
        ["192.0.2.1:5300", "[::1]:54", "::1"]
    ).addresses
