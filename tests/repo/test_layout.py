"""`dkconf fmt`: one form, the same values, every comment."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

from dkconf.inventory import InventoryInvalid, load_octets
from dkconf.inventory import load as load_inventory
from dkconf.repo.layout import formatted

ROOT = Path(__file__).parents[2]

UNTIDY = """\


# head

version:   1   # one


domains:
    # about it

    example.com:   # trailing
        sign:   ['dkim',
           "domainkeys"  ]   # after
        selectors:
           s1: {state: active,   # why
                bits: 2048
               }
           # commented: out


    example.net:
        sign:
        - dkim     # one
        # between
        - domainkeys
        # after the list
        ttl: 1h
      # strange column
filters: {  }
hosts:
  mx1:
    q: 'it''s'
    plain: several
      words here
    empty:
    # tail
# end"""
TIDY = """\
# head

version: 1 # one

domains:
  # about it

  example.com: # trailing
    sign: ["dkim", "domainkeys"] # after
    selectors:
      s1:
        state: active # why
        bits: 2048
      # commented: out

  example.net:
    sign:
      - dkim # one
      # between
      - domainkeys
      # after the list
    ttl: 1h
  # strange column
filters: {}
hosts:
  mx1:
    q: "it's"
    plain: several words here
    empty:
    # tail
# end
"""


def test_an_untidy_file_gets_the_canonical_form():
    """Indentation, blanks, quotes, empty lines, line ends; comments at their level."""
    assert TIDY == formatted(UNTIDY.encode(), "i")


@pytest.mark.parametrize("text", [UNTIDY.replace("\n", "\r\n"), "\ufeff" + UNTIDY, UNTIDY + "\n\n\n"])
def test_line_ends_and_a_byte_order_mark_make_no_difference(text):
    """LF, one at the end, no byte order mark."""
    assert TIDY == formatted(text.encode(), "i")


@pytest.mark.parametrize(
    "path",
    [ROOT / "inventory.example.yaml", *sorted((ROOT / "tests" / "golden").glob("*/inventory.yaml"))],
    ids=lambda p: f"{p.parent.name}/{p.name}",
)
def test_what_ships_is_canonical_or_keeps_its_meaning(path):
    """The example is in canonical form; for the others it means the same inventory, and stays as it is then."""
    text = formatted(path.read_bytes(), "i")

    assert path.name != "inventory.example.yaml" or path.read_text() == text
    assert text == formatted(text.encode(), "i")
    try:
        before = load_inventory(path).inventory
    except InventoryInvalid:
        return
    assert before.hosts == load_octets(text.encode(), "i").inventory.hosts


@pytest.mark.parametrize("path", sorted((ROOT / "tests" / "broken").glob("*.yaml")), ids=lambda p: p.stem)
def test_a_broken_file_is_formatted_or_refused(path):
    """A file that is no YAML is refused with the findings of `check`; any other is formatted, mistakes and all."""
    try:
        text = formatted(path.read_bytes(), "i")
    except InventoryInvalid:
        rule = path.read_text().split()[1]
        if not rule.startswith(("YAML", "KEY003")):
            pytest.fail(f"a mistake of {rule} is no reason to refuse the layout")
        return
    assert text == formatted(text.encode(), "i")
    assert path.read_text().count("#") == text.count("#")


def test_a_long_list_becomes_a_block_and_a_short_one_stays():
    """A bracket goes on one line, or the list becomes a block."""
    names = ", ".join(f"domain{i}.example.com" for i in range(9))
    text = formatted(f"a: [{names}]\nb: [x,y]\n".encode(), "i")

    assert text.startswith("a:\n  - domain0.example.com\n")
    assert text.endswith("b: [x, y]\n")


@pytest.mark.parametrize(
    "text", ["a: |\n  x\n  y\n", "a: >-\n  x\n\n  y\n", 'a: "x\n  y"\n', "a: 'x\n\n  y' # c\n", "a: | # c\n  #x\n"]
)
def test_text_of_several_lines_keeps_its_value(text):
    """A block or folded text goes on one line, in quotes, with the same value."""
    after = formatted(text.encode(), "i")

    assert re.fullmatch(r'a: "[^\n]*"( # c)?\n', after)
    assert ("# c" in text) == ("# c" in after)
