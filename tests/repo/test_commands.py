"""The commands of a config repository, through the door."""

from __future__ import annotations

import json
import os
from pathlib import Path

import pytest

from dkconf.cli.main import run

EXAMPLE = (Path(__file__).parents[2] / "inventory.example.yaml").read_text()


def test_fmt_writes_once_and_keeps_mode(tmp_path, capsys):
    """--check tells and writes nothing; fmt writes; fmt again has nothing to do."""
    path = tmp_path / "inventory.yaml"
    path.write_text(EXAMPLE.replace("  domain:\n", "  domain:    # first\n"))
    path.chmod(0o640)
    before = path.read_bytes()

    assert 2 == run(["fmt", "--check", str(path)])
    assert "-  domain:    # first\n+  domain: # first\n" in capsys.readouterr().out
    assert before == path.read_bytes()
    assert 0 == run(["fmt", str(tmp_path)])
    assert 0o640 == path.stat().st_mode & 0o7777
    assert ["inventory.yaml"] == os.listdir(tmp_path)
    assert 0 == run(["fmt", "--check", str(path)])


def test_fmt_of_a_link_writes_what_it_names(tmp_path):
    """The link stays a link."""
    (tmp_path / "real.yaml").write_text("version:   1\n")
    (tmp_path / "inventory.yaml").symlink_to("real.yaml")

    assert 0 == run(["fmt", str(tmp_path / "inventory.yaml")])
    assert (tmp_path / "inventory.yaml").is_symlink()
    assert "version: 1\n" == (tmp_path / "real.yaml").read_text()


def test_fmt_refuses_what_is_no_yaml(tmp_path, capsys):
    """Status 65, the place, and the file as it was."""
    path = tmp_path / "inventory.yaml"
    path.write_text("version: [1\n")

    assert 65 == run(["fmt", str(path)])
    assert f"{path}:2:1: not YAML" in capsys.readouterr().err
    assert "version: [1\n" == path.read_text()


def test_explain_rule_says_more(capsys):
    """The long form, the way to live with it, and in which case the ID is written does not matter."""
    assert 0 == run(["explain-rule", "mc006"])
    out = capsys.readouterr().out

    assert "MC006 (warning): F=R" in out
    assert "# dkconf: ignore=MC006" in out


def test_explain_rule_lists_all_rules(capsys):
    """Without an ID: one line per rule, or one JSON document."""
    from dkconf.inventory import RULES

    assert 0 == run(["explain-rule", "--json"])
    assert [r["id"] for r in json.loads(capsys.readouterr().out)["rules"]] == list(RULES)


def test_explain_rule_suggests_the_nearest(capsys):
    """A misspelt ID is no traceback."""
    assert 1 == run(["explain-rule", "MC06"])
    assert "did you mean" in capsys.readouterr().err


def test_init_without_a_terminal_takes_options(tmp_path, capsys):
    """Options and defaults, and a list of the files."""
    folder = tmp_path / "config"

    assert 0 == run(["init", str(folder), "--domain", "example.org", "--json"])
    assert "inventory.yaml" in json.loads(capsys.readouterr().out)["files"]
    assert "mx1.example.org:" in (folder / "inventory.yaml").read_text()
    assert 1 == run(["init", str(folder)])
    assert "holds" in capsys.readouterr().err


@pytest.mark.parametrize("form", ["text", "json", "github", "gitlab", "sarif", "junit"])
def test_check_has_the_same_status_in_every_format(tmp_path, capsys, form):
    """Errors 65; warnings 0, or 65 with --strict."""
    path = tmp_path / "inventory.yaml"
    path.write_text("version: 1\nfilters:\n  dk: {socket: 'inet:8891@127.0.0.1'}\nhosts: {}\n")

    assert 0 == run(["check", str(path), "--format", form])
    assert "FLT001" in capsys.readouterr().out
    assert 65 == run(["check", str(path), "--format", form, "--strict"])
    path.write_text("version: 2\n")
    assert 65 == run(["check", str(path), "--format", form])


def test_check_quotes_the_line_on_a_terminal_only(tmp_path, capsys, monkeypatch):
    """The excerpt and the caret are for a person."""
    path = tmp_path / "inventory.yaml"
    path.write_text("version: 2\nfilters: {}\nhosts: {}\n")
    run(["check", str(path), "--format", "text"])
    assert "^" not in capsys.readouterr().out
    monkeypatch.setattr("sys.stdout.isatty", lambda: True, raising=False)
    monkeypatch.setenv("NO_COLOR", "1")
    run(["check", str(path), "--format", "text"])

    assert "    1 | version: 2\n      |          ^\n" in capsys.readouterr().out
