"""The commands that work on a host: plan, apply, status, confirm, rollback, disable, enable, release, recover.

Each declares its options, builds a `Context` and calls one function of `apply.operations`; nothing is decided here.
"""

from __future__ import annotations

import json
import re
import sys
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeVar

import click

from dkconf.cli.common import (
    finish,
    inventory_path,
    option_host,
    option_inventory,
    option_json,
    option_root,
    say,
)
from dkconf.errors import Status

if TYPE_CHECKING:
    from dkconf.operations.context import Context, Outcome

    IntParamType = click.ParamType[int, Any]
else:
    # click before 8.5 knows no type arguments.
    IntParamType = click.ParamType

F = TypeVar("F", bound=Callable[..., Any])

Line = tuple[str, str]


class Duration(IntParamType):
    """Whole seconds, or 90s, 10m, 2h, 1d; the value is seconds."""

    name = "duration"
    units = {"": 1, "s": 1, "m": 60, "h": 3600, "d": 86400}  # noqa: RUF012 - a constant of the class

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> int:
        if isinstance(value, int):
            return value
        found = re.fullmatch(r"(\d{1,7})([smhd]?)", str(value))
        if not found:
            self.fail(f'"{value}" is not a duration; write seconds, or 90s, 10m, 2h, 1d', param, ctx)
        return int(found[1]) * self.units[found[2]]


def _stacked(*options: Callable[[F], F]) -> Callable[[F], F]:
    def decorate(command: F) -> F:
        for option in reversed(options):
            command = option(command)
        return command

    return decorate


where = _stacked(option_inventory, option_host, option_root, option_json)
accept_risk_option = click.option(
    "--accept-risk",
    metavar="ID",
    multiple=True,
    help="Go on in spite of the refusal with this ID; may be given several times.",
)
changing = _stacked(
    click.option("--yes", "-y", is_flag=True, help="Do not ask; needed where there is no terminal."),
    accept_risk_option,
)
take_over_option = click.option(
    "--take-over",
    metavar="NAME|PATH",
    multiple=True,
    help="Take over a hand-written filter line, or overwrite a file that was edited by hand.",
)
drain = click.option(
    "--drain-timeout",
    type=Duration(),
    default="10m",
    show_default=True,
    metavar="TIME",
    help="How long a filter that is off may wait for its last connections.",
)
confirm_timeout_option = click.option(
    "--confirm-timeout",
    type=Duration(),
    metavar="TIME",
    help="Revert by itself unless `dkconf confirm` comes in time.",
)
detailed = click.option(
    "--detailed-exitcode", is_flag=True, help="Status 2 where there are changes or drift, instead of 0."
)


def _context(options: dict[str, Any], *, asks: bool = False, title: str = "", need_inventory: bool = True) -> Context:
    """Return the `Context` of one call; with `asks`, a terminal is asked before anything changes."""
    from dkconf.operations.context import Context

    as_json = bool(options.get("as_json"))

    def tell(style: str, line: str) -> None:
        say([(style, line)], err=as_json)

    def ask(lines: tuple[Line, ...]) -> bool:
        say(lines, err=as_json)
        return click.confirm(title, default=False, err=True)

    terminal = sys.stdin is not None and sys.stdin.isatty()
    return Context(
        host=options.get("host") or "",
        inventory=inventory_path(options.get("inventory"), must=need_inventory),
        root=options.get("root") or "/",
        accept_risk=frozenset(options.get("accept_risk") or ()),
        take_over=frozenset(options.get("take_over") or ()),
        yes=bool(options.get("yes")),
        ask=ask if asks and terminal else None,
        say=tell,
    )


def _conclude(outcome: Outcome, as_json: bool, detailed_exitcode: bool = False) -> int:
    """Print an outcome; return the command's status."""
    status = outcome.status
    if detailed_exitcode and status == Status.OK and outcome.changed:
        status = Status.CHANGES
    if not as_json:
        say(outcome.lines)
    reason = outcome.lines[-1][1] if outcome.lines else ""
    return finish(status, reason, outcome.data, as_json)


@click.command()
@where
@take_over_option
@click.option("--out", metavar="FILE", help="Write the plan as JSON, for `dkconf apply FILE`; - is standard output.")
@click.option("--markdown", metavar="FROM TO", nargs=2, help="Compare two renderings, for a merge request.")
@detailed
def plan(out: str | None, markdown: tuple[str, str] | None, detailed_exitcode: bool, **options: Any) -> int:
    """Show what apply would change on this host. Nothing is written, anywhere."""
    if markdown:
        from dkconf.repo import markdown as merge_request

        click.echo(merge_request.compare(Path(markdown[0]), Path(markdown[1])), nl=False)
        return Status.OK
    from dkconf.operations import commands

    outcome = commands.plan_host(_context(options))
    if out:
        from dkconf.files.writing import write_given

        write_given(out, (json.dumps(outcome.data["plan"], indent=2) + "\n").encode())
    return _conclude(outcome, options["as_json"], detailed_exitcode)


@click.command()
@click.argument("plan_file", metavar="[PLAN.json]", required=False, type=click.Path(dir_okay=False))
@where
@changing
@take_over_option
@confirm_timeout_option
@drain
def apply(plan_file: str | None, confirm_timeout: int | None, drain_timeout: int, **options: Any) -> int:
    """Make this host what the inventory says, checked before and after; with PLAN.json, exactly that plan."""
    from dkconf.operations import commands

    context = _context(options, asks=True, title="Apply this?")
    outcome = commands.apply_plan(context, plan_file, confirm_timeout=confirm_timeout, drain_timeout=drain_timeout)
    return _conclude(outcome, options["as_json"])


@click.command()
@where
@detailed
def status(detailed_exitcode: bool, **options: Any) -> int:
    """Show filters and whether they answer, keys, the generation in force, overrides, and drift."""
    from dkconf.operations import commands

    outcome = commands.status(_context(options, need_inventory=False))
    return _conclude(outcome, options["as_json"], detailed_exitcode)


@click.command()
@where
@accept_risk_option
def confirm(**options: Any) -> int:
    """Keep what an apply with --confirm-timeout has changed."""
    from dkconf.operations import commands

    return _conclude(commands.confirm(_context(options, need_inventory=False)), options["as_json"])


@click.command()
@click.argument("number", metavar="[N]", required=False, type=int)
@where
@changing
@take_over_option
@confirm_timeout_option
@drain
def rollback(number: int | None, confirm_timeout: int | None, drain_timeout: int, **options: Any) -> int:
    """Go back to generation N, or to the one before the present; from an unconfirmed change at once.

    Needs no network, no git and no inventory.
    """
    from dkconf.operations import commands

    context = _context(options, asks=True, title="Go back?", need_inventory=False)
    outcome = commands.rollback(context, number, confirm_timeout=confirm_timeout, drain_timeout=drain_timeout)
    return _conclude(outcome, options["as_json"])


@click.group(invoke_without_command=True)
@where
@click.pass_context
def generations(ctx: click.Context, /, **options: Any) -> int | None:
    """List the generations of this host; `diff A B` compares two, `pin N` keeps one for ever."""
    ctx.obj = options
    if ctx.invoked_subcommand:
        return None
    from dkconf.operations import commands

    return _conclude(commands.generations(_context(options, need_inventory=False)), options["as_json"])


def _inner(options: dict[str, Any], outer: dict[str, Any]) -> dict[str, Any]:
    """Return a subcommand's options; those given before it hold where it has none of its own."""
    default = {"root": "/", "as_json": False}
    return {name: outer[name] if value in (None, default.get(name)) else value for name, value in options.items()}


@generations.command("diff")
@click.argument("a", type=int)
@click.argument("b", type=int)
@where
@click.pass_obj
def generations_diff(outer: dict[str, Any], /, a: int, b: int, **options: Any) -> int:
    """Show what differs between generation A and generation B."""
    from dkconf.operations import commands

    options = _inner(options, outer)
    return _conclude(commands.generations_diff(_context(options, need_inventory=False), a, b), options["as_json"])


@generations.command("pin")
@click.argument("number", type=int)
@click.option("--remove", is_flag=True, help="Let it go the way of the others again.")
@where
@accept_risk_option
@click.pass_obj
def generations_pin(outer: dict[str, Any], /, number: int, remove: bool, **options: Any) -> int:
    """Keep generation N however many come after it."""
    from dkconf.operations import commands

    options = _inner(options, outer)
    context = _context(options, need_inventory=False)
    return _conclude(commands.generations_pin(context, number, not remove), options["as_json"])


@click.command("disable-filter")
@click.argument("name")
@where
@changing
@click.option(
    "--emergency",
    is_flag=True,
    help="At once, on this host alone: no inventory, network, DNS, gates or drain; also for a hand-written line.",
)
@confirm_timeout_option
@drain
def disable_filter(name: str, emergency: bool, confirm_timeout: int | None, drain_timeout: int, **options: Any) -> int:
    """Stop calling filter NAME: sendmail first, then its last connections, then the filter itself."""
    from dkconf.operations import commands

    context = _context(options, asks=not emergency, title=f"Turn {name} off?", need_inventory=False)
    outcome = commands.disable_filter(
        context, name, emergency=emergency, confirm_timeout=confirm_timeout, drain_timeout=drain_timeout
    )
    return _conclude(outcome, options["as_json"])


@click.command("enable-filter")
@click.argument("name")
@where
@changing
@confirm_timeout_option
@drain
def enable_filter(name: str, confirm_timeout: int | None, drain_timeout: int, **options: Any) -> int:
    """Call filter NAME again: it must answer, and its signature must verify, before sendmail is told."""
    from dkconf.operations import commands

    context = _context(options, asks=True, title=f"Turn {name} on?", need_inventory=False)
    outcome = commands.enable_filter(context, name, confirm_timeout=confirm_timeout, drain_timeout=drain_timeout)
    return _conclude(outcome, options["as_json"])


@click.command()
@where
@changing
@take_over_option
@drain
def release(drain_timeout: int, **options: Any) -> int:
    """Take dkconf out of this host and leave it as it was found."""
    from dkconf.operations import commands

    context = _context(options, asks=True, title="Release this host?", need_inventory=False)
    return _conclude(commands.release(context, drain_timeout=drain_timeout), options["as_json"])


@click.command()
@click.option("--boot", is_flag=True, help="Before sendmail starts: only files, no service is told.")
@where
@accept_risk_option
def recover(boot: bool, **options: Any) -> int:
    """Finish or undo a run that was cut off, and honour a deadline that has passed."""
    from dkconf.operations import commands

    outcome = commands.recover(_context(options, need_inventory=False), boot=boot)
    return _conclude(outcome, options["as_json"])
