"""Conditions and actions, and dk-filter's way of writing them: the -C string.

Source: dk-filter(8), option -C; grammar as observed in its sibling dkim-filter: tokens between commas,
empty ones skipped, each split at its first `=`, no trimming of blanks, short and full names in any case,
left to right, `def` sets all. Every fault ends the program before it opens its socket.
"""

from __future__ import annotations

import difflib
from dataclasses import dataclass, fields, replace

from . import model
from .findings import quote

KEYS = {
    "no": "nosignature",
    "miss": "signaturemissing",
    "bad": "badsignature",
    "dns": "dnserror",
    "int": "internal",
    "sec": "security",
    "def": "default",
}
"""dk-filter's short and full names of the conditions; `def` means all of them."""
ACTIONS: dict[str, model.Action] = {"a": "accept", "d": "discard", "r": "reject", "t": "tempfail"}
"""All that -C can say: no quarantine."""
_FULL_KEYS = {name: short for short, full in KEYS.items() for name in (short, full)}
_FULL_ACTIONS = {name: action for letter, action in ACTIONS.items() for name in (letter, action)}


@dataclass(frozen=True, slots=True)
class Problem:
    rule: str
    found: str
    right: str
    offset: int = 0
    """Of the token in the string, in characters."""


def from_dk_filter(text: str) -> tuple[model.Conditions, tuple[Problem, ...]]:
    """Return the table that a -C string means, and what dk-filter would not take in it."""
    table = model.Conditions()
    problems: list[Problem] = []
    given: set[str] = set()
    if not text.isascii() or not text.isprintable() or any(c in text for c in "`'\"$\\;&|<>()"):
        problems.append(
            Problem(
                "INV005",
                f"{quote(text)} holds characters that cannot stand in a -C string",
                "write condition=action tokens between commas, e.g. bad=a,dns=t,int=t,no=a,miss=a",
            )
        )
        return table, tuple(problems)
    offset = 0
    for token in text.split(","):
        here, offset = offset, offset + len(token) + 1
        if not token:
            continue
        key, equals, action = token.partition("=")
        wrong = _what_is_wrong(key, equals, action)
        if wrong:
            problems.append(
                Problem(
                    "DKF001",
                    f"dk-filter refuses to start with {quote(token)}: {wrong}",
                    f"write {_nearest(token)}",
                    here,
                )
            )
            continue
        condition = _FULL_KEYS[key.lower()]
        value = _FULL_ACTIONS[action.lower()]
        given.add(condition)
        names = [f.name for f in fields(table)] if condition == "def" else [condition]
        table = replace(table, **dict.fromkeys(names, value))
    if not problems and not given & {"miss", "def"}:
        problems.append(
            Problem(
                "DKF002",
                f"{quote(text)} leaves miss open, whose default in dk-filter is not known",
                f"write {text.rstrip(',')}{',' if text.strip(',') else ''}miss=a",
            )
        )
    return table, tuple(problems)


def _what_is_wrong(key: str, equals: str, action: str) -> str:
    # dk-filter judges the action before the key.
    if not equals:
        return 'it has no "="'
    if action.lower() not in _FULL_ACTIONS:
        return f"the action {quote(action)} is not one of a, d, r, t"
    if key.lower() not in _FULL_KEYS:
        return f"{quote(key)} is not a condition"
    return ""


def _nearest(token: str) -> str:
    """Return the token that was probably meant: miss-a -> miss=a."""
    bare = token.strip().lower()
    key, _, action = bare.partition("=")
    if "=" not in bare:
        for name in sorted(_FULL_KEYS, key=len, reverse=True):
            if bare.startswith(name):
                key, action = name, bare[len(name) :].strip(":-_ +.>")
                break
    key, action = key.strip(), action.strip()
    keys = difflib.get_close_matches(key, _FULL_KEYS, 1, 0.5)
    actions = [action] if action in _FULL_ACTIONS else difflib.get_close_matches(action, _FULL_ACTIONS, 1, 0.5)
    if not keys:
        return "one of bad, dns, int, no, miss, sec, then = and a, d, r or t"
    return f"{keys[0]}={actions[0] if actions else 'a'}"


def elsewhere(cls: type, name: str) -> str:
    """Return advice for a key that belongs to another place, or ""."""
    return _MISPLACED.get((cls, name), "")


_PER_SCHEME = "write it below domainkeys: or dkim:, which have separate tables"
_MISPLACED: dict[tuple[type, str], str] = {
    **{(model.ConditionTables, short): _PER_SCHEME for short in KEYS},
    (model.Filter, "port"): "write it into socket:, e.g. inet:8891@localhost",
    (model.Filter, "selector"): "selectors belong to domains:, domains.DOMAIN.selectors",
    (model.Filter, "domains"): "domains belong to a host, hosts.HOST.domains",
    (
        model.Filter,
        "flags",
    ): "write on_failure: tempfail (F=T), reject (F=R), shutdown (F=4) or accept (no F=)",
    (model.Filter, "timeout"): "write timeouts: with connect, send, read, end_of_message",
    (model.Domain, "selector"): "write selectors: with each selector's name below it",
    (model.Domain, "key"): "keys are files, KEYDIR/DOMAIN/SELECTOR.private; name the selector only",
    (model.Host, "filter"): "write filters: [NAME]",
    (model.Host, "domain"): "write domains: [NAME]",
    (model.Selector, "key"): "keys are files, KEYDIR/DOMAIN/SELECTOR.private; they never stand here",
}
