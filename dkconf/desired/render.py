"""The rendering of an inventory as a tree, `HOST/<path on the host>`: no version, no date, always the same bytes.

Besides each host's files it holds the zone text of each domain, `dns/DOMAIN.zone`, and a list of its own files,
by which a later rendering into the same directory knows what it may remove. Private keys are never in it.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from pathlib import Path, PurePosixPath

from dkconf.desired.builder import build
from dkconf.desired.errors import NotRenderable
from dkconf.desired.records import PublicKeys, records
from dkconf.desired.zonetext import zone_lines
from dkconf.files.making import make_folders
from dkconf.files.reading import FileProblem, read_file
from dkconf.files.trees import Below
from dkconf.inventory.model import Inventory

LIST_NAME = ".dkconf-rendered"
DNS_DIRECTORY = "dns"
MAX_LIST_OCTETS = 32 * 1024 * 1024
"""Of the list: 10,000 zones and 200 hosts take 1 MB."""


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
    top = str(directory)
    try:
        make_folders(top)
        earlier = _listed(top)
        with Below(top) as below:
            for path, content in tree.items():
                below.write(path, content)
            for path in earlier - tree.keys():
                below.remove(path)
    except FileProblem as error:
        raise NotRenderable(str(error)) from None
    return sum(1 for path in tree if path != LIST_NAME)


def _listed(directory: str) -> set[str]:
    try:
        text = read_file(f"{directory}/{LIST_NAME}", limit=MAX_LIST_OCTETS).decode("utf-8", "replace")
    except FileNotFoundError:
        return set()
    return {line for line in text.split("\n") if line and _is_inside(line)}
