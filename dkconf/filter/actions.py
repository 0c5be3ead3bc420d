"""dk-filter's -C string: which result gets which action.

Kept as dk-filter reads it, its fatal errors and their wording included, since hosts carry such strings and a
lint must know what the program would say. Left to right, the last setting wins, nothing is trimmed, and the
action is checked before the key.
"""

from __future__ import annotations

from dataclasses import replace
from typing import Final

from dkconf.filter.config import Action, Conditions

KEYS: Final = {
    "no": "no",
    "nosignature": "no",
    "miss": "miss",
    "signaturemissing": "miss",
    "bad": "bad",
    "badsignature": "bad",
    "dns": "dns",
    "dnserror": "dns",
    "int": "int",
    "internal": "int",
    "sec": "sec",
    "security": "sec",
    "def": "def",
    "default": "def",
}
ACTIONS: Final[dict[str, Action]] = {
    "a": "accept",
    "accept": "accept",
    "d": "discard",
    "discard": "discard",
    "r": "reject",
    "reject": "reject",
    "t": "tempfail",
    "tempfail": "tempfail",
}
"""dk-filter knows no quarantine here; its -q does that."""


class ActionError(ValueError):
    """The string is refused; the text is dk-filter's, without the program's name."""


def parse(text: str, base: Conditions | None = None) -> Conditions:
    """The conditions that `text` sets over `base` (default: the program's own).

    Raises:
        ActionError: With dk-filter's message for the first fault.
    """
    table = base or Conditions()
    for item in text.split(","):
        if not item:
            continue
        key, equals, value = item.partition("=")
        if not equals:
            raise ActionError("syntax error in configuration string")
        action = ACTIONS.get(value.lower())
        if action is None:
            raise ActionError(f"invalid configuration value `{value}'")
        name = KEYS.get(key.lower())
        if name is None:
            raise ActionError(f"invalid configuration parameter `{key}'")
        if name == "def":
            table = Conditions(action, action, action, action, action, action)
        else:
            table = replace(table, **{name: action})
    return table
