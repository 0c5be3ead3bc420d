"""What m4 may do while it builds a sendmail.cf: /etc/mail is the mail user's, and a .mc names programs."""

from __future__ import annotations

import dataclasses
import os
import resource
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from dkconf.desired.platform import PLATFORMS
from dkconf.desired.state import HostPaths
from dkconf.trial import stage

pytestmark = [
    pytest.mark.skipif(os.geteuid() != 0, reason="needs root, to be somebody else"),
    pytest.mark.skipif(shutil.which("m4") is None, reason="needs m4"),
]


@pytest.fixture
def place(tmp_path: Path) -> Path:
    """A folder that nobody can reach as well."""
    for path in (*tmp_path.parents, tmp_path):
        if "pytest" in str(path):
            path.chmod(0o755)
    return tmp_path


def paths() -> HostPaths:
    return dataclasses.replace(PLATFORMS["debian"].paths, mail_group="root", m4=str(shutil.which("m4")))


def build(place: Path, text: str) -> str:
    return stage.build(paths(), text, None, label="candidate", run_dir=str(place / "run")).cf.decode()


def test_what_a_mc_runs_has_no_terminal_of_ours(place: Path) -> None:
    """A program that the .mc names runs as nobody, in a session of its own: it cannot type into root's terminal."""
    if shutil.which("script") is None:
        pytest.skip("needs script(1), which makes a terminal")
    text = "esyscmd(`id -u; (: < /dev/tty) 2> /dev/null && echo terminal')"
    (place / "code.py").write_text(
        f"import sys; sys.path[:0] = {sys.path!r}\nfrom pathlib import Path\n"
        f"from tests.trial.test_stage import build\nprint(build(Path({str(place)!r}), {text!r}))\n"
    )
    with_terminal = ["script", "-qec", f"{sys.executable} {place}/code.py", "/dev/null"]

    said = subprocess.run(with_terminal, capture_output=True, check=True).stdout.decode().split()

    assert ["65534"] == said


@pytest.mark.parametrize(
    "text",
    ["define(`x', `errprint(`a long complaint, again and again')x')x", "define(`x', `define(`y', y y`'y')x')x"],
    ids=["words", "memory"],
)
def test_a_mc_without_end_costs_little(place: Path, text: str) -> None:
    """A .mc that complains or grows for ever is ended; neither m4 nor we hold what it would say."""
    before = [resource.getrusage(who).ru_maxrss for who in (resource.RUSAGE_SELF, resource.RUSAGE_CHILDREN)]

    with pytest.raises(stage.StageFailed) as failed:
        build(place, text)

    assert len(str(failed.value)) < 2 * stage.M4_MAX_WORDS_OCTETS
    assert resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before[0] < 64 * 1024
    most = max(before[1], stage.M4_MAX_MEMORY_OCTETS // 1024)
    assert resource.getrusage(resource.RUSAGE_CHILDREN).ru_maxrss <= most
