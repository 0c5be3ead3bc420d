"""`# dkconf: ignore=ID reason` in an inventory."""

from __future__ import annotations

import pytest

from dkconf.inventory import load_octets

TEXT = """\
version: 1
filters:
  dk:
    socket: inet:8891@127.0.0.1
    on_failure: reject{trailing}
hosts:
  mx1: {{filters: [dk]}}
"""


def rules(text: str) -> list[str]:
    return [f.rule for f in load_octets(text.encode(), "i.yaml").findings]


def test_without_a_comment_it_is_told():
    """The rule that the comments below silence."""
    assert ["MC006"] == rules(TEXT.format(trailing=""))


@pytest.mark.parametrize(
    "text",
    [
        TEXT.format(trailing=" # dkconf: ignore=MC006 no queue there"),
        TEXT.format(trailing="   #dkconf:ignore=MC006,FLT001 x").replace(",FLT001", ""),
        TEXT.format(trailing="").replace(
            "    on_failure", "    # dkconf: ignore=MC006 no queue\n    # more\n\n    on_failure"
        ),
    ],
)
def test_a_comment_on_the_line_or_above_silences(text):
    """At the end of the line itself, or on a line of its own above it."""
    loaded = load_octets(text.encode(), "i.yaml")

    assert () == loaded.findings
    assert 1 == loaded.silenced


def test_a_comment_at_another_line_silences_nothing_and_is_told():
    """The finding stays, and the comment is one more."""
    text = TEXT.format(trailing="").replace("  dk:", "  dk: # dkconf: ignore=MC006 x")

    assert ["IGN001", "MC006"] == rules(text)


def test_a_comment_may_name_rules_that_need_more_than_the_file():
    """Rules about the repository are looked at elsewhere; here their comments are left alone."""
    assert ["MC006"] == rules(TEXT.format(trailing="") + "# dkconf: ignore=KEY008 kept for the archive\n")
