"""The keys of an inventory as a table: state, fingerprint, and whether this host's private half is there and fits."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

from dkconf.errors import DkconfError
from dkconf.files.folders import ANYWHERE
from dkconf.files.looking import look
from dkconf.files.reading import FileProblem, read_file
from dkconf.inventory.model import Inventory
from dkconf.keys.faults import file_faults
from dkconf.keys.pairs import private_path
from dkconf.keys.public import KeyFileError, PublicHalf, parse_der

MAX_PRIVATE_OCTETS = 65536
"""RSA-16384 takes 12 KiB in PEM; a larger file is no key."""

PrivateState = Literal["present", "missing", "differs", "unreadable", "-"]


@dataclass(frozen=True, slots=True)
class KeyRow:
    """One selector of the inventory."""

    domain: str
    selector: str
    state: str
    algorithm: str
    bits: int
    """Of the public half; 0 while none is known."""
    fingerprint: str
    """Of the public half beside the inventory; "" while none is known."""
    private: PrivateState
    """present: it is there and fits; differs: its public half is another; "-": not looked at."""
    private_path: str
    faults: tuple[str, ...]
    """One sentence each, with what helps."""


def private_half(path: Path) -> PublicHalf:
    """The public half of the private key in `path`; the private one is forgotten at once.

    Raises:
        KeyFileError: It cannot be read, or is no key.
    """
    from dkconf.crypto.keys import PrivateKey

    try:
        octets = read_file(str(path), limit=MAX_PRIVATE_OCTETS, within=ANYWHERE, closed=True)
    except FileNotFoundError:
        raise KeyFileError(f"{path}: is missing") from None
    except FileProblem as error:
        raise KeyFileError(str(error)) from None
    try:
        return parse_der(PrivateKey.load_pem(octets).public_der)
    except (DkconfError, ValueError) as error:
        raise KeyFileError(f"{path}: {error}") from None


def list_keys(
    inventory: Inventory,
    public_keys: Mapping[tuple[str, str], PublicHalf],
    *,
    domains: Iterable[str] | None = None,
    key_dir: Path | None = None,
    owner: str = "",
    mode: int = 0o600,
    root: Path = Path("/"),
) -> tuple[KeyRow, ...]:
    """The selectors of `domains` (of all, if None), by domain and selector.

    Args:
        key_dir: This host's key directory, without `root`; None = private halves are not looked at.
        owner: Who should own the private halves; "" = not judged.
    """
    rows = []
    for domain in inventory.domains if domains is None else domains:
        for selector, spec in sorted(inventory.domains[domain].selectors.items()):
            faults: list[str] = []
            half = None
            try:
                half = public_keys.get((domain, selector))
            except KeyFileError as error:
                faults.append(str(error))
            if half and half.algorithm != spec.algorithm:
                faults.append(f"{domain} {selector}: the inventory says {spec.algorithm}, the key is {half.algorithm}")
            if half and spec.algorithm == half.algorithm == "rsa" and half.bits != spec.bits:
                faults.append(f"{domain} {selector}: the inventory says {spec.bits} bits, the key has {half.bits}")
            path, private = "", "-"
            if key_dir is not None:
                path = str(private_path(key_dir, domain, selector))
                private = _private_state(root / path.lstrip("/"), half, faults, owner, mode, root)
            rows.append(
                KeyRow(
                    domain=domain,
                    selector=selector,
                    state=spec.state,
                    algorithm=spec.algorithm,
                    bits=half.bits if half else 0,
                    fingerprint=half.fingerprint if half else "",
                    private=private,  # type: ignore[arg-type]
                    private_path=path,
                    faults=tuple(faults),
                )
            )
    return tuple(rows)


def _private_state(
    path: Path, half: PublicHalf | None, faults: list[str], owner: str, mode: int, root: Path
) -> PrivateState:
    try:
        if look(str(path), within=ANYWHERE) is None:
            return "missing"
    except FileProblem as error:
        faults.append(str(error))
        return "unreadable"
    faults += file_faults(path, owner, mode, root)
    try:
        found = private_half(path)
    except KeyFileError as error:
        faults.append(str(error))
        return "unreadable"
    if half and found.fingerprint != half.fingerprint:
        faults.append(
            f"{path}: fingerprint {found.fingerprint}, but the public half beside the inventory has "
            f"{half.fingerprint}; one of the two is of another key: keep the published one"
        )
        return "differs"
    return "present"
