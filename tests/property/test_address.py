"""The quick way to an address and the thorough one."""

from __future__ import annotations

import re

import pytest
from hypothesis import given
from hypothesis import strategies as st

from dkconf.mail import address

PIECES = st.sampled_from(
    [b"a", b"b.c", b"@", b"<", b">", b" ", b"\t", b'"', b"\\", b".", b"x.y", b"-", b"(c)", b",", b":", b";",
     b"\xe4", b"\0", b"\r\n ", b"[1]", b"joe@x.y", b"<joe@x.y>", b'"J. X" ', b"Joe "]
)  # fmt: skip


@given(st.lists(PIECES, max_size=7).map(b"".join))
def test_both_ways_find_the_same_address(value: bytes) -> None:
    """What the one pattern matches, the tokens read likewise."""
    quick = address.sender_address(value)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(address, "_PLAIN", re.compile(rb"(?!)"))
        assert address.sender_address(value) == quick
