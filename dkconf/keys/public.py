"""Public halves beside the inventory: `keys/DOMAIN/SELECTOR.pub.pem`, read when asked for.

A public half is a SubjectPublicKeyInfo in PEM (RFC 7468). Only what a record and a fingerprint need is taken
from its DER here, without `cryptography`: an inventory may name ten thousand keys, and CI renders without secrets.
"""

from __future__ import annotations

import binascii
import hashlib
import os
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path

from dkconf.files.reading import FileProblem
from dkconf.files.trees import Tree

PUBLIC_SUFFIX = ".pub.pem"
MAX_PEM_OCTETS = 16384
"""RSA-16384 in PEM takes 2.8 KiB; a larger file is no public key."""

_BEGIN, _END = b"-----BEGIN PUBLIC KEY-----", b"-----END PUBLIC KEY-----"
# AlgorithmIdentifier OIDs: rsaEncryption (RFC 8017 appendix C), id-Ed25519 (RFC 8410 section 3).
_OID_ALGORITHM = {bytes.fromhex("2a864886f70d010101"): "rsa", bytes.fromhex("2b6570"): "ed25519"}


class KeyFileError(FileProblem):
    """A key file cannot be used; the message begins with its path."""


@dataclass(frozen=True, slots=True)
class PublicHalf:
    """What a public key says about itself."""

    algorithm: str
    """rsa or ed25519."""
    bits: int
    """RSA modulus length; 256 for ed25519."""
    fingerprint: str
    """SHA-256 of `der`, lower-case hex."""
    der: bytes
    """SubjectPublicKeyInfo."""
    raw: bytes
    """The bit string in it: RSAPublicKey DER, or the 32 octets of an Ed25519 key (RFC 8463 section 3)."""

    @property
    def record_octets(self) -> bytes:
        """What p= of a record holds: SubjectPublicKeyInfo for RSA, the bare key for Ed25519 (RFC 8463)."""
        return self.raw if self.algorithm == "ed25519" else self.der


def _read_tlv(der: bytes, at: int, tag: int) -> tuple[int, int]:
    """The start and end of the content of the DER element of type `tag` at offset `at`."""
    if at + 2 > len(der) or der[at] != tag:
        raise ValueError("not the expected DER")
    length, start = der[at + 1], at + 2
    if length & 0x80:
        count = length & 0x7F
        if not 1 <= count <= 4:
            raise ValueError("a DER length that makes no sense")
        length, start = int.from_bytes(der[start : start + count]), start + count
    if start + length > len(der):
        raise ValueError("cut short")
    return start, start + length


def parse_der(der: bytes) -> PublicHalf:
    """The public half in a SubjectPublicKeyInfo.

    Raises:
        ValueError: It is none, or of an algorithm that DKIM does not know.
    """
    start, end = _read_tlv(der, 0, 0x30)
    if end != len(der):
        raise ValueError("octets follow the key")
    algorithm_start, algorithm_end = _read_tlv(der, start, 0x30)
    oid_start, oid_end = _read_tlv(der, algorithm_start, 0x06)
    algorithm = _OID_ALGORITHM.get(der[oid_start:oid_end])
    if algorithm is None:
        raise ValueError("neither an RSA nor an Ed25519 key")
    bit_start, bit_end = _read_tlv(der, algorithm_end, 0x03)
    raw = der[bit_start + 1 : bit_end]
    if algorithm == "ed25519":
        if len(raw) != 32:
            raise ValueError("an Ed25519 key has 32 octets")
        bits = 256
    else:
        sequence, _ = _read_tlv(raw, 0, 0x30)
        modulus, modulus_end = _read_tlv(raw, sequence, 0x02)
        bits = int.from_bytes(raw[modulus:modulus_end]).bit_length()
    return PublicHalf(algorithm, bits, hashlib.sha256(der).hexdigest(), der, raw)


def parse_pem(octets: bytes) -> PublicHalf:
    """The public half in PEM text.

    Raises:
        ValueError: With what is wrong, in words.
    """
    if b"PRIVATE KEY" in octets:
        raise ValueError("holds a private key; only the public half belongs here")
    _head, begin, rest = octets.partition(_BEGIN)
    body, end, _ = rest.partition(_END)
    if not begin or not end:
        raise ValueError('no PEM block "PUBLIC KEY"')
    try:
        der = binascii.a2b_base64(b"".join(body.split()), strict_mode=True)
    except binascii.Error:
        raise ValueError("the PEM block is not base64") from None
    return parse_der(der)


def public_path(directory: Path, domain: str, selector: str) -> Path:
    """Where the public half lies, below the `keys` directory."""
    return directory / domain / f"{selector}{PUBLIC_SUFFIX}"


def _is_plain(name: str) -> bool:
    return bool(name) and "/" not in name and "\0" not in name and name not in (".", "..")


class PublicHalves(Mapping[tuple[str, str], PublicHalf]):
    """(domain, selector) -> PublicHalf; each file is opened when it is asked for, and once."""

    def __init__(self, directory: Path) -> None:
        self.directory = directory
        self._tree = Tree(str(directory))
        self._read: dict[tuple[str, str], PublicHalf | None] = {}

    def __getitem__(self, key: tuple[str, str]) -> PublicHalf:
        if key not in self._read:
            self._read[key] = self._open(*key)
        if (half := self._read[key]) is None:
            raise KeyError(key)
        return half

    def _open(self, domain: str, selector: str) -> PublicHalf | None:
        if not (_is_plain(domain) and _is_plain(selector)):
            return None
        try:
            octets = self._tree.read(domain, f"{selector}{PUBLIC_SUFFIX}", limit=MAX_PEM_OCTETS)
        except FileNotFoundError:
            return None
        except FileProblem as error:
            raise KeyFileError(str(error)) from None
        try:
            return parse_pem(octets)
        except ValueError as error:
            path = public_path(self.directory, domain, selector)
            raise KeyFileError(
                f"{path}: {error}; write it with dkconf keys generate, or openssl pkey -pubout"
            ) from None

    def __iter__(self) -> Iterator[tuple[str, str]]:
        for domain in self._names(""):
            for name in self._names(domain):
                if name.endswith(PUBLIC_SUFFIX):
                    yield domain, name.removesuffix(PUBLIC_SUFFIX)

    def _names(self, folder: str) -> tuple[str, ...]:
        """Return the names in a folder; none in what is no folder, as the README beside the domains."""
        try:
            return self._tree.names(folder)
        except (FileNotFoundError, NotADirectoryError):
            return ()
        except FileProblem as error:
            raise KeyFileError(str(error)) from None

    def __len__(self) -> int:
        return sum(1 for _ in self)


def read_public_halves(directory: str | os.PathLike[str]) -> PublicHalves:
    """The public halves below `directory`, which is `keys` beside the inventory; none where it is missing.

    Raises:
        KeyFileError: On access, if a file is there and is no public key.
    """
    return PublicHalves(Path(directory))
