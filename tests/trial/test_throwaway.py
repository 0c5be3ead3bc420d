"""A throwaway filter differs from the one that will run in its socket, pid file, log and metrics alone."""

from __future__ import annotations

import tomllib
from pathlib import Path
from types import SimpleNamespace

import pytest

from dkconf.filter.config import Settings, dumps, loads
from dkconf.trial.throwaway import ThrowawayFailed, dk_filter_argv, option, override, start

CHANGES: dict[str, str | int] = {"socket": "local:/run/x/s", "pid_file": "", "metrics": "", "workers": 1}


def test_settings_keep_everything_else() -> None:
    """What the daemon's own module writes, with four other values and nothing else."""
    before = Settings(socket="inet:8891@127.0.0.1", pid_file="/run/p", metrics="inet:9@127.0.0.1", workers=4)
    text = override(dumps(before), CHANGES)

    assert {**tomllib.loads(dumps(before)), **CHANGES} == tomllib.loads(text)
    assert "local:/run/x/s" == loads(text).socket


def test_a_key_that_is_not_there_is_added() -> None:
    """Left out means default; the throwaway needs its own."""
    assert {"socket": "s", "a": {"socket": "t"}} == tomllib.loads(override('[a]\nsocket = "t"\n', {"socket": "s"}))


@pytest.mark.parametrize("text", ['socket = """\nx"""\n', "socket = [\n1]\n", "= 1"])
def test_a_layout_that_cannot_be_changed_is_refused(text: str) -> None:
    """Never a filter with settings that are not the staged ones."""
    with pytest.raises(ThrowawayFailed):
        override(text, {"socket": "s"})


def test_dk_filter_arguments() -> None:
    """Socket and pid file are others, lists are the staged ones, it stays in the foreground and out of
    syslog."""
    argv = ["/usr/sbin/dk-filter", "-p", "inet:1@h", "-l", "-A", "-i", "/etc/i", "-P/run/p", "-u", "dk", "-C", "bad=a"]

    assert [
        "/usr/sbin/dk-filter", "-i", "/run/i", "-u", "dk", "-C", "bad=a", "-f", "-p", "local:/s", "-P", "/pid"
    ] == dk_filter_argv(argv, "local:/s", "/pid", {"/etc/i": "/run/i"})  # fmt: skip


@pytest.mark.parametrize(
    "argv,value", [(["x", "-u", "dk"], "dk"), (["x", "-udk"], "dk"), (["x"], ""), (["x", "-u"], "")]
)
def test_option(argv: list[str], value: str) -> None:
    """Both spellings of getopt."""
    assert value == option(argv, "-u")


@pytest.mark.parametrize("name", ["log", "../filter-dk.log"])
def test_what_the_filter_puts_in_its_folder_is_not_read(tmp_path: Path, name: str) -> None:
    """Its folder is its user's: a link to a secret, under the log's name, is no word of the filter's."""
    secret = tmp_path / "secret"
    secret.write_text("root:x")
    script = f"echo no-such-setting >&2; ln -s {secret} {tmp_path}/filter-dk/{name}; exit 78"
    service = SimpleNamespace(filter="dk", argv=("/bin/sh", "-c", script))
    one = SimpleNamespace(name="dk", program="dk-filter")

    with pytest.raises(ThrowawayFailed) as failed:
        start(one, SimpleNamespace(services=[service], files=[]), tmp_path)  # type: ignore[arg-type]

    assert "no-such-setting" in str(failed.value)
    assert "root:x" not in str(failed.value)
