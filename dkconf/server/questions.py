"""What one message asks the DNS, and what it has heard so far."""

from __future__ import annotations

from typing import Final

from dkconf.mail.lookup import TxtAnswer
from dkconf.server.resolver import Done, Lookups

_TIMEOUT: Final = TxtAnswer("failed", (), "timeout", 0)


class Questions:
    """Used for one message after another; `done` is always the same, whatever the resolver is by then."""

    __slots__ = ("_late", "answers", "missing")

    def __init__(self) -> None:
        self.answers: dict[bytes, TxtAnswer] = {}
        self.missing: set[bytes] = set()
        """Names that were asked for and have no answer yet."""
        self._late = False

    def ask(self, name: bytes, resolver: Lookups, done: Done) -> None:
        """Have `name` looked up, unless that was done; the answer is known now, or `done` will be called."""
        if name in self.answers or name in self.missing:
            return
        answer = resolver.lookup(name, done)
        if answer is None and self._late:
            # The deadline is for all lookups of a message: what is not known by now is not waited for.
            resolver.forget(name, done)
            answer = _TIMEOUT
        if answer is None:
            self.missing.add(name)
        else:
            self.answers[name] = answer

    def hear(self, name: bytes, answer: TxtAnswer) -> bool:
        """Take the answer of a call to `done`; whether it was the last one that was missing."""
        if name not in self.missing:
            return False
        self.missing.discard(name)
        self.answers[name] = answer
        return not self.missing

    def give_up(self, resolver: Lookups, done: Done) -> None:
        """The deadline: what has no answer by now has none."""
        self.answers.update(dict.fromkeys(self.missing, _TIMEOUT))
        self._late = True
        self._forget(resolver, done)

    def clear(self, resolver: Lookups, done: Done) -> None:
        """The message is over."""
        self._late = False
        self.answers.clear()
        if self.missing:
            self._forget(resolver, done)

    def _forget(self, resolver: Lookups, done: Done) -> None:
        for name in self.missing:
            resolver.forget(name, done)
        self.missing.clear()
