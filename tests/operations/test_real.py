"""What the real machine does by itself: mending a .cf in an emergency."""

from __future__ import annotations

import pytest

from dkconf.operations.real import without_filters

CF = b"O Timeout=1\nO InputMailFilters=a, dk-filter, b\nXdk-filter, S=inet:1@127.0.0.1\n"


@pytest.mark.parametrize(
    "names, expected",
    [
        ({"dk-filter"}, CF.replace(b"a, dk-filter, b", b"a, b")),
        ({"a", "b"}, CF.replace(b"a, dk-filter, b", b"dk-filter")),
        ({"a", "b", "dk-filter"}, CF.replace(b"O InputMailFilters=a, dk-filter, b", b"#O InputMailFilters")),
        ({"other"}, CF),
    ],
)
def test_without_filters(names: set[str], expected: bytes) -> None:
    """The list loses the names; every other octet stays, X lines included."""
    assert expected == without_filters(CF, names)


def test_without_filters_keeps_what_is_no_list() -> None:
    """Comments, other options and odd octets are left alone; blanks are free in an option's name."""
    text = b"#O InputMailFilters\nO  InputMailFilters=x\nKx\xff regex InputMailFilters=x\n"

    assert text.replace(b"O  InputMailFilters=x\n", b"#O  InputMailFilters\n") == without_filters(text, {"x"})
