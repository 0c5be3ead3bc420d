"""Who may import whom: rooms lean downwards only, and each heavy library has its own room.

The lists below are the structure of the house (docs/architecture.md). A new arrow is a decision: change the list
and the page together.
"""

from __future__ import annotations

import ast
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

PACKAGE = Path(__file__).parent.parent / "dkconf"

FILTER_HALF = {"mail", "crypto", "dkim", "domainkeys", "milter", "filter"}

FOUNDATION = {"errors", "files"}
"""What every room may import."""

MAY_IMPORT: dict[str, set[str]] = {
    "errors": set(),
    "files": {"errors"},
    # the filter half
    "mail": {"errors"},
    "crypto": {"errors"},
    "milter": {"errors"},
    "dkim": {"errors", "mail", "crypto"},
    "domainkeys": {"errors", "mail", "crypto"},
    "filter": {"errors", "mail", "crypto", "dkim", "domainkeys", "milter"},
    "server": {"errors", *FILTER_HALF},
    # the manager half
    "git": {"errors"},
    "inventory": {"errors"},
    "sendmail": {"errors"},
    "keys": {"errors", "crypto", "inventory"},
    "desired": {"errors", "inventory", "keys", "dkim", "domainkeys", "filter"},
    "plan": {"errors", "inventory", "desired", "sendmail"},
    "dns": {"errors", "mail", "dkim", "domainkeys", "desired"},
    "probe": {"errors", "sendmail", "desired", "mail", "crypto", "dkim", "domainkeys"},
    "host": {"errors", "desired", "plan", "probe"},
    "trial": {"errors", "desired", "plan", "sendmail", "keys", "dns", "probe", "host"},
    "apply": {"errors", "desired", "plan", "host", "keys"},
    "operations": {
        *{"errors", "inventory", "keys", "desired", "plan", "sendmail", "probe", "dns", "git"},
        *{"host", "trial", "apply"},
    },
    "repo": {"errors", "inventory", "keys", "desired", "plan", "dns", "git"},
    # the door
    "cli": {"*"},
}

SIDEWAYS = {
    "desired": {"dkim.choice", "dkim.keyrecord", "domainkeys.keyrecord", "domainkeys.policyrecord", "filter.config"},
    "dns": {"dkim.keyrecord", "domainkeys.keyrecord", "domainkeys.policyrecord"},
}
"""Rooms that may open only these windows of the filter half: formats and defaults, never behaviour."""

OWNS_LIBRARY: dict[str, set[str]] = {
    "asyncio": {"server"},
    "socket": {"server", "dns", "probe", "trial"},
    "subprocess": {"host", "trial", "probe", "git"},
    "click": {"cli"},
    "rich": {"cli"},
    "ruamel": {"inventory", "repo"},
    "_ruamel_yaml": {"inventory"},
    "pydantic": {"inventory"},
    "jinja2": {"desired"},
    "cryptography": {"crypto"},
    "dns": {"dns"},
}


def imports(path: Path) -> Iterator[tuple[int, str]]:
    """Yield (line, absolute dotted name) of each import, `from a import b` as `a.b` too."""
    package = ("dkconf", *path.relative_to(PACKAGE).parts[:-1])
    for node in ast.walk(ast.parse(path.read_bytes())):
        if isinstance(node, ast.Import):
            for alias in node.names:
                yield node.lineno, alias.name
        elif isinstance(node, ast.ImportFrom):
            base = ".".join(package[: len(package) - node.level + 1]) if node.level else ""
            module = ".".join(part for part in (base, node.module or "") if part)
            for alias in node.names:
                yield node.lineno, f"{module}.{alias.name}"


def room_of(path: Path) -> str:
    return path.relative_to(PACKAGE).parts[0].removesuffix(".py")


def modules() -> list[Path]:
    return sorted(p for p in PACKAGE.rglob("*.py") if "_templates" not in p.parts)


def test_every_room_is_known():
    """A room that the list does not know has no place in the house."""
    assert {room_of(p) for p in modules()} - {"__init__", "__main__", "py"} <= set(MAY_IMPORT)


@pytest.mark.parametrize("path", modules(), ids=lambda p: str(p.relative_to(PACKAGE)))
def test_rooms_lean_downwards(path):
    """A module imports its own room and those that the list allows."""
    room = room_of(path)
    allowed = MAY_IMPORT.get(room, {"*"}) | (set() if room in FOUNDATION else FOUNDATION)
    wrong = []
    for line, name in imports(path):
        parts = name.split(".")
        if parts[0] != "dkconf" or len(parts) < 2 or parts[1] in {room, "__version__"}:
            continue
        target = parts[1]
        if "*" not in allowed and target not in allowed:
            wrong.append(f"{path.name}:{line}: {room} may not import {target}")
        window = SIDEWAYS.get(room)
        if window and target in FILTER_HALF - {"mail", "crypto"} and ".".join(parts[1:3]) not in window:
            wrong.append(f"{path.name}:{line}: {room} may only import {sorted(window)}, not {name}")
    assert wrong == []


@pytest.mark.parametrize("path", modules(), ids=lambda p: str(p.relative_to(PACKAGE)))
def test_each_library_has_its_room(path):
    """Only the rooms of the list know a library."""
    room = room_of(path)
    wrong = [
        f"{path.name}:{line}: {name} belongs to {sorted(OWNS_LIBRARY[top])}"
        for line, name in imports(path)
        if (top := name.split(".")[0]) in OWNS_LIBRARY and room not in OWNS_LIBRARY[top]
    ]
    assert wrong == []


@pytest.mark.parametrize(
    ("module", "never"),
    [
        ("dkconf.server.main", {"jinja2", "ruamel", "pydantic", "click", "rich", "dns"}),
        ("dkconf.cli.main", {"jinja2", "ruamel", "pydantic", "rich", "cryptography", "dns"}),
    ],
)
def test_a_process_loads_only_what_it_needs(module, never):
    """The daemon never loads the manager's libraries, and `dkconf --help` loads none of the heavy ones."""
    code = f"import sys, {module}; print(*{{name.split('.')[0] for name in sys.modules}})"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert set(done.stdout.split()) & never == set()
