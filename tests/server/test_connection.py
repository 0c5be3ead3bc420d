"""A connection with a session and a resolver of the test's own: waiting, PROGRESS, faults, slow readers."""

from __future__ import annotations

import asyncio
import contextlib
import socket
import time

import pytest

from dkconf.errors import RemoteProtocolError
from dkconf.mail.lookup import TxtAnswer
from dkconf.milter import codec
from dkconf.milter import messages as m
from dkconf.server import connection as connection_module
from dkconf.server.connection import Connection
from dkconf.server.readiness import Readiness
from dkconf.server.turns import SLICE_SECONDS, Turns
from tests.patience import LAST_RESORT_SECONDS
from tests.server.mta import message, pack

FOUND = TxtAnswer("found", (b"x",), "", 60)
ALL_NR = sum(m.NO_REPLY.values())
OFFER = codec.packet(b"O", b"\0\0\0\6\0\0\1\xff\0\x1f\xff\xff")
CONNECT = codec.packet(b"C", b"mx\0U")


class StubSession:
    """Says what the test wants, and remembers what it was told."""

    def __init__(self, worker) -> None:
        self.worker, self.engine, self.told = worker, None, worker.told
        self.queries = ()
        self.heavy, self.fields_left = False, ()

    def negotiate(self, version, actions, protocol):
        if version < 2:
            raise RemoteProtocolError("too old")
        return 6, actions, protocol & ALL_NR, {}

    def macros(self, stage, values) -> None:
        self.told.append(("macros", values))

    def __getattr__(self, name):
        def tell(*args):
            self.told.append((name, *[bytes(a) if isinstance(a, memoryview) else a for a in args]))
            outcome = self.worker.script.get(name)
            if isinstance(outcome, Exception):
                raise outcome
            return outcome

        return tell

    def end_of_headers(self) -> None:
        self.queries = self.worker.queries

    def end_of_message(self, chunk, answers):
        self.told.append(("eom", dict(answers)))
        for name in self.worker.late_queries:
            if name not in answers:
                return (name,)
        outcome = self.worker.script.get("end_of_message", codec.ACCEPT)
        if isinstance(outcome, Exception):
            raise outcome
        return outcome

    def fault(self, error):
        self.told.append(("fault", str(error)))
        return codec.TEMPFAIL


class StubResolver:
    """Answers when the test says so."""

    def __init__(self) -> None:
        self.waiting: dict[bytes, list] = {}
        self.known: dict[bytes, TxtAnswer] = {}

    def lookup(self, name, done):
        if name in self.known:
            return self.known[name]
        self.waiting.setdefault(name, []).append(done)
        return None

    def forget(self, name, done) -> None:
        self.waiting[name].remove(done)

    def answer(self, name, answer=FOUND) -> None:
        for done in self.waiting.pop(name):
            done(name, answer)


class TimeForAll(Turns):
    """On a machine that is not busy no turn has lasted long."""

    def free(self) -> bool:
        return True


class StubWorker:
    """What a connection needs of its worker."""

    def __init__(self, loop, ready) -> None:
        self.loop, self.ready, self.resolver = loop, ready, StubResolver()
        self.now = loop.time
        self.turns: Turns = TimeForAll(loop, ready, self.unexpected)
        self.buffer = memoryview(bytearray(65536))
        self.engine, self.stopping, self.dns_deadline_seconds = object(), False, 5.0
        self.told: list = []
        self.script: dict = {}
        self.queries: tuple[bytes, ...] = ()
        self.late_queries: tuple[bytes, ...] = ()
        self.verdicts = 0
        self.in_flight, self.ended, self.errors, self.closed = 0, [], [], []

    def new_session(self):
        return StubSession(self)

    def judged(self, seconds) -> None:
        assert seconds >= 0
        self.verdicts += 1

    def message_begins(self) -> None:
        self.in_flight += 1

    def message_ends(self, started) -> None:
        self.in_flight -= 1
        self.ended.append(started is not None)

    def protocol_error(self, text) -> None:
        self.errors.append(text)

    def unexpected(self, error) -> None:
        self.errors.append(repr(error))

    def connection_closed(self, connection) -> None:
        self.closed.append(connection)


class Talk:
    """A connection and the MTA's end of it, on one loop."""

    def __init__(self, loop, ready) -> None:
        self.worker = StubWorker(loop, ready)
        self.others: list[_Another] = []
        self.mta, ours = socket.socketpair()
        self.mta.setblocking(False)
        ours.setblocking(False)
        self.connection = Connection(self.worker, ours)
        ready.when_readable(ours.fileno(), self.connection.readable)

    async def settle(self) -> None:
        for _ in range(5):
            await asyncio.sleep(0)
            await asyncio.sleep(0.001)

    async def say(self, octets) -> bytes:
        """Send, let everything happen, return what came back."""
        self.mta.send(octets)
        await self.settle()
        return self.heard()

    def heard(self) -> bytes:
        try:
            return self.mta.recv(1 << 20)
        except BlockingIOError:
            return b""

    async def begin(self) -> None:
        assert (await self.say(OFFER + CONNECT)).startswith(b"\0\0\0\x0dO")


def _talk(test):
    """Run `test(talk)` on a loop."""
    faults = []
    ready = Readiness(faults.append)

    async def go():
        talk = Talk(asyncio.get_running_loop(), ready)
        try:
            await test(talk)
        finally:
            for each in (talk, *talk.others):
                each.connection.close()
                each.mta.close()

    with asyncio.Runner(loop_factory=lambda: asyncio.SelectorEventLoop(ready)) as runner:
        runner.run(go())
    assert not faults


def test_key_lookups_start_at_end_of_headers_and_run_during_the_body():
    """The names are asked for before the body has come; the verdict waits for them, the body does not."""

    async def test(talk):
        talk.worker.queries = (b"a", b"b")
        await talk.begin()
        octets = message()
        cut = octets.index(codec.packet(b"N")) + 5
        assert b"" == await talk.say(octets[:cut])
        assert {b"a", b"b"} == set(talk.worker.resolver.waiting)
        assert b"" == await talk.say(octets[cut:])
        assert ("body", b"hello\r\n") in talk.worker.told
        talk.worker.resolver.answer(b"a")
        assert b"" == talk.heard()
        talk.worker.resolver.answer(b"b")
        assert codec.ACCEPT == talk.heard()
        assert ("eom", {b"a": FOUND, b"b": FOUND}) == talk.worker.told[-1]
        assert ([True], 0) == (talk.worker.ended, talk.worker.in_flight)

    _talk(test)


def test_a_session_may_ask_for_more_at_the_end():
    """A policy record is looked up once it is known to be needed; then the session is asked again."""

    async def test(talk):
        talk.worker.late_queries = (b"p", b"known")
        talk.worker.resolver.known[b"known"] = FOUND
        await talk.begin()
        assert b"" == await talk.say(message())
        talk.worker.resolver.answer(b"p")
        assert codec.ACCEPT == talk.heard()
        assert 1 == talk.worker.verdicts

    _talk(test)


def test_progress_while_waiting_and_a_deadline(monkeypatch):
    """PROGRESS goes out again and again; at the deadline the missing answer is a timeout."""
    monkeypatch.setattr(connection_module, "PROGRESS_SECONDS", 0.02)

    async def test(talk):
        talk.worker.queries = (b"a",)
        talk.worker.dns_deadline_seconds = 1.0
        await talk.begin()
        heard = await talk.say(message())
        while not heard.endswith(codec.ACCEPT):
            await asyncio.sleep(0.01)
            heard += talk.heard()
        progress = heard.removesuffix(codec.ACCEPT)
        assert codec.PROGRESS * (len(progress) // 5) == progress
        assert len(progress) // 5 >= 2
        assert "failed" == talk.worker.told[-1][1][b"a"].status
        assert [[]] == list(talk.worker.resolver.waiting.values())
        await asyncio.sleep(0.05)
        assert b"" == talk.heard()

    _talk(test)


def test_the_deadline_is_for_all_lookups_of_a_message():
    """What the session asks for after it is not waited for, unless it is known; the next message has its own."""

    async def test(talk):
        talk.worker.queries, talk.worker.late_queries = (b"a",), (b"known", b"p")
        talk.worker.resolver.known[b"known"] = FOUND
        talk.worker.dns_deadline_seconds = 0.1
        await talk.begin()
        heard = await talk.say(message())
        async with asyncio.timeout(LAST_RESORT_SECONDS):
            while not heard:
                await asyncio.sleep(0.01)
                heard = talk.heard()
        assert codec.ACCEPT == heard
        answers = talk.worker.told[-1][1]
        assert [(b"a", "failed"), (b"known", "found"), (b"p", "failed")] == [
            (name, answer.status) for name, answer in sorted(answers.items())
        ]
        assert not any(talk.worker.resolver.waiting.values())

        talk.worker.queries, talk.worker.dns_deadline_seconds = (), 5.0
        assert b"" == await talk.say(message())
        talk.worker.resolver.answer(b"p")
        assert codec.ACCEPT == talk.heard()

    _talk(test)


def test_what_comes_while_waiting_is_done_afterwards():
    """The next message, sent too early and in pieces, is served in its turn."""

    async def test(talk):
        talk.worker.queries = (b"a",)
        await talk.begin()
        assert b"" == await talk.say(message() + message(body=b"second\r\n")[:-7])
        assert b"" == await talk.say(message()[-7:])
        talk.worker.resolver.known[b"a"] = FOUND
        talk.worker.resolver.answer(b"a")
        await talk.settle()
        assert codec.ACCEPT * 2 == talk.heard()
        assert b"hello\r\nsecond\r\n" == b"".join(t[1] for t in talk.worker.told if t[0] == "body")

    _talk(test)


def test_an_mta_that_goes_away_while_we_wait():
    """The lookup is forgotten, the message aborted, the session closed: each once."""

    async def test(talk):
        talk.worker.queries = (b"a",)
        await talk.begin()
        await talk.say(message())
        talk.mta.close()
        await talk.settle()
        assert [talk.connection] == talk.worker.closed
        assert {b"a": []} == talk.worker.resolver.waiting
        assert [("abort",), ("close",)] == talk.worker.told[-2:]
        assert ([False], 0) == (talk.worker.ended, talk.worker.in_flight)

    _talk(test)


@pytest.mark.parametrize("where", ["headers", "end_of_message", "body"])
def test_a_fault_of_the_session_is_answered_by_the_session(where):
    """An exception becomes the session's reply at the next place where one is due; the connection lives."""

    async def test(talk):
        talk.worker.script[where] = ValueError("boom")
        await talk.begin()
        assert codec.TEMPFAIL == await talk.say(message())
        assert ("fault", "boom") in talk.worker.told
        talk.worker.script.clear()
        assert codec.ACCEPT == await talk.say(message())

    _talk(test)


def test_each_header_field_is_answered_where_the_mta_waits_for_it():
    """Without SMFIP_NR_HDR fields go to the session one by one, even if they come together."""

    async def test(talk):
        offer = codec.packet(b"O", b"\0\0\0\6\0\0\1\xff" + (0x1FFFFF & ~m.SMFIP_NR_HDR).to_bytes(4, "big"))
        assert (await talk.say(offer + CONNECT)).startswith(b"\0\0\0\x0dO")
        octets = message([(b"From", b" a@example.org"), (b"To", b" b"), (b"To", b" c")])
        assert codec.CONTINUE * 3 + codec.ACCEPT == await talk.say(octets)
        assert 3 == [t[0] for t in talk.worker.told].count("header")
        talk.worker.script["header"] = ValueError("boom")
        assert codec.TEMPFAIL == await talk.say(octets)

    _talk(test)


def test_an_mta_that_does_not_read():
    """Replies wait until it does; meanwhile nothing more is read, so that memory stays bounded."""

    async def test(talk):
        reply = codec.add_header(b"X", b"x" * 60000) * 20 + codec.ACCEPT
        talk.worker.script["end_of_message"] = reply
        await talk.begin()
        talk.mta.send(message() * 2)
        await talk.settle()
        heard = b""
        while len(heard) < 2 * len(reply):
            heard += talk.heard()
            await asyncio.sleep(0)
        assert reply * 2 == heard
        talk.worker.script.clear()
        assert codec.ACCEPT == await talk.say(message())

    _talk(test)


def test_a_reload_counts_from_the_next_message():
    """The session gets the new engine at MAIL."""

    async def test(talk):
        await talk.begin()
        octets = message()
        await talk.say(octets[:-5])
        session = talk.connection._session
        old, talk.worker.engine = talk.worker.engine, object()
        await talk.say(octets[-5:])
        assert session.engine is old
        await talk.say(octets)
        assert session.engine is talk.worker.engine

    _talk(test)


def test_macros_of_mail_survive_a_message_that_was_not_ended():
    """MAIL after MAIL: the new macros came before the command, and are not lost with the old message."""

    async def test(talk):
        await talk.begin()
        await talk.say(pack(b"M", b"<a@b>"))
        talk.worker.told.clear()
        await talk.say(codec.packet(b"D", b"Mi\0q2\0") + pack(b"M", b"<a@b>"))
        assert ["macros", "envfrom"] == [t[0] for t in talk.worker.told]
        assert 1 == talk.worker.in_flight

    _talk(test)


def test_commands_before_a_broken_packet_are_served():
    """Then the connection is closed, and the fault is told."""

    async def test(talk):
        await talk.begin()
        assert codec.ACCEPT == await talk.say(message() + codec.packet(b"z"))
        assert ["unknown command 0x7a"] == talk.worker.errors
        assert talk.connection.closed

    _talk(test)


class Clock:
    """Seconds, as the test says."""

    def __init__(self) -> None:
        self.seconds = 1000.0

    def __call__(self) -> float:
        return self.seconds


NEXT = codec.packet(b"D", b"Mi\0q2\0{auth_type}\0PLAIN\0")


@pytest.mark.parametrize("octets", [NEXT[:3], NEXT[:-1], codec.packet(b"B", bytes(60_000))[:50_000]])
@pytest.mark.parametrize("behind", [b"", message()])
def test_a_packet_that_trickles_is_cut_off(octets, behind):
    """Between two messages too: once it has begun it must be whole in time, however often an octet comes."""

    async def test(talk):
        clock = talk.worker.now = Clock()
        await talk.begin()
        # The MTA may be silent for long; the packet's time begins with the packet.
        clock.seconds += connection_module.IDLE_SECONDS - 10
        await talk.say(behind + octets[:1])
        begun = clock.seconds
        for number in range(1, len(octets), len(octets) // 3 + 1):
            clock.seconds += 90
            await talk.say(octets[number : number + 1])
            assert not talk.connection.overdue(clock.seconds)
        assert not talk.connection.overdue(begun + connection_module.PACKET_SECONDS)
        assert talk.connection.overdue(begun + connection_module.PACKET_SECONDS + 1)

    _talk(test)


def test_a_body_in_whole_packets_may_take_its_time():
    """Each packet is a sign of life; so is the end of one that came in parts."""

    async def test(talk):
        clock = talk.worker.now = Clock()
        await talk.begin()
        await talk.say(message()[: -5 - 12])
        piece = codec.packet(b"B", b"x" * 50)
        for _ in range(5):
            clock.seconds += 300
            await talk.say(piece[:20])
            clock.seconds += 300
            assert not talk.connection.overdue(clock.seconds)
            await talk.say(piece[20:])
        clock.seconds += connection_module.IDLE_SECONDS
        assert not talk.connection.overdue(clock.seconds)
        assert talk.connection.overdue(clock.seconds + 1)

    _talk(test)


def test_a_quit_that_comes_early_loses_no_reply():
    """The reply to the message in front of it is written, what is behind it is not looked at, then we close."""

    async def test(talk):
        await talk.begin()
        assert codec.ACCEPT == await talk.say(message() + codec.packet(b"Q") + message())
        assert talk.connection.closed
        assert not talk.worker.errors

    _talk(test)


def test_a_stopping_worker_closes_after_the_message():
    """SIGTERM: what has begun is finished, then the connection ends."""

    async def test(talk):
        await talk.begin()
        octets = message()
        await talk.say(octets[:-5])
        talk.worker.stopping = True
        assert codec.ACCEPT == await talk.say(octets[-5:])
        assert talk.connection.closed

    _talk(test)


def _burn(seconds: float) -> None:
    """Use the processor for so long."""
    end = time.thread_time() + seconds
    while time.thread_time() < end:
        pass


class _Another:
    """A second connection on the same worker."""

    def __init__(self, talk, ready) -> None:
        self.mta, ours = socket.socketpair()
        self.mta.setblocking(False)
        ours.setblocking(False)
        self.connection = Connection(talk.worker, ours)
        ready.when_readable(ours.fileno(), self.connection.readable)
        talk.others.append(self)


def _slow_session(talk, ready, **slow) -> None:
    """Let steps of the first session take a slice each: so many signatures, fields or parts of the decision."""
    talk.worker.turns = Turns(talk.worker.loop, ready, talk.worker.unexpected)
    session = talk.connection._session
    session.heavy = "decide_one" in slow

    def step(name):
        def work(*args):
            slow[name] -= 1
            _burn(SLICE_SECONDS * 1.2)
            talk.worker.told.append((name, slow[name]))
            return slow[name] > 0

        return work

    for name in slow:
        setattr(session, name, step(name))


@pytest.mark.parametrize("step", ["judge_one", "decide_one"])
def test_a_long_message_lets_others_go_first(step):
    """Its signatures are read and judged a slice at a time, and a message that comes meanwhile is answered before."""

    async def test(talk):
        await talk.begin()
        _slow_session(talk, talk.worker.ready, **{step: 20})
        other = _Another(talk, talk.worker.ready)
        other.mta.send(OFFER + CONNECT)
        await talk.settle()
        talk.mta.send(message())
        other.mta.recv(1 << 16)
        other.mta.send(message())
        heard = theirs = b""
        async with asyncio.timeout(LAST_RESORT_SECONDS):
            while not theirs:
                await asyncio.sleep(0)
                heard += talk.heard()
                with contextlib.suppress(BlockingIOError):
                    theirs += other.mta.recv(1 << 16)
            assert (b"", codec.ACCEPT) == (heard, theirs)
            while not heard:
                await asyncio.sleep(0)
                heard += talk.heard()
        assert codec.ACCEPT == heard
        assert [(step, left) for left in range(19, -1, -1)] == [
            t for t in talk.worker.told if t[0] == step and t[1] != {}
        ]

    _talk(test)


def test_one_answer_wakes_many_messages_one_after_another():
    """Each of them has work for a slice: between any two of them the loop looks at others."""

    async def test(talk):
        talk.worker.queries = (b"a",)
        talk.worker.turns = Turns(talk.worker.loop, talk.worker.ready, talk.worker.unexpected)
        others = [_Another(talk, talk.worker.ready) for _ in range(10)]
        for other in others:
            other.mta.send(OFFER + CONNECT + message())
        async with asyncio.timeout(LAST_RESORT_SECONDS):
            while len(talk.worker.resolver.waiting.get(b"a", ())) < len(others):
                await asyncio.sleep(0)
        turns: list[int] = []
        for other in others:
            session = other.connection._session
            session.judge_one = lambda *args: _burn(SLICE_SECONDS * 1.2)
        talk.worker.resolver.answer(b"a")
        async with asyncio.timeout(LAST_RESORT_SECONDS):
            while talk.worker.verdicts < len(others):
                before = talk.worker.verdicts
                await asyncio.sleep(0)
                turns.append(talk.worker.verdicts - before)
        assert max(turns) <= 2

    _talk(test)


def test_fields_that_take_long_are_taken_in_parts():
    """What is left of them comes before all else that the MTA sent."""

    async def test(talk):
        await talk.begin()
        talk.worker.turns = Turns(talk.worker.loop, talk.worker.ready, talk.worker.unexpected)
        session = talk.connection._session

        def headers(pairs, stepwise):
            _burn(SLICE_SECONDS * 1.2)
            talk.worker.told.append(("headers", list(pairs[:2])))
            session.fields_left = pairs[2:]

        session.headers = headers
        fields = [(b"F%d" % number, b" x") for number in range(9)]
        talk.mta.send(message(fields))
        heard = b""
        async with asyncio.timeout(LAST_RESORT_SECONDS):
            while not heard:
                await asyncio.sleep(0)
                heard += talk.heard()
        told = [t for t in talk.worker.told if t[0] in ("headers", "body", "eom")]
        assert ["headers"] * 5 + ["body", "eom"] == [t[0] for t in told]
        assert fields == [field for t in told[:5] for field in t[1]]

    _talk(test)


def test_a_connection_may_end_while_its_work_is_put_off():
    """Nothing of it is done later, and nothing fails."""

    async def test(talk):
        await talk.begin()
        _slow_session(talk, talk.worker.ready, judge_one=20)
        talk.mta.send(message())
        async with asyncio.timeout(LAST_RESORT_SECONDS):
            while not any(t[0] == "judge_one" for t in talk.worker.told):
                await asyncio.sleep(0)
        talk.connection.close()
        before = len(talk.worker.told)
        await talk.settle()
        assert before == len(talk.worker.told)
        assert not talk.worker.errors

    _talk(test)
