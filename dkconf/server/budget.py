"""What the lookups of one domain may cost a worker: how many at once, and how many, octets and seconds of waiting in a
while.

The owner of a domain decides how slowly and with how much its name servers answer, and with a wildcard he has as many
selectors as he likes. Whoever goes beyond the budget waits: his lookups fail for the rest of the while, at no cost,
and his mail is tried again. Nothing is held against him after that, nor against others.

It need not be the owner: anybody can send mail with signatures in another's name and selectors that do not exist. So
the names of a domain that were found lately (`Proven`) have accounts of their own, which no stranger can use up.
"""

from __future__ import annotations

from collections import OrderedDict
from typing import Final

WINDOW_SECONDS: Final = 10.0
"""The while."""
DOMAIN_LOOKUPS: Final = 2000
"""In a while. A domain has a handful of selectors, and what is known is not asked for again."""
DOMAIN_OCTETS: Final = 2 * 1024 * 1024
"""In a while: as many answers of a kilobyte, twice what a key of 4096 bits takes."""
DOMAIN_SECONDS: Final = 400
"""Of waiting in a while, all lookups together."""
DOMAIN_FLIGHTS: Final = 100
"""Lookups under way at once; BIND asks the servers of one zone 100 to 200 questions at once where that is limited
(fetches-per-zone)."""
MOST_DOMAINS: Final = 2000
"""Domains whose costs are kept in mind; more, and the oldest is forgotten."""
MOST_PROVEN: Final = 16
"""Names of one domain that are known to have a record; with a wildcard its owner has any number of them."""

# Where names are registered one level lower: example.co.uk.
_SECOND_LEVELS: Final = frozenset(
    b"ac asn asso blog co com ed edu gob gouv gov govt gub id ind info int ltd me mil museum name ne net nhs nic nom"
    b" nsw or org plc pro sch school tm uk vic web".split()
)


def budget_domain(name: bytes) -> bytes:
    """Return the domain that pays for a lookup: the one that was registered, as far as a short list can tell.

    Without the list of public suffixes two owners may share a budget; they share a delay at most.
    """
    labels = name.rsplit(b".", 3)[-3:]
    if len(labels) == 3 and not (len(labels[2]) == 2 and labels[1] in _SECOND_LEVELS):
        del labels[0]
    return b".".join(labels)


class _Account:
    """The costs of one domain."""

    __slots__ = ("began", "lookups", "octets", "seconds", "under_way")

    def __init__(self, now: float) -> None:
        self.began = now
        self.lookups = self.octets = self.under_way = 0
        self.seconds = 0.0


class Budgets:
    """The accounts of all domains. Times are those of one monotonic clock, in seconds."""

    __slots__ = ("_accounts",)

    def __init__(self) -> None:
        self._accounts: dict[bytes, _Account] = {}

    def __len__(self) -> int:
        return len(self._accounts)

    def begin(self, domain: bytes, now: float) -> str:
        """Count a lookup that begins, and return ""; or return why it must not, and count nothing."""
        account = self._accounts.get(domain)
        if account is None:
            account = self._accounts[domain] = _Account(now)
            if len(self._accounts) > MOST_DOMAINS:
                self._forget_one(domain)
        elif now - account.began >= WINDOW_SECONDS:
            account.began, account.lookups, account.octets, account.seconds = now, 0, 0, 0.0
        name = domain.decode("ascii", "backslashreplace")
        if account.under_way >= DOMAIN_FLIGHTS:
            return f"{account.under_way} lookups for {name} are under way"
        for spent, most, unit in (
            (account.lookups, DOMAIN_LOOKUPS, "lookups"),
            (account.octets, DOMAIN_OCTETS, "octets of answers"),
            (account.seconds, DOMAIN_SECONDS, "seconds of waiting"),
        ):
            if spent >= most:
                return f"{most} {unit} for {name} within {WINDOW_SECONDS:g} s"
        account.lookups += 1
        account.under_way += 1
        return ""

    def end(self, domain: bytes, octets: int, seconds: float) -> None:
        """Count what a lookup cost that has ended."""
        account = self._accounts.get(domain)
        if account is not None:
            account.under_way = max(0, account.under_way - 1)
            account.octets += octets
            account.seconds += seconds

    def _forget_one(self, but: bytes) -> None:
        """Forget the oldest domain that has nothing under way; where all have, the oldest."""
        oldest = iter(self._accounts)
        chosen = next((d for d in oldest if d != but and not self._accounts[d].under_way), next(iter(self._accounts)))
        del self._accounts[chosen]


class Proven:
    """Names that had a record when they were last asked for: a few of each domain, the latest ones."""

    __slots__ = ("_names",)

    def __init__(self) -> None:
        self._names: OrderedDict[bytes, OrderedDict[bytes, None]] = OrderedDict()

    def __len__(self) -> int:
        return sum(map(len, self._names.values()))

    def holds(self, domain: bytes, name: bytes) -> bool:
        """Return whether a name of the domain is one of them."""
        return name in self._names.get(domain, ())

    def add(self, domain: bytes, name: bytes) -> None:
        """Remember a name of the domain."""
        names = self._names.setdefault(domain, OrderedDict())
        names[name] = None
        names.move_to_end(name)
        self._names.move_to_end(domain)
        if len(names) > MOST_PROVEN:
            names.popitem(last=False)
        if len(self._names) > MOST_DOMAINS:
            self._names.popitem(last=False)
