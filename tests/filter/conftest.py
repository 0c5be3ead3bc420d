"""The `mta` fixture: an MTA for changed settings."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import pytest

from dkconf.filter.engine import Engine
from dkconf.mail.lookup import Records, TxtAnswer
from tests.filter.mta import RECORDS, MakeMta, Mta, make_settings, read


@pytest.fixture
def mta() -> MakeMta:
    """Makes an MTA whose client is `at` an address; all other names are settings, or fields of `Mta`."""

    def make(
        at: bytes = b"192.0.2.1",
        answers: Mapping[bytes, TxtAnswer] | None = None,
        sends: Mapping[bytes, bytes] | None = None,
        offer: tuple[int, int, int] = (6, 0x1FF, 0x1FFFFF),
        hostname: bytes = b"client.example.net",
        **settings: Any,
    ) -> Mta:
        merged = Records({**RECORDS, **(answers or {})})
        engine = Engine.load(make_settings(**settings), read)
        return Mta(engine, at, hostname, sends or {}, merged, offer)

    return make
