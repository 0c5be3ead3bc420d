"""The settings of a dkconf-filter, out of the inventory."""

from __future__ import annotations

import pytest

from dkconf.desired.settings import settings
from dkconf.dkim.choice import DEFAULT_OVERSIGN
from dkconf.filter import config
from dkconf.inventory.model import Filter, Headers, Limits, Verifying

SOCKET = "inet:8891@127.0.0.1"


def made(**fields: object) -> config.Settings:
    """The settings of a filter for which the inventory says this."""
    return settings(Filter(SOCKET, **fields), [], user="", socket_group="", pid_file="")  # type: ignore[arg-type]


def test_what_the_inventory_leaves_out_is_the_daemons_own_default() -> None:
    """One default for each setting, however the filter gets its settings."""
    assert made() == config.Settings(SOCKET)


@pytest.mark.parametrize(
    "said, written", [((), DEFAULT_OVERSIGN), (("From",), ("From",)), (("To", "Cc"), ("To", "Cc"))]
)
def test_oversigning_is_the_programs_choice_unless_it_is_said(said: tuple[str, ...], written: tuple[str, ...]) -> None:
    """The signer's own table is written out, so that the file says what is signed."""
    assert made(headers=Headers(oversign=said)).oversign_headers == written
    assert {"From", "Subject", "Content-Type"} <= set(DEFAULT_OVERSIGN)


@pytest.mark.parametrize("end", [0, -1], ids=["least", "most"])
def test_what_the_inventory_takes_the_daemon_takes(end: int) -> None:
    """The smallest and the largest value of each: the settings are read back as they were written."""
    limits = Limits(header_octets=(1024, 16777216)[end], header_fields=(10, 100_000)[end], signatures=(1, 100)[end])
    made_of = made(
        limits=limits,
        signature_ttl=(0, 365 * 86400)[end],
        clock_skew=(0, 86400)[end],
        log_format=("text", "json")[end],
        verifying=Verifying(unsigned_content=("accept", "policy")[end]),
    )

    assert config.loads(config.dumps(made_of)) == made_of
    assert made_of.header_octets == limits.header_octets
    assert made_of.header_fields == limits.header_fields
    assert made_of.max_signatures == limits.signatures
    assert (made_of.signature_ttl_seconds, made_of.clock_skew_seconds) == ((0, 31536000)[end], (0, 86400)[end])
    assert made_of.log_format == ("text", "json")[end]
    assert made_of.unsigned_content == ("accept", "policy")[end]
