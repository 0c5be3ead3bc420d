"""`--root DIR`: another tree gets files only; and what plan, diff and generations must never hold."""

from __future__ import annotations

import contextlib
import json
import os
import shutil
import subprocess
from collections.abc import Callable
from pathlib import Path

import pytest

from dkconf.errors import DkconfError, Refused, Status
from dkconf.keys import generate
from dkconf.operations import commands
from dkconf.operations.context import Context
from tests.memoryhost import MC, build_cf

INVENTORY = """version: 1
domains:
  example.com:
    selectors: {s1: {}}
    sign: [dkim]
filters:
  signer:
    program: dkconf-filter
    socket: inet:8891@127.0.0.1
hosts:
  mx1.example.test:
    platform: debian
    service_manager: systemd
    filters: [signer]
    domains: [example.com]
    paths: {key_dir: /etc/dkconf/keys, filter_config: /etc/dkconf/filter}
"""


@pytest.fixture
def tree(tmp_path: Path) -> Path:
    """Another root with a stock sendmail; the inventory lies beside it."""
    return make_tree(tmp_path)


def make_tree(folder: Path) -> Path:
    """Return a root in `folder`, with the inventory beside it."""
    root = folder / "root"
    for name in ("etc/mail/m4", "var/lib", "etc/systemd/system"):
        (root / name).mkdir(parents=True)
    (root / "etc/mail/sendmail.mc").write_text(MC)
    (root / "etc/mail/sendmail.cf").write_bytes(build_cf(MC.encode(), None))
    (folder / "inventory.yaml").write_text(INVENTORY)
    return root


def context(tree: Path, **options: object) -> Context:
    return Context(
        host="mx1.example.test",
        inventory=str(tree.parent / "inventory.yaml"),
        root=str(tree),
        yes=True,
        **options,  # type: ignore[arg-type]
    )


def with_key(tree: Path) -> str:
    """Have a key there; return the octets of its private half that must be seen nowhere else."""
    private = tree / "etc/dkconf/keys"
    generate(private, tree.parent, "example.com", "s1")
    text = (private / "example.com/s1.private").read_text()
    return text.splitlines()[2]


def snapshot(top: Path) -> dict[str, tuple[object, ...]]:
    """Return everything below a directory: names, contents, modes, owners, times."""
    found: dict[str, tuple[object, ...]] = {}
    for folder, names, files in os.walk(top):
        for name in [*names, *files]:
            path = os.path.join(folder, name)
            info = os.lstat(path)
            content = Path(path).read_bytes() if os.path.isfile(path) else b""
            found[path] = (content, info.st_mode, info.st_uid, info.st_gid, info.st_mtime_ns)
    return found


def test_plan_writes_nothing_at_all(tree: Path) -> None:
    """plan and status leave every name, octet, mode, owner and time of the tree and the inventory as it
    is."""
    with_key(tree)
    before = snapshot(tree.parent)

    commands.plan_host(context(tree))
    commands.status(context(tree))

    assert before == snapshot(tree.parent)


def test_apply_writes_sources_only(tree: Path) -> None:
    """Files are written, sendmail.cf is left to the host's own make; a second apply does nothing."""
    with_key(tree)
    cf = (tree / "etc/mail/sendmail.cf").stat().st_mtime_ns

    outcome = commands.apply_plan(context(tree))

    assert Status.OK == outcome.status
    assert cf == (tree / "etc/mail/sendmail.cf").stat().st_mtime_ns
    assert "INPUT_MAIL_FILTER(`signer'" in (tree / "etc/mail/m4/dkconf.m4").read_text()
    assert "dkconf.m4" in (tree / "etc/mail/sendmail.mc").read_text()
    assert (tree / "etc/dkconf/filter/signer.toml").exists()
    assert not commands.apply_plan(context(tree)).changed


def test_a_private_key_is_seen_nowhere(tree: Path) -> None:
    """With a real key on the host: not in a plan, a diff, a generation, a status, or anything below the
    state."""
    secret = with_key(tree)

    plan = commands.plan_host(context(tree))
    commands.apply_plan(context(tree))
    status = commands.status(context(tree))

    assert secret not in json.dumps(plan.data) + "\n".join(line for _, line in plan.lines)
    assert secret not in json.dumps(status.data) + "\n".join(line for _, line in status.lines)
    for path, (content, *_) in snapshot(tree.parent).items():
        assert isinstance(content, bytes)
        if not path.endswith(".private"):
            assert secret.encode() not in content, path


def test_a_key_pasted_into_a_managed_file_is_not_shown(tree: Path) -> None:
    """Somebody pastes a private key into a managed file: the diff hides it, and it never enters a
    generation."""
    secret = with_key(tree)
    commands.apply_plan(context(tree))
    settings = tree / "etc/dkconf/filter/signer.toml"
    pasted = (tree / "etc/dkconf/keys/example.com/s1.private").read_text()
    settings.write_text(settings.read_text() + pasted)

    plan = commands.plan_host(context(tree))

    words = "\n".join(line for _, line in plan.lines)
    assert secret not in words + json.dumps(plan.data)
    assert "private key, not shown" in words
    with pytest.raises(Refused, match="changed since generation 1"):
        commands.apply_plan(context(tree))


def test_a_missing_private_half_is_refused(tree: Path) -> None:
    """A host that lacks a private half is refused with 8; nothing is generated."""
    with pytest.raises(Refused, match=r"s1\._domainkey\.example\.com"):
        commands.apply_plan(context(tree))

    assert not (tree / "etc/mail/m4/dkconf.m4").exists()


def test_an_open_key_is_named_with_its_fix(tree: Path) -> None:
    """A key that others can read is refused, with the command that helps."""
    with_key(tree)
    path = tree / "etc/dkconf/keys/example.com/s1.private"
    path.chmod(0o644)

    with pytest.raises(Refused, match="chmod 0600"):
        commands.apply_plan(context(tree))


def test_a_generation_keeps_its_key(tree: Path) -> None:
    """The path of every key that a kept generation names is known, so that it is never deleted."""
    from dkconf.operations.session import look

    with_key(tree)
    commands.apply_plan(context(tree))

    assert {"/etc/dkconf/keys/example.com/s1.private"} == look(context(tree)).engine.generations.key_paths()


def test_release_of_another_root(tree: Path) -> None:
    """release takes the files out again and leaves the key."""
    with_key(tree)
    before = {p: v[:2] for p, v in snapshot(tree / "etc").items()}
    commands.apply_plan(context(tree))

    commands.release(context(tree))

    after = {p: v[:2] for p, v in snapshot(tree / "etc").items()}
    new = {os.path.relpath(p, tree) for p in set(after) - set(before)}
    assert before.items() <= after.items()
    assert set() == new, "directories that were made are gone again"


def test_no_sendmail_there(tree: Path) -> None:
    """A tree without sendmail.mc: told, nothing written."""
    with_key(tree)
    (tree / "etc/mail/sendmail.mc").unlink()

    with pytest.raises(DkconfError, match=r"sendmail\.mc: not found"):
        commands.apply_plan(context(tree))


@pytest.mark.skipif(os.geteuid() != 0, reason="mounting needs root")
def test_disk_full_at_any_point(tmp_path: Path) -> None:
    """With so much, so little or no space left on the disk of /etc and the state: old or new, never half.

    The disk is filled to leave a few KiB more each time, so that every write of an apply is once the one
    that fails.
    """
    disk = tmp_path / "disk"
    disk.mkdir()
    made = subprocess.run(["mount", "-t", "tmpfs", "-o", "size=1m", "none", str(disk)], check=False)
    if made.returncode:
        pytest.skip("cannot mount here")
    pattern = tmp_path / "pattern"
    pattern.mkdir()
    with_key(make_tree(pattern))
    try:
        seen = {_apply_on_a_full_disk(disk, pattern, free) for free in range(0, 144, 8)}
    finally:
        subprocess.run(["umount", str(disk)], check=True)
    assert {"old", "new"} == seen


def _apply_on_a_full_disk(disk: Path, pattern: Path, free_kib: int) -> str:
    """Apply with so much space; return whether the tree is the old or the new one after the next run."""
    for path in disk.iterdir():
        shutil.rmtree(path) if path.is_dir() else path.unlink()
    shutil.copytree(pattern, disk, dirs_exist_ok=True)
    root = disk / "root"
    before = {p: v for p, v in snapshot(root / "etc").items() if isinstance(v[0], bytes) and v[0]}
    with (disk / "filler").open("wb", buffering=0) as filler, contextlib.suppress(OSError):
        while filler.write(b"x" * 4096):
            pass
    size = (disk / "filler").stat().st_size
    os.truncate(disk / "filler", max(0, size - free_kib * 1024))
    with contextlib.suppress(DkconfError, OSError):
        commands.apply_plan(context(root))
    (disk / "filler").unlink()
    commands.recover(context(root))
    after = {p: v for p, v in snapshot(root / "etc").items() if isinstance(v[0], bytes) and v[0]}
    if before == after:
        return "old"
    assert not commands.apply_plan(context(root)).changed, f"{free_kib} KiB"
    return "new"


@pytest.mark.skipif(os.geteuid() != 0, reason="root's state")
@pytest.mark.parametrize("act", [commands.plan_host, commands.apply_plan, commands.status])
def test_state_below_a_folder_that_others_can_write_is_refused(tree: Path, act: Callable[[Context], object]) -> None:
    """Nobody else's generations are believed, and none are laid where somebody else can change them."""
    with_key(tree)
    (tree / "var/lib").chmod(0o777)

    with pytest.raises(DkconfError, match=f"{tree}/var/lib: others than root can write there"):
        act(context(tree))
    assert [] == os.listdir(tree / "var/lib")
