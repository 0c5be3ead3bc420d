"""No parser of network octets raises anything but its own error: the fuzz targets, by hypothesis and by mutation."""

from __future__ import annotations

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from fuzz import smoke
from fuzz.targets import SEEDS, TARGETS


@pytest.mark.parametrize("name", TARGETS)
def test_seeds_hold(name: str) -> None:
    """The seeds themselves keep the invariant, and so do their beginnings and ends."""
    for seed in SEEDS[name]:
        for cut in range(len(seed) + 1):
            TARGETS[name](seed[:cut])
            TARGETS[name](seed[cut:])


@pytest.mark.parametrize("name", TARGETS)
def test_mutations_hold(name: str) -> None:
    """A thousand mutations per target, the same ones every time."""
    smoke.run(name, 1000, seed=1)


@settings(deadline=None)
@given(octets=st.binary(max_size=200))
def test_random_octets_hold(octets: bytes) -> None:
    """Hypothesis looks for what the mutations miss."""
    for target in TARGETS.values():
        target(octets)


TOKENS = st.lists(
    st.sampled_from(
        [
            b"a",
            b"=",
            b";",
            b":",
            b" ",
            b"\r\n ",
            b'"',
            b"(",
            b")",
            b"\\",
            b"<",
            b">",
            b"@",
            b",",
            b".",
            b"[",
            b"]",
            b"1",
            b"\xff",
        ]
    ),
    max_size=30,
).map(b"".join)


@settings(deadline=None)
@given(octets=TOKENS)
def test_random_tokens_hold(octets: bytes) -> None:
    """Likewise with the octets that mean something to the grammars."""
    for name in ("tag-list", "signature", "key-record", "address", "authentication-results", "records"):
        TARGETS[name](octets)
