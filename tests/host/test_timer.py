"""The timer behind --confirm-timeout, as commands: systemd is not asked to do anything here."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

from dkconf.errors import DkconfError
from dkconf.host import timer
from tests.patience import LAST_RESORT_SECONDS


@pytest.fixture
def systemd(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> list[list[str]]:
    """A machine whose process 1 is systemd; what it is told is recorded."""
    told: list[list[str]] = []
    monkeypatch.setattr(timer, "under_systemd", lambda: True)
    monkeypatch.setattr(timer, "BOOT_UNIT", str(tmp_path / "system/dkconf-recover.service"))
    monkeypatch.setattr(timer, "BOOT_WANTS", str(tmp_path / "system/wants/dkconf-recover.service"))
    monkeypatch.setattr(timer, "_run", lambda argv, quiet=False: told.append(argv))
    (tmp_path / "system").mkdir()
    return told


def test_systemd_is_given_a_timer_and_a_boot_unit(systemd: list[list[str]], tmp_path: Path) -> None:
    """A transient timer for this boot; and a unit before sendmail, should the machine be booted meanwhile."""
    timer.arm("/var/lib/dkconf", 600, "abcd", True)

    unit = (tmp_path / "system/dkconf-recover.service").read_text()
    assert "Before=sendmail.service" in unit
    assert f"ExecStart={sys.executable} -m dkconf.apply.watcher /var/lib/dkconf boot" in unit
    assert (tmp_path / "system/wants/dkconf-recover.service").is_symlink()
    assert ["systemctl", "daemon-reload"] == systemd[0]
    assert {"systemd-run", "--unit=dkconf-revert-abcd", "--on-active=600"} <= set(systemd[1])
    assert timer.watcher_argv("/var/lib/dkconf", "abcd") == systemd[1][-5:]


def test_disarmed(systemd: list[list[str]], tmp_path: Path) -> None:
    """After a confirmation nothing of it is left; a second time does no harm."""
    timer.arm("/var/lib/dkconf", 600, "abcd", True)
    systemd.clear()

    timer.disarm("/var/lib/dkconf")
    timer.disarm("/var/lib/dkconf")

    assert not (tmp_path / "system/dkconf-recover.service").exists()
    assert not (tmp_path / "system/wants/dkconf-recover.service").is_symlink()
    assert ["systemctl", "stop", "dkconf-revert-*.timer"] == systemd[0], "not the service: we may be running in it"


def test_without_systemd_a_process_of_its_own(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """Else a detached process: its own session, nothing of our terminal, a log that only root reads."""
    monkeypatch.setattr(timer, "under_systemd", lambda: False)
    marks = tmp_path / "marks"
    code = f"import os; open({str(marks)!r}, 'w').write(f'{{os.getsid(0) == os.getpid()}} {{os.isatty(0)}}')"
    monkeypatch.setattr(timer, "watcher_argv", lambda state, run: [sys.executable, "-c", code])
    started: list[subprocess.Popen[bytes]] = []
    popen = subprocess.Popen
    monkeypatch.setattr(subprocess, "Popen", lambda *a, **k: started.append(popen(*a, **k)) or started[-1])

    timer.arm(str(tmp_path), 600, "abcd", True)
    started[0].returncode = None
    started[0].wait(LAST_RESORT_SECONDS)

    assert "True False" == marks.read_text()
    assert 0o600 == (tmp_path / "watcher.log").stat().st_mode & 0o777


def test_what_cannot_be_promised_is_an_error(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """No watcher, no change: the caller stops before it has begun."""
    monkeypatch.setattr(timer, "under_systemd", lambda: False)

    with pytest.raises(DkconfError, match="watcher"):
        timer.arm(str(tmp_path / "missing"), 600, "abcd", False)
