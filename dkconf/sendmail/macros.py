"""Macros in the value of an option: `O PidFile=/run/$m.pid` is expanded by sendmail when it uses the value.

Only what the .cf itself defines by `D` lines can be known here. A value that needs more (`$p`, the process id; a
condition `$?x`; a macro that nobody defines) has no expansion here, and the caller has to look elsewhere.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping

MAX_DEPTH = 10
"""Macros within macros; sendmail stops at 50 (MAXMACROEXPAND is about rewriting), a real .cf needs two."""
MAX_OCTETS = 4096
"""PATH_MAX; a longer value names no file."""

_MACRO = re.compile(r"\$(?:\{(?P<long>[A-Za-z0-9_.-]+)\}|(?P<short>[A-Za-z0-9_]))|\$(?P<other>.?)", re.DOTALL)
_DEFINITION = re.compile(r"D(?:\{(?P<long>[^}\s]+)\}|(?P<short>[^{\s]))(?P<value>.*)", re.DOTALL)


def definitions(lines: Iterable[str]) -> dict[str, str]:
    """Return the macros that `D` lines define, by name; the last definition counts."""
    found = {}
    for line in lines:
        match = _DEFINITION.fullmatch(line)
        if match is not None:
            found[match["long"] or match["short"]] = match["value"].strip()
    return found


def expand(value: str, macros: Mapping[str, str], depth: int = 0) -> str | None:
    """Return `value` with its macros replaced, None where that cannot be known; `$$` is a dollar sign."""
    if depth > MAX_DEPTH:
        return None
    out, at = [], 0
    for match in _MACRO.finditer(value):
        out.append(value[at : match.start()])
        at = match.end()
        name = match["long"] or match["short"]
        if name is None:
            if match["other"] != "$":
                return None
            out.append("$")
            continue
        inner = expand(macros[name], macros, depth + 1) if name in macros else None
        if inner is None:
            return None
        out.append(inner)
    text = "".join([*out, value[at:]])
    return text if len(text) <= MAX_OCTETS else None
