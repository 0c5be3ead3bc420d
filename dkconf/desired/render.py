"""The rendering of an inventory as a tree, `HOST/<path on the host>`: no version, no date, always the same bytes.

Besides each host's files it holds the zone text of each domain, `dns/DOMAIN.zone`, and a list of its own files,
by which a later rendering into the same directory knows what it may remove. Private keys are never in it.
"""

from __future__ import annotations

import contextlib
import os
import secrets
from collections.abc import Iterable, Mapping
from pathlib import Path, PurePosixPath

from dkconf.desired.builder import build
from dkconf.desired.errors import NotRenderable
from dkconf.desired.records import PublicKeys, records
from dkconf.desired.zonetext import zone_lines
from dkconf.spec.model import Inventory

LIST_NAME = ".dkconf-rendered"
DNS_DIRECTORY = "dns"


def render_tree(inventory: Inventory, public_keys: PublicKeys, hosts: Iterable[str] | None = None) -> dict[str, bytes]:
    """Relative path -> octets, for `hosts` (for every host and every zone, if None), sorted.

    Raises:
        NotRenderable: Something that a host's files cannot say.
    """
    tree: dict[str, bytes] = {}
    for host_name in inventory.hosts if hosts is None else hosts:
        for file in build(inventory, host_name, public_keys).files:
            tree[f"{host_name}/{file.path.lstrip('/')}"] = file.content
    for domain in inventory.domains if hosts is None else ():
        if found := records(inventory, public_keys, (domain,)):
            tree[f"{DNS_DIRECTORY}/{domain}.zone"] = zone_lines(found).encode()
    for path in tree:
        if not _is_inside(path):
            raise NotRenderable(f"{path}: would be written outside the rendering; use plain absolute paths")
    tree[LIST_NAME] = "".join(f"{path}\n" for path in sorted(tree)).encode()
    return dict(sorted(tree.items()))


def _is_inside(path: str) -> bool:
    parts = PurePosixPath(path).parts
    return bool(parts) and not path.startswith("/") and ".." not in parts and "\n" not in path


def write_tree(directory: Path, tree: Mapping[str, bytes]) -> int:
    """Make `directory` hold `tree`; return the number of files in it.

    A file is replaced as a whole, and only if it differs. What an earlier rendering wrote and this one does not
    is removed; whatever else lies there stays. Symbolic links are not followed out of `directory`.

    Raises:
        NotRenderable: A path cannot be written; it is in the message.
    """
    try:
        directory.mkdir(parents=True, exist_ok=True)
        earlier = _listed(directory)
        for path, content in tree.items():
            _replace(directory, path, content)
        for path in earlier - tree.keys():
            _remove(directory, path)
    except OSError as error:
        raise NotRenderable(f"{error.filename or directory}: cannot be written ({error.strerror})") from None
    return sum(1 for path in tree if path != LIST_NAME)


def _listed(directory: Path) -> set[str]:
    try:
        text = (directory / LIST_NAME).read_text(encoding="utf-8", errors="replace")
    except FileNotFoundError:
        return set()
    return {line for line in text.split("\n") if line and _is_inside(line)}


def _no_links(directory: Path, path: str) -> Path:
    """The place of `path`, no directory on the way being a symbolic link.

    Raises:
        NotRenderable: One is.
    """
    at = directory
    for part in PurePosixPath(path).parts[:-1]:
        at = at / part
        if at.is_symlink():
            raise NotRenderable(f"{at}: is a symbolic link; remove it, or render elsewhere")
    return directory / path


def _replace(directory: Path, path: str, content: bytes) -> None:
    target = _no_links(directory, path)
    target.parent.mkdir(parents=True, exist_ok=True)
    if not target.is_symlink():
        with contextlib.suppress(FileNotFoundError):
            if target.read_bytes() == content:
                return
    temporary = target.with_name(f".{target.name}.{secrets.token_hex(6)}")
    descriptor = os.open(temporary, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW, 0o644)
    try:
        with os.fdopen(descriptor, "wb") as file:
            file.write(content)
        os.rename(temporary, target)
    except BaseException:
        temporary.unlink(missing_ok=True)
        raise


def _remove(directory: Path, path: str) -> None:
    """Remove a file and the directories that it leaves empty."""
    target = _no_links(directory, path)
    target.unlink(missing_ok=True)
    for parent in list(PurePosixPath(path).parents)[:-1]:
        try:
            (directory / parent).rmdir()
        except OSError:
            return
