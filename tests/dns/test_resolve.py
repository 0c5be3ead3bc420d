"""Lookups of the manager against a name server of our own."""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Iterator

import pytest

from dkconf.dns.resolve import lookup
from tests.server.mta import ROOT


@pytest.fixture(scope="module")
def port() -> Iterator[int]:
    """The port of a name server whose answers are odd; the start of a name says how."""
    argv = [sys.executable, "-m", "tests.server.evildns"]
    with subprocess.Popen(argv, cwd=ROOT, stdout=subprocess.PIPE, text=True) as process:
        assert process.stdout is not None
        try:
            yield int(process.stdout.readline())
        finally:
            process.kill()


@pytest.mark.parametrize(
    ("name", "status"), [("good", "found"), ("none", "absent"), ("loop", "broken"), ("tiny", "broken")]
)
def test_what_no_server_can_say_is_told_from_what_nobody_can_read(port: int, name: str, status: str) -> None:
    """A loop of aliases and a malformed answer stay what they are, however often one asks."""
    answer = lookup(("127.0.0.1",), port)(f"{name}._domainkey.example.org")

    assert status == answer.status
    assert bool(answer.reason) == (status != "found")
