"""Frozen dataclasses to JSON values and back, by their type hints.

Generations, journals and plans are written with it. Octets are held as latin-1 text, so that every file
stays readable JSON. Unknown keys in the input are passed over and missing ones take their defaults: a
generation written by another version can still be rolled back to.
"""

from __future__ import annotations

import dataclasses
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
        return _build(next(a for a in typing.get_args(kind) if a is not type(None)), data)
    if origin is tuple:
        args = typing.get_args(kind)
        if len(args) == 2 and args[1] is Ellipsis:
            return tuple(_build(args[0], item) for item in data)
        return tuple(_build(a, item) for a, item in zip(args, data, strict=True))
    if origin is not None and isinstance(origin, type) and issubclass(origin, Mapping):
        return {key: _build(typing.get_args(kind)[1], item) for key, item in data.items()}
    if origin is frozenset:
        return frozenset(_build(typing.get_args(kind)[0], item) for item in data)
    if dataclasses.is_dataclass(kind) and isinstance(kind, type):
        hints = _hints(kind)
        known = {f.name for f in dataclasses.fields(kind) if f.init}
        return kind(**{name: _build(hints[name], item) for name, item in data.items() if name in known})
    if kind is bytes:
        return data.encode("latin-1")
    return data
