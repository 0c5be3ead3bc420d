"""What in a host's sendmail.mc stands in the way, each with its line and what to do about it.

Found by reading, before m4 runs; `cf.difference` finds what only the built .cf shows.
"""

from __future__ import annotations

import contextlib
from dataclasses import dataclass

from dkconf.sendmail import m4, mc

LIST_MACRO = "confINPUT_MAIL_FILTERS"
_DEFINES = frozenset({"define", "undefine", "pushdef", "popdef", "_DEFIFNOT", "append", "APPENDDEF", "PREPENDDEF"})
_DAEMONS = frozenset({"DAEMON_OPTIONS", "confDAEMON_OPTIONS"})
_WATCHED = _DEFINES | _DAEMONS | frozenset({"changequote", "sinclude", "include"})


@dataclass(frozen=True, slots=True)
class Problem:
    code: str
    """hand-made-list, per-daemon-list, raw-line, hash-trap, duplicate, changequote, sinclude-fragment,
    damaged-block, unmanaged."""
    line: int
    """Of sendmail.mc, counted from 1."""
    what: str
    fix: str
    blocking: bool
    """dkconf refuses to write while this stands; else it is worth knowing."""

    def __str__(self) -> str:
        return f"sendmail.mc:{self.line}: {self.what}; {self.fix}"


def problems(text: str, *, fragment_path: str = "") -> list[Problem]:
    """Return everything in a sendmail.mc that dkconf cannot work beside, or should be known."""
    found = [*_from_calls(text, fragment_path), *_raw_lines(text), *_from_filters(text)]
    try:
        mc.block(text)
    except mc.McError as error:
        line = text.count("\n", 0, max(text.find("dnl dkconf "), 0)) + 1
        found.append(Problem("damaged-block", line, str(error).split(": ", 1)[-1], "restore these three lines", True))
    return sorted(found, key=lambda problem: problem.line)


def _from_calls(text: str, fragment_path: str) -> list[Problem]:
    found = []
    present = None
    with contextlib.suppress(mc.McError):
        present = mc.block(text)
    for call in m4.find_calls(text, _WATCHED, after_cf_m4=mc.after_cf_m4(text)):
        line = m4.line_of(text, call.start)
        arguments = call.arguments or ("",)
        first = arguments[0].strip()
        if call.name == "changequote":
            found.append(
                Problem(
                    "changequote",
                    line,
                    "changequote: the quotes of this file cannot be followed",
                    "keep m4's own quotes ` and '",
                    True,
                )
            )
        elif call.name in _DEFINES and first == LIST_MACRO:
            found.append(
                Problem(
                    "hand-made-list",
                    line,
                    f"{LIST_MACRO} is set by hand here",
                    "remove this line and let INPUT_MAIL_FILTER make the list: a list set by hand loses "
                    "filters or names them twice, and sendmail answers 451 to all mail",
                    True,
                )
            )
        elif call.name in _DAEMONS or (call.name == "define" and first in _DAEMONS):
            options = arguments[0] if call.name in _DAEMONS else "".join(arguments[1:])
            lists = daemon_filter_list(options)
            if lists is not None:
                found.append(
                    Problem(
                        "per-daemon-list",
                        line,
                        f"this daemon has a filter list of its own (InputMailFilters={lists})",
                        "remove InputMailFilters= from DAEMON_OPTIONS: it overrides the list that dkconf "
                        "manages, and a filter taken off would stay on there",
                        True,
                    )
                )
        elif call.name in ("include", "sinclude") and fragment_path and first == fragment_path:
            inside = present is not None and present.start <= call.start < present.end
            if not inside:
                found.append(
                    Problem(
                        "sinclude-fragment" if call.name == "sinclude" else "fragment-twice",
                        line,
                        f"{call.name} of dkconf's own fragment {fragment_path} outside the managed block",
                        "remove this line",
                        True,
                    )
                )
    return found


def daemon_filter_list(options: str) -> str | None:
    """Return the filter list in the value of DaemonPortOptions, None where it has none.

    Only the first letter of an equate counts, in either case (sendmail's setsockaddroptions).
    """
    for equate in options.split(","):
        name, equals, value = equate.strip().partition("=")
        if equals and name[:1].upper() == "I":
            return value.strip()
    return None


def _raw_lines(text: str) -> list[Problem]:
    """X lines and O InputMailFilters written as they stand in a .cf (LOCAL_CONFIG)."""
    found = []
    for token in m4.tokens(text, after_cf_m4=mc.after_cf_m4(text)):
        if token.kind != "name" or token.start != m4.line_start(text, token.start):
            continue
        line = text[token.start : m4.line_end(text, token.start)].rstrip("\r\n")
        name, comma, rest = line.partition(",")
        if line.startswith("O InputMailFilters") or (
            line.startswith("X") and comma and " " not in name.strip() and "=" in rest and "(" not in name
        ):
            found.append(
                Problem(
                    "raw-line",
                    m4.line_of(text, token.start),
                    f'"{line[:60]}" is a line of the .cf itself',
                    "write the filter as one INPUT_MAIL_FILTER call, so that it can be seen and managed",
                    True,
                )
            )
    return found


def _from_filters(text: str) -> list[Problem]:
    found = []
    seen: dict[str, mc.FilterCall] = {}
    for call in mc.find_filters(text):
        if call.after_hash:
            found.append(
                Problem(
                    "hash-trap",
                    call.line,
                    f"filter {call.name} stands behind a #, and is on all the same: after cf.m4, # is no comment",
                    "write dnl instead of # to turn the line off, or remove the #",
                    True,
                )
            )
        if call.name in seen:
            # Two calls in the branches of an ifdef are no fault by themselves; the built .cf tells.
            both = not call.nested and not seen[call.name].nested
            what = f"filter {call.name} is defined on line {seen[call.name].line} too"
            found.append(Problem("duplicate", call.line, what, "leave one of the two", both))
        else:
            seen[call.name] = call
            how = "called" if call.called else "defined, not called"
            found.append(
                Problem(
                    "unmanaged",
                    call.line,
                    f"filter {call.name} ({how}) is written here by hand",
                    f"leave it, or move it under dkconf with --take-over {call.name}",
                    False,
                )
            )
    return found
