"""Switching a filter in the text of an inventory: one value changes, every other octet stays."""

# ruff: noqa: E501 - before and after stand side by side

from __future__ import annotations

import pytest

from dkconf.inventory import load_octets
from dkconf.inventory.edit import CannotEdit, disable_filter, enable_filter

HEAD = """\
version: 1
filters:
  a: {socket: "inet:8891@127.0.0.1"}
  b: {socket: "inet:8892@127.0.0.1"}
hosts:
"""

CASES = {
    "no key yet": ("  mx1:\n    filters: [a, b] # order\n    # end\n", "  mx1:\n    filters: [a, b] # order\n    disabled_filters: [b]\n    # end\n"),
    "block filters": ("  mx1:\n    filters:\n      - a\n      - b # second\n    service: x\n",
                      "  mx1:\n    filters:\n      - a\n      - b # second\n    disabled_filters: [b]\n    service: x\n"),
    "flow host": ("  mx1: {filters: [a, b]} # x\n", "  mx1: {filters: [a, b], disabled_filters: [b]} # x\n"),
    "flow list": ("  mx1:\n    filters: [a, b]\n    disabled_filters: [a] # c\n",
                  "  mx1:\n    filters: [a, b]\n    disabled_filters: [a, b] # c\n"),
    "empty list": ("  mx1:\n    filters: [a, b]\n    disabled_filters: [] # c\n",
                   "  mx1:\n    filters: [a, b]\n    disabled_filters: [b] # c\n"),
    "nothing after the colon": ("  mx1:\n    filters: [a, b]\n    disabled_filters: # c\n    service: x\n",
                                "  mx1:\n    filters: [a, b]\n    disabled_filters: [b] # c\n    service: x\n"),
    "block list": ("  mx1:\n    filters: [a, b]\n    disabled_filters:\n      - a # why\n\n    service: x\n",
                   "  mx1:\n    filters: [a, b]\n    disabled_filters:\n      - a # why\n      - b\n\n    service: x\n"),
    "no line end at the end": ("  mx1:\n    filters: [a, b]", "  mx1:\n    filters: [a, b]\n    disabled_filters: [b]\n"),
    "crlf": ("  mx1:\r\n    filters: [a, b]\r\n", "  mx1:\r\n    filters: [a, b]\r\n    disabled_filters: [b]\r\n"),
    "filters from the defaults": ("  mx1:\n    # its service\n    service: x\ndefaults: {host: {filters: [a, b]}}\n",
                                  "  mx1:\n    # its service\n    disabled_filters: [b]\n    service: x\ndefaults: {host: {filters: [a, b]}}\n"),
    "all from the defaults": ("  mx1: # bare\n  mx2:\ndefaults: {host: {filters: [a, b], disabled_filters: [a]}}\n",
                              "  mx1: # bare\n    disabled_filters: [a, b]\n  mx2:\ndefaults: {host: {filters: [a, b], disabled_filters: [a]}}\n"),
}  # fmt: skip


@pytest.mark.parametrize("before, after", CASES.values(), ids=CASES)
def test_disable_changes_one_value(before, after):
    """The filter is added; comments, order and line ends stay."""
    assert HEAD + after == disable_filter(HEAD + before, "mx1", "b")


@pytest.mark.parametrize("before, after", CASES.values(), ids=CASES)
def test_enable_undoes_disable(before, after):
    """What was on before is on again; a list that disable made goes with its line."""
    text = enable_filter(disable_filter(HEAD + before, "mx1", "b"), "mx1", "b")
    first, second = (load_octets(t.encode(), "x").inventory for t in (HEAD + before, text))

    assert (first.hosts, first.filters) == (second.hosts, second.filters)
    assert text.count("#") == before.count("#")


def test_enable_of_one_of_several():
    """Only the item goes, wherever it stands."""
    text = HEAD + "  mx1:\n    filters: [a, b]\n    disabled_filters: [a,  b] # c\n"

    assert "disabled_filters: [b] # c" in enable_filter(text, "mx1", "a")
    assert "disabled_filters: [a] # c" in enable_filter(text, "mx1", "b")


def test_a_list_from_the_defaults_is_overridden_not_edited():
    """Enabling on one host leaves the defaults, and so the other hosts, as they are."""
    text = HEAD + "  mx1:\n  mx2:\ndefaults: {host: {filters: [a, b], disabled_filters: [a]}}\n"
    inventory = load_octets(enable_filter(text, "mx1", "a").encode(), "x").inventory

    assert () == inventory.hosts["mx1"].disabled_filters
    assert ("a",) == inventory.hosts["mx2"].disabled_filters


def test_nothing_to_do_changes_nothing():
    """A filter that is off already, or on already, gives the same text."""
    text = HEAD + "  mx1: {filters: [a, b], disabled_filters: [a]}\n"

    assert text == disable_filter(text, "mx1", "a")
    assert text == enable_filter(text, "mx1", "b")


@pytest.mark.parametrize("host, name", [("mx9", "a"), ("mx1", "c")])
def test_unknown_host_or_filter_is_refused(host, name):
    """What is not there cannot be switched."""
    with pytest.raises(CannotEdit):
        disable_filter(HEAD + "  mx1: {filters: [a, b]}\n", host, name)
