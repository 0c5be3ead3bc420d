"""Values on their way into m4, shell words, systemd units and rc files: quoted by construction, or refused.

m4 (sendmail's cf.m4): an argument is read twice. `INPUT_MAIL_FILTER(`n', `S=...')` strips one pair of quotes,
and when proto.m4 expands the collected X lines, what was inside is scanned again: a path with the word `dnl` in
it cuts the line there (observed with m4 1.4.19 and cf.m4 8.17). A second pair of quotes holds through that second
reading, `` ``S=...'' ``. It is written where a word of the value could be a macro; else the familiar single pair.
Nothing can quote a quote, and `$1` is replaced before quotes count, so these are refused.
"""

from __future__ import annotations

import re

from dkconf.desired.errors import NotRenderable

# GNU m4 1.4 and BSD m4. Most are inert without "(", but not in all versions; `dnl`, `divert` ... never are.
M4_BUILTINS = frozenset(
    re.findall(
        r"\w+",
        """
        __file__ __line__ __program__ __gnu__ __unix__ __os2__ __windows__ builtin changecom changequote
        changeword debugfile debugmode decr define defn divert divnum dnl dumpdef errprint esyscmd eval expr
        format ifdef ifelse include incr index indir len m4exit m4wrap maketemp mkstemp paste patsubst
        popdef pushdef regexp shift sinclude spaste substr symbols syscmd sysval traceoff traceon translit
        undefine undivert unix
        """,
    )
)
_WORD = re.compile(r"[A-Za-z_][A-Za-z0-9_]*")
# cf.m4's own macros are in capitals, or begin with "_" or "conf"; the letters of equates stand alone.
_CF_MACRO = re.compile(r"conf[A-Z]|_|[A-Z][A-Z0-9_]")
_M4_FORBIDDEN = re.compile(r"[`'$\x00-\x1f\x7f]")
_PLAIN_WORD = re.compile(r"[A-Za-z0-9@%+=:,./_-]+")


def _shown(value: str) -> str:
    return ascii(value if len(value) <= 80 else value[:77] + "...")


def m4_quoted(value: str, what: str = "value") -> str:
    """`value` as one m4 argument that comes out of sendmail's cf.m4 verbatim.

    Raises:
        NotRenderable: It holds a quote, `$` or a control character, which m4 cannot take literally.
    """
    if found := _M4_FORBIDDEN.search(value):
        raise NotRenderable(f"{what}: {_shown(value)} holds {found[0]!a}, which m4 cannot take literally; leave it out")
    if not value.isascii():
        raise NotRenderable(f"{what}: {_shown(value)} is not ASCII; sendmail.cf takes ASCII only")
    risky = any(word in M4_BUILTINS or _CF_MACRO.match(word) for word in _WORD.findall(value))
    return f"``{value}''" if risky else f"`{value}'"


def m4_name(value: str, what: str = "name") -> str:
    """`value` as a filter name: it goes into lists that m4 reads more often than equates, so no macro word in it.

    Raises:
        NotRenderable: It is not letters, digits, `-`, `_`, or a part of it is an m4 macro.
    """
    if not re.fullmatch(r"[A-Za-z][A-Za-z0-9_-]*", value):
        raise NotRenderable(f"{what}: {_shown(value)} is no filter name; use letters, digits, - and _")
    for word in _WORD.findall(value):
        if word in M4_BUILTINS or _CF_MACRO.match(word):
            raise NotRenderable(f"{what}: {value}: m4 knows {word} as a macro; take another name")
    return f"`{value}'"


def m4_macro_name(value: str, what: str = "macro") -> str:
    """A sendmail macro name as it stands in a Milter.macros list: one letter, or `{name}`.

    Raises:
        NotRenderable: It is neither.
    """
    if not re.fullmatch(r"[A-Za-z_]|\{[A-Za-z_][A-Za-z0-9_]*\}", value):
        raise NotRenderable(f"{what}: {_shown(value)} is no macro name; write one letter, or {{name}}")
    return value


def m4_comment(value: str) -> str:
    """`value` for a `dnl` line: m4 drops it unread, so only a line end could harm."""
    return re.sub(r"[\x00-\x1f\x7f]", " ", value)


def plain_word(value: str, what: str, where: str) -> str:
    """`value` where it is split and globbed by a shell after the file was read, so that quoting cannot help.

    Raises:
        NotRenderable: A blank, quote or shell character is in it.
    """
    if not _PLAIN_WORD.fullmatch(value):
        raise NotRenderable(
            f"{what}: {_shown(value)} cannot be written to {where}, which a shell splits and expands; "
            "use letters, digits and @%+=:,./_- only"
        )
    return value


def shell_quoted(value: str, what: str = "value") -> str:
    """`value` as one word of a POSIX shell; in quotes where it needs them.

    Raises:
        NotRenderable: It holds a NUL or a line end, which no line of an options file should.
    """
    if re.search(r"[\x00\r\n]", value):
        raise NotRenderable(f"{what}: {_shown(value)} holds a line end or NUL; leave it out")
    return value if _PLAIN_WORD.fullmatch(value) else "'" + value.replace("'", "'\\''") + "'"


def unit_word(value: str, what: str = "value") -> str:
    """`value` as one word of a systemd command line or setting: `%`, `$`, quotes and blanks escaped.

    Source: systemd.service(5), "Command lines"; systemd.unit(5), "Specifiers"; systemd.syntax(7), "Quoting".

    Raises:
        NotRenderable: It holds a control character.
    """
    if re.search(r"[\x00-\x1f\x7f]", value):
        raise NotRenderable(f"{what}: {_shown(value)} holds a control character; leave it out")
    escaped = value.replace("\\", "\\\\").replace('"', '\\"').replace("%", "%%").replace("$", "$$")
    return escaped if _PLAIN_WORD.fullmatch(value) else f'"{escaped}"'


def unit_setting(value: str, what: str = "value") -> str:
    """`value` in a unit's setting that is no command line: there `$` is an ordinary character, `:` is none.

    Raises:
        NotRenderable: A character that such settings cannot carry.
    """
    if not value or re.search(r"[\x00-\x1f\x7f\"'\\:;]", value):
        raise NotRenderable(f"{what}: {_shown(value)} cannot stand in a systemd unit; use plain characters")
    escaped = value.replace("%", "%%")
    return escaped if _PLAIN_WORD.fullmatch(value) else f'"{escaped}"'


def unit_path(value: str, what: str = "path") -> str:
    """`value` as a path in such a setting.

    Raises:
        NotRenderable: Not absolute, or a character that such settings cannot carry.
    """
    if not value.startswith("/"):
        raise NotRenderable(f"{what}: {_shown(value)} is no absolute path; begin it with /")
    return unit_setting(value, what)
