"""Private and public keys: RSA (RFC 8017, PKCS#1 v1.5) and Ed25519 (RFC 8032), as DomainKeys and DKIM use
them.

A private key is loaded once and signs digests; its text and numbers never leave this module: not in `repr`,
not in an exception. A public key verifies; a signature that does not fit is False, never an exception. Some
builds refuse SHA-1 or short keys by policy: then the PKCS#1 check is calculated here with plain integers,
so that a policy of the system never looks like a fault of the message.
"""

from __future__ import annotations

import hashlib
from typing import Any, Literal

from cryptography.exceptions import InvalidSignature, UnsupportedAlgorithm
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ed25519, padding, rsa
from cryptography.hazmat.primitives.asymmetric.utils import Prehashed

from dkconf.errors import DkconfError

KeyAlgorithm = Literal["rsa", "ed25519"]

# Made once: building them for each signature costs as much as parsing a header.
_PKCS1 = padding.PKCS1v15()
_SHA1: Any = Prehashed(hashes.SHA1())
_SHA256: Any = Prehashed(hashes.SHA256())
_RAW = (serialization.Encoding.Raw, serialization.PublicFormat.Raw)
_SPKI = (serialization.Encoding.DER, serialization.PublicFormat.SubjectPublicKeyInfo)

_DIGEST_INFO = {  # RFC 8017 section 9.2, notes: DER of AlgorithmIdentifier, then the digest
    "sha1": bytes.fromhex("3021300906052b0e03021a05000414"),
    "sha256": bytes.fromhex("3031300d060960864801650304020105000420"),
}

MIN_SIGNING_BITS = 512
"""Shorter RSA keys cannot hold a padded SHA-256 digest; 512 was DomainKeys' shortest (RFC 4870 section
3.2.3)."""


class KeyProblem(DkconfError):
    """A key cannot be used; the message says why, and never holds any part of the key."""


def _load(octets: bytes, proved: bool) -> Any:
    """Return the private key of a PEM file; of an RSA key not `proved` yet, its halves are to belong together.

    By one signature that verifies, a millisecond: the library's own check, whether the factors are prime, takes
    a tenth of a second for each key, and a host may have thousands.
    """
    try:
        key = serialization.load_pem_private_key(octets, password=None, unsafe_skip_rsa_key_validation=True)
    except TypeError:  # cryptography before 39; or encrypted, which the next line says again
        return serialization.load_pem_private_key(octets, password=None)
    if isinstance(key, rsa.RSAPrivateKey) and not proved:
        digest = hashlib.sha256(b"").digest()
        try:
            key.public_key().verify(key.sign(digest, _PKCS1, _SHA256), digest, _PKCS1, _SHA256)
        except InvalidSignature as error:
            raise ValueError("the halves do not belong together") from error
        except (ValueError, UnsupportedAlgorithm):  # too short to sign with, or forbidden here: not proved
            return serialization.load_pem_private_key(octets, password=None)
    return key


class PrivateKey:
    """A private key that signs; made by `load_pem`."""

    __slots__ = ("_key", "algorithm", "bits", "fingerprint", "public_der", "public_raw")

    algorithm: KeyAlgorithm
    bits: int
    """Length of the RSA modulus; 256 for Ed25519."""
    public_der: bytes
    """The public half as DER SubjectPublicKeyInfo."""
    public_raw: bytes
    """The public half as it is published: SubjectPublicKeyInfo for RSA, 32 raw octets for Ed25519 (RFC
    8463)."""
    fingerprint: str
    """SHA-256 of `public_der` in hexadecimal."""

    def __init__(self, key: rsa.RSAPrivateKey | ed25519.Ed25519PrivateKey) -> None:
        self._key: Any = key
        public = key.public_key()
        self.public_der = public.public_bytes(*_SPKI)
        if isinstance(public, rsa.RSAPublicKey):
            self.algorithm, self.bits, self.public_raw = "rsa", public.key_size, self.public_der
        else:
            self.algorithm, self.bits, self.public_raw = "ed25519", 256, public.public_bytes(*_RAW)
        self.fingerprint = hashlib.sha256(self.public_der).hexdigest()

    @classmethod
    def load_pem(cls, octets: bytes, proved: bool = False) -> PrivateKey:
        """Return the key of a PEM file (PKCS#8, or PKCS#1 for RSA), not encrypted.

        Args:
            octets: The file.
            proved: These very octets were loaded before: whether the halves of an RSA key belong together is known.

        Raises:
            KeyProblem: No key, an encrypted key, a key of another kind, or one too short to sign with.
        """
        if b"PRIVATE KEY-----" not in octets:
            raise KeyProblem("no private key in PEM form found; write one with `dkconf keys generate`")
        if b"ENCRYPTED" in octets:
            raise KeyProblem("the private key is encrypted; a filter has nobody to ask")
        try:
            key = _load(octets, proved)
        except (ValueError, TypeError, UnsupportedAlgorithm):
            # The library's own message may quote its input: it is not passed on.
            raise KeyProblem("the private key cannot be decoded; it should be PKCS#8 or PKCS#1 PEM") from None
        if isinstance(key, ed25519.Ed25519PrivateKey):
            return cls(key)
        if not isinstance(key, rsa.RSAPrivateKey):
            raise KeyProblem("the private key is neither RSA nor Ed25519")
        if key.key_size < MIN_SIGNING_BITS:
            raise KeyProblem(f"the RSA key has {key.key_size} bits; at least {MIN_SIGNING_BITS} are needed")
        return cls(key)

    def sign_sha256(self, digest: bytes) -> bytes:
        """Return the RSA signature of a SHA-256 digest (not of the data)."""
        return bytes(self._key.sign(digest, _PKCS1, _SHA256))

    def sign_sha1(self, digest: bytes) -> bytes:
        """Return the RSA signature of a SHA-1 digest (not of the data); DomainKeys only."""
        try:
            return bytes(self._key.sign(digest, _PKCS1, _SHA1))
        except UnsupportedAlgorithm:
            raise KeyProblem("the cryptographic policy of this system forbids SHA-1 signatures") from None

    def sign_ed25519(self, data: bytes) -> bytes:
        """Return the Ed25519 signature of the data; for DKIM that is the SHA-256 digest (RFC 8463 section
        3)."""
        return bytes(self._key.sign(data))

    def __repr__(self) -> str:
        return f"PrivateKey({self.algorithm}, {self.bits} bits, {self.fingerprint[:16]})"

    def __reduce__(self) -> str:
        raise TypeError("a private key is not pickled")


class PublicKey:
    """A public key that verifies; made by `from_der` or `from_raw`."""

    __slots__ = ("_key", "algorithm", "bits", "exponent_bits")

    algorithm: KeyAlgorithm
    bits: int
    exponent_bits: int
    """Length of the RSA exponent, 0 for Ed25519: both limits stand before any calculation with the key."""

    def __init__(self, key: rsa.RSAPublicKey | ed25519.Ed25519PublicKey) -> None:
        self._key: Any = key
        if isinstance(key, rsa.RSAPublicKey):
            self.algorithm, self.bits = "rsa", key.key_size
            self.exponent_bits = key.public_numbers().e.bit_length()
        else:
            self.algorithm, self.bits, self.exponent_bits = "ed25519", 256, 0

    @classmethod
    def from_der(cls, octets: bytes) -> PublicKey:
        """Return the RSA key of a DER SubjectPublicKeyInfo, or of a bare RSAPublicKey (RFC 6376 section
        3.6.1).

        Raises:
            KeyProblem: No RSA key.
        """
        try:
            key = serialization.load_der_public_key(octets)
        except (ValueError, TypeError, UnsupportedAlgorithm, OverflowError):
            raise KeyProblem("the public key cannot be decoded") from None
        if not isinstance(key, rsa.RSAPublicKey):
            raise KeyProblem("the public key is not RSA")
        return cls(key)

    @classmethod
    def from_raw(cls, octets: bytes) -> PublicKey:
        """Return the Ed25519 key of 32 raw octets.

        Raises:
            KeyProblem: Not 32 octets, or no point of the curve.
        """
        if len(octets) != 32:
            raise KeyProblem(f"an Ed25519 key has 32 octets, not {len(octets)}")
        try:
            return cls(ed25519.Ed25519PublicKey.from_public_bytes(octets))
        except (ValueError, UnsupportedAlgorithm):
            raise KeyProblem("the Ed25519 key cannot be decoded") from None

    def verify_sha256(self, signature: bytes, digest: bytes) -> bool:
        """Return True if this is the RSA signature of that SHA-256 digest."""
        return self._verify(signature, digest, "sha256")

    def verify_sha1(self, signature: bytes, digest: bytes) -> bool:
        """Return True if this is the RSA signature of that SHA-1 digest."""
        return self._verify(signature, digest, "sha1")

    def verify_ed25519(self, signature: bytes, data: bytes) -> bool:
        """Return True if this is the Ed25519 signature of the data."""
        try:
            self._key.verify(signature, data)
        except InvalidSignature:
            return False
        return True

    def _verify(self, signature: bytes, digest: bytes, name: str) -> bool:
        # What was padded is compared here (RFC 8017 section 8.2.2): the library's own `verify` takes 6 us more, and may
        # be forbidden to hear of SHA-1.
        try:
            found = self._key.recover_data_from_signature(signature, _PKCS1, None)
        except InvalidSignature:
            return False
        except (UnsupportedAlgorithm, ValueError):
            return self._verify_plainly(signature, digest, name)
        return bool(found == _DIGEST_INFO[name] + digest)

    def _verify_plainly(self, signature: bytes, digest: bytes, name: str) -> bool:
        """Return the same by RFC 8017 section 8.2.2 with integers. Nothing here is secret, so timing is no
        matter."""
        numbers = self._key.public_numbers()
        size = (numbers.n.bit_length() + 7) // 8
        tail = b"\x00" + _DIGEST_INFO[name] + digest
        if len(signature) != size or size < len(tail) + 10:
            return False
        value = int.from_bytes(signature, "big")
        if value >= numbers.n:
            return False
        expected = b"\x00\x01" + b"\xff" * (size - len(tail) - 2) + tail
        return bool(pow(value, numbers.e, numbers.n).to_bytes(size, "big") == expected)


def generate(algorithm: KeyAlgorithm, bits: int = 2048) -> bytes:
    """Return a new private key as PKCS#8 PEM.

    Args:
        algorithm: `rsa` or `ed25519`.
        bits: Length of the RSA modulus, 1024 to 8192; of no meaning for Ed25519.

    Raises:
        KeyProblem: The length is out of range.
    """
    key: rsa.RSAPrivateKey | ed25519.Ed25519PrivateKey
    if algorithm == "ed25519":
        key = ed25519.Ed25519PrivateKey.generate()
    elif algorithm == "rsa":
        if not 1024 <= bits <= 8192:
            raise KeyProblem(f"an RSA key of {bits} bits: take 1024 to 8192, best 2048")
        key = rsa.generate_private_key(public_exponent=65537, key_size=bits)
    else:
        raise KeyProblem(f"no such key algorithm: {algorithm!r}; take rsa or ed25519")
    return key.private_bytes(
        serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption()
    )


CACHED_KEYS = 512
"""Public keys kept parsed. What is parsed depends on the octets alone, so no TTL is needed here."""


class PublicKeyCache:
    """Parsed public keys by their octets, bounded; the oldest goes first. Failures are not kept."""

    __slots__ = ("_keys", "_limit")

    def __init__(self, limit: int = CACHED_KEYS) -> None:
        self._keys: dict[tuple[str, bytes], PublicKey] = {}
        self._limit = limit

    def get(self, algorithm: KeyAlgorithm, octets: bytes) -> PublicKey:
        """Return the key, parsed now or before.

        Raises:
            KeyProblem: The octets are no key of this algorithm.
        """
        found = self._keys.get((algorithm, octets))
        if found is None:
            found = PublicKey.from_der(octets) if algorithm == "rsa" else PublicKey.from_raw(octets)
            if len(self._keys) >= self._limit:
                del self._keys[next(iter(self._keys))]
            self._keys[(algorithm, octets)] = found
        return found


public_keys = PublicKeyCache()
"""The process's cache."""
