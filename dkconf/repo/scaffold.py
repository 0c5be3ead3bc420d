"""`dkconf init DIR`: a config repository that works at once.

The files are templates under `templates/ci/`; `%{name}` stands for an answer. Nothing that is there is ever written
over, and the inventory is read and rendered before the first file is written: what passes here passes its own pipeline.
"""

from __future__ import annotations

import json
import string
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from dkconf import __version__
from dkconf.desired import render_tree, write_tree
from dkconf.desired.templates import template_root
from dkconf.errors import DkconfError
from dkconf.files.looking import is_folder, is_there, list_folder
from dkconf.files.making import make_folders
from dkconf.files.writing import write_file
from dkconf.inventory import kinds, load_octets, schema
from dkconf.inventory.findings import quote

FILES = {
    "inventory.yaml": "inventory.yaml",
    "README.md": "readme.md",
    ".gitignore": "gitignore",
    "keys/README.md": "keys-readme.md",
    ".github/workflows/dkconf.yml": "github.yml",
    ".gitlab-ci.yml": "gitlab.yml",
    ".pre-commit-config.yaml": "pre-commit.yaml",
}
"""File of the repository -> template."""
ALREADY_FINE = {".git", "LICENSE"}
"""What may be in the folder beforehand."""


class NotEmpty(DkconfError):
    """The folder holds something already."""


@dataclass(frozen=True, slots=True)
class Answers:
    """What `init` asks, or is told by options."""

    domain: str = "example.com"
    host: str = "mx1.example.com"
    selector: str = "s1"
    platform: str = "debian"
    service_manager: str = "systemd"
    program: str = "dkconf-filter"
    requirement: str = f"dkconf=={__version__}"
    """What the pipelines give to pip."""

    def values(self) -> dict[str, str]:
        """Return the names and values of the templates.

        Raises:
            DkconfError: An answer cannot stand in an inventory.
        """
        for what, text, kind in (
            ("domain", self.domain, kinds.DOMAIN),
            ("host", self.host, kinds.HOST),
            ("selector", self.selector, kinds.SELECTOR),
        ):
            try:
                kind.parse(text)
            except kinds.Wrong as wrong:
                raise DkconfError(f"{what}: {wrong.found}; {wrong.right or kind.right}") from None
        if not self.requirement.isprintable() or any(c in self.requirement for c in "\"'\\$`"):
            raise DkconfError(f"requirement: {quote(self.requirement)} is not for pip; write e.g. dkconf==1.0")
        dk_filter = self.program == "dk-filter"
        return {
            "domain": self.domain,
            "host": self.host,
            "selector": self.selector,
            "platform": self.platform,
            "service_manager": self.service_manager,
            "filter": self.program,
            "program": self.program,
            "socket": "inet:8892@127.0.0.1" if dk_filter else "local:/run/dkconf/filter.sock",
            "schemes": "domainkeys" if dk_filter else "dkim",
            "requirement": self.requirement,
        }


class _Template(string.Template):
    delimiter = "%"
    """Not $: the pipelines' own variables begin with it."""


def init(folder: Path, answers: Answers) -> list[str]:
    """Write a config repository and return the files written, relative to it.

    Raises:
        NotEmpty: The folder holds other things; nothing was written.
        DkconfError: An answer cannot be used; nothing was written.
    """
    if is_there(str(folder)) and not is_folder(str(folder)):
        raise NotEmpty(f"{folder}: is not a folder; name one that is new or empty")
    there = list_folder(str(folder)) if is_there(str(folder)) else ()
    if others := [name for name in there if name not in ALREADY_FINE]:
        raise NotEmpty(f"{folder}: holds {', '.join(others[:5])}; init writes into a new or empty folder only")
    files = contents(answers)
    loaded = load_octets(files["inventory.yaml"].encode(), str(folder / "inventory.yaml"))
    tree = render_tree(loaded.inventory, {})
    for name, text in files.items():
        path = folder / name
        make_folders(str(path.parent))
        try:
            write_file(str(path), text.encode(), replace=False)
        except FileExistsError:
            raise NotEmpty(f"{path}: is there already; init writes into a new or empty folder only") from None
    write_tree(folder / "rendered", tree)
    return sorted([*files, *(f"rendered/{name}" for name in tree)])


def contents(answers: Answers) -> dict[str, str]:
    """Return the repository's own files, all but the rendering."""
    values = answers.values()
    files = {name: _filled(template, values) for name, template in FILES.items()}
    files["inventory.schema.json"] = json.dumps(schema(), indent=2, ensure_ascii=False) + "\n"
    return files


def _filled(name: str, values: Mapping[str, str]) -> str:
    text = template_root().joinpath("ci", name).read_text(encoding="utf-8")
    return _Template(text).substitute(values)
