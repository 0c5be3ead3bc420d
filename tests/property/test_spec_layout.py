"""`dkconf fmt` on any tree with comments anywhere: same values, same comments, and formatting again changes nothing."""

from __future__ import annotations

from hypothesis import HealthCheck, event, given, settings
from hypothesis import strategies as st
from ruamel.yaml import YAML

from dkconf.inventory import InventoryInvalid
from dkconf.repo.layout import formatted

NAMES = st.sampled_from(["a", "b1", "c-d", '"e f"', "'g'", "x.example.com", "'#h'"])
SCALARS = st.sampled_from(
    [
        "1",
        "1h",
        "text",
        "two words",
        '"quoted # no comment"',
        "'it''s'",
        "",
        "~",
        "true",
        "a#b",
        "inet:8891@localhost",
        '"\\t\\u00e9"',
    ]
)
COMMENTS = st.sampled_from(["", "", "", " # c", "   #   d", " # e: [f"])
TREES = st.recursive(
    SCALARS,
    lambda children: st.lists(children, max_size=3) | st.dictionaries(NAMES, children, max_size=3),
    max_leaves=12,
)


class Untidy:
    """Writes a tree as YAML in some untidy layout, all of it drawn."""

    def __init__(self, draw):
        self.draw = draw
        self.lines: list[str] = []

    def noise(self, indent):
        for _ in range(self.draw(st.integers(0, 1))):
            kind = self.draw(st.sampled_from(["", "comment", "odd comment"]))
            self.lines.append("" if not kind else " " * (indent + (kind == "odd comment")) + "# own line")

    def flow(self, tree):
        if isinstance(tree, dict):
            return "{" + ", ".join(f"{k}: {self.flow(v)}" for k, v in tree.items()) + "}"
        if isinstance(tree, list):
            return "[" + ", ".join(self.flow(v) or "~" for v in tree) + "]"
        return f'"{tree}"' if ":" in tree and tree[0] not in "\"'" else tree or "~"

    def block(self, tree, indent):
        for key, value in tree.items():
            self.noise(indent)
            step = self.draw(st.integers(1, 4))
            self.put(f"{' ' * indent}{key}:", value, indent, step)

    def put(self, head, value, indent, step):
        comment = self.draw(COMMENTS)
        if not isinstance(value, dict | list) or not value or self.draw(st.booleans()):
            blank = self.draw(st.sampled_from([" ", "   "]))
            self.lines.append(f"{head}{blank}{self.flow(value) if isinstance(value, dict | list) else value}{comment}")
        elif isinstance(value, dict):
            self.lines.append(f"{head}{comment}")
            self.block(value, indent + step)
        else:
            self.lines.append(f"{head}{comment}")
            inner = indent + step
            for item in value:
                self.noise(inner)
                self.put(f"{' ' * inner}-", item, inner, 2)


@st.composite
def files(draw):
    writer = Untidy(draw)
    writer.block(draw(st.dictionaries(NAMES, TREES, min_size=1, max_size=4)), 0)
    writer.noise(0)
    return "\n".join(writer.lines) + draw(st.sampled_from(["", "\n", "\n\n"]))


def comments(text: str) -> list[str]:
    """Return the comments of a file whose only # inside of scalars are those of NAMES and SCALARS."""
    for inside in ('"quoted # no comment"', "'#h'", '"#h"', "a#b"):
        text = text.replace(inside, "x")
    return sorted(line[line.index("#") :].strip() for line in text.split("\n") if "#" in line)


@given(files())
@settings(max_examples=300, deadline=None, suppress_health_check=[HealthCheck.too_slow, HealthCheck.data_too_large])
def test_formatting_keeps_values_and_comments_and_is_done_once(text):
    """What another YAML reader makes of it is the same before and after."""
    try:
        once = formatted(text.encode(), "i")
    except InventoryInvalid as invalid:
        # The untidy writer may draw what is no YAML: no file to format.
        event("refused: " + ", ".join({f.rule for f in invalid.findings}))
        return
    yaml = YAML(typ="safe", pure=True)

    assert once == formatted(once.encode(), "i")
    assert yaml.load(text) == yaml.load(once)
    assert comments(text) == comments(once)
    assert not any(line != line.rstrip() for line in once.split("\n"))
