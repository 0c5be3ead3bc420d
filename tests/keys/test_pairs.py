"""New key pairs: whole or not at all, never over an old one."""

from __future__ import annotations

import contextlib
import os
import stat
import subprocess
import sys
import tempfile
import threading
from collections.abc import Iterator
from pathlib import Path

import pytest

from dkconf.keys import (
    GeneratedKey,
    KeyFileError,
    KeyRequest,
    generate,
    generate_many,
    pairs,
    private_half,
    read_public_halves,
)


@pytest.fixture
def place(tmp_path: Path) -> tuple[Path, Path]:
    """A key directory that is not there yet, and an inventory's directory."""
    tmp_path.chmod(0o755)
    (tmp_path / "inventory").mkdir()
    return tmp_path / "etc" / "keys", tmp_path / "inventory"


def files_below(*places: Path) -> list[str]:
    """The names of all files, drafts included."""
    return sorted(p.name for place in places for p in place.rglob("*") if p.is_file())


@pytest.mark.parametrize(("algorithm", "bits"), [("rsa", 1024), ("ed25519", 0)])
def test_a_pair_fits_and_is_where_it_belongs(place: tuple[Path, Path], algorithm: str, bits: int) -> None:
    """0600 and 0644 under any umask; the fingerprints agree."""
    before = os.umask(0o002)
    try:
        made = generate(*place, "example.com", "s1", algorithm, bits)  # type: ignore[arg-type]
    finally:
        os.umask(before)
    private = place[0] / "example.com" / "s1.private"
    public = place[1] / "keys" / "example.com" / "s1.pub.pem"

    assert (made.private_path, made.public_path) == (str(private), str(public))
    assert stat.S_IMODE(private.stat().st_mode) == 0o600
    assert stat.S_IMODE(public.stat().st_mode) == 0o644
    assert stat.S_IMODE(private.parent.stat().st_mode) == 0o700
    half = read_public_halves(place[1] / "keys")["example.com", "s1"]
    assert made.fingerprint == half.fingerprint == private_half(private).fingerprint
    assert files_below(*place) == ["s1.private", "s1.pub.pem"]


def test_what_is_made_shows_nothing_of_the_key(place: tuple[Path, Path]) -> None:
    """Not even in a repr."""
    made = generate(*place, "example.com", "s1", "rsa", 1024)
    secret = Path(made.private_path).read_text().splitlines()[1]

    assert secret not in repr(made)


@pytest.mark.parametrize("which", ["private_path", "public_path"])
def test_neither_half_is_written_over(place: tuple[Path, Path], which: str) -> None:
    """If either is there nothing is made, and the other stays away."""
    made = generate(*place, "example.com", "s1", "ed25519")
    other = {"private_path": made.public_path, "public_path": made.private_path}[which]
    Path(other).unlink()
    kept = Path(getattr(made, which)).read_bytes()

    with pytest.raises(KeyFileError, match="is there already") as caught:
        generate(*place, "example.com", "s1", "ed25519")

    assert Path(getattr(made, which)).read_bytes() == kept
    assert not Path(other).exists()
    _, told, command = str(caught.value).partition("openssl ")
    assert bool(told) == (which == "private_path")
    if told:  # the way on for a key that was made elsewhere
        Path(other).parent.mkdir(parents=True, exist_ok=True)
        subprocess.run(["openssl", *command.partition(";")[0].split()], check=True)
        assert read_public_halves(place[1] / "keys")["example.com", "s1"].fingerprint == made.fingerprint


def test_a_link_to_nowhere_counts_as_there(place: tuple[Path, Path]) -> None:
    """Writing through it would put the key where somebody else says."""
    (place[0] / "example.com").mkdir(parents=True)
    (place[0] / "example.com" / "s1.private").symlink_to("/nonexistent/x")

    with pytest.raises(KeyFileError, match="is there already"):
        generate(*place, "example.com", "s1", "ed25519")


def test_of_two_runs_at_once_one_wins(place: tuple[Path, Path]) -> None:
    """And its two halves fit."""
    results: list[GeneratedKey | KeyFileError] = []
    barrier = threading.Barrier(4)

    def run() -> None:
        barrier.wait()
        try:
            results.append(generate(*place, "example.com", "s1", "ed25519"))
        except KeyFileError as error:
            results.append(error)

    threads = [threading.Thread(target=run) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()

    (won,) = [r for r in results if isinstance(r, GeneratedKey)]
    assert private_half(Path(won.private_path)).fingerprint == won.fingerprint
    assert read_public_halves(place[1] / "keys")["example.com", "s1"].fingerprint == won.fingerprint
    assert files_below(*place) == ["s1.private", "s1.pub.pem"]


def test_if_the_public_half_cannot_be_placed_the_private_one_goes(
    place: tuple[Path, Path], monkeypatch: pytest.MonkeyPatch
) -> None:
    """Somebody else was first between the look and the link."""
    real = os.link

    def link(source: str, target: str, **more: object) -> None:
        if target.endswith(".pub.pem"):
            raise FileExistsError
        real(source, target, **more)  # type: ignore[arg-type]

    monkeypatch.setattr(pairs.os, "link", link)
    with pytest.raises(KeyFileError, match="another run was first"):
        generate(*place, "example.com", "s1", "ed25519")

    assert files_below(*place) == []


def test_without_hard_links_it_still_works(place: tuple[Path, Path], monkeypatch: pytest.MonkeyPatch) -> None:
    """Some shared folders have none."""

    def link(*_: object, **__: object) -> None:
        raise OSError(95, "Operation not supported")

    monkeypatch.setattr(pairs.os, "link", link)
    made = generate(*place, "example.com", "s1", "ed25519")

    assert private_half(Path(made.private_path)).fingerprint == made.fingerprint
    assert stat.S_IMODE(Path(made.private_path).stat().st_mode) == 0o600
    assert files_below(*place) == ["s1.private", "s1.pub.pem"]


@pytest.mark.parametrize("name", ["", ".", "..", "a/b", "../x", "a b", "-a", "a..b", "ä", "a\nb", "a" * 64])
def test_names_that_are_no_dns_names_are_refused(place: tuple[Path, Path], name: str) -> None:
    """They become paths."""
    with pytest.raises(KeyFileError):
        generate(*place, name, "s1", "ed25519")
    with pytest.raises(KeyFileError):
        generate(*place, "example.com", name, "ed25519")
    assert files_below(*place) == []


@pytest.mark.parametrize("bits", [0, 512, 1023, 4097, 16384])
def test_rsa_has_1024_to_4096_bits(place: tuple[Path, Path], bits: int) -> None:
    """RFC 8301 section 3.2."""
    with pytest.raises(KeyFileError, match="1024 to 4096"):
        generate(*place, "example.com", "s1", "rsa", bits)


def test_a_directory_that_others_may_write_is_refused_with_the_fix(place: tuple[Path, Path]) -> None:
    """Every one above the key is looked at."""
    place[0].mkdir(parents=True)
    place[0].parent.chmod(0o775)

    with pytest.raises(KeyFileError, match=f"chmod go-w {place[0].parent}"):
        generate(*place, "example.com", "s1", "ed25519")
    assert files_below(*place) == []


@pytest.mark.skipif(os.geteuid() != 0, reason="only root gives files away")
def test_the_owner_gets_the_key_and_can_reach_it(place: tuple[Path, Path]) -> None:
    """Directories are root's, passable and not listable."""
    made = generate(*place, "example.com", "s1", "ed25519", owner="nobody")
    found = Path(made.private_path).stat()

    assert found.st_uid == 65534
    assert stat.S_IMODE(found.st_mode) == 0o600
    assert stat.S_IMODE(Path(made.private_path).parent.stat().st_mode) == 0o711
    assert Path(made.private_path).parent.stat().st_uid == 0


def test_an_owner_that_does_not_exist_yet_is_noted(place: tuple[Path, Path]) -> None:
    """apply makes the user, and gives it the key."""
    assert "no-such-user" in generate(*place, "example.com", "s1", "ed25519", owner="no-such-user").notes[0]


@pytest.mark.skipif(os.geteuid() != 0, reason="only root gives files away")
def test_public_halves_belong_to_the_inventorys_owner(place: tuple[Path, Path]) -> None:
    """root works in somebody's repository; git must be able to take them."""
    os.chown(place[1], 65534, 65534)
    made = generate(*place, "example.com", "s1", "ed25519")

    assert Path(made.public_path).stat().st_uid == 65534
    assert Path(made.public_path).parent.stat().st_uid == 65534
    assert Path(made.private_path).stat().st_uid == 0


@pytest.mark.parametrize("processes", [1, 2])
def test_many_at_once_in_order_with_progress(place: tuple[Path, Path], processes: int) -> None:
    """All cores; the result is in the order asked for."""
    requests = [KeyRequest(f"d{n}.example", "s1", "ed25519") for n in range(12)]
    seen: list[tuple[int, int]] = []
    made = generate_many(*place, requests, progress=lambda d, t: seen.append((d, t)), processes=processes)

    assert [m.domain for m in made] == [r.domain for r in requests]
    assert seen == [(n, 12) for n in range(1, 13)]
    assert len(read_public_halves(place[1] / "keys")) == 12


def test_many_refuse_before_the_first_is_made(place: tuple[Path, Path]) -> None:
    """One that is there already, or is asked for twice, stops all."""
    generate(*place, "b.example", "s1", "ed25519")
    for names in (["a.example", "b.example"], ["a.example", "a.example"]):
        with pytest.raises(KeyFileError):
            generate_many(*place, [KeyRequest(n, "s1", "ed25519") for n in names])
    assert files_below(*place) == ["s1.private", "s1.pub.pem"]


@pytest.fixture
def checkout() -> Iterator[Path]:
    """Somebody's checkout, in which root makes keys."""
    if os.geteuid() != 0:
        pytest.skip("only root works in somebody else's checkout")
    with tempfile.TemporaryDirectory() as name:  # pytest's own folders are closed to others
        place = Path(name, "checkout")
        place.parent.chmod(0o755)
        place.mkdir()
        os.chown(place, 65534, 65534)
        yield place


@pytest.mark.parametrize("name", ["keys", "keys/example.com"])
def test_a_link_in_somebodys_checkout_leads_nowhere(checkout: Path, name: str) -> None:
    """What it leads to keeps mode and owner, nothing is put there, and no private half stays behind."""
    target = checkout.parent / "roots"
    target.mkdir(mode=0o700)
    (checkout / name).parent.mkdir(exist_ok=True)
    os.chown((checkout / name).parent, 65534, 65534)
    (checkout / name).symlink_to(target)
    os.chown(checkout / name, 65534, 65534, follow_symlinks=False)

    with pytest.raises(KeyFileError, match=f'"{Path(name).name}" on the way is a link that leads out of'):
        generate(checkout.parent / "private", checkout, "example.com", "s1", "ed25519")
    assert (0o40700, 0) == (target.stat().st_mode, target.stat().st_uid)
    assert files_below(target, checkout.parent / "private") == []


def test_a_link_to_a_key_directory_that_another_could_move(checkout: Path) -> None:
    """The folders above what a link of root's leads to count as well."""
    (checkout / "roots").mkdir(mode=0o700)
    (checkout.parent / "private").symlink_to(checkout / "roots")

    with pytest.raises(KeyFileError, match=f"{checkout}: belongs to nobody, who could replace the key"):
        generate(checkout.parent / "private", checkout.parent, "example.com", "s1", "ed25519")
    assert os.listdir(checkout / "roots") == []


def test_a_link_within_somebodys_checkout_is_followed(checkout: Path) -> None:
    """`keys -> public`, both his: what is made is his, and is where his link says."""
    (checkout / "public").mkdir()
    (checkout / "keys").symlink_to("public")
    for each in (checkout / "public", checkout / "keys"):
        os.chown(each, 65534, 65534, follow_symlinks=False)

    generate(checkout.parent / "private", checkout, "example.com", "s1", "ed25519")

    made = checkout / "public/example.com/s1.pub.pem"
    assert (65534, 65534) == (made.stat().st_uid, made.parent.stat().st_uid)


RACER = """
import os, sys
os.setgroups([]); os.setgid(65534); os.setuid(65534)
os.chdir(sys.argv[1])
target = sys.argv[2]
print("ready", flush=True)
while True:
    for name in ("keys", "keys/example.com"):
        for act in (lambda: os.rename(name, name + ".away"), lambda: os.symlink(target, name),
                    lambda: os.unlink(name), lambda: os.rmdir(name + ".away")):
            try:
                act()
            except OSError:
                pass
"""


def test_an_owner_who_exchanges_folders_meanwhile(checkout: Path) -> None:
    """Whatever he puts there at whatever moment: root's file and folder keep mode, owner and content."""
    secret, folder = checkout.parent / "secret", checkout.parent / "roots"
    secret.write_text("x")
    secret.chmod(0o600)
    folder.mkdir(mode=0o700)
    racers = [
        subprocess.Popen([sys.executable, "-c", RACER, checkout, target], stdout=subprocess.PIPE)
        for target in (secret, folder)
    ]
    try:
        for racer in racers:
            assert racer.stdout is not None
            assert racer.stdout.readline() == b"ready\n"
        for number in range(60):
            with contextlib.suppress(KeyFileError):
                generate(checkout.parent / "private", checkout, "example.com", f"s{number}", "ed25519")
    finally:
        for racer in racers:
            racer.kill()
            racer.communicate()
    assert (0o100600, 0, 1) == (secret.stat().st_mode, secret.stat().st_uid, secret.stat().st_size)
    assert (0o40700, 0, []) == (folder.stat().st_mode, folder.stat().st_uid, os.listdir(folder))
