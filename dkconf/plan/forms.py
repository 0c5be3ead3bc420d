"""The forms of the files that dkconf keeps and reads again: each says its number, and which dkconf wrote it.

A newer dkconf reads the older forms. An older one refuses a newer form by name and touches nothing: what it passed
over could be what matters. So the number of a form goes up exactly when an older dkconf that passes over what it does
not know would do harm; a key that is new and may be left out leaves it as it is.

Files of before forms had numbers say none, and have number 1.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from dkconf import __version__
from dkconf.errors import DkconfError, Refusal, Refused


@dataclass(frozen=True, slots=True)
class Form:
    """One kind of file, and the newest form of it that this dkconf writes and reads."""

    name: str
    format: int


JOURNAL = Form("journal", 1)
OUTSTANDING = Form("list of what is outstanding", 1)
MANIFEST = Form("manifest of a generation", 1)
PLAN = Form("plan", 1)
OVERRIDES = Form("list of overrides", 2)
"""1: the overrides themselves, name -> called."""
ORIGINALS = Form("list of the files found", 2)
"""1: path -> file."""
LEDGER = Form("list of applied plans", 2)
"""1: a list of plans' names."""
UNTOLD = Form("note that sendmail was not told", 1)
OWNER = Form("name of the host", 1)
LOCK = Form("holder of the lock", 1)


class NewerForm(Refused):
    """A file was written by a newer dkconf, in a form that this one does not know."""


class Damaged(DkconfError):
    """A file of the state directory cannot be read, whoever wrote it."""


def stamped(form: Form, data: Mapping[str, Any]) -> dict[str, Any]:
    """Return what the file of this form is to hold: the data, the form's number, and our version."""
    return {**data, "format": form.format, "dkconf_version": __version__}


def octets(form: Form, data: Mapping[str, Any]) -> bytes:
    """Return the content of a file of this form."""
    return json.dumps(stamped(form, data), indent=1, sort_keys=True).encode()


def parsed(form: Form, path: str, content: bytes) -> tuple[int, Any]:
    """Return the number of the form that a file has, and what it holds.

    Raises:
        NewerForm: It is newer than what this dkconf knows.
        Damaged: It is no JSON.
    """
    try:
        data = json.loads(content)
    except (ValueError, RecursionError) as exc:
        raise Damaged(f"{path}: damaged: {exc}") from exc
    return refuse_newer(form, path, data), data


def refuse_newer(form: Form, path: str, data: object) -> int:
    """Return the number of the form that a file's data have; 1 where they say none.

    Raises:
        NewerForm: It is newer than what this dkconf knows.
    """
    number = data.get("format") if isinstance(data, dict) else None
    # True is the override of a filter that is called "format", of form 1.
    if not isinstance(data, dict) or type(number) is not int:
        return 1
    if number > form.format:
        raise NewerForm([newer(form, path, number, str(data.get("dkconf_version") or ""))])
    return number


def newer(form: Form, path: str, number: int, version: str) -> Refusal:
    """Return the refusal of a file that a newer dkconf wrote; `version` is that dkconf's, as far as it is known."""
    found = f"format {number}" + (f", written by dkconf {version[:40]}" if version else "")
    return Refusal(
        "",
        f"{path}: the {form.name} has {found}; dkconf {__version__} reads formats up to {form.format}",
        f"install dkconf {version[:40]} or later" if version else "install the dkconf that wrote it, or a later one",
    )
