"""The door: `dkconf COMMAND`. Commands live in their own modules and are loaded when called, not before.

The table below is what `dkconf --help` prints; nothing of the house is imported for it.
"""

from __future__ import annotations

import os
import sys
from importlib import import_module
from typing import Any

import click

from dkconf import __version__
from dkconf.errors import DkconfError, Status

COMMANDS: dict[str, tuple[str, str]] = {
    "init": ("dkconf.cli.repocmds:init", "Make a config repository that works at once."),
    "check": ("dkconf.cli.inventory:check", "Check the inventory; every problem at once, each with its place."),
    "fmt": ("dkconf.cli.repocmds:fmt", "Put the inventory into its one canonical form, comments kept."),
    "explain-rule": ("dkconf.cli.repocmds:explain_rule", "Say more about a rule that `check` names."),
    "schema": ("dkconf.cli.inventory:schema", "Print the inventory's JSON Schema."),
    "render": ("dkconf.cli.inventory:render", "Write every host's files below a directory."),
    "keys": ("dkconf.cli.keys:keys", "Generate keys, or list them."),
    "dns": ("dkconf.cli.keys:dns", "Show the TXT records to publish."),
    "plan": ("dkconf.cli.host:plan", "Show what apply would change on this host; writes nothing."),
    "apply": ("dkconf.cli.host:apply", "Make this host what the inventory says, checked before and after."),
    "status": ("dkconf.cli.host:status", "Show filters, keys, the generation in force, and drift."),
    "confirm": ("dkconf.cli.host:confirm", "Keep what an apply with --confirm-timeout has changed."),
    "disable-filter": ("dkconf.cli.host:disable_filter", "Stop calling a filter, without losing a mail."),
    "enable-filter": ("dkconf.cli.host:enable_filter", "Call a filter again, once it has proved itself."),
    "rollback": ("dkconf.cli.host:rollback", "Go back to an earlier generation."),
    "generations": ("dkconf.cli.host:generations", "List the generations of this host, or compare two."),
    "recover": ("dkconf.cli.host:recover", "Finish or undo a run that was cut off."),
    "release": ("dkconf.cli.host:release", "Take dkconf out of this host and leave it as it was found."),
    "mail": ("dkconf.cli.mailcmd:mail", "Sign or verify a message in a file."),
}

NO_ARGUMENTS = getattr(click.exceptions, "NoArgsIsHelpError", ())
"""A group without a command: its help is the message. click before 8.2 prints it by itself."""


class Door(click.Group):
    """A group whose commands are imported when they are called."""

    def list_commands(self, ctx: click.Context) -> list[str]:
        return list(COMMANDS)

    def get_command(self, ctx: click.Context, cmd_name: str) -> click.Command | None:
        if cmd_name not in COMMANDS:
            return None
        module, _, attribute = COMMANDS[cmd_name][0].partition(":")
        command: click.Command = getattr(import_module(module), attribute)
        return command

    def resolve_command(
        self, ctx: click.Context, args: list[str]
    ) -> tuple[str | None, click.Command | None, list[str]]:
        name = args[0] if args else ""
        if name not in COMMANDS and not name.startswith("-"):
            from difflib import get_close_matches

            near = get_close_matches(name, COMMANDS, 1)
            ctx.fail(f'no command "{name}"; ' + (f'did you mean "{near[0]}"?' if near else "see dkconf --help"))
        return super().resolve_command(ctx, args)

    def format_commands(self, ctx: click.Context, formatter: click.HelpFormatter) -> None:
        with formatter.section("Commands"):
            formatter.write_dl([(name, text) for name, (_, text) in COMMANDS.items()])


@click.group(cls=Door, context_settings={"help_option_names": ["-h", "--help"], "max_content_width": 100})
@click.version_option(__version__, "-V", "--version", prog_name="dkconf")
def door() -> None:
    """DomainKeys and DKIM filters under sendmail: declared, planned, applied, and always reversible.

    Each command explains itself with --help. Exit statuses: 0 done or nothing to do, 1 error and nothing
    changed, 2 changes (only with --detailed-exitcode), 3 failed and reverted, 4 failed and not wholly
    reverted, 5 locked, 6 waiting, 7 plan stale, 8 refused for safety, 64 usage, 65 inventory invalid,
    130 interrupted.
    """


def main(argv: list[str] | None = None) -> None:
    """Run one command and exit with its status; no exception of ours or click's ever shows a traceback."""
    arguments = sys.argv[1:] if argv is None else argv
    try:
        code = run(arguments)
        sys.stdout.flush()
    except BrokenPipeError:
        # The reader has gone (`dkconf plan | head`): nobody is left to be told anything.
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        code = Status.ERROR
    sys.exit(int(code))


def run(arguments: list[str]) -> int:
    """Return the exit status of one command line."""
    as_json = "--json" in arguments
    try:
        result: Any = door.main(arguments, prog_name="dkconf", standalone_mode=False)
    except click.UsageError as error:
        words = error.format_message()
        if isinstance(error, NO_ARGUMENTS):
            print(words, file=sys.stderr)
            return Status.USAGE
        hint = f"; see {error.ctx.command_path} --help" if error.ctx and not words.endswith("?") else ""
        return fail(f"{words.rstrip('.')}{hint}", Status.USAGE, as_json)
    except click.exceptions.Exit as done:
        return done.exit_code
    except (click.Abort, KeyboardInterrupt):
        return fail("interrupted", Status.INTERRUPTED, as_json)
    except click.ClickException as error:
        return fail(error.format_message(), Status.ERROR, as_json)
    except DkconfError as error:
        return fail(str(error), error.status, as_json)
    except BrokenPipeError:
        raise
    except OSError as error:
        where = f"{error.filename}: " if error.filename else ""
        return fail(f"{where}{(error.strerror or str(error)).lower()}", Status.ERROR, as_json)
    except Exception as error:
        if os.environ.get("DKCONF_DEBUG"):
            raise
        # Only the kind of the fault: its text may quote what it worked on.
        place = _place(error)
        return fail(
            f"internal error: {type(error).__name__} at {place}; this is a fault of dkconf, "
            "DKCONF_DEBUG=1 shows the whole of it",
            Status.ERROR,
            as_json,
        )
    return int(result or Status.OK)


def _place(error: BaseException) -> str:
    """Return FILE:LINE of the innermost frame of `error`."""
    trace = error.__traceback__
    while trace and trace.tb_next:
        trace = trace.tb_next
    if trace is None:
        return "?"
    return f"{os.path.basename(trace.tb_frame.f_code.co_filename)}:{trace.tb_lineno}"


def fail(message: str, status: Status, as_json: bool) -> int:
    """Tell `message` on standard error (as JSON on standard output where asked) and return `status`."""
    if as_json:
        import json

        print(json.dumps({"code": int(status), "reason": message}))
    else:
        for line in message.splitlines() or [""]:
            print(f"dkconf: {line}", file=sys.stderr)
    return int(status)


if __name__ == "__main__":
    main()
