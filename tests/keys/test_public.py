"""Public halves: PEM and DER without cryptography, each file read when asked for."""

from __future__ import annotations

from pathlib import Path

import pytest

from dkconf.crypto.keys import PrivateKey, generate
from dkconf.keys import KeyFileError, read_public_halves
from dkconf.keys.public import parse_der, parse_pem

from ..desired.inventories import ED25519, ED25519_PEM, RSA, RSA_PEM


def test_the_rfcs_own_keys() -> None:
    """RFC 6376 appendix C and RFC 8463 appendix A."""
    assert (RSA.algorithm, RSA.bits, len(RSA.fingerprint)) == ("rsa", 1024, 64)
    assert (ED25519.algorithm, ED25519.bits, len(ED25519.raw)) == ("ed25519", 256, 32)
    assert RSA.record_octets == RSA.der
    assert ED25519.record_octets == ED25519.raw


@pytest.mark.parametrize(("algorithm", "bits"), [("rsa", 1024), ("rsa", 2048), ("ed25519", 256)])
def test_the_small_parser_agrees_with_the_library(algorithm: str, bits: int) -> None:
    """Algorithm, length, fingerprint and what a record holds."""
    key = PrivateKey.load_pem(generate(algorithm, bits))  # type: ignore[arg-type]
    half = parse_der(key.public_der)

    assert (half.algorithm, half.bits, half.fingerprint) == (key.algorithm, key.bits, key.fingerprint)
    assert half.record_octets == key.public_raw


@pytest.mark.parametrize(
    ("octets", "says"),
    [
        (b"", "no PEM block"),
        (b"-----BEGIN PUBLIC KEY-----\n!!\n-----END PUBLIC KEY-----", "not base64"),
        (b"-----BEGIN PUBLIC KEY-----\nAAAA\n-----END PUBLIC KEY-----", "DER"),
        (b"-----BEGIN PRIVATE KEY-----\nAAAA\n-----END PRIVATE KEY-----", "private key"),
        (RSA_PEM[:90] + b"\n-----END PUBLIC KEY-----", "cut short|base64"),
    ],
)
def test_what_is_no_public_key_says_why(octets: bytes, says: str) -> None:
    """In words, and never with the octets themselves."""
    with pytest.raises(ValueError, match=says) as caught:
        parse_pem(octets)
    assert "AAAA" not in str(caught.value)


def test_every_cut_of_a_key_is_refused() -> None:
    """No index error, whatever is missing."""
    for half in (RSA, ED25519):
        for end in range(len(half.der)):
            with pytest.raises(ValueError):
                parse_der(half.der[:end])
        with pytest.raises(ValueError):
            parse_der(half.der + b"\0")


def test_files_are_read_when_asked_for(tmp_path: Path) -> None:
    """A faulty file harms only those who ask for it."""
    for domain, name, octets in (
        ("example.com", "s1", RSA_PEM),
        ("example.com", "e1", ED25519_PEM),
        ("example.net", "bad", b"nonsense"),
    ):
        (tmp_path / domain).mkdir(exist_ok=True)
        (tmp_path / domain / f"{name}.pub.pem").write_bytes(octets)
    halves = read_public_halves(tmp_path)

    assert halves["example.com", "s1"] == RSA
    assert halves.get(("example.com", "none")) is None
    assert halves.get(("..", "s1")) is None
    assert halves.get(("example.com/..", "s1")) is None
    assert list(halves) == [("example.com", "e1"), ("example.com", "s1"), ("example.net", "bad")]
    with pytest.raises(KeyFileError, match=r"bad\.pub\.pem: no PEM block"):
        halves["example.net", "bad"]


def test_no_directory_is_no_keys(tmp_path: Path) -> None:
    """A new inventory has none yet."""
    halves = read_public_halves(tmp_path / "keys")

    assert len(halves) == 0
    assert ("example.com", "s1") not in halves


def test_an_endless_file_is_not_read_to_its_end(tmp_path: Path) -> None:
    """Nor a device that somebody linked there."""
    (tmp_path / "example.com").mkdir()
    (tmp_path / "example.com" / "s1.pub.pem").symlink_to("/dev/zero")
    with pytest.raises(KeyFileError, match="is a device"):
        read_public_halves(tmp_path)["example.com", "s1"]
