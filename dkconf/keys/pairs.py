"""New key pairs: written whole or not at all, and never over an old one.

`KEYDIR/DOMAIN/SELECTOR.private` (0600, mode and owner before content) and `keys/DOMAIN/SELECTOR.pub.pem` beside the
inventory (0644). If either is there, nothing is made: so two hosts never make two keys for one selector, and a
public half that CI has rendered is never contradicted.
"""

from __future__ import annotations

import base64
import contextlib
import errno
import os
import re
import secrets
import signal
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Final, Literal

from dkconf.keys.faults import parent_faults, user_ids
from dkconf.keys.public import KeyFileError, public_path

Algorithm = Literal["rsa", "ed25519"]

# RFC 6376 section 3.1: a selector is sub-domains (RFC 5321); we add "_" for names in use. No "/" and no leading dot.
_LABEL: Final = r"[A-Za-z0-9_]([A-Za-z0-9_-]{0,61}[A-Za-z0-9_])?"
_NAME: Final = re.compile(rf"{_LABEL}(\.{_LABEL})*")
# Where a file system has no hard links (FAT, some FUSE), link(2) says one of these.
_NO_LINKS: Final = frozenset((errno.EPERM, errno.ENOTSUP, errno.EOPNOTSUPP, errno.ENOSYS, errno.EMLINK))


@dataclass(frozen=True, slots=True)
class KeyRequest:
    """One key pair to make."""

    domain: str
    selector: str
    algorithm: Algorithm = "rsa"
    bits: int = 2048
    """RSA modulus, 1024 to 4096; of no meaning for ed25519."""


@dataclass(frozen=True, slots=True)
class GeneratedKey:
    """What was made; nothing of the private half is in it."""

    domain: str
    selector: str
    algorithm: str
    bits: int
    fingerprint: str
    """SHA-256 of the SubjectPublicKeyInfo, lower-case hex."""
    private_path: str
    public_path: str
    notes: tuple[str, ...] = ()


def private_path(key_dir: Path, domain: str, selector: str) -> Path:
    """Where the private half lies."""
    return key_dir / domain / f"{selector}.private"


def generate(
    key_dir: str | os.PathLike[str],
    inventory_dir: str | os.PathLike[str],
    domain: str,
    selector: str,
    algorithm: Algorithm = "rsa",
    bits: int = 2048,
    owner: str = "",
) -> GeneratedKey:
    """Make one key pair; return where it is and its fingerprint.

    Args:
        owner: USER or USER:GROUP that the private half is given to; "" = the caller. A user that does not exist yet
            is noted, and the file stays the caller's (`apply` gives it away later).

    Raises:
        KeyFileError: Either half is there, a directory is unsafe, or a file cannot be written. Nothing is left behind.
    """
    private, public = _targets(Path(key_dir), Path(inventory_dir), KeyRequest(domain, selector, algorithm, bits))
    _refuse_existing(private, public)
    ids, notes = _owner(owner)
    _make_directories(private.parent, Path(key_dir), 0o711 if owner else 0o700)
    if faults := parent_faults(private, owner=owner):
        raise KeyFileError("\n".join(faults))

    from dkconf.crypto.keys import PrivateKey
    from dkconf.crypto.keys import generate as new_pem

    pem = new_pem(algorithm, bits)
    key = PrivateKey.load_pem(pem)
    _make_directories(public.parent, Path(inventory_dir), 0o755)
    public_pem = _public_pem(key.public_der)
    with (
        _prepared(private, pem, 0o600, ids) as private_draft,
        _prepared(public, public_pem, 0o644, _ids_of(Path(inventory_dir))) as public_draft,
    ):
        _place(private_draft, private, pem, 0o600)
        try:
            _place(public_draft, public, public_pem, 0o644)
        except BaseException:
            private.unlink(missing_ok=True)
            raise
    for directory in {private.parent, public.parent}:
        _sync_directory(directory)
    return GeneratedKey(domain, selector, key.algorithm, key.bits, key.fingerprint, str(private), str(public), notes)


def generate_many(
    key_dir: str | os.PathLike[str],
    inventory_dir: str | os.PathLike[str],
    requests: Sequence[KeyRequest],
    owner: str = "",
    *,
    progress: Callable[[int, int], None] = lambda done, total: None,
    processes: int = 0,
) -> tuple[GeneratedKey, ...]:
    """Make many key pairs on all cores; return them in the order of `requests`.

    Args:
        progress: Called with (done, total) after each key.
        processes: 0 = one per core.

    Raises:
        KeyFileError: One could not be made; it is named, and those that were made stay (each is whole).
    """
    from concurrent.futures import ProcessPoolExecutor, as_completed
    from multiprocessing import get_context

    for request in requests:
        _refuse_existing(*_targets(Path(key_dir), Path(inventory_dir), request))
    if len({(r.domain, r.selector) for r in requests}) < len(requests):
        raise KeyFileError("the same domain and selector is asked for twice")
    count = min(processes or _cores(), len(requests))
    if count <= 1:
        out = []
        for number, request in enumerate(requests, 1):
            out.append(_generate_one(str(key_dir), str(inventory_dir), request, owner))
            progress(number, len(requests))
        return tuple(out)
    # The private halves never cross the pipe: each worker writes its own files.
    with ProcessPoolExecutor(count, mp_context=get_context("fork"), initializer=_leave_interrupts) as pool:
        futures = [pool.submit(_generate_one, str(key_dir), str(inventory_dir), r, owner) for r in requests]
        try:
            for number, future in enumerate(as_completed(futures), 1):
                future.result()
                progress(number, len(requests))
        except BaseException:
            pool.shutdown(cancel_futures=True)
            raise
        return tuple(future.result() for future in futures)


def _leave_interrupts() -> None:
    """Let a worker finish its key at Ctrl-C: the first process hands out no more."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)


def _cores() -> int:
    """The cores that this process may use."""
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1


def _generate_one(key_dir: str, inventory_dir: str, request: KeyRequest, owner: str) -> GeneratedKey:
    return generate(key_dir, inventory_dir, request.domain, request.selector, request.algorithm, request.bits, owner)


def _targets(key_dir: Path, inventory_dir: Path, request: KeyRequest) -> tuple[Path, Path]:
    for what, name in (("domain", request.domain), ("selector", request.selector)):
        if len(name) > 253 or not _NAME.fullmatch(name):
            raise KeyFileError(f"{what}: {name!a} is no DNS name; use letters, digits, - and dots between labels")
    if request.algorithm == "rsa" and not 1024 <= request.bits <= 4096:
        raise KeyFileError(f"bits: {request.bits} is out of range; RSA keys have 1024 to 4096 bits, best 2048")
    return (
        private_path(key_dir, request.domain, request.selector),
        public_path(inventory_dir / "keys", request.domain, request.selector),
    )


def _refuse_existing(private: Path, public: Path) -> None:
    another = "take a new selector; a key file is never written over"
    if os.path.lexists(private) and not os.path.lexists(public):
        # A key from before dkconf, which its administrator wants to go on using.
        another = f"to use it write its public half, openssl pkey -in {private} -pubout -out {public}; else {another}"
    for path, way_on in (
        (private, another),
        (public, "this selector has its key on another host: copy the private half from there, or take a new selector"),
    ):
        if os.path.lexists(path):
            raise KeyFileError(f"{path}: is there already; {way_on}")


def _owner(owner: str) -> tuple[tuple[int, int] | None, tuple[str, ...]]:
    if not owner:
        return None, ()
    ids = user_ids(owner)
    if ids is None:
        return None, (f"the user {owner} does not exist yet; dkconf apply gives the key to it",)
    if ids == (os.geteuid(), os.getegid()):
        return None, ()
    if os.geteuid() != 0:
        raise KeyFileError(f"only root can give a key to {owner}; run this as root, or name no owner")
    # As `apply` would have it: the group has no use for a file of mode 0600.
    return (ids if ":" in owner else (ids[0], 0)), ()


def _ids_of(directory: Path) -> tuple[int, int] | None:
    """Public halves go to the owner of the inventory, where root works in somebody's repository."""
    if os.geteuid() != 0:
        return None
    found = directory.stat()
    return None if found.st_uid == 0 else (found.st_uid, found.st_gid)


def _make_directories(path: Path, base: Path, mode: int) -> None:
    """Make `path` and what is missing above it, each with `mode` whatever the umask; `base` decides the owner."""
    missing = []
    at = path
    while not at.exists():
        missing.append(at)
        at = at.parent
    ids = _ids_of(base) if base.exists() and mode == 0o755 else None
    for directory in reversed(missing):
        try:
            directory.mkdir(mode=0o700)
            if ids:
                os.chown(directory, *ids, follow_symlinks=False)
            directory.chmod(mode)
        except FileExistsError:
            continue
        except OSError as error:
            raise KeyFileError(f"{directory}: cannot be made ({error.strerror})") from None


def _public_pem(der: bytes) -> bytes:
    """PEM of a SubjectPublicKeyInfo, lines of 64 characters (RFC 7468 section 2)."""
    text = base64.b64encode(der)
    lines = [text[at : at + 64] for at in range(0, len(text), 64)]
    return b"\n".join([b"-----BEGIN PUBLIC KEY-----", *lines, b"-----END PUBLIC KEY-----", b""])


@contextlib.contextmanager
def _prepared(target: Path, content: bytes, mode: int, ids: tuple[int, int] | None) -> Iterator[Path]:
    """A complete draft of `target` beside it, gone again at the end."""
    draft = target.with_name(f".{target.name}.{secrets.token_hex(6)}")
    try:
        descriptor = os.open(draft, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW | os.O_CLOEXEC, 0o600)
    except OSError as error:
        raise KeyFileError(f"{target}: cannot be written ({error.strerror})") from None
    try:
        with os.fdopen(descriptor, "wb") as file:
            if ids:
                os.fchown(file.fileno(), *ids)
            os.fchmod(file.fileno(), mode)
            file.write(content)
            file.flush()
            os.fsync(file.fileno())
        yield draft
    except OSError as error:
        raise KeyFileError(f"{target}: cannot be written ({error.strerror})") from None
    finally:
        draft.unlink(missing_ok=True)


def _place(draft: Path, target: Path, content: bytes, mode: int) -> None:
    """Give the draft its name; link(2) is atomic and never replaces.

    Raises:
        KeyFileError: Somebody else was first.
    """
    try:
        os.link(draft, target, follow_symlinks=False)
    except FileExistsError:
        raise KeyFileError(f"{target}: is there already; another run was first") from None
    except OSError as error:
        if error.errno not in _NO_LINKS:
            raise
        _copy_exclusively(draft, target, content, mode)


def _copy_exclusively(draft: Path, target: Path, content: bytes, mode: int) -> None:
    try:
        descriptor = os.open(target, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW | os.O_CLOEXEC, 0o600)
    except FileExistsError:
        raise KeyFileError(f"{target}: is there already; another run was first") from None
    try:
        with os.fdopen(descriptor, "wb") as file:
            found = draft.stat()
            if os.geteuid() == 0:
                os.fchown(file.fileno(), found.st_uid, found.st_gid)
            os.fchmod(file.fileno(), mode)
            file.write(content)
            file.flush()
            os.fsync(file.fileno())
    except BaseException:
        target.unlink(missing_ok=True)
        raise


def _sync_directory(directory: Path) -> None:
    descriptor = os.open(directory, os.O_RDONLY | os.O_DIRECTORY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
