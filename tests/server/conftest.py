"""Keys and running daemons for the tests of this room."""

from __future__ import annotations

from pathlib import Path

import pytest

from dkconf.crypto.keys import generate
from tests.server.mta import Daemon


@pytest.fixture(scope="session")
def key(tmp_path_factory) -> Path:
    """A private key of 2048 bits."""
    path = tmp_path_factory.mktemp("keys") / "key.pem"
    path.write_bytes(generate("rsa", 2048))
    return path


@pytest.fixture(scope="module")
def daemon(tmp_path_factory, key):
    """A daemon that signs for example.org and verifies, with no DNS, for all tests of a module."""
    path = tmp_path_factory.mktemp("daemon")
    (path / "records").write_text("slow.example.org TIMEOUT\n")
    with Daemon(path, key, extra=f'[dns]\nrecords_file = "{path}/records"\n') as running:
        yield running


@pytest.fixture
def own(tmp_path, key):
    """A daemon of one's own, not started yet; stopped at the end."""
    made = Daemon(tmp_path, key)
    yield made
    made.__exit__()
