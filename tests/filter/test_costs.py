"""What one message may cost: no step of the session takes more than five milliseconds of the CPU, whatever is sent."""

from __future__ import annotations

import time
from collections.abc import Callable

import pytest

from dkconf.crypto.keys import public_keys
from dkconf.dkim import keyrecord, signature
from dkconf.domainkeys import keyrecord as domainkeys_keyrecord
from dkconf.filter import config
from dkconf.filter.engine import Engine
from dkconf.filter.session import Session
from dkconf.mail.lookup import ABSENT
from tests.filter.attacks import ATTACKS, Attack, pieces

MOST_SECONDS = 0.005
ROUNDS = 9
READ_OCTETS = 65536
"""What the server reads at once."""


class Steps:
    """Plays a message, and keeps how long each step takes at its fastest."""

    def __init__(self) -> None:
        settings = 'socket = "local:/x"\nroles = ["verify"]\nlog = "off"\n'
        self.engine = Engine.load(config.loads(settings), lambda path: b"")
        self.fastest: dict[str, float] = {}
        self.replies = b""

    def step(self, name: str, work: Callable[[], object]) -> object:
        begin = time.thread_time()
        outcome = work()
        taken = time.thread_time() - begin
        self.fastest[name] = min(taken, self.fastest.get(name, taken))
        return outcome

    def play(self, attack: Attack) -> None:
        """One message, as the server steps through it."""
        session = Session(self.engine, lambda: 1_700_000_000.0, lambda priority, line, facts: None)
        session.negotiate(6, 0x1FF, 0x1FFFFF)
        session.macros(ord("C"), {b"j": b"mx.example.net"})
        session.connect(b"client.example.org", b"4", 1, b"192.0.2.7")
        session.envfrom((b"<a@example.org>",))
        batch: list[tuple[bytes, bytes]] = []
        size = number = 0
        for name, value in [*attack.fields, (b"", b"")]:
            size += len(name) + len(value) + 7
            if size > READ_OCTETS or not name:
                session.fields_left, batch, size = batch, [], 0
                while session.fields_left:
                    self.step(f"header {number}", lambda: session.headers(session.fields_left, True))
                    number += 1
            batch.append((name, value))
        number = 0
        while session.heavy and self.step(f"decision {number}", session.decide_one):
            number += 1
        self.step("end of headers", session.end_of_headers)
        assert session._message is not None
        assert session._message.failure is None
        assert not session._message.oversize, "it would cost nothing more"
        for number, piece in enumerate(pieces(attack.body)):
            self.step(f"body {number}", lambda piece=piece: session.body(piece))
        answers = {name: attack.answers.get(name, ABSENT) for name in session.queries}
        number = 0
        while self.step(f"signature {number}", lambda: session.judge_one(answers)):
            number += 1
        reply = self.step("end of message", lambda: session.end_of_message(None, answers))
        if isinstance(reply, tuple):
            answers |= dict.fromkeys(reply, ABSENT)
            reply = self.step("end of message with the policy", lambda: session.end_of_message(None, answers))
        assert isinstance(reply, bytes)
        self.replies = reply


@pytest.mark.parametrize("name", ATTACKS)
def test_no_step_takes_long(name: str) -> None:
    """CPU time of this thread, at the best of some rounds, without anything remembered from the last one."""
    attack, steps = ATTACKS[name](), Steps()
    for number in range(ROUNDS):
        for cached in (keyrecord.parse, domainkeys_keyrecord.parse, signature._terms):
            cached.cache_clear()
        public_keys._keys.clear()
        steps.play(attack)
        if number and max(steps.fastest.values()) < MOST_SECONDS:
            break
    slowest = max(steps.fastest, key=steps.fastest.__getitem__)
    assert steps.fastest[slowest] < MOST_SECONDS, slowest
    assert b"X" not in steps.replies[:5]
