"""The door: statuses, one-line errors, and commands that are loaded when called."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from importlib import import_module

import click
import pytest

from dkconf.cli import main as door
from dkconf.errors import DkconfError, Status

INVENTORY = """\
version: 1
filters:
  dkconf:
    socket: local:/run/dkconf/dkconf.sock
domains:
  example.com:
    sign: [dkim]
    selectors:
      s1: {algorithm: ed25519}
hosts:
  mx1.example.com:
    filters: [dkconf]
    domains: [example.com]
"""


@pytest.fixture
def folder(tmp_path, monkeypatch):
    """A directory with an inventory, and we are in it."""
    (tmp_path / "inventory.yaml").write_text(INVENTORY)
    monkeypatch.chdir(tmp_path)
    return tmp_path


@pytest.mark.parametrize("name", door.COMMANDS)
def test_every_command_of_the_table_exists_and_explains_itself(name):
    """The help text comes from the table; behind each line stands a command with a --help of its own."""
    module, _, attribute = door.COMMANDS[name][0].partition(":")
    command = getattr(import_module(module), attribute)
    assert isinstance(command, click.Command)
    assert command.help


@pytest.mark.parametrize(
    ("argv", "said"),
    [
        (["chek"], 'did you mean "check"'),
        (["plan", "--hots", "x"], "--hots"),
        (["apply", "--drain-timeout", "soon"], "10m"),
        (["keys", "generate"], "--all"),
        (["render"], "--output"),
    ],
)
def test_a_command_line_that_cannot_be_meant_is_status_64(argv, said, capsys):
    """Click's own status for usage is 2, which means "changes" here; ours is 64, and one line."""
    assert door.run(argv) == Status.USAGE
    err = capsys.readouterr().err
    assert said in err
    assert err.count("\n") == 1


@pytest.mark.parametrize("argv", [[], ["keys"]])
def test_without_a_command_the_help_is_shown_as_it_is(argv, capsys):
    """Not as an error of twenty lines, each with our name in front."""
    door.run(argv)
    said = capsys.readouterr()
    assert (said.err or said.out).startswith("Usage: dkconf")
    assert "dkconf: " not in said.err + said.out


def test_an_error_is_a_line_with_the_name_in_front(folder, capsys):
    """Where, what was found, what would be right; no traceback."""
    assert door.run(["dns", "show", "exmaple.com"]) == Status.ERROR
    assert capsys.readouterr().err == 'dkconf: the inventory has no domain "exmaple.com"; did you mean "example.com"?\n'


def test_an_error_under_json_is_a_document(folder, capsys):
    """A script that asked for JSON gets JSON, with the status in it."""
    assert door.run(["dns", "show", "nowhere.example", "--json"]) == Status.ERROR
    document = json.loads(capsys.readouterr().out)
    assert document["code"] == 1
    assert "nowhere.example" in document["reason"]


@pytest.mark.parametrize(
    ("error", "status"),
    [(DkconfError("told"), Status.ERROR), (KeyboardInterrupt(), Status.INTERRUPTED), (OSError(28, "No space"), 1)],
)
def test_no_exception_shows_a_traceback(error, status, monkeypatch, capsys):
    """Ours, an interruption, the machine's: each has its status and its line."""

    def broken(**options):
        raise error

    monkeypatch.setattr(import_module("dkconf.cli.inventory").schema, "callback", broken)
    assert door.run(["schema"]) == status
    assert capsys.readouterr().err.lstrip().startswith("dkconf: ")


def test_a_fault_of_ours_names_its_place_and_not_its_text(monkeypatch, capsys):
    """The text of an unforeseen exception may quote a secret; its kind and place do not."""
    monkeypatch.delenv("DKCONF_DEBUG", raising=False)

    def broken(**options):
        raise ValueError("-----BEGIN PRIVATE KEY-----")

    monkeypatch.setattr(import_module("dkconf.cli.inventory").schema, "callback", broken)
    assert door.run(["schema"]) == Status.ERROR
    err = capsys.readouterr().err
    assert "ValueError at test_door.py" in err
    assert "PRIVATE" not in err


def test_a_reader_that_has_gone_is_no_traceback(folder):
    """`dkconf dns show | head -0` ends quietly."""
    reading, writing = os.pipe()
    os.close(reading)
    done = subprocess.run(
        [sys.executable, "-m", "dkconf.cli.main", "schema"], stdout=writing, stderr=subprocess.PIPE, check=False
    )
    os.close(writing)
    assert done.stderr == b""
    assert done.returncode == Status.ERROR


def test_keys_are_made_once_and_shown_without_their_secret(folder, capsys):
    """generate, list, and a second generate that refuses; the private half is never printed."""
    keydir = folder / "private"
    argv = ["keys", "generate", "example.com", "s1", "--key-dir", str(keydir)]
    assert door.run([*argv, "--json"]) == Status.OK
    made = json.loads(capsys.readouterr().out)["keys"]
    assert [key["selector"] for key in made] == ["s1"]
    secret = (keydir / "example.com" / "s1.private").read_text().splitlines()[1]
    assert (keydir / "example.com" / "s1.private").stat().st_mode & 0o777 == 0o600

    assert door.run(argv) == Status.ERROR
    assert "is there already" in capsys.readouterr().err

    assert door.run(["keys", "list"]) == Status.OK
    out = capsys.readouterr().out
    assert made[0]["fingerprint"][:16] in out
    assert secret not in out

    assert door.run(["dns", "show"]) == Status.OK
    assert 's1._domainkey.example.com.\t3600\tIN\tTXT\t"v=DKIM1; k=ed25519; p=' in capsys.readouterr().out


def test_dns_show_names_a_record_that_it_cannot_make(folder, capsys):
    """A selector without a public half has no record; that is said, with the command that helps."""
    assert door.run(["dns", "show"]) == Status.OK
    assert "dkconf keys generate example.com s1" in capsys.readouterr().err


def test_no_colour_where_no_terminal_is(folder, capsys, monkeypatch):
    """Output that is not read by a person holds no escape sequences."""
    assert door.run(["keys", "list"]) == Status.OK
    assert "\x1b" not in capsys.readouterr().out
