"""The settings of a dkconf-filter, out of the inventory."""

from __future__ import annotations

import pytest

from dkconf.desired.settings import settings
from dkconf.dkim.choice import DEFAULT_OVERSIGN
from dkconf.filter import config
from dkconf.spec.model import Filter, Headers

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
