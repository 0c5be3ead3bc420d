"""Warnings about an inventory that can be read: what its owner would rather know before.

One function per subject, each called with the whole inventory; `rules.py` has the long form of each rule.
"""

from __future__ import annotations

from collections.abc import Callable

from .model import Inventory
from .references import Checker
from .source import Node, Source


def check(source: Source, root: Node, inventory: Inventory) -> None:
    """Add a finding per thing that looks like a slip or a risk."""
    checker = Checker(source, root)
    for subject in SUBJECTS:
        subject(checker, inventory)


SUBJECTS: tuple[Callable[[Checker, Inventory], None], ...] = ()
