"""What the commands share: options, the output, and how an inventory is found."""

from __future__ import annotations

import json
import os
import sys
from collections.abc import Callable, Iterable
from typing import Any, TypeVar

import click

from dkconf.errors import DkconfError, Status
from dkconf.files.looking import is_folder, is_there

F = TypeVar("F", bound=Callable[..., Any])

SYSTEM_INVENTORY = "/etc/dkconf/inventory.yaml"

COLOURS: dict[str, dict[str, Any]] = {
    "add": {"fg": "green"},
    "remove": {"fg": "red"},
    "change": {"fg": "yellow"},
    "hunk": {"fg": "cyan"},
    "head": {"bold": True},
    "ok": {"fg": "green"},
    "error": {"fg": "red", "bold": True},
    "warn": {"fg": "yellow"},
    "dim": {"dim": True},
}
"""Style of a line -> click.style's arguments; a style that is not here is plain."""


def coloured(stream: Any = None) -> bool:
    """Say whether `stream` (default standard output) takes colour: a terminal, and NO_COLOR unset."""
    stream = stream or sys.stdout
    return bool(stream.isatty()) and not os.environ.get("NO_COLOR")


def say(lines: Iterable[tuple[str, str]], *, err: bool = False) -> None:
    """Print (style, text) lines."""
    colour = coloured(sys.stderr if err else sys.stdout)
    for style, text in lines:
        click.echo(click.style(text, **COLOURS.get(style, {})) if colour and text else text, err=err, color=colour)


def say_json(data: Any) -> None:
    """Print one JSON document."""
    click.echo(json.dumps(data, indent=2, default=str))


def finish(status: Status | int, reason: str, data: dict[str, Any] | None, as_json: bool) -> int:
    """Print the JSON document of a command where asked; return the status as the command's result."""
    if as_json:
        say_json({"code": int(status), "reason": reason, **(data or {})})
    return int(status)


def inventory_path(given: str | None, *, must: bool = True) -> str | None:
    """Return the inventory to read: as given, ./inventory.yaml, or the one under /etc/dkconf.

    Raises:
        DkconfError: None of them is there (and `must`).
    """
    if given:
        if is_folder(given):
            return os.path.join(given, "inventory.yaml")
        return given
    for candidate in ("inventory.yaml", SYSTEM_INVENTORY):
        if is_there(candidate):
            return candidate
    if must:
        raise DkconfError(
            f"no inventory: neither ./inventory.yaml nor {SYSTEM_INVENTORY} is there; name one with -i FILE"
        )
    return None


def host_name(given: str | None, known: Iterable[str]) -> str:
    """Return the host to work on: as given, else this machine's name as the inventory spells it.

    Raises:
        UsageProblem: The inventory has no such host.
    """
    from dkconf.inventory.hosts import no_such_host, own_name

    names = list(known)
    wanted = given or own_name(os.uname().nodename, names)
    if wanted in names:
        return wanted
    raise no_such_host(wanted, names, "" if given else " (this machine's name)")


def option_inventory(command: F) -> F:
    return click.option(
        "-i",
        "--inventory",
        metavar="FILE",
        envvar="DKCONF_INVENTORY",
        help=f"The inventory; default ./inventory.yaml, then {SYSTEM_INVENTORY}.",
    )(command)


def option_json(command: F) -> F:
    return click.option("--json", "as_json", is_flag=True, help="Print one JSON document.")(command)


def option_host(command: F) -> F:
    return click.option("--host", metavar="NAME", help="The host; default this machine's name.")(command)


def option_root(command: F) -> F:
    return click.option(
        "--root",
        metavar="DIR",
        default="/",
        show_default=True,
        type=click.Path(exists=True, file_okay=False),
        help="Work on another tree than /: sources only; nothing is built, no service is touched.",
    )(command)


def progress(total: int, what: str) -> Callable[[int], None]:
    """Return a callback that shows how many of `total` are done: a bar on a terminal, nothing elsewhere."""
    if total < 4 or not sys.stderr.isatty():
        return lambda done: None
    from rich.console import Console
    from rich.progress import Progress

    bar = Progress(console=Console(stderr=True), transient=True)
    task = bar.add_task(what, total=total)
    bar.start()

    def show(done: int) -> None:
        bar.update(task, completed=done)
        if done >= total:
            bar.stop()

    return show
