"""Fixtures and options that several rooms share.

Live tests run in `tests.lab`. Where its tools are missing they are skipped, with the reason; with CI=true in the
environment that is a failure: there, nothing may be skipped.
"""

from __future__ import annotations

import os
import tempfile
from collections.abc import Iterator
from pathlib import Path

import pytest
from hypothesis import HealthCheck, settings

from tests.lab import Lab, missing_tools


def pytest_addoption(parser: pytest.Parser) -> None:
    """`--update-golden` rewrites the expected files of tests/golden; read their diff as you would read code."""
    parser.addoption("--update-golden", action="store_true", help="write the golden files anew")


# A busy machine is no finding; and CI tries the same examples each time, so that red means that something changed.
settings.register_profile("here", deadline=None, suppress_health_check=[HealthCheck.too_slow])
settings.register_profile("ci", settings.get_profile("here"), derandomize=True, database=None)
settings.load_profile("ci" if os.environ.get("CI") == "true" else "here")


def require(*tools: str) -> None:
    """Skip the test (fail in CI) unless a lab and these programs can be had."""
    if why := missing_tools(*tools):
        if os.environ.get("CI") == "true":
            pytest.fail(f"nothing is skipped in CI: {why}")
        pytest.skip(why)


@pytest.fixture
def passable() -> Iterator[Path]:
    """A folder that other users can pass through. pytest's own are closed to them, and opened for one test they are
    closed again by whatever other run of pytest begins on the machine."""
    with tempfile.TemporaryDirectory(prefix="dkconf-test-") as name:
        os.chmod(name, 0o755)
        yield Path(name)


@pytest.fixture
def bare_lab(tmp_path: Path) -> Iterator[Lab]:
    """A lab whose sendmail does not run yet."""
    require()
    with Lab(tmp_path / "lab") as lab:
        yield lab


@pytest.fixture
def lab(bare_lab: Lab) -> Lab:
    """A lab with its sendmail running, no filter in it."""
    bare_lab.start_sendmail()
    return bare_lab
