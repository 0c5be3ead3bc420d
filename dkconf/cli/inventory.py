"""The commands that read an inventory and touch no host: check, schema, render."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from dkconf.cli.common import (
    coloured,
    finish,
    inventory_path,
    option_inventory,
    option_json,
    say,
)
from dkconf.errors import DkconfError, Status, UsageProblem

if TYPE_CHECKING:
    from dkconf.inventory.model import Inventory

FORMATS = ("text", "json", "github", "gitlab", "sarif", "junit")


def read_inventory(given: str | None) -> Inventory:
    """Return the inventory of `-i`, or of its usual places.

    Raises:
        InventoryInvalid: With every problem, each at its place.
    """
    from dkconf.inventory import load as load_inventory

    path = inventory_path(given)
    assert path is not None
    return load_inventory(path).inventory


@click.command()
@click.argument("path", required=False, type=click.Path())
@option_inventory
@click.option("--format", "form", type=click.Choice(FORMATS), help="How to report; chosen by itself under CI.")
@option_json
@click.option("--strict", is_flag=True, help="Warnings fail too.")
@click.option("--against", metavar="REV", help="What this tree changes since the git revision REV, and its dangers.")
def check(
    path: str | None, inventory: str | None, form: str | None, as_json: bool, strict: bool, against: str | None
) -> int:
    """Check the inventory at PATH (default: ./inventory.yaml, then /etc/dkconf/inventory.yaml).

    Every problem is told in one run, each with its file, line and column, and what would be right. Errors
    give status 65, warnings 0, or 65 with --strict.
    """
    if path and inventory:
        raise UsageProblem("the inventory is named twice; give PATH or -i, not both")
    from dkconf.repo import checks, formats

    file = inventory_path(path or inventory)
    assert file is not None
    report = checks.check(Path(file), against=against)
    chosen = "json" if as_json else form or formats.by_environment()
    text = formats.render(report, chosen, colour=coloured(), excerpts=sys.stdout.isatty(), strict=strict)
    click.echo(text, nl=False)
    return report.status(strict)


@click.command()
def schema() -> int:
    """Print the inventory's JSON Schema, for editors."""
    import json

    from dkconf.inventory import schema

    click.echo(json.dumps(schema(), indent=2))
    return Status.OK


@click.command()
@option_inventory
@click.option("--output", metavar="DIR", type=click.Path(file_okay=False), help="Write DIR/HOST/<path on the host>.")
@click.option(
    "--check",
    "against",
    metavar="DIR",
    type=click.Path(exists=True, file_okay=False),
    help="Write nothing; status 2 and a diff where DIR is not what the inventory gives.",
)
@option_json
def render(inventory: str | None, output: str | None, against: str | None, as_json: bool) -> int:
    """Write what every host of the inventory gets, byte for byte, below a directory."""
    if (output is None) == (against is None):
        raise UsageProblem("render takes one of --output DIR and --check DIR")
    from dkconf.desired import render as rendering
    from dkconf.keys import read_public_halves

    spec_ = read_inventory(inventory)
    public = read_public_halves(Path(spec_.path).parent / "keys")
    tree = rendering.render_tree(spec_, public)
    if against is not None:
        from dkconf.repo import rendered

        lines = rendered.differences(tree, Path(against))
        if not as_json:
            say(lines)
        status = Status.CHANGES if lines else Status.OK
        return finish(status, "differs" if lines else "the same", {"diff": [t for _, t in lines]}, as_json)
    assert output is not None
    count = rendering.write_tree(Path(output), tree)
    if not as_json:
        click.echo(f"{output}: {len(spec_.hosts)} host(s), {count} file(s)")
    return finish(Status.OK, "rendered", {"files": sorted(tree)}, as_json)


def must_know(kind: str, name: str, known: list[str]) -> None:
    """Raise `DkconfError`, with the nearest name, where the inventory has no `kind` called `name`."""
    if name in known:
        return
    from difflib import get_close_matches

    near = get_close_matches(name, known, 1)
    raise DkconfError(f'the inventory has no {kind} "{name}"' + (f'; did you mean "{near[0]}"?' if near else ""))


def columns(rows: list[tuple[str, ...]], head: tuple[str, ...]) -> list[str]:
    """Return a table as plain lines, columns aligned with two blanks between them."""
    widths = [max(len(row[i]) for row in [head, *rows]) for i in range(len(head))]
    return ["  ".join(cell.ljust(w) for cell, w in zip(row, widths, strict=True)).rstrip() for row in [head, *rows]]


def plain(value: Any) -> str:
    """Return `value` for a table cell: "-" where there is nothing."""
    return str(value) if value not in (None, "") else "-"
