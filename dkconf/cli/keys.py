"""The commands about keys and records: `keys generate`, `keys list`, `dns show`."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

import click

from dkconf.cli.common import (
    finish,
    host_name,
    option_host,
    option_inventory,
    option_json,
    option_root,
    progress,
    say,
)
from dkconf.cli.inventory import columns, must_know, plain, read_inventory
from dkconf.errors import DkconfError, Status, UsageProblem

if TYPE_CHECKING:
    from dkconf.inventory.model import Inventory
    from dkconf.keys import GeneratedKey, KeyRequest

WITHOUT_KEY = ("percolating", "revoked", "removed")
"""States of a selector in which no key is made any more."""


@click.group()
def keys() -> None:
    """Generate keys, or list them. A private key is never shown, moved or overwritten."""


@keys.command(short_help="Make the key pair of a selector, or with --all those missing.")
@click.argument("domain", required=False)
@click.argument("selector", required=False)
@option_inventory
@option_host
@option_root
@click.option("--all", "every", is_flag=True, help="Every selector of this host's domains that has no key yet.")
@click.option("--key-dir", metavar="DIR", help="Where private halves go; default the host's key directory.")
@option_json
def generate(
    domain: str | None,
    selector: str | None,
    inventory: str | None,
    host: str | None,
    root: str,
    every: bool,
    key_dir: str | None,
    as_json: bool,
) -> int:
    """Make the key pair of SELECTOR of DOMAIN, or with --all those that are missing.

    The private half goes to KEYDIR/DOMAIN/SELECTOR.private on this host (mode 0600, owned by the filter's user), the
    public half to keys/DOMAIN/SELECTOR.pub.pem beside the inventory: commit that one. If either is there already,
    nothing is made, so that two hosts never make two keys for one selector.
    """
    from dkconf.keys import generate_many, read_public_halves

    if every == bool(domain) or bool(domain) != bool(selector):
        raise UsageProblem("name DOMAIN and SELECTOR, or --all")
    spec = read_inventory(inventory)
    folder = Path(spec.path).parent
    directory, owner, domains = _where(spec, folder, host, key_dir)
    if domain and selector:
        must_know("domain", domain, list(spec.domains))
        must_know(f"selector of {domain}", selector, list(spec.domains[domain].selectors))
        requests = [_request(spec, domain, selector)]
    else:
        public = read_public_halves(folder / "keys")
        requests = [
            _request(spec, name, each)
            for name in domains
            for each, settings in sorted(spec.domains[name].selectors.items())
            if settings.state not in WITHOUT_KEY and (name, each) not in public
        ]
    target = Path(root, directory.lstrip("/")) if root != "/" else Path(directory)
    show = progress(len(requests), "generating keys")
    made = generate_many(target, folder, requests, owner, progress=lambda done, total: show(done)) if requests else ()
    if not as_json:
        say(_told(made))
    data = [
        {
            "domain": key.domain,
            "selector": key.selector,
            "algorithm": key.algorithm,
            "bits": key.bits,
            "fingerprint": key.fingerprint,
            "private": key.private_path,
            "public": key.public_path,
        }
        for key in made
    ]
    return finish(Status.OK, f"{len(made)} keys made", {"keys": data}, as_json)


def _request(spec: Inventory, domain: str, selector: str) -> KeyRequest:
    from dkconf.keys import KeyRequest

    settings = spec.domains[domain].selectors[selector]
    if settings.state in WITHOUT_KEY:
        raise DkconfError(f"domains.{domain}.selectors.{selector}: is {settings.state}; take a new selector")
    return KeyRequest(domain, selector, settings.algorithm, settings.bits)


def _where(spec: Inventory, folder: Path, host: str | None, key_dir: str | None) -> tuple[str, str, list[str]]:
    """Return the key directory, the owner of private halves, and the domains of this host.

    With --key-dir no host is needed (a key made on an administrator's machine, for all domains).
    """
    if key_dir and not host:
        return key_dir, "", list(spec.domains)
    from dkconf.desired import build
    from dkconf.keys import read_public_halves

    name = host_name(host, spec.hosts)
    desired = build(spec, name, read_public_halves(folder / "keys"))
    owners = [key.owner for key in desired.keys] + [user.name for user in desired.users]
    return key_dir or desired.paths.key_dir, owners[0] if owners else "", list(spec.hosts[name].domains)


def _told(made: tuple[GeneratedKey, ...]) -> list[tuple[str, str]]:
    if not made:
        return [("plain", "every selector has its key; nothing was made")]
    if len(made) > 20:
        return [("ok", f"{len(made)} key pairs made; see dkconf keys list")]
    lines = []
    for key in made:
        size = f"{key.algorithm} {key.bits}" if key.algorithm == "rsa" else key.algorithm
        lines += [
            ("ok", f"{key.selector}._domainkey.{key.domain}: {size}, fingerprint {key.fingerprint}"),
            ("plain", f"  private  {key.private_path}"),
            ("plain", f"  public   {key.public_path}   (commit this one)"),
            *(("warn", f"  {note}") for note in key.notes),
        ]
    return [*lines, ("plain", "next: publish what `dkconf dns show` prints, then `dkconf plan`")]


@keys.command("list", short_help="Show each selector, and whether its private half is here.")
@option_inventory
@option_host
@option_root
@click.option("--domain", metavar="DOMAIN", help="Only this one.")
@option_json
def list_(inventory: str | None, host: str | None, root: str, domain: str | None, as_json: bool) -> int:
    """Show each selector: its state, its fingerprint, and whether this host's private half is there and fits."""
    from dkconf.desired import build
    from dkconf.keys import list_keys, read_public_halves

    spec = read_inventory(inventory)
    public = read_public_halves(Path(spec.path).parent / "keys")
    if domain:
        must_know("domain", domain, list(spec.domains))
    try:
        name = host_name(host, spec.hosts)
    except DkconfError:
        if host:
            raise
        # Not on a mail host: the private halves are elsewhere, the table is still worth reading.
        rows = list_keys(spec, public, domains=[domain] if domain else None)
    else:
        desired = build(spec, name, public)
        owners = [key.owner for key in desired.keys] + [user.name for user in desired.users]
        rows = list_keys(
            spec,
            public,
            domains=[domain] if domain else spec.hosts[name].domains,
            key_dir=Path(desired.paths.key_dir),
            owner=owners[0] if owners else "",
            root=Path(root),
        )
    faults = [fault for row in rows for fault in row.faults]
    if not as_json:
        table = [
            (
                row.domain,
                row.selector,
                row.state,
                row.algorithm,
                plain(row.bits or None),
                row.private,
                row.fingerprint[:16],
            )
            for row in rows
        ]
        head = ("DOMAIN", "SELECTOR", "STATE", "ALGORITHM", "BITS", "PRIVATE", "FINGERPRINT")
        lines = columns([tuple(plain(cell) for cell in row) for row in table], head)
        say([("head", lines[0]), *(("plain", line) for line in lines[1:])])
        say([("warn", fault) for fault in faults])
    data = [
        {name: getattr(row, name) for name in ("domain", "selector", "state", "algorithm", "bits", "fingerprint")}
        | {"private": row.private, "private_path": row.private_path, "faults": list(row.faults)}
        for row in rows
    ]
    return finish(Status.OK, f"{len(faults)} faults", {"keys": data}, as_json)


@click.group()
def dns() -> None:
    """Show the TXT records to publish."""


@dns.command(short_help="Print the records, as zone lines or otherwise.")
@click.argument("domains", nargs=-1, metavar="[DOMAIN...]")
@option_inventory
@click.option(
    "--format",
    "form",
    type=click.Choice(["bind", "quoted", "raw", "nsupdate"]),
    default="bind",
    show_default=True,
    help="Zone lines, or what your DNS provider's form or nsupdate takes.",
)
@option_json
def show(domains: tuple[str, ...], inventory: str | None, form: str, as_json: bool) -> int:
    """Print the key records and the DomainKeys policy record of each DOMAIN (default: all) as zone lines."""
    from dkconf.desired import records
    from dkconf.dns import zone
    from dkconf.keys import read_public_halves

    spec = read_inventory(inventory)
    for domain in domains:
        must_know("domain", domain, list(spec.domains))
    found = records(spec, read_public_halves(Path(spec.path).parent / "keys"), domains or None)
    if not as_json:
        click.echo(zone.text(found, form), nl=False)
    missing = _without_public(spec, domains, {(r.domain, r.selector) for r in found if r.kind == "key"})
    if not as_json:
        say([("warn", f"dkconf: {sentence}") for sentence in missing], err=True)
    data = [
        {
            "name": r.name,
            "ttl": r.ttl,
            "type": "TXT",
            "value": r.value.decode("ascii", "backslashreplace"),
            "kind": r.kind,
        }
        for r in found
    ]
    return finish(Status.OK, "; ".join(missing), {"records": data}, as_json)


def _without_public(spec: Inventory, domains: tuple[str, ...], shown: set[tuple[str, str]]) -> list[str]:
    """Return a sentence per selector that should have a record and has no public half to make it from."""
    return [
        f"{selector}._domainkey.{name}: no record, its public half is not beside the inventory; "
        f"run dkconf keys generate {name} {selector}"
        for name in domains or spec.domains
        for selector, settings in sorted(spec.domains[name].selectors.items())
        if settings.state in ("published", "active", "percolating") and (name, selector) not in shown
    ]
