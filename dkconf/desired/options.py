"""dk-filter's command line: one option table per program, for the letters mean other things in dkim-filter.

Facts: dk-filter(8) of dk-milter 1.0.x. `-C` is always written in full, because the default of `miss` is not
known and a string that dk-filter cannot read keeps it from starting. The key list (`-k`) takes the selector from
the file's name and tries `.private` after it.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Final

from dkconf.desired.errors import NotRenderable
from dkconf.desired.signing import SigningKey
from dkconf.inventory.model import Action, Conditions, Filter

DK_FILTER_OPTIONS: Final[Mapping[str, bool]] = {
    letter: letter in "abcCdiImMoPpsSTuU" for letter in "aAbcCdDfhHiIklmMopPqRsSTuUV"
}
"""Letter -> whether it takes an argument. There is no -F -K -L -n -O -Q -r -t -v -W -x."""

_ACTION_LETTER: Final[Mapping[Action, str]] = {
    "accept": "a",
    "discard": "d",
    "reject": "r",
    "tempfail": "t",
}
_CONDITION_ORDER: Final = ("bad", "dns", "int", "no", "miss", "sec")


@dataclass(frozen=True, slots=True)
class OptionFile:
    """A list that an option names by path; `letter` is the option, `lines` its content."""

    letter: str
    suffix: str
    lines: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class DkFilterOptions:
    """A dk-filter's command line without -p, -P, -u and -f, which its service adds."""

    options: tuple[tuple[str, str], ...]
    """(letter, argument or "")."""
    files: tuple[OptionFile, ...]

    def argv(self) -> tuple[str, ...]:
        """As words."""
        return tuple(word for letter, arg in self.options for word in (f"-{letter}", arg) if word)


def condition_string(table: Conditions, raw: str | None) -> str:
    """The -C argument; `miss` is always in it.

    Raises:
        NotRenderable: An action that -C cannot say.
    """
    if raw is not None:
        keys = {token.partition("=")[0].lower() for token in raw.split(",")}
        if keys & {"miss", "signaturemissing", "def", "default"}:
            return raw
        miss = _letter(table.miss or "accept", "miss")
        return ",".join([*filter(None, raw.split(",")), f"miss={miss}"])
    return ",".join(f"{name}={_letter(getattr(table, name) or 'accept', name)}" for name in _CONDITION_ORDER)


def _letter(action: Action, condition: str) -> str:
    if action not in _ACTION_LETTER:
        raise NotRenderable(
            f"conditions.domainkeys.{condition}: dk-filter's -C cannot say {action}; "
            "use accept, discard, tempfail or reject"
        )
    return _ACTION_LETTER[action]


def _comma_list(values: Sequence[str], what: str) -> str:
    for value in values:
        if "," in value or "=" in value or not value:
            raise NotRenderable(f"{what}: {value!a} cannot stand in a comma list; leave out , and =")
    return ",".join(values)


def _key_list(keys: Sequence[SigningKey]) -> tuple[str, ...]:
    """Lines of -k: sender-pattern:signing-domain:keypath."""
    lines = []
    for key in keys:
        path = key.path.removesuffix(".private")
        if ":" in path or "\n" in path:
            raise NotRenderable(f"{path}: dk-filter's key list cannot hold a path with a colon or a line end")
        patterns = [f"*@{key.domain}", *([f"*@*.{key.domain}"] if key.subdomains else [])]
        lines += [f"{pattern}:{key.domain}:{path}" for pattern in patterns]
    return tuple(lines)


def _one_per_domain(name: str, keys: Sequence[SigningKey], enabled: bool) -> list[SigningKey]:
    """The first key of each domain; a second one is refused, unless the filter is off and so signs with none."""
    first: dict[str, SigningKey] = {}
    for key in keys:
        if first.setdefault(key.domain, key) is not key and enabled:
            raise NotRenderable(
                f"domains.{key.domain}.selectors: {first[key.domain].selector} and {key.selector} are both active, "
                f"but {name} (dk-filter) signs with one; let the other be published or percolating"
            )
    return list(first.values())


def dk_filter_options(name: str, spec: Filter, keys: Sequence[SigningKey], enabled: bool = True) -> DkFilterOptions:
    """The options and list files of the dk-filter `name`; file arguments are written as "@SUFFIX".

    One domain is said by -d, -s, -S (and -D); several need the key list, `-k -s FILE`.

    Raises:
        NotRenderable: Something that dk-filter's options cannot say.
    """
    keys = _one_per_domain(name, keys, enabled)
    files = [
        OptionFile(letter, suffix, tuple(lines))
        for letter, suffix, lines in (
            ("a", "peers", spec.peers),
            ("i", "internal", spec.internal_hosts),
            ("I", "external", spec.external_ignore),
        )
        if lines
    ]
    out: dict[str, str] = {f.letter: f"@{f.suffix}" for f in files}
    out["b"] = "".join(role[0] for role in ("sign", "verify") if role in spec.roles)
    out["c"] = spec.canonicalization.domainkeys
    out["C"] = condition_string(spec.conditions.domainkeys, spec.conditions.raw)
    if len(keys) == 1:
        out |= {"d": keys[0].domain, "s": keys[0].path, "S": keys[0].selector}
        if keys[0].subdomains:
            out["D"] = ""
    elif keys:
        files.append(OptionFile("s", "keys", _key_list(keys)))
        out |= {"k": "", "s": "@keys"}
    flags = {
        "A": spec.restart,
        "h": spec.headers.identify,
        "H": spec.headers.h_tag,
        "l": spec.log,
        "q": spec.quarantine,
        "R": spec.report,
    }
    out |= {letter: "" for letter, on in flags.items() if on}
    if spec.daemons:
        out["m"] = _comma_list(spec.daemons, "daemons")
    if spec.macros:
        _comma_list(tuple(spec.macros), "macros")
        _comma_list([v for v in spec.macros.values() if v], "macros")
        out["M"] = ",".join(f"{macro}={value}" if value else macro for macro, value in spec.macros.items())
    if spec.headers.omit:
        out["o"] = _comma_list(spec.headers.omit, "headers.omit")
    if spec.dns_timeout != 5:
        out["T"] = str(spec.dns_timeout)
    if spec.popauth:
        out["U"] = spec.popauth
    return DkFilterOptions(
        options=tuple((letter, out[letter]) for letter in DK_FILTER_OPTIONS if letter in out),
        files=tuple(files),
    )
