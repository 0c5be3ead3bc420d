"""What a killed run leaves behind is cleared away by the next one, and nothing else."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

from dkconf.probe.live import stat_of
from dkconf.trial.stage import StageFailed, private_directory, sweep
from tests.patience import LAST_RESORT_SECONDS

SLEEPER = [sys.executable, "-c", "import signal; signal.pause()"]


def dead_pid() -> int:
    child = subprocess.Popen([sys.executable, "-c", ""])
    child.wait()
    return child.pid


def test_directories_of_the_dead_go(tmp_path: Path) -> None:
    """A staging directory belongs to the process whose number it has."""
    dead = tmp_path / f"canary-{dead_pid()}-abc"
    dead.mkdir()
    (dead / "sendmail.cf").write_text("x")
    kept = [tmp_path / f"canary-{os.getpid()}-abc", tmp_path / "other", tmp_path / "filter.pid"]
    for path in kept:
        path.mkdir()

    sweep(str(tmp_path))

    assert sorted(kept) == sorted(tmp_path.iterdir())


def test_throwaway_filters_of_the_dead_end(tmp_path: Path) -> None:
    """By process number and start time: a number that is in use again is left alone."""
    running = subprocess.Popen(SLEEPER, start_new_session=True)
    other = subprocess.Popen(SLEEPER, start_new_session=True)
    place = tmp_path / f"canary-{dead_pid()}-abc"
    try:
        for name, process, shift in (("a", running, 0), ("b", other, 1)):
            place.mkdir(exist_ok=True)
            state = stat_of(process.pid)
            assert state is not None
            (place / f"filter-{name}.process").write_text(f"{process.pid} {state[1] + shift}")

        sweep(str(tmp_path))

        assert running.wait(LAST_RESORT_SECONDS) == -9
        assert other.poll() is None
    finally:
        for process in (running, other):
            process.kill()
            process.wait()


@pytest.mark.parametrize("record", ["filter-a/process", "filter-a/filter-b.process", "filter-a.process"])
def test_a_record_that_somebody_else_wrote_is_not_believed(tmp_path: Path, record: str) -> None:
    """A filter's own folder is its user's: nothing in it names a process to be ended, nor does a link to it."""
    running = subprocess.Popen(SLEEPER, start_new_session=True)
    place = tmp_path / f"canary-{dead_pid()}-abc"
    try:
        (place / "filter-a").mkdir(parents=True)
        state = stat_of(running.pid)
        assert state is not None
        if record == "filter-a.process":
            os.mkfifo(place / record)
        else:
            (place / record).write_text(f"{running.pid} {state[1]}")

        sweep(str(tmp_path))

        assert running.poll() is None
        assert not place.exists()
    finally:
        running.kill()
        running.wait()


def test_a_directory_that_others_may_write_to_is_refused(tmp_path: Path) -> None:
    """Staged octets are installed as root: nobody else may change them on the way."""
    (tmp_path / "run").mkdir()
    (tmp_path / "run").chmod(0o777)

    with pytest.raises(StageFailed, match="only we may write to"):
        private_directory("x", str(tmp_path / "run"))


def test_a_link_is_refused(tmp_path: Path) -> None:
    """A link in place of the directory leads elsewhere."""
    (tmp_path / "real").mkdir(mode=0o711)
    (tmp_path / "run").symlink_to(tmp_path / "real")

    with pytest.raises(StageFailed):
        private_directory("x", str(tmp_path / "run"))


def test_private_directory_is_passable_and_ours(tmp_path: Path) -> None:
    """Others may pass through it to what they are given the name of, and not list it."""
    directory = private_directory("x", str(tmp_path / "run"))

    assert 0o711 == directory.stat().st_mode & 0o7777
    assert directory.name.startswith(f"x-{os.getpid()}-")
