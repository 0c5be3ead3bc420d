"""`make demo` is the first thing anybody sees of dkconf: it works."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

from tests.conftest import require
from tests.patience import LAST_RESORT_SECONDS

pytestmark = pytest.mark.live
DEMO = Path(__file__).resolve().parents[2] / "scripts" / "demo.py"


def test_every_step_of_the_demo_does_what_it_says() -> None:
    """Status 0, every step held to what it said, in the order of the story, nothing on standard error."""
    require("named")

    ran = subprocess.run(
        [sys.executable, str(DEMO)], capture_output=True, text=True, check=False, timeout=10 * LAST_RESORT_SECONDS
    )

    assert (0, "") == (ran.returncode, ran.stderr), ran.stdout
    assert "WRONG" not in ran.stdout
    plan, apply, disable, rollback = (f"# dkconf {name}" for name in ("plan", "apply", "disable-filter", "rollback"))
    place = 0
    for step in (plan, apply, "with both", disable, "without a", rollback):
        place = ran.stdout.index(step, place)
