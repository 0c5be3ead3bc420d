"""The JSON Schema says what the reader does: made from the same types and the same table."""

from __future__ import annotations

import dataclasses
from pathlib import Path
from typing import get_args, get_type_hints

import jsonschema
import pytest
from ruamel.yaml import YAML

from dkconf.inventory import model, schema
from dkconf.inventory.fields import KINDS

ROOT = Path(__file__).parents[2]
BROKEN = sorted((ROOT / "tests" / "broken").glob("*.yaml"))
SHAPES = ("INV001", "INV004")


@pytest.fixture(scope="module")
def validator():
    found = schema()
    jsonschema.Draft202012Validator.check_schema(found)
    return jsonschema.Draft202012Validator(found)


def data(path: Path):
    yaml = YAML(typ="safe", pure=True)
    yaml.version = (1, 2)
    return yaml.load(path.read_text())


def test_schema_accepts_the_example(validator):
    """What an editor underlines is what `check` refuses."""
    assert [] == list(validator.iter_errors(data(ROOT / "inventory.example.yaml")))


@pytest.mark.parametrize("path", [p for p in BROKEN if p.read_text().split()[1] in SHAPES], ids=lambda p: p.stem)
def test_schema_refuses_unknown_and_missing_keys(validator, path):
    """Unknown keys and missing keys are the schema's to find, in the editor already."""
    assert list(validator.iter_errors(data(path)))


@pytest.mark.parametrize("path", [p for p in BROKEN if p.stem.startswith("warn-")], ids=lambda p: p.stem)
def test_schema_accepts_what_only_warns(validator, path):
    """A warning is about meaning, not about form."""
    assert [] == list(validator.iter_errors(data(path)))


def test_descriptions_come_from_the_model():
    """The strings below the fields are what an editor shows."""
    assert "-T, seconds." == schema()["$defs"]["Filter"]["properties"]["dns_timeout"]["description"]


def test_every_text_and_number_of_the_model_has_its_kind():
    """Nothing of an inventory is taken unread: a new field without a kind fails here."""
    classes = [c for c in vars(model).values() if dataclasses.is_dataclass(c)]
    plain = set()
    for cls in classes:
        for name, hint in get_type_hints(cls).items():
            arguments = get_args(hint)
            if hint in (str, int) or (arguments and arguments[-1] in (str, int)) or arguments[:1] in ((str,), (int,)):
                plain.add((cls, name))
    read_elsewhere = {(model.Inventory, "path"), (model.Inventory, "digest"), (model.ConditionTables, "raw")}
    with_classes = {
        (c, n)
        for c, n in plain
        if dataclasses.is_dataclass(get_args(get_type_hints(c)[n])[-1:] and get_args(get_type_hints(c)[n])[-1])
    }

    assert plain - read_elsewhere - with_classes == set(KINDS)
