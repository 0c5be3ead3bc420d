"""The commands of a config repository: init, fmt, explain-rule."""

from __future__ import annotations

import sys
from pathlib import Path

import click

from dkconf.cli.common import finish, inventory_path, option_inventory, option_json, say
from dkconf.errors import DkconfError, Status, UsageProblem
from dkconf.files.folders import CHECKOUT
from dkconf.files.looking import is_folder
from dkconf.files.writing import write_file

PLATFORMS = ("debian", "rhel", "freebsd")
MANAGERS = {"debian": "systemd", "rhel": "systemd", "freebsd": "rcd"}
PROGRAMS = ("dkconf-filter", "dk-filter")


@click.command()
@click.argument("folder", metavar="DIR", type=click.Path(path_type=Path))
@click.option("--domain", metavar="NAME", help="The domain that signs; asked for on a terminal, else example.com.")
@click.option("--host", metavar="NAME", help="The first mail host; default mx1.DOMAIN.")
@click.option("--selector", metavar="NAME", help="Of the first key; default s1.")
@click.option("--platform", type=click.Choice(PLATFORMS), help="Of the mail host.")
@click.option("--service-manager", type=click.Choice(("systemd", "sysv", "rcd", "direct")))
@click.option("--program", type=click.Choice(PROGRAMS), default="dkconf-filter", show_default=True)
@click.option("--requirement", metavar="SPEC", help="What the pipelines give to pip; default this version of dkconf.")
@option_json
def init(
    folder: Path,
    domain: str | None,
    host: str | None,
    selector: str | None,
    platform: str | None,
    service_manager: str | None,
    program: str,
    requirement: str | None,
    as_json: bool,
) -> int:
    """Make a config repository in DIR that works at once: inventory, folders, pipelines, pre-commit, README."""
    from dkconf.repo import scaffold

    asks = sys.stdin.isatty() and sys.stdout.isatty() and not as_json
    default = scaffold.Answers()
    domain = domain or (click.prompt("Domain that signs its mail", default.domain) if asks else default.domain)
    host = host or (click.prompt("First mail host", f"mx1.{domain}") if asks else f"mx1.{domain}")
    platform = platform or (
        click.prompt("Its platform", "debian", type=click.Choice(PLATFORMS)) if asks else default.platform
    )
    answers = scaffold.Answers(
        domain=domain,
        host=host,
        selector=selector or default.selector,
        platform=platform,
        service_manager=service_manager or MANAGERS[platform],
        program=program,
        requirement=requirement or default.requirement,
    )
    files = scaffold.init(folder, answers)
    if not as_json:
        say([("head", f"{folder}: {len(files)} files"), *(("", f"  {name}") for name in files)])
        say([("", f"next: cd {folder} && git init && git add . && dkconf check")])
    return finish(Status.OK, "done", {"folder": str(folder), "files": files}, as_json)


@click.command()
@click.argument("paths", metavar="[PATH]...", nargs=-1, type=click.Path())
@option_inventory
@click.option(
    "--check", "only_check", is_flag=True, help="Write nothing; status 2 and a diff where something would change."
)
@option_json
def fmt(paths: tuple[str, ...], inventory: str | None, only_check: bool, as_json: bool) -> int:
    """Put inventories into the one canonical form, comments kept; default ./inventory.yaml."""
    from dkconf.inventory.loader import read
    from dkconf.repo import layout
    from dkconf.repo.rendered import diff

    if paths and inventory:
        raise UsageProblem("the inventory is named twice; give PATH or -i, not both")
    changed: list[str] = []
    lines: list[tuple[str, str]] = []
    for path in paths or (inventory_path(inventory),):
        assert path is not None
        file = Path(path) / "inventory.yaml" if is_folder(path) else Path(path)
        octets = read(file)
        wanted = layout.formatted(octets, str(file)).encode()
        if wanted == octets:
            continue
        changed.append(str(file))
        if only_check:
            lines += diff(str(file), octets, wanted)
        else:
            write_file(str(file), wanted, within=CHECKOUT)
            lines.append(("", f"{file}: written anew"))
    if not as_json:
        say(lines)
    status = Status.CHANGES if changed and only_check else Status.OK
    reason = "layout differs" if status else "canonical" if not changed else "written"
    return finish(status, reason, {"changed": changed, "diff": [t for _, t in lines] if only_check else []}, as_json)


@click.command("explain-rule")
@click.argument("rule", metavar="[ID]", required=False)
@option_json
def explain_rule(rule: str | None, as_json: bool) -> int:
    """Say more about a rule that `check` names; without ID, list all rules."""
    from dkconf.inventory.rules import RULES

    if rule is None:
        rows = [(r.id, r.severity, r.title) for r in RULES.values()]
        if not as_json:
            say([("error" if s == "error" else "warn", f"{i:8s} {s:8s} {t}") for i, s, t in rows])
        return finish(
            Status.OK,
            "rules",
            {"rules": [dict(zip(("id", "severity", "title"), r, strict=True)) for r in rows]},
            as_json,
        )
    found = RULES.get(rule.upper())
    if found is None:
        from difflib import get_close_matches

        near = get_close_matches(rule.upper(), RULES, 1)
        hint = f'did you mean "{near[0]}"?' if near else "`dkconf explain-rule` lists them"
        raise DkconfError(f'there is no rule "{rule}"; {hint}')
    needs = {
        "inventory": "the inventory",
        "repository": "the folder it lies in",
        "history": "git's history",
        "host": "a host",
    }
    data = {"id": found.id, "severity": found.severity, "title": found.title, "text": found.text, "needs": found.scope}
    if not as_json:
        from textwrap import wrap

        say([("head", f"{found.id} ({found.severity}): {found.title}"), *(("", line) for line in wrap(found.text, 78))])
        say([("dim", f"looks at {needs[found.scope]}")])
        if found.severity == "warning":
            say([("dim", f"to live with it: # dkconf: ignore={found.id} and why, on the line it names")])
    return finish(Status.OK, "rule", data, as_json)
