"""What one message asks the DNS, and what it has heard so far."""

from __future__ import annotations

from typing import Final

from dkconf.domainkeys.policyrecord import is_policy
from dkconf.mail.lookup import TxtAnswer
from dkconf.server.resolver import Done, Lookups

MESSAGE_LOOKUPS: Final = 20
"""Keys that are looked up for one message: one for each of ten signatures of either scheme. The policy of the sender's
domain is asked for whatever else was: nobody may spend the budget to hide it."""
MESSAGE_OCTETS: Final = 32 * 1024
"""Octets of records that are taken for one message: twenty keys of 8192 bits."""
_TOO_MANY: Final = TxtAnswer("broken", (), f"more than {MESSAGE_LOOKUPS} key lookups for one message", 0)
_TOO_LONG: Final = TxtAnswer("broken", (), f"over {MESSAGE_OCTETS} octets of key records for one message", 0)

_TIMEOUT: Final = TxtAnswer("failed", (), "timeout", 0)


class Questions:
    """Used for one message after another; `done` is always the same, whatever the resolver is by then."""

    __slots__ = ("_late", "_octets", "answers", "missing")

    def __init__(self) -> None:
        self.answers: dict[bytes, TxtAnswer] = {}
        self.missing: set[bytes] = set()
        """Names that were asked for and have no answer yet."""
        self._late = False
        self._octets = 0
        """Of key records so far."""

    def ask(self, name: bytes, resolver: Lookups, done: Done) -> None:
        """Have `name` looked up, unless that was done; the answer is known now, or `done` will be called."""
        if name in self.answers or name in self.missing:
            return
        if len(self.answers) + len(self.missing) >= MESSAGE_LOOKUPS and not is_policy(name):
            self.answers[name] = _TOO_MANY
            return
        answer = resolver.lookup(name, done)
        if answer is None and self._late:
            # The deadline is for all lookups of a message: what is not known by now is not waited for.
            resolver.forget(name, done)
            answer = _TIMEOUT
        if answer is None:
            self.missing.add(name)
        else:
            self._take(name, answer)

    def hear(self, name: bytes, answer: TxtAnswer) -> bool:
        """Take the answer of a call to `done`; whether it was the last one that was missing."""
        if name not in self.missing:
            return False
        self.missing.discard(name)
        self._take(name, answer)
        return not self.missing

    def _take(self, name: bytes, answer: TxtAnswer) -> None:
        if answer.status == "found" and not is_policy(name):
            self._octets += sum(map(len, answer.strings))
            if self._octets > MESSAGE_OCTETS:
                answer = _TOO_LONG
        self.answers[name] = answer

    def give_up(self, resolver: Lookups, done: Done) -> None:
        """The deadline: what has no answer by now has none."""
        self.answers.update(dict.fromkeys(self.missing, _TIMEOUT))
        self._late = True
        self._forget(resolver, done)

    def clear(self, resolver: Lookups, done: Done) -> None:
        """The message is over."""
        self._late = False
        self._octets = 0
        self.answers.clear()
        if self.missing:
            self._forget(resolver, done)

    def _forget(self, resolver: Lookups, done: Done) -> None:
        for name in self.missing:
            resolver.forget(name, done)
        self.missing.clear()
