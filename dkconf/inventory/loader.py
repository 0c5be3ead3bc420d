"""`load`: a path to an inventory, or every reason why not."""

from __future__ import annotations

import hashlib
from dataclasses import dataclass, field, replace
from pathlib import Path

from dkconf.errors import DkconfError
from dkconf.files.folders import CHECKOUT
from dkconf.files.reading import FileProblem, TooLarge, read_file

from . import ignores, lint, references
from .findings import Finding, InventoryInvalid, in_order
from .model import Inventory
from .reader import read_inventory
from .references import Checker
from .source import MAX_FILE_OCTETS, Node, Place, Source, decode
from .tree import parse, without_collector


@dataclass(frozen=True, slots=True)
class Loaded:
    inventory: Inventory
    findings: tuple[Finding, ...]
    """Warnings only; with errors there is no inventory."""
    silenced: int = 0
    """Findings that `# dkconf: ignore=` comments took away."""
    checker: Checker | None = field(default=None, repr=False, compare=False)
    """Makes further findings about this file, each at its place."""


class NoInventory(DkconfError):
    """The file is not there, or cannot be read."""


def load(path: str | Path) -> Loaded:
    """Return the inventory of a file, with its warnings.

    Raises:
        InventoryInvalid: The file has errors; `findings` holds all of them, and the warnings.
        NoInventory: The file cannot be read.
    """
    return load_octets(read(path), str(path))


def read(path: str | Path) -> bytes:
    """Return the octets of an inventory file.

    A link to it is followed if it was set by root or ourselves, or if it stays within its checkout.

    Raises:
        InventoryInvalid: It is too large.
        NoInventory: It is not there, or cannot be read.
    """
    try:
        return read_file(str(path), limit=MAX_FILE_OCTETS, within=CHECKOUT)
    except TooLarge as error:
        raise InventoryInvalid(_too_large(str(path), error.octets)) from None
    except FileNotFoundError as error:
        raise NoInventory(
            f"{path}: no such file or directory; name the inventory with -i, or make one with `dkconf init DIR`"
        ) from error
    except FileProblem as error:
        raise NoInventory(str(error)) from error


def _too_large(path: str, size: int) -> tuple[Finding, ...]:
    source = Source(path, "")
    source.add(
        "YAML009",
        None,
        (),
        f"the file has {size:,} octets",
        f"an inventory may have {MAX_FILE_OCTETS // 1024 // 1024} MiB; 10,000 domains take 3 MB",
    )
    return tuple(source.findings)


def load_octets(octets: bytes, file: str) -> Loaded:
    """Return the inventory of a file's octets, e.g. of another revision; `file` is its name in messages."""
    with without_collector():
        return _load(octets, file)


def _load(octets: bytes, file: str) -> Loaded:
    source = decode(file, octets)
    root: Node | None = None
    inventory: Inventory | None = None
    if not any(f.rule in ("YAML006", "YAML007", "YAML009") for f in source.findings):
        root = parse(source)
    if root is not None:
        inventory = read_inventory(source, root)
    if root is not None and inventory is not None:
        references.check(source, root, inventory)
        if not any(f.severity == "error" for f in source.findings):
            inventory = _complete(inventory)
            lint.check(source, root, inventory)
    elif root is None and not source.findings:
        source.add("YAML006", Place(0, 0), (), "the file holds no document", "start with `dkconf init DIR`")
    findings, silenced = ignores.apply(in_order(source.findings), source, {"inventory"})
    if any(f.severity == "error" for f in findings) or inventory is None:
        raise InventoryInvalid(findings)
    digest = hashlib.sha256(octets).hexdigest()
    assert root is not None
    checker = Checker(Source(file, source.text), root)
    return Loaded(replace(inventory, path=file, digest=digest), findings, silenced, checker)


def _complete(inventory: Inventory) -> Inventory:
    """Return the inventory with what a program cannot choose filled in: dk-filter is DomainKeys only."""
    filters = {
        name: replace(f, schemes=("domainkeys",)) if f.program == "dk-filter" else f
        for name, f in inventory.filters.items()
    }
    return replace(inventory, filters=filters)
