"""The wheel, installed where no checkout is: what a user of the package gets."""

from __future__ import annotations

import os
import subprocess
import sys
import venv
import zipfile
from pathlib import Path

import pytest

from tests.patience import LAST_RESORT_SECONDS

CHECKOUT = Path(__file__).resolve().parents[1]


def run(*argv: str | Path, directory: Path) -> subprocess.CompletedProcess[str]:
    """Run a command without any trace of the checkout in its environment."""
    env = {name: value for name, value in os.environ.items() if not name.startswith(("PYTHON", "VIRTUAL_ENV"))}
    return subprocess.run(
        [str(word) for word in argv],
        cwd=directory,
        env=env,
        capture_output=True,
        text=True,
        check=False,
        timeout=10 * LAST_RESORT_SECONDS,
        stdin=subprocess.DEVNULL,
    )


@pytest.fixture(scope="module")
def wheel(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The wheel, built from this checkout."""
    out = tmp_path_factory.mktemp("dist")
    for options in (("--no-isolation",), ()):
        # Without isolation where hatchling is at hand: that needs no network.
        built = run(sys.executable, "-m", "build", "--wheel", *options, "--outdir", out, CHECKOUT, directory=out)
        if built.returncode == 0:
            break
    assert 0 == built.returncode, built.stdout + built.stderr
    (found,) = out.glob("*.whl")
    return found


@pytest.fixture(scope="module")
def installed(wheel: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The bin directory of a new environment with the wheel in it."""
    home = tmp_path_factory.mktemp("clean")
    venv.create(home / "env", with_pip=True)
    pip = run(home / "env/bin/python", "-m", "pip", "install", "-q", "--no-input", wheel, directory=home)
    assert 0 == pip.returncode, pip.stdout + pip.stderr
    return home / "env" / "bin"


def test_the_wheel_holds_templates_and_no_tests(wheel: Path) -> None:
    """Templates are in the wheel; tests, lab and benchmark are not."""
    names = zipfile.ZipFile(wheel).namelist()

    assert any(name.startswith("dkconf/_templates/sendmail/") for name in names)
    assert not [name for name in names if name.startswith(("tests/", "bench/", "scripts/"))]


def test_it_checks_and_renders_outside_the_checkout(installed: Path, tmp_path: Path) -> None:
    """`dkconf check` accepts the example, and `dkconf render` finds its templates, far from any checkout."""
    (tmp_path / "inventory.yaml").write_bytes((CHECKOUT / "inventory.example.yaml").read_bytes())

    checked = run(installed / "dkconf", "check", "inventory.yaml", directory=tmp_path)
    rendered = run(installed / "dkconf", "render", "--output", "out", directory=tmp_path)

    assert 0 == checked.returncode, checked.stdout + checked.stderr
    assert 0 == rendered.returncode, rendered.stdout + rendered.stderr
    assert "INPUT_MAIL_FILTER(" in "".join(path.read_text() for path in (tmp_path / "out").rglob("dkconf.m4"))


def test_both_programs_say_their_version(installed: Path, tmp_path: Path) -> None:
    """`dkconf --version` and `dkconf-filter -V` work from the installed package."""
    manager = run(installed / "dkconf", "--version", directory=tmp_path)
    daemon = run(installed / "dkconf-filter", "-V", directory=tmp_path)

    assert (0, 0) == (manager.returncode, daemon.returncode), manager.stderr + daemon.stderr
    assert "0.1.0" in manager.stdout
    assert "0.1.0" in daemon.stdout + daemon.stderr
