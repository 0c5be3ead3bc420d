"""An inventory and a host's name -> what that host should look like. Pure: same inventory, same bytes.

Only the host's own filters and domains are looked at, and only their public halves are read, so that one
host's plan costs little in an inventory of thousands of domains.
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, replace

from dkconf.desired import services
from dkconf.desired.errors import NotRenderable
from dkconf.desired.fragment import fragment, milter_socket
from dkconf.desired.options import dk_filter_options
from dkconf.desired.platform import PLATFORMS, PlatformFacts, host_paths
from dkconf.desired.quoting import m4_name
from dkconf.desired.records import PublicKeys, records
from dkconf.desired.services import Placed
from dkconf.desired.settings import settings
from dkconf.desired.signing import SCHEME_ORDER, SigningKey, filter_schemes, signatures, signing_keys
from dkconf.desired.state import (
    DesiredState,
    HostPaths,
    KeyFile,
    ManagedDirectory,
    ManagedFile,
    MilterFilter,
    SystemUser,
)
from dkconf.filter.config import ONLY_AT_START, dumps
from dkconf.inventory.hosts import no_such_host
from dkconf.inventory.model import Filter, FilterService, Host, Inventory


@dataclass(frozen=True, slots=True)
class _Built:
    """One filter of the host, built."""

    milter: MilterFilter
    placed: Placed
    files: tuple[ManagedFile, ...]
    keys: tuple[SigningKey, ...]


def find_host(inventory: Inventory, host_name: str) -> Host:
    """The host called `host_name`.

    Raises:
        UsageProblem: The inventory does not have it; the nearest name is in the message.
    """
    if host_name in inventory.hosts:
        return inventory.hosts[host_name]
    raise no_such_host(host_name, inventory.hosts)


def build(inventory: Inventory, host_name: str, public_keys: PublicKeys) -> DesiredState:
    """The desired state of the host `host_name`.

    Args:
        public_keys: As `keys.read_public_halves` gives them; a missing one has no record and no fingerprint.

    Raises:
        UsageProblem: No such host.
        NotRenderable: Something that the host's files cannot say.
    """
    host = find_host(inventory, host_name)
    facts = PLATFORMS[host.platform]
    paths = host_paths(host_name, host)
    built: list[_Built] = []
    signed_with_domainkeys: dict[str, bool] = {}
    for name in host.filters:
        one = _build_filter(inventory, host, name, paths, facts, public_keys, signed_with_domainkeys)
        built.append(one)
        if one.milter.enabled:
            signed_with_domainkeys |= {s.domain: True for s in one.milter.signs if s.scheme == "domainkeys"}
    milters = tuple(one.milter for one in built)
    own = ManagedFile(paths.fragment, fragment(milters, host.milter), 0o644, "root", paths.mail_group, "fragment")
    files = (own, *(file for one in built for file in one.files))
    _refuse_same_path(files)
    entry = host.services.get("sendmail", FilterService())
    state = DesiredState(
        host=host_name,
        platform=host.platform,
        service_group=host.service,
        paths=paths,
        service_manager=host.service_manager,
        filters=milters,
        files=files,
        records=records(inventory, public_keys, host.domains),
        keys=_key_files(built, public_keys, facts),
        users=_users(built, facts),
        services=tuple(one.placed.service for one in built),
        sendmail_argv=services.start_sendmail(entry, host.service_manager),
        probe_recipient=host.probe_recipient,
        digest="",
        directories=_directories(built, paths, facts),
        warnings=tuple(_warnings(inventory, host, public_keys)),
    )
    # A frozen dataclass's repr holds every field, in order.
    return replace(state, digest=hashlib.sha256(repr(state).encode()).hexdigest())


def _build_filter(
    inventory: Inventory,
    host: Host,
    name: str,
    paths: HostPaths,
    facts: PlatformFacts,
    public_keys: PublicKeys,
    signed_with_domainkeys: Mapping[str, bool],
) -> _Built:
    spec = inventory.filters.get(name)
    if spec is None:
        raise NotRenderable(f"filters.{name}: named by a host, but not in the inventory")
    m4_name(name, "filters")
    enabled = name not in host.disabled_filters
    keys = tuple(signing_keys(inventory, host, spec, paths))
    files: list[ManagedFile] = []
    at_start: list[object] = []
    if spec.program == "external":
        placed = services.external(name, host, enabled)
        # Its keys are its own; only those whose public half is here can be expected and verified.
        expected, keys = tuple(k for k in keys if (k.domain, k.selector) in public_keys), ()
    elif spec.program == "dk-filter":
        placed = services.dk_filter(
            name, spec, dk_filter_options(name, spec, keys, enabled), host, paths, facts, enabled
        )
        expected = keys
    else:
        placed = services.dkconf_filter(name, spec, host, paths, facts, enabled)
        value = settings(
            spec,
            keys,
            user=spec.user or facts.dkconf_user,
            socket_group=spec.socket_group or facts.socket_group,
            pid_file=placed.service.pid_file,
        )
        files.append(
            ManagedFile(
                f"{paths.filter_config}/{name}.toml",
                dumps(value).encode(),
                0o644,
                "root",
                facts.root_group,
                "filter-settings",
                name,
            )
        )
        expected = keys
        at_start = [getattr(value, name) for name in ONLY_AT_START]
    files += placed.files
    digest = _settings_digest(files, placed, keys, public_keys)
    milter = MilterFilter(
        name=name,
        socket=milter_socket(spec),
        on_failure=spec.on_failure,
        timeouts=spec.timeouts,
        enabled=enabled,
        program=spec.program,
        roles=spec.roles,
        signs=() if spec.observe else signatures(expected, signed_with_domainkeys),
        internal_hosts=spec.internal_hosts,
        settings_digest=digest,
        # dk-filter cannot read anything again: SIGHUP is its end.
        start_digest={"external": "", "dk-filter": digest}.get(spec.program, _start_digest(placed, at_start)),
    )
    return _Built(milter, placed, tuple(files), keys)


def _start_digest(placed: Placed, at_start: Sequence[object]) -> str:
    shown = [placed.service.argv, [(file.path, file.content) for file in placed.files], at_start]
    return hashlib.sha256(repr(shown).encode()).hexdigest()


def _settings_digest(
    files: Iterable[ManagedFile], placed: Placed, keys: Iterable[SigningKey], public_keys: PublicKeys
) -> str:
    digest = hashlib.sha256(repr(placed.service.argv).encode())
    for file in files:
        digest.update(repr((file.path, file.content)).encode())
    for key in keys:
        half = public_keys.get((key.domain, key.selector))
        digest.update(repr((key.path, half.fingerprint if half else "")).encode())
    return digest.hexdigest()


def _refuse_same_path(files: Sequence[ManagedFile]) -> None:
    seen: dict[str, ManagedFile] = {}
    for file in files:
        if other := seen.get(file.path):
            raise NotRenderable(
                f"{file.path}: written for both {other.filter or 'sendmail'} and {file.filter}; "
                "give each its own name under services"
            )
        seen[file.path] = file


def _key_files(built: Sequence[_Built], public_keys: PublicKeys, facts: PlatformFacts) -> tuple[KeyFile, ...]:
    """Each private half once; two filters of different users share one by the second one's group.

    A key of one user alone is in root's group: a group of the user's name need not exist.
    """
    users: dict[str, list[str]] = {}
    first: dict[str, SigningKey] = {}
    for one in built:
        for key in one.keys:
            first.setdefault(key.path, key)
            if one.placed.user not in users.setdefault(key.path, []):
                users[key.path].append(one.placed.user)
    out = []
    for path, key in first.items():
        half = public_keys.get((key.domain, key.selector))
        owner, *others = users[path]
        if len(others) > 1:
            raise NotRenderable(f"{path}: read by {', '.join(users[path])}; give the filters a common user")
        out.append(
            KeyFile(
                path=path,
                domain=key.domain,
                selector=key.selector,
                algorithm=key.spec.algorithm,
                fingerprint=half.fingerprint if half else "",
                owner=owner,
                group=others[0] if others else facts.root_group,
                mode=0o640 if others else 0o600,
            )
        )
    return tuple(out)


def _users(built: Sequence[_Built], facts: PlatformFacts) -> tuple[SystemUser, ...]:
    """The system user of dkconf-filter; other programs' packages make their own."""
    if not any(one.milter.program == "dkconf-filter" and one.placed.user == facts.dkconf_user for one in built):
        return ()
    groups = (facts.socket_group,) if facts.socket_group else ()
    return (SystemUser(facts.dkconf_user, "/nonexistent", facts.nologin, groups),)


def _directories(built: Sequence[_Built], paths: HostPaths, facts: PlatformFacts) -> tuple[ManagedDirectory, ...]:
    out: dict[str, ManagedDirectory] = {}
    if any(file.path.startswith(f"{paths.filter_config}/") for one in built for file in one.files):
        out[paths.filter_config] = ManagedDirectory(paths.filter_config, 0o755, "root", facts.root_group)
    # 0711: each filter's user reaches its own files, nobody lists them, and no parent is writable by others.
    key_dirs = sorted({key.path.rpartition("/")[0] for one in built for key in one.keys})
    for path in [paths.key_dir, *key_dirs] if key_dirs else []:
        out[path] = ManagedDirectory(path, 0o711, "root", facts.root_group)
    for one in built:
        for directory in one.placed.directories:
            there = out.setdefault(directory.path, directory)
            if there.owner != directory.owner:
                raise NotRenderable(
                    f"{directory.path}: would hold sockets of filters that run as {there.owner} and as "
                    f"{directory.owner}; give each its own directory"
                )
    return tuple(out.values())


def _warnings(inventory: Inventory, host: Host, public_keys: PublicKeys) -> Iterable[str]:
    for name in host.filters:
        spec: Filter = inventory.filters[name]
        if spec.program == "dk-filter" and "sign" in spec.roles and "127.0.0.1" not in spec.internal_hosts:
            yield (
                f"filters.{name}.internal_hosts: 127.0.0.1 is not in it; dk-filter's -i replaces its "
                "default, so mail submitted on this host is not signed"
            )
    for name in host.domains:
        for selector, key in sorted(inventory.domains[name].selectors.items()):
            if key.state in ("published", "active", "percolating") and (name, selector) not in public_keys:
                # A percolating key was made long ago: a new one would be another.
                make = f"for a new key run dkconf keys generate {name} {selector}, else "
                make = "" if key.state == "percolating" else make
                yield (
                    f"domains.{name}.selectors.{selector}: no public half beside the inventory, so no record can be "
                    f"shown; {make}put it to keys/{name}/{selector}.pub.pem"
                )


__all__ = ["SCHEME_ORDER", "build", "filter_schemes", "find_host"]
