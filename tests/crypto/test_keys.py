"""Keys: what is loaded signs, what signs never shows, what does not fit is False."""

from __future__ import annotations

import hashlib
import pickle
from typing import Any

import pytest
from cryptography.exceptions import UnsupportedAlgorithm
from cryptography.hazmat.primitives import serialization
from cryptography.hazmat.primitives.asymmetric import ec, rsa

from dkconf.crypto import keys
from dkconf.crypto.keys import KeyProblem, PrivateKey, PublicKey, PublicKeyCache, generate
from tests.signing import ED25519_PEM, KEY_PEM, OTHER_KEY_PEM

SHA256 = hashlib.sha256(b"data").digest()
SHA1 = hashlib.sha1(b"data").digest()


def secret_words(pem: bytes) -> list[str]:
    """Return pieces of the key's text that must never be seen."""
    return [line.decode("latin-1") for line in pem.splitlines() if b"-" not in line]


def test_rsa() -> None:
    """Signs SHA-256 and SHA-1 digests; another digest, signature or key is False."""
    key = PrivateKey.load_pem(KEY_PEM)
    public = PublicKey.from_der(key.public_der)

    assert ("rsa", 1024, key.public_der) == (key.algorithm, key.bits, key.public_raw)
    assert hashlib.sha256(key.public_der).hexdigest() == key.fingerprint
    assert ("rsa", 1024, 17) == (public.algorithm, public.bits, public.exponent_bits)
    for sign, verify, digest in (
        (key.sign_sha256, public.verify_sha256, SHA256),
        (key.sign_sha1, public.verify_sha1, SHA1),
    ):
        signature = sign(digest)
        assert verify(signature, digest)
        assert not verify(signature, digest[:-1] + b"\0")
        assert not verify(signature[:-1] + bytes([signature[-1] ^ 1]), digest)
        for wrong in (b"", b"x", signature + b"\0", b"\0" + signature, b"\xff" * 128, b"\0" * 128):
            assert not verify(wrong, digest)
        assert not PublicKey.from_der(PrivateKey.load_pem(OTHER_KEY_PEM).public_der).verify_sha256(signature, SHA256)


def test_ed25519() -> None:
    """The published half is 32 raw octets (RFC 8463 section 4.2)."""
    key = PrivateKey.load_pem(ED25519_PEM)
    public = PublicKey.from_raw(key.public_raw)

    assert ("ed25519", 256, 32) == (key.algorithm, key.bits, len(key.public_raw))
    assert ("ed25519", 256, 0) == (public.algorithm, public.bits, public.exponent_bits)
    assert public.verify_ed25519(key.sign_ed25519(SHA256), SHA256)
    for wrong in (b"", b"x" * 64, key.sign_ed25519(b"else")):
        assert not public.verify_ed25519(wrong, SHA256)


@pytest.mark.parametrize("name", ["sha1", "sha256"])
def test_plain_integers_agree(name: str) -> None:
    """The check for systems whose policy refuses SHA-1 or short keys gives the same answers."""
    key = PrivateKey.load_pem(KEY_PEM)
    public = PublicKey.from_der(key.public_der)
    digest = hashlib.new(name, b"data").digest()
    signature = key.sign_sha1(digest) if name == "sha1" else key.sign_sha256(digest)

    assert public._verify_plainly(signature, digest, name)
    assert not public._verify_plainly(signature, digest[:-1] + b"\0", name)
    for wrong in (b"", signature[1:], signature + b"\0", b"\xff" * 128, b"\0" * 128):
        assert not public._verify_plainly(wrong, digest, name)


def test_a_policy_against_sha1(monkeypatch: pytest.MonkeyPatch) -> None:
    """Verifying goes on with plain integers; signing says what is in the way."""

    class Refusing:
        def __init__(self, key: Any) -> None:
            self._key = key

        def __getattr__(self, name: str) -> Any:
            return getattr(self._key, name)

        def sign(self, *_: Any) -> None:
            raise UnsupportedAlgorithm("policy")

        recover_data_from_signature = sign

    private = PrivateKey.load_pem(KEY_PEM)
    public = PublicKey.from_der(private.public_der)
    signature = private.sign_sha1(SHA1)
    public._key, private._key = Refusing(public._key), Refusing(private._key)

    assert public.verify_sha1(signature, SHA1)
    assert not public.verify_sha1(signature, SHA1[:-1] + b"\0")
    with pytest.raises(KeyProblem, match="policy"):
        private.sign_sha1(SHA1)


@pytest.mark.parametrize("pem", [KEY_PEM, ED25519_PEM])
def test_a_key_never_shows(pem: bytes) -> None:
    """Not in repr, not in str, not by pickle."""
    key = PrivateKey.load_pem(pem)

    for text in (repr(key), str(key), f"{key}"):
        assert key.fingerprint[:16] in text
        assert not any(word in text for word in secret_words(pem))
    with pytest.raises(TypeError):
        pickle.dumps(key)


def encrypted() -> bytes:
    """Return a key with a passphrase."""
    key = serialization.load_pem_private_key(KEY_PEM, None)
    return key.private_bytes(
        serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.BestAvailableEncryption(b"x")
    )


def elliptic() -> bytes:
    """Return a key of a kind that nobody signs mail with."""
    return ec.generate_private_key(ec.SECP256R1()).private_bytes(
        serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption()
    )


BAD: dict[str, tuple[bytes, str]] = {
    "empty": (b"", "no private key"),
    "a public key": (
        serialization.load_pem_private_key(KEY_PEM, None)
        .public_key()
        .public_bytes(serialization.Encoding.PEM, serialization.PublicFormat.SubjectPublicKeyInfo),
        "no private key",
    ),
    "cut short": (KEY_PEM[:300], "no|cannot"),
    "a line lost": (b"\n".join([*KEY_PEM.split(b"\n")[:3], *KEY_PEM.split(b"\n")[4:]]), "cannot be decoded"),
    "encrypted": (encrypted(), "encrypted"),
    "elliptic curve": (elliptic(), "neither RSA nor Ed25519"),
    "octets": (b"-----BEGIN PRIVATE KEY-----\n\xff\x00\n-----END PRIVATE KEY-----\n", "cannot be decoded"),
}


@pytest.mark.parametrize("name", BAD)
def test_bad_private_keys(name: str) -> None:
    """The message says what is wrong, and holds nothing of the key; no chained exception does either."""
    pem, text = BAD[name]
    with pytest.raises(KeyProblem, match=text) as caught:
        PrivateKey.load_pem(pem)

    assert caught.value.__cause__ is None
    assert not any(word in str(caught.value) for word in secret_words(pem) if len(word) > 8)


@pytest.mark.parametrize("octets", [b"", b"\0", b"\x30\x80", b"\x30" * 5000, elliptic()])
def test_bad_public_keys(octets: bytes) -> None:
    """KeyProblem, and nothing else."""
    with pytest.raises(KeyProblem):
        PublicKey.from_der(octets)
    with pytest.raises(KeyProblem):
        PublicKey.from_raw(octets)


def _padded(
    size: int, *, kind: int = 1, fill: bytes = b"\xff", short: int = 0, tail: bytes = b"", info: bytes
) -> bytes:
    """Return an encoded message of RFC 8017 section 9.2, or one that is nearly that."""
    rest = b"\x00" + info + SHA256 + tail
    return bytes([0, kind]) + fill * (size - 2 - len(rest) - short) + b"\x00" * short + rest


INFO = keys._DIGEST_INFO["sha256"]
WITHOUT_NULL = bytes.fromhex("302f300b06096086480165030402010420")


@pytest.mark.parametrize("plainly", [False, True])
@pytest.mark.parametrize(
    ("block", "good"),
    [
        (_padded(128, info=INFO), True),
        (_padded(128, info=INFO, kind=2), False),
        (_padded(128, info=INFO, kind=0), False),
        (_padded(128, info=INFO, fill=b"\xfe"), False),
        (_padded(128, info=INFO, short=1), False),
        (_padded(128, info=INFO, tail=b"\x00" * 40), False),  # Bleichenbacher's forgery: less padding, then anything
        (_padded(128, info=INFO, tail=b"x"), False),
        (_padded(128, info=WITHOUT_NULL), False),
        (_padded(128, info=keys._DIGEST_INFO["sha1"]), False),
        (_padded(128, info=b""), False),
    ],
)
def test_only_the_exact_padding_counts(block: bytes, good: bool, plainly: bool) -> None:
    """RFC 8017 section 8.2.2: the whole encoded message is compared, by both ways of checking."""
    numbers = serialization.load_pem_private_key(KEY_PEM, password=None).private_numbers()  # type: ignore[union-attr]
    n = numbers.public_numbers.n  # type: ignore[union-attr]
    signature = pow(int.from_bytes(block, "big"), numbers.d, n).to_bytes(128, "big")  # type: ignore[union-attr]
    public = PublicKey.from_der(PrivateKey.load_pem(KEY_PEM).public_der)

    check = public._verify_plainly if plainly else public._verify
    assert good == check(signature, SHA256, "sha256")


def test_generate() -> None:
    """PKCS#8, of the length asked for; nothing under 1024 bits."""
    assert b"BEGIN PRIVATE KEY" in generate("ed25519")
    assert 1024 == PrivateKey.load_pem(generate("rsa", 1024)).bits
    for bits in (512, 1023, 8193):
        with pytest.raises(KeyProblem):
            generate("rsa", bits)
    with pytest.raises(KeyProblem):
        generate("dsa")  # type: ignore[arg-type]


def test_cache() -> None:
    """The same octets give the same object; the cache stays within its bound; failures are not kept."""
    cache = PublicKeyCache(limit=1)
    first, second = (PrivateKey.load_pem(pem).public_der for pem in (KEY_PEM, OTHER_KEY_PEM))

    assert cache.get("rsa", first) is cache.get("rsa", first)
    cache.get("rsa", second)
    assert 1 == len(cache._keys)
    with pytest.raises(KeyProblem):
        cache.get("rsa", b"x")
    assert 1 == len(cache._keys)
    assert isinstance(keys.public_keys, PublicKeyCache)


def test_halves_that_do_not_belong_together() -> None:
    """A damaged RSA key is found when it is loaded, by a signature that does not verify; its numbers are
    not shown."""
    numbers = serialization.load_pem_private_key(KEY_PEM, None).private_numbers()  # type: ignore[union-attr]
    damaged = rsa.RSAPrivateNumbers(
        numbers.p, numbers.q, numbers.d + 2, numbers.dmp1 + 2, numbers.dmq1, numbers.iqmp, numbers.public_numbers
    ).private_key(unsafe_skip_rsa_key_validation=True)
    pem = damaged.private_bytes(
        serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption()
    )

    with pytest.raises(KeyProblem, match="cannot be decoded") as caught:
        PrivateKey.load_pem(pem)

    assert all(word not in str(caught.value) for word in secret_words(pem))
    # No signature is spent on octets that were loaded before, so nothing is found in them either.
    assert PrivateKey.load_pem(pem, proved=True).bits == PrivateKey.load_pem(KEY_PEM).bits
