"""A sendmail.cf as a model: filters, their order, daemons, options, and every other line that counts.

Two builds of one .mc never give the same octets (dates, host names, the .mc appended as comments), so a .cf
is compared as this model. Comments and empty lines are left out of it, everything else is in.

Sources: sendmail's op.me (configuration lines), and what 8.17 was seen to do: only the first letter of an
equate counts; `O InputMailFilters` is separated by commas, a daemon's own list by semicolons.

Text is latin-1 decoded, as in `mc`.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from difflib import SequenceMatcher

TIMEOUT_DEFAULTS = {"C": 300, "S": 10, "R": 10, "E": 300}
"""Seconds: sendmail's own T= of a filter."""
_UNITS = {"s": 1, "m": 60, "h": 3600, "d": 86400, "w": 604800}
_PORTS = {"smtp": 25, "smtps": 465, "submissions": 465, "submission": 587}
_ON_FAILURE = (("T", "tempfail"), ("4", "shutdown"), ("R", "reject"))
"""Of several letters in F=, the first of these wins."""
_OLD_OPTIONS = {"Q": "QueueDirectory"}
"""One-letter options (before 8.7) that this model reads by name."""


@dataclass(frozen=True, slots=True)
class XLine:
    """One filter: `Xname, S=..., F=..., T=...`, with what is left out filled in."""

    name: str
    socket: str
    on_failure: str
    """accept, tempfail, reject or shutdown."""
    timeouts: Mapping[str, int] = field(default_factory=lambda: dict(TIMEOUT_DEFAULTS))
    """Letter of T= -> seconds."""
    other: tuple[str, ...] = ()
    """Equates that are not S, F or T: sendmail refuses to start with one."""


@dataclass(frozen=True, slots=True)
class Daemon:
    """One `O DaemonPortOptions`."""

    name: str
    port: int
    """0 for a local socket, or a service name that only the machine knows (`service`)."""
    address: str
    """As written; "" = all."""
    family: str
    """inet, inet6, local or unix."""
    modifiers: str
    filters: tuple[str, ...] | None
    """Its own list, which overrides the global one; None = the global one."""
    raw: str
    service: str = ""
    """Port= as written where it is no number."""

    @property
    def local(self) -> bool:
        """It listens on a Unix socket, whose path is `address`."""
        return self.family in ("local", "unix")

    @property
    def target(self) -> str:
        """The address to reach it at on this machine: a loopback address where it listens on all."""
        if self.family == "inet6":
            address = self.address.removeprefix("IPv6:")
            return address if address not in ("", "::") else "::1"
        return self.address if self.address not in ("", "0.0.0.0") else "127.0.0.1"


@dataclass(frozen=True, slots=True)
class CfModel:
    filters: Mapping[str, XLine]
    """By name, in the order of the file."""
    input_filters: tuple[str, ...]
    """O InputMailFilters: the filters that are called, in order; a name may be listed twice."""
    daemons: tuple[Daemon, ...]
    options: Mapping[str, tuple[str, ...]]
    """Lower-case option name -> its values in order; without InputMailFilters and DaemonPortOptions."""
    queues: Mapping[str, Mapping[str, str]]
    """Q lines: queue group -> equate letter -> value."""
    others: tuple[str, ...]
    """Every other logical line, in order: macros, classes, rules, mailers, headers."""
    faults: tuple[str, ...] = ()
    """What sendmail would refuse, or what would refuse all mail: in words."""

    def option(self, name: str, default: str = "") -> str:
        """Return the last value of an option."""
        return self.options.get(name.lower(), (default,))[-1]

    @property
    def queue_directory(self) -> str:
        return self.option("QueueDirectory", "/var/spool/mqueue")

    @property
    def run_as_user(self) -> str:
        """`O RunAsUser` without the group; "" = root."""
        return self.option("RunAsUser").replace(":", ".").split(".")[0]

    def filters_of(self, daemon: Daemon) -> tuple[str, ...]:
        """Return the filters that this daemon calls."""
        return self.input_filters if daemon.filters is None else daemon.filters

    def filter_lists(self) -> list[tuple[str, ...]]:
        """Return the distinct lists in use, the global one first."""
        found = [self.input_filters]
        for daemon in self.daemons:
            if self.filters_of(daemon) not in found:
                found.append(self.filters_of(daemon))
        return found


def logical_lines(text: str) -> Iterator[str]:
    """Yield the lines that count: comments and empty lines left out, continuations joined."""
    held: str | None = None
    for line in text.split("\n"):
        line = line.rstrip()
        if line[:1] in (" ", "\t") and held is not None:
            held += "\n" + line.strip()
            continue
        if not line or line[0] in "# \t":
            continue
        if held is not None:
            yield held
        held = line
    if held is not None:
        yield held


def equates(value: str) -> list[tuple[str, str]]:
    """Return (first letter, value) of a comma-separated list of equates; "" for a part without `=`."""
    found = []
    for part in value.split(","):
        name, equals, right = part.strip().partition("=")
        if equals:
            found.append((name.strip()[:1], right.strip()))
        elif name:
            found.append(("", name.strip()))
    return found


def seconds(value: str, default_unit: str = "s") -> int | None:
    """Return a sendmail time span in seconds, None where it is none."""
    digits = value.strip().rstrip("smhdw") if value.strip()[-1:] in _UNITS else value.strip()
    if not digits.isascii() or not digits.isdigit():
        return None
    unit = value.strip()[len(digits) :] or default_unit
    return int(digits) * _UNITS[unit] if unit in _UNITS else None


def parse_x(line: str) -> XLine:
    """Return the filter of an X line (without its line end)."""
    name, _, rest = line[1:].partition(",")
    socket, on_failure, other = "", "accept", []
    timeouts = dict(TIMEOUT_DEFAULTS)
    for letter, value in equates(rest):
        if letter == "S":
            socket = value
        elif letter == "F":
            on_failure = next((word for flag, word in _ON_FAILURE if flag in value), "accept")
        elif letter == "T":
            for part in value.split(";"):
                which, colon, span = part.strip().partition(":")
                read = seconds(span) if colon else None
                if read is None or which not in timeouts:
                    other.append(f"T={part.strip()}")
                else:
                    timeouts[which] = read
        else:
            other.append(f"{letter}={value}" if letter else value)
    return XLine(name.strip(), socket, on_failure, timeouts, tuple(other))


def parse_daemon(value: str) -> Daemon:
    """Return the daemon of a DaemonPortOptions value."""
    read = {letter.upper(): right for letter, right in equates(value)}
    port = read.get("P", "smtp")
    number = int(port) if port.isascii() and port.isdigit() else _PORTS.get(port.lower(), 0)
    own = read.get("I")
    return Daemon(
        name=read.get("N", "MTA"),
        port=number,
        address=read.get("A", ""),
        family=read.get("F", "inet").lower(),
        modifiers=read.get("M", ""),
        filters=None if own is None else tuple(n.strip() for n in own.split(";") if n.strip()),
        raw=value,
        service="" if port.isascii() and port.isdigit() else port,
    )


def parse(text: str) -> CfModel:
    """Return the model of a sendmail.cf; what is wrong with its filters is in `faults`."""
    filters: dict[str, XLine] = {}
    listed: tuple[str, ...] = ()
    daemons: list[Daemon] = []
    options: dict[str, list[str]] = {}
    queues: dict[str, dict[str, str]] = {}
    others: list[str] = []
    faults: list[str] = []
    for line in logical_lines(text):
        kind = line[0]
        if kind == "X":
            x_line = parse_x(line)
            if x_line.name in filters:
                faults.append(f"filter {x_line.name} is defined twice")
            filters[x_line.name] = x_line
        elif kind == "O":
            name, value = _option(line)
            if name == "inputmailfilters":
                listed = tuple(n.strip() for n in value.split(",") if n.strip())
            elif name == "daemonportoptions":
                daemons.append(parse_daemon(value))
            else:
                options.setdefault(name, []).append(value)
        elif kind == "Q":
            group, _, rest = line[1:].partition(",")
            queues[group.strip()] = {letter.upper(): value for letter, value in equates(rest)}
            others.append(line)
        else:
            others.append(line)
    if not daemons:
        daemons.append(parse_daemon("Name=MTA, Port=smtp"))  # sendmail's own default
    for place, names in [("O InputMailFilters", listed)] + [
        (f"daemon {d.name}", d.filters) for d in daemons if d.filters is not None
    ]:
        faults += [f"{place} names filter {n}, which is not defined" for n in dict.fromkeys(names) if n not in filters]
        faults += [f"{place} names filter {n} twice" for n in dict.fromkeys(names) if names.count(n) > 1]
    for x_line in filters.values():
        faults += [f"filter {x_line.name}: unknown equate {equate}" for equate in x_line.other]
        if not x_line.socket:
            faults.append(f"filter {x_line.name} has no S=")
    return CfModel(
        filters,
        listed,
        tuple(daemons),
        {n: tuple(v) for n, v in options.items()},
        queues,
        tuple(others),
        tuple(faults),
    )


def _option(line: str) -> tuple[str, str]:
    """Return (lower-case name, value) of an O line, long or one-letter form."""
    if line[1:2] == " ":
        name, _, value = line[2:].partition("=")
        return name.strip().lower(), value.strip()
    return _OLD_OPTIONS.get(line[1:2], line[1:2]).lower(), line[2:].strip()


def difference(before: CfModel, after: CfModel, *, milter_options: bool = True) -> list[str]:
    """Return in words what differs between two models; [] where they say the same.

    Args:
        milter_options: Compare `O Milter.*` too; sendmail's m4 writes these only if a filter is defined.
    """
    found = _filter_differences(before, after)
    found += _sequence_differences("daemon", [d.raw for d in before.daemons], [d.raw for d in after.daemons])
    for name in sorted({*before.options, *after.options}):
        if not milter_options and name.startswith("milter."):
            continue
        old, new = before.options.get(name), after.options.get(name)
        if old != new:
            found.append(f"option {name}: {_values(old)} -> {_values(new)}")
    return found + _sequence_differences("line", before.others, after.others)


def _filter_differences(before: CfModel, after: CfModel) -> list[str]:
    found = []
    for name in dict.fromkeys([*before.filters, *after.filters]):
        old, new = before.filters.get(name), after.filters.get(name)
        if old is None or new is None:
            found.append(f"filter {name}: {_state(before, name)} -> {_state(after, name)}")
            continue
        if (name in before.input_filters) != (name in after.input_filters):
            found.append(f"filter {name}: {_state(before, name)} -> {_state(after, name)}")
        for what, was, now in (
            ("S=", old.socket, new.socket),
            ("on failure", old.on_failure, new.on_failure),
            ("T=", _times(old), _times(new)),
            ("other equates", "; ".join(old.other), "; ".join(new.other)),
        ):
            if was != now:
                found.append(f"filter {name}: {what} {was} -> {now}")
    common = [n for n in before.input_filters if n in after.input_filters]
    if common != [n for n in after.input_filters if n in before.input_filters]:
        found.append(f"filters are called as {_list(before)} -> {_list(after)}")
    return found


def _state(model: CfModel, name: str) -> str:
    if name in model.input_filters:
        return "called by sendmail"
    return "defined, not called" if name in model.filters else "not there"


def _list(model: CfModel) -> str:
    return ", ".join(model.input_filters) or "none"


def _times(x_line: XLine) -> str:
    return ";".join(f"{letter}:{x_line.timeouts[letter]}s" for letter in TIMEOUT_DEFAULTS)


def _values(values: tuple[str, ...] | None) -> str:
    return "not set" if values is None else " | ".join(values)


def _sequence_differences(what: str, before: Sequence[str], after: Sequence[str]) -> list[str]:
    old, new = list(before), list(after)
    if old == new:
        return []
    found = []
    for tag, a, b, c, d in SequenceMatcher(None, old, new, autojunk=False).get_opcodes():
        if tag != "equal":
            found += [f"{what} gone: {line}" for line in old[a:b]]
            found += [f"{what} new: {line}" for line in new[c:d]]
    return found


def replace_socket(text: str, name: str, socket: str) -> str:
    """Return a .cf text in which only the S= of filter `name` is another one (for a throwaway canary)."""
    lines = text.split("\n")
    for index, line in enumerate(lines):
        if line.startswith("X") and line[1:].partition(",")[0].strip() == name:
            head, _, rest = line.partition(",")
            parts = [f" S={socket}" if p.strip()[:1] == "S" and "=" in p else p for p in rest.split(",")]
            lines[index] = ",".join([head, *parts])
    return "\n".join(lines)


def replace_queues(text: str, directory: str) -> str:
    """Return a .cf text that queues below `directory` alone; group NAME of a Q line in `directory`/NAME."""
    lines = text.split("\n")
    option = False
    for index, line in enumerate(lines):
        if line.startswith("O") and _option(line)[0] == "queuedirectory":
            lines[index], option = f"O QueueDirectory={directory}", True
        elif line.startswith("Q"):
            head, _, rest = line.partition(",")
            group = head[1:].strip()
            parts = [p for p in rest.split(",") if p.strip()[:1].upper() != "P" and p.strip()]
            lines[index] = ",".join([head, f" Path={directory}/{group}", *parts])
    if not option:
        lines.insert(0, f"O QueueDirectory={directory}")
    return "\n".join(lines)
