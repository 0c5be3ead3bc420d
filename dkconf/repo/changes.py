"""What differs between two inventories, in words: per host, filter and domain."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import fields
from typing import TypeVar

from dkconf.inventory.lint import on
from dkconf.inventory.model import Domain, Host, Inventory

from .report import Change

Entry = TypeVar("Entry")


def differences(old: Inventory, new: Inventory) -> Iterator[Change]:
    """Yield what differs between two inventories: per host, filter and domain, in words."""
    for name, before, after in pairs(old.hosts, new.hosts):
        yield from (Change("host", name, text) for text in _host(before, after))
    for name, earlier, later in pairs(old.filters, new.filters):
        yield from (Change("filter", name, text) for text in _entry(earlier, later))
    for name, first, second in pairs(old.domains, new.domains):
        yield from (Change("domain", name, text) for text in _domain(first, second))


def pairs(old: Mapping[str, Entry], new: Mapping[str, Entry]) -> Iterator[tuple[str, Entry | None, Entry | None]]:
    """Yield (name, old entry, new entry) of what differs; None where there is none."""
    for name in sorted({*old, *new}):
        if old.get(name) != new.get(name):
            yield name, old.get(name), new.get(name)


def _host(old: Host | None, new: Host | None) -> Iterator[str]:
    if old is None or new is None:
        yield "is new" if old is None else "is gone"
        return
    before, after = list(on(old)), list(on(new))
    for name in dict.fromkeys((*old.filters, *new.filters)):
        was = "called" if name in before else "defined, not called" if name in old.filters else "not there"
        now = "called" if name in after else "defined, not called" if name in new.filters else "not there"
        if was != now:
            yield f"{name}: {was} -> {now}"
    kept = [n for n in after if n in before]
    if kept != [n for n in before if n in after]:
        yield f"filters are called in the order {', '.join(after)}"
    yield from _lists("domains", old.domains, new.domains)
    yield from _entry(old, new, ("filters", "disabled_filters", "domains"))


def _domain(old: Domain | None, new: Domain | None) -> Iterator[str]:
    if old is None or new is None:
        yield "is new" if old is None else "is gone"
    for name in sorted({*(old.selectors if old else ()), *(new.selectors if new else ())}):
        before = old.selectors.get(name) if old else None
        after = new.selectors.get(name) if new else None
        if before is None or after is None:
            state = after.state if after else before.state if before else ""
            yield f"selector {name}: {'new' if before is None else 'gone'}, {'' if after else 'was '}{state}"
        elif before != after:
            yield from (f"selector {name}: {text}" for text in _entry(before, after))
    if old is not None and new is not None:
        yield from _entry(old, new, ("selectors",))


def _entry(old: object, new: object, but: tuple[str, ...] = (), prefix: str = "") -> Iterator[str]:
    if old is None or new is None:
        yield "is new" if old is None else "is gone"
        return
    for field in fields(new):  # type: ignore[arg-type]
        before, after = getattr(old, field.name), getattr(new, field.name)
        if field.name in but or before == after:
            continue
        if hasattr(before, "__dataclass_fields__") and hasattr(after, "__dataclass_fields__"):
            yield from _entry(before, after, prefix=f"{prefix}{field.name}.")
        elif isinstance(before, tuple) and isinstance(after, tuple):
            yield from _lists(f"{prefix}{field.name}", before, after)
        else:
            yield f"{prefix}{field.name}: {_short(before)} -> {_short(after)}"


def _lists(name: str, old: tuple[str, ...], new: tuple[str, ...]) -> Iterator[str]:
    gone, come = [x for x in old if x not in new], [x for x in new if x not in old]
    shown = [*(f"-{x}" for x in gone), *(f"+{x}" for x in come)]
    if len(shown) > 12:
        yield f"{name}: {len(gone)} taken out, {len(come)} added"
    elif shown:
        yield f"{name}: {' '.join(shown)}"
    elif old != new:
        yield f"{name}: another order"


def _short(value: object) -> str:
    if value is None or value == "":
        return "none"
    if isinstance(value, bool):
        return str(value).lower()
    if hasattr(value, "__dataclass_fields__"):
        return " ".join(f"{f.name}={_short(getattr(value, f.name))}" for f in fields(value))  # type: ignore[arg-type]
    if isinstance(value, dict):
        return ", ".join(f"{k}={_short(v)}" for k, v in value.items()) or "none"
    return str(value)
