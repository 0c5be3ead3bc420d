"""The command line of dkconf-filter: that of dk-filter 1.0, and `--config FILE`.

All options of dk-filter are taken with their meaning, defaults and exit statuses, so that an init script
needs no change. Deliberate differences, each a fault of dk-filter's: h= is always written (-H says nothing
new), a restart has a rate limit (-A says nothing new), -U and -R are taken and reported as without effect.
DomainKeys alone is signed, as dk-filter does; DKIM signatures are verified as well and only reported: with
these options a DKIM verdict (bad, no) never refuses a message, while trouble on the way (dns, int, sec) is
answered as -C says for DomainKeys.
"""

from __future__ import annotations

import getopt
import os
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, replace
from typing import Any, Final, TypeVar

from dkconf.errors import DkconfError
from dkconf.files import reading
from dkconf.files.folders import ANYWHERE
from dkconf.files.problems import FileProblem, as_os_error
from dkconf.filter import actions, values
from dkconf.filter.config import (
    LONGEST_DEADLINE_SECONDS,
    Canonicalization,
    Conditions,
    KeyEntry,
    Settings,
    SettingsError,
    loads,
)
from dkconf.filter.glob import Glob
from dkconf.filter.hosts import HostList

Part = TypeVar("Part")

EX_USAGE: Final = 64
EX_CONFIG: Final = 78

_SHORT: Final = "a:Ab:c:C:d:Dfi:I:hHklm:M:no:p:P:qRs:S:T:u:U:V"
_LONG: Final = ("config=", "records=", "observe", "workers=", "metrics=", "help", "version")
_WITH_CONFIG: Final = frozenset("fnlpPuV")
"""dk-filter's options that go with --config; all others belong into the file."""

USAGE: Final = """\
usage: {prog} --config FILE [-f] [-n] [-l] [-p socketspec] [-P pidfile] [-u user] [--records FILE]
       {prog} -p socketspec [-a peerlist] [-A] [-b modes] [-c canon] [-C config] [-d domains] [-D] [-f]
         [-h] [-H] [-i ilist] [-I elist] [-k] [-l] [-m mtas] [-M macro[=value][,...]] [-n] [-o hdrlist]
         [-P pidfile] [-q] [-R] [-s keyfile] [-S selector] [-T secs] [-u userid] [-U popdb] [-V]
         [--records FILE] [--observe] [--workers N] [--metrics socketspec]

-a peerlist   file of hosts whose connections are accepted without processing
-A            restart on failure (always done, with a rate limit)
-b modes      s (sign), v (verify); default sv
-c canon      simple or nofws; default simple
-C config     result=action,...; results bad dns int no miss sec def, actions a d r t
-d domains    domains to sign for: a list with commas, or a /file
-D            subdomains of them too
-f            stay in the foreground
-h            add X-DomainKeys
-H            write h= (always done)
-i ilist      file of internal hosts, whose mail is signed
-I elist      file of external hosts not to be reported
-k            -s names a key list: sender-pattern:signing-domain:keypath
-l            log to syslog
-m mtas       names of MTA daemons whose mail is signed
-M macros     sign if one of these macros is set, and has this value
-n            check the settings, keys included, and exit
-o hdrlist    header fields not to be signed
-p socketspec inet:PORT@HOST, inet6:PORT@HOST, local:PATH or unix:PATH
-P pidfile    write the process id here
-q            quarantine what fails
-R            accepted, without effect
-s keyfile    private key, PEM
-S selector   default main
-T secs       DNS timeout, default 5; 0 = no limit but that of a message
-u userid     become this user
-U popdb      accepted, without effect
-V            print the version
--config      read the settings from this file (TOML)
--records     answer DNS questions from this file
--observe     evaluate and log, change and refuse nothing
--workers     processes, default one per core
--metrics     Prometheus text on inet:PORT@127.0.0.1 or local:PATH
"""


class CommandLineError(DkconfError):
    """The command line cannot be used; the message is the text for standard error."""

    def __init__(self, text: str, exit_status: int) -> None:
        super().__init__(text)
        self.exit_status = exit_status


@dataclass(frozen=True, slots=True)
class Invocation:
    """What the command line asks for."""

    settings: Settings | None = None
    """None with -V and --help only."""
    foreground: bool = False
    check_only: bool = False
    show_version: bool = False
    help_text: str = ""
    """Not empty: print this and exit 0."""
    config_path: str = ""
    """"" = dk-filter's options."""
    arguments: tuple[str, ...] = ()
    """As given, to be parsed again for a reload."""
    notes: tuple[str, ...] = ()
    """What is to be logged at start, as warnings."""


MAX_FILE_OCTETS: Final = 32 * 1024 * 1024
"""Of a settings file, a list or a records file: 10,000 keys take 2 MB of settings, a list of 500,000 networks 10 MB."""


def read_file(path: str) -> bytes:
    """Return the octets of a file: the default way for `parse` to read lists and settings.

    A link is followed if root or we set it, or if it leads to what belongs to the link's owner.

    Raises:
        OSError: It is not there, or no regular file of at most `MAX_FILE_OCTETS`, or cannot be read.
    """
    if path == os.devnull:
        return b""
    try:
        return reading.read_file(path, limit=MAX_FILE_OCTETS, within=ANYWHERE, closed=True)
    except FileProblem as problem:
        raise as_os_error(problem, path) from None


def parse(argv: Sequence[str], read: Callable[[str], bytes] = read_file, prog: str = "dkconf-filter") -> Invocation:
    """What `argv` (without the program's name) asks for.

    Args:
        read: Reads a file named on the command line; OSError means that it cannot be read.

    Raises:
        CommandLineError: With the text for standard error, and dk-filter's exit status.
    """
    try:
        pairs, operands = getopt.getopt(list(argv), _SHORT, list(_LONG))
    except getopt.GetoptError as error:
        if error.opt == "?":
            raise CommandLineError(USAGE.format(prog=prog), EX_USAGE) from None
        raise _usage(prog, str(error)) from None
    given = {name.lstrip("-"): value for name, value in pairs}
    if "help" in given:
        return Invocation(help_text=USAGE.format(prog=prog))
    if "V" in given or "version" in given:
        return Invocation(show_version=True)
    if operands:
        raise _usage(prog, f'"{operands[0]}" is no option')
    for name, value in given.items():
        if not value and _takes_argument(name):
            raise _usage(prog, f"{_dashed(name)} needs a value")
    options = _Options(prog, given, read)
    settings = options.from_file() if "config" in given else options.from_dk_filter()
    settings = options.override(settings)
    options.finish()
    return Invocation(
        settings=settings,
        foreground="f" in given,
        check_only="n" in given,
        config_path=given.get("config", ""),
        arguments=tuple(argv),
        notes=tuple(options.notes),
    )


def _takes_argument(name: str) -> bool:
    return f"{name}:" in _SHORT if len(name) == 1 else f"{name}=" in _LONG


def _dashed(name: str) -> str:
    return f"-{name}" if len(name) == 1 else f"--{name}"


def _usage(prog: str, reason: str) -> CommandLineError:
    # Forty lines of help would push the one that counts off the screen.
    return CommandLineError(f"{prog}: {reason}; see {prog} --help", EX_USAGE)


def _reaches(pattern: str, domain: str) -> bool:
    """Whether a pattern of a key list can be that of a sender in `domain`."""
    local, at, _ = pattern.rpartition("@")
    local = local.replace("*", "x") if at else pattern.partition("*")[0]
    return Glob(pattern).matches(f"{local}@{domain}".encode())


def _workers(text: str) -> int:
    # A number of more digits is out of bounds, and none that Python must read.
    return values.number(0, 1024)(int(text) if text.isdecimal() and len(text) < 10 else text)


def _words(text: str) -> tuple[str, ...]:
    return tuple(word.strip() for word in text.split(",") if word.strip())


class _Options:
    """The options given, and how they become settings."""

    def __init__(self, prog: str, given: dict[str, str], read: Callable[[str], bytes]) -> None:
        self.prog, self.given, self.read = prog, given, read
        self.notes: list[str] = []
        self.faults: list[CommandLineError] = []

    def part(self, read: Callable[[], Part], otherwise: Part) -> Part:
        """What `read` returns; a fault of it is kept for `finish`, which tells all of them at once."""
        try:
            return read()
        except CommandLineError as error:
            self.faults.append(error)
            return otherwise

    def value(self, name: str, check: Callable[[str], Part], otherwise: Part) -> Part:
        """The argument of an option, checked; a fault names the option."""

        def read() -> Part:
            try:
                return check(self.given[name])
            except ValueError as error:
                raise self.fail(f"{_dashed(name)}: {error}") from None

        return self.part(read, otherwise) if name in self.given else otherwise

    def finish(self) -> None:
        """Raise all faults that were met; the status is that of the first."""
        if self.faults:
            raise CommandLineError("\n".join(map(str, self.faults)), self.faults[0].exit_status)

    def fail(self, text: str, status: int = EX_CONFIG) -> CommandLineError:
        return CommandLineError(f"{self.prog}: {text}", status)

    # --- files

    def text(self, option: str, path: str) -> str:
        where = f"{_dashed(option)}: {path}"
        try:
            octets = self.read(path)
            if b"PRIVATE KEY-----" in octets:
                # Its lines would be quoted as faults.
                raise self.fail(f"{where}: holds a private key where a list belongs")
            return octets.decode("utf-8")
        except OSError as error:
            raise self.fail(f"{where}: {error.strerror or error}") from None
        except UnicodeDecodeError as error:
            raise self.fail(f"{where}: not UTF-8 at octet {error.start}") from None

    def lines(self, option: str, path: str) -> Iterable[tuple[str, str]]:
        """(place, line) without comments and blank lines."""
        for number, line in enumerate(self.text(option, path).splitlines(), 1):
            content = line.partition("#")[0].strip()
            if content:
                yield f"{path}:{number}", content

    def each(self, option: str, path: str, check: Callable[[Any], str]) -> tuple[str, ...]:
        """The lines of a file, each checked; all faults at once."""
        out, problems = [], []
        for place, line in self.lines(option, path):
            try:
                out.append(check(line))
            except ValueError as error:
                problems.append(f"{self.prog}: {place}: {error}")
        if problems:
            raise CommandLineError("\n".join(problems), EX_CONFIG)
        return tuple(out)

    # --- --config

    def from_file(self) -> Settings:
        strange = sorted(n for n in self.given if len(n) == 1 and n not in _WITH_CONFIG)
        if strange:
            raise _usage(self.prog, f"{', '.join('-' + n for n in strange)}: not with --config; write it into the file")
        path = self.given["config"]
        try:
            return loads(self.text("config", path), name=path)
        except SettingsError as error:
            text = "\n".join(f"{self.prog}: {problem}" for problem in error.problems)
            raise CommandLineError(text, EX_CONFIG) from None

    def override(self, settings: Settings) -> Settings:
        """What the command line says beside the settings file."""
        given = self.given
        changes: dict[str, Any] = {
            "socket": self.value("p", values.socket_spec, settings.socket),
            "workers": self.value("workers", _workers, settings.workers),
            "metrics": self.value("metrics", values.metrics_spec, settings.metrics),
        }
        for name, attribute in (("P", "pid_file"), ("u", "user"), ("records", "records_file")):
            if name in given:
                changes[attribute] = given[name]
        if "l" in given:
            changes["log"] = "syslog"
        if "observe" in given:
            changes["observe"] = True
        return replace(settings, **changes)

    # --- dk-filter's options

    def from_dk_filter(self) -> Settings:
        given = self.given
        if "p" not in given:
            raise self.fail("milter socket must be specified; write -p inet:8891@localhost, or see --help")
        conditions = self.part(self.conditions, Conditions())
        timeout = self.part(self.timeout, 5)
        settings = Settings(socket=given["p"])
        settings = replace(
            settings,
            log="stderr" if "f" in given else "off",
            roles=self.part(self.roles, ("sign", "verify")),
            canonicalization=Canonicalization(domainkeys=self.part(self.canonicalization, "simple")),
            omit_headers=self.part(self.omitted, ()),
            identify="h" in given,
            peers=self.part(lambda: self.hosts("a"), ()),
            internal_hosts=self.part(self.internal, ()),
            external_ignore=self.part(lambda: self.hosts("I"), ()),
            daemons=_words(given.get("m", "")),
            macros=self.part(self.macros, {}),
            dns_timeout_seconds=timeout,
            dns_deadline_seconds=max(settings.dns_deadline_seconds, min(timeout, LONGEST_DEADLINE_SECONDS)),
            domainkeys_conditions=self.with_quarantine(conditions),
            # No word about DKIM can be in -C: its verdicts are only reported.
            dkim_conditions=replace(conditions, bad="accept", no="accept", miss=None),
        )
        settings = replace(settings, keys=self.part(lambda: self.keys("sign" in settings.roles), ()))
        for letter, what in (("U", "POP before SMTP"), ("R", "failure reports by mail")):
            if letter in given:
                self.notes.append(f"-{letter} ({what}) is accepted, but without effect")
        return settings

    def canonicalization(self) -> Any:
        canon = self.given.get("c", "simple").lower()
        if canon not in ("simple", "nofws"):
            raise _usage(self.prog, f"-c: unknown canonicalization `{self.given['c']}'; write simple or nofws")
        return canon

    def roles(self) -> Any:
        modes = self.given.get("b", "sv")
        if set(modes) - {"s", "v"}:
            raise _usage(self.prog, f"-b: unknown mode in `{modes}'; write s (sign), v (verify) or sv")
        return tuple(role for letter, role in (("s", "sign"), ("v", "verify")) if letter in modes)

    def conditions(self) -> Conditions:
        try:
            return actions.parse(self.given.get("C", ""))
        except actions.ActionError as error:
            form = "write result=action,... with results bad dns int no miss sec def and actions a d r t"
            raise self.fail(f"-C {self.given['C']}: {error}; {form}") from None

    def with_quarantine(self, conditions: Conditions) -> Conditions:
        """-q: what fails is quarantined, unless -C has something stricter for it."""
        if "q" in self.given and conditions.bad == "accept":
            return replace(conditions, bad="quarantine")
        return conditions

    def timeout(self) -> int:
        text = self.given.get("T", "5")
        if not (text.isascii() and text.isdecimal()):
            raise _usage(self.prog, f"-T: invalid timeout `{text}'; write whole seconds")
        # Longer than an hour is no limit, which is what 0 says.
        return int(text) if len(text) < 5 and int(text) <= 3600 else 0

    def omitted(self) -> tuple[str, ...]:
        names = _words(self.given.get("o", ""))
        try:
            for name in names:
                values.field_name(name)
        except ValueError as error:
            raise self.fail(f"-o: {error}") from None
        if "from" in map(str.lower, names):
            raise self.fail("-o: From must be signed; leave it out of this list")
        return names

    def macros(self) -> dict[str, str]:
        out = {}
        for item in _words(self.given.get("M", "")):
            name, _, value = item.partition("=")
            name = name.strip().removeprefix("{").removesuffix("}")
            try:
                out.update(values.MACROS.check({name: value}))
            except ValueError as error:
                raise self.fail(f"-M: {error}") from None
        return out

    def hosts(self, name: str) -> tuple[str, ...]:
        return self.each(name, self.given[name], values.host_pattern) if name in self.given else ()

    def internal(self) -> tuple[str, ...]:
        if "i" not in self.given:
            # dk-filter's own default has no ::1.
            return ("127.0.0.1",)
        hosts = self.hosts("i")
        listed = HostList(hosts)
        missing = [host for host in ("127.0.0.1", "::1") if not listed.matches(b"localhost", host.encode())]
        if missing:
            names = " and ".join(missing)
            self.notes.append(f"{self.given['i']} does not list {names}: mail from there is verified")
        return hosts

    def keys(self, signing: bool) -> tuple[KeyEntry, ...]:
        given = self.given
        domains = self.domains()
        if "k" in given:
            if "s" not in given:
                raise self.fail("-k needs the key list; name it with -s")
            listed = self.key_list(given["s"])
            if domains:
                self.notes.append("-d with -k: the key list decides what is signed")
            for domain in domains:
                if "*" not in domain and not any(_reaches(p, domain) for entry in listed for p in entry.senders):
                    # dk-filter deferred such mail for ever: "no key selected for signing".
                    self.notes.append(f"{given['s']} has no line for {domain}, which is in -d: it is not signed")
            return listed
        if "s" not in given:
            if domains and signing:
                raise self.fail("-d needs a private key; name it with -s")
            return ()
        if not domains:
            # dk-filter reads the key all the same, and does not start without it.
            try:
                self.read(given["s"])
            except OSError as error:
                raise self.fail(f"-s: {given['s']}: {error.strerror or error}") from None
        if not domains and signing:
            self.notes.append("-s without -d: there is no domain to sign for")
        selector = given.get("S", "main")
        try:
            values.selector(selector)
        except ValueError as error:
            raise self.fail(f"-S: {error}") from None
        below = "D" in given
        return tuple(KeyEntry(domain, selector, given["s"], ("domainkeys",), subdomains=below) for domain in domains)

    def domains(self) -> tuple[str, ...]:
        text = self.given.get("d", "")
        if text.startswith("/"):
            return self.each("d", text, values.domain_pattern)
        try:
            return tuple(values.domain_pattern(word) for word in _words(text))
        except ValueError as error:
            raise self.fail(f"-d: {error}") from None

    def key_list(self, path: str) -> tuple[KeyEntry, ...]:
        """The entries of a key list; the selector is the name of the key's file."""
        out, problems = [], []
        for place, line in self.lines("s", path):
            pattern, _, rest = line.partition(":")
            domain, _, key_path = rest.partition(":")
            try:
                if not pattern or not key_path:
                    raise ValueError("write sender-pattern:signing-domain:keypath")
                values.domain_pattern(domain)
                selector = values.selector(os.path.basename(key_path))
                out.append(KeyEntry(domain, selector, key_path, ("domainkeys",), senders=(pattern,)))
            except ValueError as error:
                problems.append(f"{self.prog}: {place}: {error}")
        if problems:
            raise CommandLineError("\n".join(problems), EX_CONFIG)
        return tuple(out)
