"""The inventory: from `inventory.yaml` to typed, frozen values, with every problem of the file at its place.

`load` reads, `schema` describes, `edit` changes single lines and keeps the rest. Nothing of ruamel.yaml is
imported before `load` is called.
"""

from __future__ import annotations

from .findings import Finding, InventoryInvalid, Skipped
from .loader import Loaded, load, load_octets
from .rules import RULES, Rule

__all__ = [
    "RULES",
    "Finding",
    "InventoryInvalid",
    "Loaded",
    "Rule",
    "Skipped",
    "load",
    "load_octets",
    "schema",
]


def schema() -> dict[str, object]:
    """Return the JSON Schema (draft 2020-12) of an inventory file."""
    from .json_schema import schema as make

    return make()
