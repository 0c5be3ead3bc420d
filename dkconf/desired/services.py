"""How a filter runs on its host: names and argv per service manager, units and scripts that dkconf writes.

systemd, System V (`sysv`), FreeBSD's rc.d (`rcd`) and `direct`: dkconf starts the argv itself. An external
filter is left alone unless the host's `services` names it.
"""

from __future__ import annotations

import posixpath
import re
from collections.abc import Mapping
from dataclasses import dataclass

from dkconf.desired.errors import NotRenderable
from dkconf.desired.options import DkFilterOptions
from dkconf.desired.platform import PlatformFacts
from dkconf.desired.quoting import plain_word, shell_quoted
from dkconf.desired.state import HostPaths, ManagedDirectory, ManagedFile, Service
from dkconf.desired.templates import render
from dkconf.inventory.model import Filter, FilterService, Host, ServiceManager

_SAFE_NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9_.@-]*")


@dataclass(frozen=True, slots=True)
class Placed:
    """What a filter's service needs on the host."""

    service: Service
    files: tuple[ManagedFile, ...]
    directories: tuple[ManagedDirectory, ...]
    user: str
    """The user it runs as, who must be able to read its keys; "" for an external one."""


def _service_name(name: str, program: str, entry: FilterService, facts: PlatformFacts, manager: str) -> str:
    chosen = entry.service
    if not chosen and program == "dkconf-filter":
        # FreeBSD makes shell variables of the name: no "-" in it.
        chosen = name if name.startswith("dkconf-") else f"dkconf-{name}"
        chosen = chosen.replace("-", "_") if manager == "rcd" else chosen
    if not chosen and program == "dk-filter":
        chosen = facts.dk_filter_service
    if chosen and not _SAFE_NAME.fullmatch(chosen):
        raise NotRenderable(f"services.{name}.service: {chosen!a} is no service name")
    return chosen.removesuffix(".service")


def socket_path(socket: str) -> str:
    """The path of a Unix socket, "" for an inet one."""
    kind, colon, rest = socket.partition(":")
    if colon and kind in ("inet", "inet6"):
        return ""
    return rest if colon and kind in ("local", "unix") else socket.removeprefix(":")


def _port(socket: str) -> int:
    kind, _, rest = socket.partition(":")
    port = rest.partition("@")[0]
    return int(port) if kind in ("inet", "inet6") and port.isdigit() else 0


def _runtime_directory(path: str) -> str:
    """The directory of `path` relative to /run; "" where it is not below /run, or is in /run itself."""
    for root in ("/run/", "/var/run/"):
        if path.startswith(root):
            return posixpath.dirname(path.removeprefix(root))
    return ""


def runtime_directories(spec: Filter, user: str, group: str, mode: int = 0o755) -> tuple[ManagedDirectory, ...]:
    """Directories below /run that its Unix sockets lie in.

    sendmail refuses a socket below a directory that group or world may write (observed: "local socket name
    ... unsafe"), and connects as root; so 0755, owned by the filter's user.
    """
    out: dict[str, ManagedDirectory] = {}
    for socket in (spec.socket, spec.metrics):
        path = socket_path(socket) if socket else ""
        if _runtime_directory(path):
            parent = posixpath.dirname(path)
            out[parent] = ManagedDirectory(parent, mode, user, group, runtime=True)
    return tuple(out.values())


def dkconf_filter(name: str, spec: Filter, host: Host, paths: HostPaths, facts: PlatformFacts, enabled: bool) -> Placed:
    """The service of a dkconf-filter, with its unit or script.

    Raises:
        NotRenderable: A path or name that a unit or script cannot carry.
    """
    entry = host.services.get(name, FilterService())
    manager = host.service_manager
    service = _service_name(name, "dkconf-filter", entry, facts, manager)
    user, _, group = (spec.user or facts.dkconf_user).partition(":")
    settings = f"{paths.filter_config}/{name}.toml"
    argv = entry.argv or (paths.dkconf_filter, "--config", settings)
    pid_file = entry.pid_file or ("" if manager == "systemd" else f"{facts.run_dir}/{service}.pid")
    script = f"{host.paths.unit_dir or facts.init_dir}/{service}"
    directories = runtime_directories(spec, user, facts.root_group)
    values: dict[str, object] = {
        "name": name,
        "service": service,
        "argv": argv,
        "settings": settings,
        "user": user,
        "group": group,
        "pid_file": pid_file,
        "directories": directories,
    }
    files: list[ManagedFile] = []
    if manager == "systemd":
        files.append(_unit(name, f"{service}.service", "systemd/dkconf-filter.service.j2", spec, paths, facts, values))
    elif manager == "sysv":
        content = render("sysv/dkconf-filter.j2", **values)
        files.append(_root_file(script, content, 0o755, facts, "init-script", name))
    elif manager == "rcd":
        content = render("rcd/dkconf-filter.j2", **values)
        files.append(_root_file(script, content, 0o555, facts, "init-script", name))
        enable = f'# Managed by dkconf: change the inventory, then dkconf apply.\n{service}_enable="YES"\n'
        files.append(_root_file(f"/etc/rc.conf.d/{service}", enable.encode(), 0o644, facts, "rc-variables", name))
    return Placed(
        Service(name, manager, service, argv, pid_file, running=enabled, managed=True),
        tuple(files),
        directories,
        user,
    )


def _root_file(path: str, content: bytes, mode: int, facts: PlatformFacts, role: str, name: str) -> ManagedFile:
    return ManagedFile(path, content, mode, "root", facts.root_group, role, name)


def _unit(
    name: str,
    unit: str,
    template: str,
    spec: Filter,
    paths: HostPaths,
    facts: PlatformFacts,
    values: Mapping[str, object],
) -> ManagedFile:
    sockets = [p for p in (socket_path(spec.socket), socket_path(spec.metrics) if spec.metrics else "") if p]
    content = render(
        template,
        **values,
        runtime=sorted({r for p in sockets if (r := _runtime_directory(p))}),
        writable=sorted({posixpath.dirname(p) for p in sockets if not _runtime_directory(p)}),
        groups=[facts.socket_group] if facts.socket_group else [],
        low_port=any(0 < _port(s) < 1024 for s in (spec.socket, spec.metrics)),
    )
    return _root_file(f"{paths.unit_dir}/{unit}", content, 0o644, facts, "unit", name)


def dk_filter(
    name: str,
    spec: Filter,
    options: DkFilterOptions,
    host: Host,
    paths: HostPaths,
    facts: PlatformFacts,
    enabled: bool,
) -> Placed:
    """The service of a dk-filter: the option file of its package, or an argv.

    Debian: /etc/default/NAME, read by the package's init script, which adds -u, -P and -p. FreeBSD: rc
    variables. Elsewhere and under `direct`: the argv, under systemd in a unit of ours, since no package brings one.

    Raises:
        NotRenderable: A value that the package's script would split or expand.
    """
    entry = host.services.get(name, FilterService())
    manager = host.service_manager
    service = _service_name(name, "dk-filter", entry, facts, manager)
    user = spec.user or facts.dk_filter_user
    pid_file = entry.pid_file or f"{facts.dk_filter_runtime}/{_pid_name(host, service)}"
    socket = re.sub(r"@\[(.*)\]$", r"@\1", spec.socket)
    files = [
        ManagedFile(
            f"{paths.filter_config}/{name}.{f.suffix}",
            "".join(f"{_line(line)}\n" for line in f.lines).encode(),
            0o644,
            "root",
            facts.root_group,
            "list",
            name,
        )
        for f in options.files
    ]
    words = tuple(f"{paths.filter_config}/{name}.{w[1:]}" if w.startswith("@") else w for w in options.argv())
    argv = entry.argv or (paths.dk_filter, *words, "-p", socket, "-P", pid_file, "-u", user)
    directories = runtime_directories(spec, user.partition(":")[0], facts.root_group)
    if manager == "systemd" and host.platform == "rhel":
        values: dict[str, object] = {
            "name": name,
            "argv": (paths.dk_filter, "-f", *words, "-p", socket),
            "user": user.partition(":")[0],
        }
        pid_file = ""
        files.append(_unit(name, f"{service}.service", "systemd/dk-filter.service.j2", spec, paths, facts, values))
    elif manager != "direct" and host.platform == "debian":
        if user != facts.dk_filter_user:
            raise NotRenderable(
                f"filters.{name}.user: Debian's init script runs dk-filter as {facts.dk_filter_user}, whatever the "
                "inventory says; leave user out, or take service_manager: direct"
            )
        files.append(_default_file(name, service, words, socket, facts))
    elif manager == "rcd":
        files.append(_rc_variables(name, service, argv[1:], facts))
    return Placed(
        Service(name, manager, service, argv, pid_file, running=enabled, managed=True),
        tuple(files),
        directories,
        user.partition(":")[0],
    )


def _pid_name(host: Host, service: str) -> str:
    return "pid" if host.platform == "freebsd" else f"{service or 'dk-filter'}.pid"


def _line(value: str) -> str:
    if re.search(r"[\x00-\x1f\x7f]", value):
        raise NotRenderable(f"{value!a}: a list has one entry per line; leave control characters out")
    return value


def _default_file(name: str, service: str, words: tuple[str, ...], socket: str, facts: PlatformFacts) -> ManagedFile:
    path = f"/etc/default/{service}"
    # The init script uses $DAEMON_OPTS and $SOCKET unquoted: what is in them is split and expanded again.
    options = " ".join(plain_word(word, f"filters.{name}", path) for word in words)
    content = render(
        "filter/default.j2",
        options=options,
        socket=plain_word(socket, f"filters.{name}.socket", path),
    )
    return _root_file(path, content, 0o644, facts, "dk-filter-options", name)


def _rc_variables(name: str, service: str, words: tuple[str, ...], facts: PlatformFacts) -> ManagedFile:
    variable = re.sub(r"[^A-Za-z0-9]", "", service)
    path = f"/etc/rc.conf.d/{variable}"
    # rc.subr evaluates the flags: only words that a shell leaves alone.
    flags = " ".join(plain_word(word, f"filters.{name}", path) for word in words)
    content = (
        "# Managed by dkconf: change the inventory, then dkconf apply.\n"
        f'{variable}_enable="YES"\n{variable}_flags={shell_quoted(flags)}\n'
    )
    return _root_file(path, content.encode(), 0o644, facts, "dk-filter-options", name)


def start_sendmail(entry: FilterService, manager: ServiceManager) -> tuple[str, ...]:
    """The command that starts sendmail again, by the `sendmail` of a host's services; () = the inventory names none.

    Raises:
        NotRenderable: A name that is none of a service.
    """
    if entry.argv or not entry.service:
        return entry.argv
    name = entry.service.removesuffix(".service")
    if not _SAFE_NAME.fullmatch(name):
        raise NotRenderable(f"services.sendmail.service: {entry.service!a} is no service name")
    commands: dict[ServiceManager, tuple[str, ...]] = {
        # `start` does nothing while other processes of the unit run on.
        "systemd": ("systemctl", "restart", f"{name}.service"),
        "sysv": ("service", name, "start"),
        "rcd": ("service", name, "onestart"),
    }
    return commands.get(manager, ())


def external(name: str, host: Host, enabled: bool) -> Placed:
    """An external filter: dkconf writes its X line; it starts and stops it only if the host says how."""
    entry = host.services.get(name, FilterService())
    manager: ServiceManager = host.service_manager
    managed = bool(entry.argv) if manager == "direct" else bool(entry.service)
    service = Service(
        name, manager, entry.service.removesuffix(".service"), entry.argv, entry.pid_file, enabled, managed
    )
    return Placed(service, (), (), "")
