"""What is given to the commands and is no plain file: told in one line, at once, and nothing of root's shown."""

from __future__ import annotations

import os
import resource
import subprocess
import sys
from pathlib import Path

import pytest

from tests.operations.test_root import context, make_tree, with_key
from tests.patience import LAST_RESORT_SECONDS

needs_root = pytest.mark.skipif(os.geteuid() != 0, reason="works in somebody else's checkout")
MEMORY_OCTETS = 1 << 30


def dkconf(*arguments: object, stdin: bytes = b"") -> subprocess.CompletedProcess[bytes]:
    """Run a command with a gigabyte of memory, and no more time than a busy machine needs."""
    return subprocess.run(
        [sys.executable, "-m", "dkconf.cli.main", *map(str, arguments)],
        input=stdin,
        capture_output=True,
        timeout=LAST_RESORT_SECONDS,
        check=False,
        preexec_fn=lambda: resource.setrlimit(resource.RLIMIT_AS, (MEMORY_OCTETS, MEMORY_OCTETS)),
    )


def put(path: Path, kind: str) -> None:
    path.unlink(missing_ok=True)
    if kind == "pipe":
        os.mkfifo(path)
    else:
        path.touch()
        os.truncate(path, 3 << 30)


COMMANDS = {
    "check": ("check", "{tree}/../inventory.yaml"),
    "fmt": ("fmt", "{tree}/../inventory.yaml"),
    "render": ("render", "-i", "{tree}/../inventory.yaml", "--output", "{tree}/../rendered"),
    "keys list": ("keys", "list", "-i", "{tree}/../inventory.yaml"),
    "plan": ("plan", "-i", "{tree}/../inventory.yaml", "--root", "{tree}", "--host", "mx1.example.test"),
}


@pytest.mark.parametrize("kind", ["pipe", "sparse"])
@pytest.mark.parametrize("command", COMMANDS)
def test_an_inventory_that_is_no_file(tmp_path: Path, command: str, kind: str) -> None:
    """A pipe that nobody writes to, and 3 GB of nothing."""
    tree = make_tree(tmp_path)
    put(tmp_path / "inventory.yaml", kind)

    done = dkconf(*(word.format(tree=tree) for word in COMMANDS[command]))

    assert done.returncode in (1, 65)
    assert {"pipe": b"is a named pipe", "sparse": b"3,221,225,472 octets"}[kind] in done.stdout + done.stderr


@pytest.mark.parametrize("kind", ["pipe", "sparse"])
@pytest.mark.parametrize("command", ["check", "render", "keys list", "plan"])
def test_a_public_key_that_is_no_file(tmp_path: Path, command: str, kind: str) -> None:
    """Told like any other key that is of no use."""
    tree = make_tree(tmp_path)
    (tmp_path / "keys/example.com").mkdir(parents=True)
    put(tmp_path / "keys/example.com/s1.pub.pem", kind)

    done = dkconf(*(word.format(tree=tree) for word in COMMANDS[command]))

    assert {"pipe": b"is a named pipe", "sparse": b"3,221,225,472 octets"}[kind] in done.stdout + done.stderr
    assert b"internal error" not in done.stderr


@pytest.mark.parametrize("kind", ["pipe", "sparse"])
def test_a_plan_a_message_and_settings_that_are_no_files(tmp_path: Path, kind: str) -> None:
    """A plan is refused before anything is locked; a pipe counts only where the user can mean it."""
    tree = make_tree(tmp_path)
    put(tmp_path / "x", kind)
    if kind == "pipe":
        os.chown(tmp_path / "x", 65534 if os.geteuid() == 0 else -1, -1)
    where = ("-i", tmp_path / "inventory.yaml", "--root", tree, "--host", "mx1.example.test")
    commands = [("apply", tmp_path / "x", *where), ("mail", "verify", "--records", os.devnull, tmp_path / "x")]
    if os.geteuid() != 0 and kind == "pipe":
        commands = []

    for command in commands:
        done = dkconf(*command)
        assert done.returncode
        assert {"pipe": b"is a named pipe", "sparse": b"3,221,225,472 octets"}[kind] in done.stderr
    settings = subprocess.run(
        [sys.executable, "-m", "dkconf.server.main", "-n", "--config", str(tmp_path / "x")],
        capture_output=True,
        timeout=LAST_RESORT_SECONDS,
        check=False,
    )
    assert settings.returncode == 78
    assert {"pipe": b"is a named pipe", "sparse": b"3,221,225,472 octets"}[kind] in settings.stderr


@needs_root
@pytest.mark.parametrize("command", COMMANDS)
@pytest.mark.parametrize("kind", ["link", "second name"])
def test_a_secret_of_roots_in_the_place_of_an_inventory(tmp_path: Path, command: str, kind: str) -> None:
    """In somebody's checkout: not one word of it is shown."""
    tree = make_tree(tmp_path)
    secret = tmp_path.parent / f"{tmp_path.name}-secret"
    secret.write_text("root:$6$abc:19000:0:99999:7:::\n")
    secret.chmod(0o640)
    os.chown(tmp_path, 65534, 65534)
    path = tmp_path / "inventory.yaml"
    path.unlink()
    if kind == "link":
        path.symlink_to(secret)
        os.chown(path, 65534, 65534, follow_symlinks=False)
    else:
        os.link(secret, path)

    done = dkconf(*(word.format(tree=tree) for word in COMMANDS[command]))

    assert done.returncode
    assert b"inventory.yaml: is " in done.stderr + done.stdout
    assert b"$6$" not in done.stdout + done.stderr


def test_a_plan_through_pipes(tmp_path: Path) -> None:
    """`plan --out -` writes to standard output, and `apply -` reads from standard input."""
    tree = make_tree(tmp_path)
    with_key(tree)
    where = ("-i", tmp_path / "inventory.yaml", "--root", tree, "--host", "mx1.example.test")
    shown = dkconf("plan", "--out", "/dev/fd/2", *where)
    assert b'"plan_id"' in shown.stderr

    done = dkconf("apply", "--yes", "-", *where, stdin=shown.stderr)

    assert (0, b"") == (done.returncode, done.stderr)
    assert (tree / "etc/mail/m4/dkconf.m4").exists()


@needs_root
def test_a_plan_is_not_written_through_somebodys_link(tmp_path: Path) -> None:
    """`plan --out FILE` in a folder of somebody's: root's file behind his link stays as it is."""
    tree = make_tree(tmp_path)
    secret = tmp_path / "secret"
    secret.write_text("x")
    his = tmp_path / "his"
    his.mkdir()
    (his / "plan.json").symlink_to(secret)
    for each in (his, his / "plan.json"):
        os.chown(each, 65534, 65534, follow_symlinks=False)

    done = dkconf("plan", "--out", his / "plan.json", "-i", context(tree).inventory, "--root", tree, "--host",
                  "mx1.example.test")  # fmt: skip

    assert done.returncode == 1
    assert b'plan.json" on the way is a link that others than root could have put there' in done.stderr
    assert secret.read_text() == "x"
