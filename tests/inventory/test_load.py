"""Reading an inventory: the example, the defaults, and how a problem is told."""

from __future__ import annotations

from pathlib import Path

import pytest

from dkconf.inventory import InventoryInvalid, Loaded, load_octets
from dkconf.inventory import load as load_inventory
from dkconf.inventory.model import Conditions, Timeouts

EXAMPLE = Path(__file__).parents[2] / "inventory.example.yaml"


def load(text: str) -> Loaded:
    return load_octets(text.encode(), "inventory.yaml")


def errors(text: str) -> list[str]:
    with pytest.raises(InventoryInvalid) as caught:
        load(text)
    return [str(f) for f in caught.value.findings if f.severity == "error"]


SMALL = """\
version: 1
domains:
  example.com:
    selectors: {s1: {}}
filters:
  dk:
    socket: inet:8891@127.0.0.1
hosts:
  mx1:
    filters: [dk]
    domains: [example.com]
"""


def test_example_is_complete_and_without_findings():
    """The example that ships passes its own check with nothing to say."""
    loaded = load_inventory(EXAMPLE)

    assert () == loaded.findings
    assert {"dkconf-filter", "dk-filter", "external"} == {f.program for f in loaded.inventory.filters.values()}


def test_what_is_left_out_has_the_models_default():
    """An entry may be as short as its required keys."""
    inventory = load(SMALL).inventory

    assert "tempfail" == inventory.filters["dk"].on_failure
    assert Timeouts() == inventory.filters["dk"].timeouts
    assert 64 == len(inventory.digest)


def test_defaults_fill_what_an_entry_leaves_out_key_by_key():
    """Mappings merge, single values and lists replace."""
    text = SMALL + "defaults: {filter: {on_failure: reject, timeouts: {read: 1m, send: 20s}, daemons: [MTA]}}\n"
    text = text.replace("inet:8891@127.0.0.1", "inet:8891@127.0.0.1\n    timeouts: {read: 2m}\n    daemons: [MSA]")
    filter_ = load(text).inventory.filters["dk"]

    assert "reject" == filter_.on_failure
    assert Timeouts(read=120, send=20) == filter_.timeouts
    assert ("MSA",) == filter_.daemons


def test_an_error_in_the_defaults_is_told_once_and_there():
    """However many entries take a bad default, it is one fault at one place."""
    text = SMALL.replace("hosts:", "  other: {socket: 'inet:8892@127.0.0.1'}\nhosts:")

    told = errors(text + "defaults:\n  filter: {timeouts: {send: 5s, read: 1y}}\n")

    assert 1 == len(told)
    assert told[0].startswith('inventory.yaml:14:39: defaults.filter.timeouts.read: "1y" is not a duration; write 30s')


def test_dkim_has_no_miss_even_if_its_table_is_given():
    """What the dkim table leaves out comes from DKIM's own defaults."""
    text = SMALL.replace("127.0.0.1", "127.0.0.1\n    conditions: {dkim: {bad: reject}}")

    assert Conditions(bad="reject", miss=None) == load(text).inventory.filters["dk"].conditions.dkim


def test_dk_filter_is_domainkeys_only():
    """Its schemes need not be written."""
    text = SMALL.replace("127.0.0.1", "127.0.0.1\n    program: dk-filter")

    assert ("domainkeys",) == load(text).inventory.filters["dk"].schemes
