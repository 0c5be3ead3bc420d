"""Rules that need to know how long something has been so: the commits of the inventory, newest first.

Only what this change touches, or what is in test, is followed back. Where the clone does not reach back far enough,
the rule is skipped, by name.
"""

from __future__ import annotations

import os
import time
from collections.abc import Callable, Iterator
from pathlib import Path

from dkconf.inventory import InventoryInvalid, load_octets
from dkconf.inventory.findings import Skipped, quote
from dkconf.inventory.model import Inventory, Selector
from dkconf.inventory.references import Checker

from . import git

DAY_SECONDS = 86400
MAX_TESTING_DAYS = 30
MIN_PERCOLATION_DAYS = 8  # T_queue (5 d, sendmail's default) + 3 d for late checks
MAX_OCTETS = 20_000_000  # of all versions together: seconds, not minutes
MAX_VERSIONS = 50  # each is read whole; a selector that was so for 50 changes has been so for long


class Versions:
    """The inventory at earlier commits, read when asked for."""

    def __init__(self, repository: git.Repository, commit: str, path: str) -> None:
        listing = repository.run("log", "--format=%H %ct", f"-{MAX_VERSIONS}", commit, "--", path) or b""
        self._entries = [line.split() for line in listing.decode().splitlines()]
        self._repository, self._path = repository, path
        self._read: dict[str, Inventory | None] = {}
        self._octets = 0
        self.whole = len(self._entries) < MAX_VERSIONS and not repository.is_shallow()
        """Whether the list goes back to the file's beginning."""

    def __iter__(self) -> Iterator[tuple[int, Inventory | None]]:
        """Yield (time in seconds, inventory) from the newest; None for one that cannot be read."""
        for commit, seconds in self._entries:
            if commit not in self._read:
                if self._octets > MAX_OCTETS:
                    self.whole = False
                    return
                self._read[commit] = self._load(commit)
            yield int(seconds), self._read[commit]

    def _load(self, commit: str) -> Inventory | None:
        octets = self._repository.blob(commit, self._path) or b""
        self._octets += len(octets)
        try:
            return load_octets(octets, self._path).inventory
        except InventoryInvalid:
            return None


def check(
    checker: Checker,
    old: Inventory,
    new: Inventory,
    repository: git.Repository,
    commit: str,
    path: Path,
    now: float | None = None,
) -> list[Skipped]:
    """Add findings about how long a key was in test or percolating; return what could not be known.

    Args:
        now: Seconds since the epoch; the clock if None.
    """
    now = time.time() if now is None else now
    name = os.path.relpath(path.resolve(), repository.top).replace(os.sep, "/")
    versions = Versions(repository, commit, name)
    skipped = []
    for domain_name, selector_name, selector in _selectors(new):
        before = _selector(old, domain_name, selector_name)
        here = ("domains", domain_name, "selectors", selector_name)
        if selector.testing and selector.state in ("published", "active") and before is not None and before.testing:
            since = _since(versions, domain_name, selector_name, lambda s: s.testing)
            if since is None:
                skipped.append(Skipped("DNS007", "the clone's history is too short"))
            elif now - since > MAX_TESTING_DAYS * DAY_SECONDS:
                days = int((now - since) / DAY_SECONDS)
                checker.at_key(
                    "DNS007",
                    (*here, "testing"),
                    f"{quote(selector_name)} has said t=y for {days} days",
                    "take it out, or say why it must stay",
                )
        if before is not None and before.state == "percolating" and selector.state in ("revoked", "removed"):
            since = _since(versions, domain_name, selector_name, lambda s: s.state == "percolating")
            if since is None:
                skipped.append(Skipped("ROT002", "the clone's history is too short"))
            elif now - since < MIN_PERCOLATION_DAYS * DAY_SECONDS:
                days = int((now - since) / DAY_SECONDS)
                checker.at_value(
                    "ROT002",
                    (*here, "state"),
                    f"{quote(selector_name)} has percolated for {days} days only",
                    f"wait until it is {MIN_PERCOLATION_DAYS}",
                )
    return list(dict.fromkeys(skipped))


def _selectors(inventory: Inventory) -> Iterator[tuple[str, str, Selector]]:
    for domain_name, domain in inventory.domains.items():
        for selector_name, selector in domain.selectors.items():
            yield domain_name, selector_name, selector


def _selector(inventory: Inventory, domain: str, selector: str) -> Selector | None:
    return inventory.domains[domain].selectors.get(selector) if domain in inventory.domains else None


def _since(versions: Versions, domain: str, name: str, holds: Callable[[Selector], bool]) -> int | None:
    """Return when something about a selector became so; None if the history ends before that."""
    since = None
    for seconds, inventory in versions:
        if inventory is None:
            continue
        selector = _selector(inventory, domain, name)
        if selector is None or not holds(selector):
            return since
        since = seconds
    return since if versions.whole else None
