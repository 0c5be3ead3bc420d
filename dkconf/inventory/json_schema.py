"""The inventory's JSON Schema (draft 2020-12), made from the dataclasses of `model.py`.

Types and choices come from the annotations, descriptions from the strings below the fields, formats from
`fields.py`: the table the reader uses. Not in the loader's way: only `dkconf schema` and `dkconf init`
import this.
"""

from __future__ import annotations

import ast
import dataclasses
import inspect
import types
from collections.abc import Mapping
from typing import Any, Literal, Union, get_args, get_origin, get_type_hints

from . import model
from .fields import KEYS, KINDS
from .reader import NOT_IN_FILE, OPTIONAL, REQUIRED, SECTIONS

Schema = dict[str, Any]


def schema() -> Schema:
    """Return the schema of an inventory file."""
    definitions: Schema = {}
    root = _object(model.Inventory, definitions)
    hints = get_type_hints(model.Inventory)
    defaults: Schema = {}
    for name, section in SECTIONS.items():
        cls = get_args(hints[section])[1]
        part = dict(definitions[cls.__name__])
        part.pop("required", None)
        defaults[name] = part
    root["properties"]["defaults"] = {
        "type": ["object", "null"],
        "description": "What every entry has that does not say otherwise; mappings merge key by key.",
        "properties": defaults,
        "additionalProperties": False,
    }
    root["properties"]["version"] = {"const": 1}
    return {
        "$schema": "https://json-schema.org/draft/2020-12/schema",
        "title": "dkconf inventory, version 1",
        **root,
        "$defs": dict(sorted(definitions.items())),
    }


def _descriptions(cls: type) -> dict[str, str]:
    """Return the strings below a class's fields, by field."""
    body = ast.parse(inspect.getsource(cls)).body[0]
    assert isinstance(body, ast.ClassDef)
    found: dict[str, str] = {}
    name = ""
    for statement in body.body:
        if isinstance(statement, ast.AnnAssign) and isinstance(statement.target, ast.Name):
            name = statement.target.id
        elif isinstance(statement, ast.Expr) and isinstance(statement.value, ast.Constant) and name:
            found[name] = " ".join(str(statement.value.value).split())
            name = ""
    return found


def _object(cls: type, definitions: Schema) -> Schema:
    hints = get_type_hints(cls)
    descriptions = _descriptions(cls)
    properties: Schema = {}
    required = []
    for field in dataclasses.fields(cls):
        if (cls, field.name) in NOT_IN_FILE:
            continue
        part = _type(hints[field.name], cls, field.name, definitions)
        if field.name in descriptions:
            part = {**part, "description": descriptions[field.name]}
        default = field.default
        if isinstance(default, str | int | bool | tuple) and (cls, field.name) not in REQUIRED:
            part = {**part, "default": list(default) if isinstance(default, tuple) else default}
        properties[field.name] = part
        without = default is dataclasses.MISSING and field.default_factory is dataclasses.MISSING
        if (without and (cls, field.name) not in OPTIONAL) or (cls, field.name) in REQUIRED:
            required.append(field.name)
    result: Schema = {"type": "object", "properties": properties, "additionalProperties": False}
    if required:
        result["required"] = required
    else:
        result["type"] = ["object", "null"]
    return result


def _type(hint: Any, cls: type, name: str, definitions: Schema) -> Schema:
    origin = get_origin(hint)
    if dataclasses.is_dataclass(hint):
        key = hint.__name__  # type: ignore[union-attr]
        if key not in definitions:
            definitions[key] = {}  # holds the place while its own fields are walked
            definitions[key] = _object(hint, definitions)  # type: ignore[arg-type]
        if hint is model.ConditionTables:
            raw = {
                "type": "string",
                "description": "dk-filter's own -C string, e.g. bad=a,dns=t,int=t,no=a,miss=a",
            }
            return {"anyOf": [{"$ref": f"#/$defs/{key}"}, raw]}
        return {"$ref": f"#/$defs/{key}"}
    if hint is bool:
        return {"type": "boolean"}
    if hint in (str, int):
        return dict(KINDS[cls, name].schema)
    if origin is Literal:
        return {"enum": list(get_args(hint))}
    if origin is tuple:
        unique = {} if name == "argv" else {"uniqueItems": True}
        return {"type": ["array", "null"], "items": _type(get_args(hint)[0], cls, name, definitions), **unique}
    if origin in (Union, types.UnionType):
        inner = next(a for a in get_args(hint) if a is not type(None))
        return {"anyOf": [_type(inner, cls, name, definitions), {"type": "null"}]}
    if origin is Mapping:
        key_type, value_type = get_args(hint)
        names = {"enum": list(get_args(key_type))} if get_origin(key_type) is Literal else dict(KEYS[cls, name].schema)
        return {
            "type": ["object", "null"],
            "propertyNames": names,
            "additionalProperties": _type(value_type, cls, name, definitions),
        }
    raise TypeError(f"{cls.__name__}.{name}: no schema for {hint}")
