"""Frozen dataclasses to JSON values and back, by their type hints.

Generations, journals and plans are written with it. Octets are held as latin-1 text, so that every file
stays readable JSON. Unknown keys in the input are passed over and missing ones take their defaults: a
generation written by another version can still be rolled back to. A value of another type than its own, or one
that no system call takes, is damage: it is found before anything is done by it, and not half way.
"""

from __future__ import annotations

import dataclasses
import math
import types
import typing
from collections.abc import Mapping
from functools import lru_cache
from typing import Any, TypeVar

from dkconf.errors import DkconfError

T = TypeVar("T")


def to_json(value: Any) -> Any:
    """Return `value` as dicts, lists, strings, numbers, booleans and None."""
    if dataclasses.is_dataclass(value) and not isinstance(value, type):
        return {f.name: to_json(getattr(value, f.name)) for f in dataclasses.fields(value)}
    if isinstance(value, bytes):
        return value.decode("latin-1")
    if isinstance(value, Mapping):
        return {str(k): to_json(v) for k, v in value.items()}
    if isinstance(value, list | tuple):
        return [to_json(v) for v in value]
    if isinstance(value, set | frozenset):
        return sorted(to_json(v) for v in value)
    return value


def from_json(kind: type[T], data: Any) -> T:
    """Return `data` as a `kind`, a dataclass.

    Raises:
        DkconfError: The data does not fit; a manifest or journal is damaged.
    """
    try:
        return typing.cast(T, _build(kind, data))
    except (TypeError, ValueError, KeyError, AttributeError) as exc:
        raise DkconfError(f"damaged {kind.__name__}: {exc}") from exc


@lru_cache(maxsize=64)
def _hints(kind: type[Any]) -> dict[str, Any]:
    return typing.get_type_hints(kind)


def _build(kind: Any, data: Any) -> Any:
    origin = typing.get_origin(kind)
    if origin in (typing.Union, types.UnionType):
        if data is None:
            return None
        kinds = tuple(one for one in typing.get_args(kind) if one is not type(None))
        return _build(kinds[0], data) if len(kinds) == 1 else _scalar(kinds, data)
    if origin is tuple:
        args, data = typing.get_args(kind), _scalar((list,), data)
        if len(args) == 2 and args[1] is Ellipsis:
            return tuple(_build(args[0], item) for item in data)
        return tuple(_build(a, item) for a, item in zip(args, data, strict=True))
    if origin is not None and isinstance(origin, type) and issubclass(origin, Mapping):
        return {_scalar((str,), key): _build(typing.get_args(kind)[1], item) for key, item in data.items()}
    if origin is frozenset:
        return frozenset(_build(typing.get_args(kind)[0], item) for item in _scalar((list,), data))
    if origin is typing.Literal:
        if data not in typing.get_args(kind):
            raise TypeError(f"{data!r:.60} is none of {', '.join(map(str, typing.get_args(kind)))}")
        return data
    if dataclasses.is_dataclass(kind) and isinstance(kind, type):
        hints = _hints(kind)
        known = {f.name for f in dataclasses.fields(kind) if f.init}
        return kind(**{name: _build(hints[name], item) for name, item in data.items() if name in known})
    if kind is bytes:
        return data.encode("latin-1")
    return _scalar((kind,), data)


_WORDS = {str: "text", int: "number", float: "number", bool: "yes or no", list: "list"}
_MOST = 2**63 - 1
"""What a file's time has room for."""


def _scalar(kinds: tuple[Any, ...], data: Any) -> Any:
    """Return `data`, which must be of one of the kinds, if JSON knows them."""
    if any(kind not in _WORDS for kind in kinds):
        return data
    if type(data) not in kinds and not (type(data) is int and float in kinds):
        raise TypeError(f"{data!r:.60} is no {' or '.join(_WORDS[kind] for kind in kinds)}")
    if isinstance(data, str):
        if "\0" in data:
            raise ValueError(f"{data!r:.60} has a NUL in it")
        data.encode("utf-8", "surrogateescape")
    elif isinstance(data, int | float) and not (math.isfinite(data) and abs(data) <= _MOST):
        raise ValueError(f"{data!r:.60} is no number that can be")
    return data
