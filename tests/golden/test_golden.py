"""Each scenario's inventory renders to exactly the files beside it; `pytest --update-golden` writes them anew.

Read the diff of an update as you would read code: these are the files that mail hosts get.
"""

from __future__ import annotations

import shutil
from pathlib import Path

import pytest

from dkconf.desired import build, render_tree
from dkconf.desired.render import LIST_NAME
from dkconf.inventory import load as load_inventory
from dkconf.keys import read_public_halves

HERE = Path(__file__).parent
SCENARIOS = sorted(path.parent.name for path in HERE.glob("*/inventory.yaml"))


def rendered(scenario: str) -> dict[str, bytes]:
    """What the scenario's inventory gives, without the list of files."""
    directory = HERE / scenario
    inventory = load_inventory(directory / "inventory.yaml").inventory
    tree = render_tree(inventory, read_public_halves(directory / "keys"))
    return {path: content for path, content in tree.items() if path != LIST_NAME}


@pytest.mark.parametrize("scenario", SCENARIOS)
def test_renders_as_expected(scenario: str, request: pytest.FixtureRequest) -> None:
    """Byte for byte, no file more, no file less."""
    expected = HERE / scenario / "expected"
    tree = rendered(scenario)
    if request.config.getoption("--update-golden"):
        shutil.rmtree(expected, ignore_errors=True)
        for path, content in tree.items():
            (expected / path).parent.mkdir(parents=True, exist_ok=True)
            (expected / path).write_bytes(content)
    found = {str(p.relative_to(expected)): p.read_bytes() for p in expected.rglob("*") if p.is_file()}

    assert sorted(found) == sorted(tree)
    for path, content in tree.items():
        assert found[path].decode() == content.decode(), path


@pytest.mark.parametrize("scenario", SCENARIOS)
def test_says_its_idea_first(scenario: str) -> None:
    """In the first comment line."""
    assert (HERE / scenario / "inventory.yaml").read_text().startswith("# ")


@pytest.mark.parametrize("scenario", SCENARIOS)
def test_every_host_has_a_digest_of_its_own(scenario: str) -> None:
    """Loading and building again gives the same."""
    directory = HERE / scenario
    public = read_public_halves(directory / "keys")
    for host in load_inventory(directory / "inventory.yaml").inventory.hosts:
        first, again = (build(load_inventory(directory / "inventory.yaml").inventory, host, public) for _ in range(2))
        assert first.digest == again.digest
