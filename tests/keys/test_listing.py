"""The table of keys: state, fingerprint, private half, faults named with the fix."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from dkconf.inventory.model import Domain, Inventory, Selector
from dkconf.keys import KeyFileError, file_faults, generate, list_keys, private_half, read_public_halves


@pytest.fixture
def place(tmp_path: Path) -> tuple[Path, Path]:
    """A key directory and an inventory's directory."""
    tmp_path.chmod(0o755)
    (tmp_path / "inventory").mkdir()
    return tmp_path / "keys", tmp_path / "inventory"


def inventory(**selectors: Selector) -> Inventory:
    """One domain with these selectors."""
    return Inventory({"example.com": Domain(selectors)}, {}, {})


def test_a_pair_that_fits(place: tuple[Path, Path]) -> None:
    """present, without a fault."""
    made = generate(*place, "example.com", "s1", "ed25519")
    (row,) = list_keys(inventory(s1=Selector("ed25519")), read_public_halves(place[1] / "keys"), key_dir=place[0])

    assert (row.private, row.fingerprint, row.state, row.faults) == ("present", made.fingerprint, "active", ())


def test_without_a_key_directory_private_halves_are_not_looked_at(place: tuple[Path, Path]) -> None:
    """In CI there are none."""
    (row,) = list_keys(inventory(s1=Selector()), {})

    assert (row.private, row.private_path, row.fingerprint) == ("-", "", "")


def test_a_host_that_lacks_its_half(place: tuple[Path, Path]) -> None:
    """missing; the path says where it belongs."""
    (row,) = list_keys(inventory(s1=Selector()), {}, key_dir=place[0])

    assert row.private == "missing"
    assert row.private_path == f"{place[0]}/example.com/s1.private"


def test_halves_of_two_pairs_differ(place: tuple[Path, Path]) -> None:
    """Both fingerprints are in the fault."""
    first = generate(*place, "example.com", "s1", "ed25519")
    second = generate(*place, "example.com", "s2", "ed25519")
    os.replace(second.public_path, first.public_path)
    row = list_keys(inventory(s1=Selector("ed25519")), read_public_halves(place[1] / "keys"), key_dir=place[0])[0]

    assert row.private == "differs"
    assert first.fingerprint in row.faults[0]
    assert second.fingerprint in row.faults[0]


def test_a_key_of_another_kind_than_the_inventory_says(place: tuple[Path, Path]) -> None:
    """Algorithm and bits."""
    generate(*place, "example.com", "s1", "ed25519")
    generate(*place, "example.com", "s2", "rsa", 1024)
    rows = list_keys(inventory(s1=Selector(), s2=Selector()), read_public_halves(place[1] / "keys"))

    assert "the key is ed25519" in rows[0].faults[0]
    assert "the key has 1024" in rows[1].faults[0]


def test_a_broken_public_half_is_one_rows_fault(place: tuple[Path, Path]) -> None:
    """The others are listed."""
    made = generate(*place, "example.com", "s1", "ed25519")
    Path(made.public_path).write_text("nonsense")
    (row,) = list_keys(inventory(s1=Selector("ed25519")), read_public_halves(place[1] / "keys"))

    assert "no PEM block" in row.faults[0]


@pytest.mark.parametrize(("mode", "right"), [(0o644, 0o600), (0o640, 0o600), (0o660, 0o640)])
def test_a_wide_mode_is_named_with_the_fix(tmp_path: Path, mode: int, right: int) -> None:
    """chmod."""
    tmp_path.chmod(0o755)
    key = tmp_path / "key"
    key.touch(mode=0o600)
    key.chmod(mode)

    assert f"chmod {right:04o} {key}" in file_faults(key, "", right)[0]


def test_narrow_modes_are_fine(tmp_path: Path) -> None:
    """0400 is stricter than 0600; 0640 is right where two filters share a key."""
    tmp_path.chmod(0o755)
    key = tmp_path / "key"
    key.touch()
    for mode, right in ((0o400, 0o600), (0o600, 0o600), (0o640, 0o640)):
        key.chmod(mode)
        assert file_faults(key, "", right) == []


def test_a_link_instead_of_a_key_is_a_fault(tmp_path: Path) -> None:
    """Its target may be anybody's."""
    tmp_path.chmod(0o755)
    (tmp_path / "key").symlink_to("/dev/null")

    assert "regular file" in file_faults(tmp_path / "key", "", 0o600)[0]


@pytest.mark.skipif(os.geteuid() != 0, reason="only root gives files away")
def test_owners_are_named_with_the_fix(tmp_path: Path) -> None:
    """Of the file, and of a directory above it."""
    tmp_path.chmod(0o755)
    (tmp_path / "d").mkdir()
    os.chown(tmp_path / "d", 1, 1)
    key = tmp_path / "d" / "key"
    key.touch(mode=0o600)
    faults = file_faults(key, "nobody", 0o600)

    assert f"chown nobody {key}" in faults[0]
    assert f"chown root {tmp_path / 'd'}" in faults[1]


def test_another_tree_is_judged_below_its_root_only(tmp_path: Path) -> None:
    """--root DIR."""
    (tmp_path / "root" / "etc").mkdir(parents=True)
    key = tmp_path / "root" / "etc" / "key"
    key.touch(mode=0o600)
    tmp_path.chmod(0o777)

    assert file_faults(key, "", 0o600, tmp_path / "root") == []
    assert file_faults(key, "", 0o600) != []


def test_a_file_that_is_no_key_says_nothing_of_its_content(tmp_path: Path) -> None:
    """Even if it almost is one."""
    key = tmp_path / "key"
    key.write_text("-----BEGIN PRIVATE KEY-----\nc2VjcmV0\n-----END PRIVATE KEY-----\n")
    with pytest.raises(KeyFileError) as caught:
        private_half(key)

    assert "c2VjcmV0" not in str(caught.value)
    assert caught.value.__cause__ is None
