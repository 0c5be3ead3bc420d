"""New key pairs: written whole or not at all, and never over an old one.

`KEYDIR/DOMAIN/SELECTOR.private` (0600, mode and owner before content) and `keys/DOMAIN/SELECTOR.pub.pem` beside the
inventory (0644). If either is there, nothing is made: so two hosts never make two keys for one selector, and a
public half that CI has rendered is never contradicted.
"""

from __future__ import annotations

import base64
import contextlib
import os
import re
import signal
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Final, Literal

from dkconf.files.folders import CHECKOUT
from dkconf.files.looking import folder_info, look
from dkconf.files.making import NOBODYS, Owner, make_folders
from dkconf.files.problems import said
from dkconf.files.reading import FileProblem
from dkconf.files.writing import drafted, opened_place, place
from dkconf.keys.faults import parent_faults, user_ids
from dkconf.keys.public import KeyFileError, public_path

Algorithm = Literal["rsa", "ed25519"]

# RFC 6376 section 3.1: a selector is sub-domains (RFC 5321); we add "_" for names in use. No "/" and no leading dot.
_LABEL: Final = r"[A-Za-z0-9_]([A-Za-z0-9_-]{0,61}[A-Za-z0-9_])?"
_NAME: Final = re.compile(rf"{_LABEL}(\.{_LABEL})*")


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
    request = KeyRequest(domain, selector, algorithm, bits)
    private, public = _targets(Path(key_dir), Path(inventory_dir), request)
    _refuse_existing(private, public)
    ids, notes = _owner(owner)
    _refuse_unsafe(private, owner)
    with _in_our_words():
        make_folders(str(private.parent), mode=0o711 if owner else 0o700)
        _refuse_unsafe(private, owner)

        from dkconf.crypto.keys import PrivateKey
        from dkconf.crypto.keys import generate as new_pem

        pem = new_pem(algorithm, bits)
        key = PrivateKey.load_pem(pem)
        theirs = _inventorys_owner(inventory_dir)
        make_folders(str(public.parent), mode=0o755, owner=theirs, within=CHECKOUT)
        _place_both((private, pem, 0o600, ids), (public, _public_pem(key.public_der), 0o644, theirs))
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
    with _in_our_words():
        there = [path for path, within in ((private, ""), (public, CHECKOUT)) if look(str(path), within=within)]
    another = "take a new selector; a key file is never written over"
    if there == [private]:
        # A key from before dkconf, which its administrator wants to go on using.
        another = f"to use it write its public half, openssl pkey -in {private} -pubout -out {public}; else {another}"
    for path, way_on in (
        (private, another),
        (public, "this selector has its key on another host: copy the private half from there, or take a new selector"),
    ):
        if path in there:
            raise KeyFileError(f"{path}: is there already; {way_on}")


def _refuse_unsafe(private: Path, owner: str) -> None:
    if faults := parent_faults(private, owner=owner):
        raise KeyFileError("\n".join(faults))


@contextlib.contextmanager
def _in_our_words() -> Iterator[None]:
    try:
        yield
    except KeyFileError:
        raise
    except FileProblem as error:
        raise KeyFileError(str(error)) from None


def _owner(owner: str) -> tuple[Owner, tuple[str, ...]]:
    if not owner:
        return NOBODYS, ()
    ids = user_ids(owner)
    if ids is None:
        return NOBODYS, (f"the user {owner} does not exist yet; dkconf apply gives the key to it",)
    if ids == (os.geteuid(), os.getegid()):
        return NOBODYS, ()
    if os.geteuid() != 0:
        raise KeyFileError(f"only root can give a key to {owner}; run this as root, or name no owner")
    # As `apply` would have it: the group has no use for a file of mode 0600.
    return (ids if ":" in owner else (ids[0], 0)), ()


def _inventorys_owner(directory: str | os.PathLike[str]) -> Owner:
    """Public halves go to the owner of the inventory's folder, where root works in somebody's repository."""
    if os.geteuid() != 0:
        return NOBODYS
    found = folder_info(os.fspath(directory) or ".", within=CHECKOUT)
    return NOBODYS if found.st_uid == 0 else (found.st_uid, found.st_gid)


def _public_pem(der: bytes) -> bytes:
    """PEM of a SubjectPublicKeyInfo, lines of 64 characters (RFC 7468 section 2)."""
    text = base64.b64encode(der)
    lines = [text[at : at + 64] for at in range(0, len(text), 64)]
    return b"\n".join([b"-----BEGIN PUBLIC KEY-----", *lines, b"-----END PUBLIC KEY-----", b""])


_Half = tuple[Path, bytes, int, Owner]
"""Where, content, mode, owner."""


def _place_both(private: _Half, public: _Half) -> None:
    """Write both halves, or neither; what is there is never replaced.

    Raises:
        KeyFileError: Somebody else was first.
        FileProblem: The system says no.
    """
    with contextlib.ExitStack() as stack:
        drafts = []
        for (path, content, mode, owner), within in ((private, ""), (public, CHECKOUT)):
            folder, name = stack.enter_context(opened_place(str(path), within, follow=False))
            draft = stack.enter_context(drafted(folder, name, content, mode, owner))
            drafts.append((path, folder, draft, name, content))
        placed: list[tuple[int, str]] = []
        try:
            for path, folder, draft, name, content in drafts:
                try:
                    place(folder, draft, name, content)
                except FileExistsError:
                    raise KeyFileError(f"{path}: is there already; another run was first") from None
                except OSError as error:
                    raise KeyFileError(f"{path}: cannot be written ({said(error)})") from None
                placed.append((folder, name))
            for folder, _ in placed:
                os.fsync(folder)
        except BaseException:
            for folder, name in placed:
                with contextlib.suppress(FileNotFoundError):
                    os.unlink(name, dir_fd=folder)
            raise
