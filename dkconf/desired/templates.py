"""The templates and the one jinja2 environment that renders them.

Templates lie in `templates/` of a checkout and in `dkconf/_templates/` of an installed wheel. Undefined names
are errors. Every value passes one of the filters of `quoting`; a template holds no logic beyond a loop.
"""

from __future__ import annotations

from functools import cache
from importlib.resources import files
from importlib.resources.abc import Traversable
from typing import TYPE_CHECKING, Any

from dkconf.desired import quoting
from dkconf.desired.errors import NotRenderable

if TYPE_CHECKING:
    from jinja2 import Environment


@cache
def template_root() -> Traversable:
    """The directory of the templates.

    Raises:
        NotRenderable: The installation is not whole.
    """
    package = files("dkconf")
    installed = package.joinpath("_templates")
    if installed.is_dir():
        return installed
    checkout = package.joinpath("..", "templates")
    if checkout.is_dir():
        return checkout
    raise NotRenderable(f"{installed}: missing; install dkconf again, or run it from its checkout")


def _load(name: str) -> str | None:
    path = template_root().joinpath(*name.split("/"))
    return path.read_text(encoding="utf-8") if path.is_file() else None


@cache
def environment() -> Environment:
    """The jinja2 environment; made once, since it caches compiled templates."""
    from jinja2 import Environment, FunctionLoader, StrictUndefined

    made = Environment(
        loader=FunctionLoader(_load),
        undefined=StrictUndefined,
        autoescape=False,  # No HTML here: each target has its own quoting filter.
        trim_blocks=True,
        lstrip_blocks=True,
        keep_trailing_newline=True,
    )
    made.filters.update(
        m4=quoting.m4_quoted,
        m4name=quoting.m4_name,
        m4macro=quoting.m4_macro_name,
        m4comment=quoting.m4_comment,
        sh=quoting.shell_quoted,
        unit=quoting.unit_word,
        unitset=quoting.unit_setting,
        unitpath=quoting.unit_path,
    )
    return made


def render(name: str, /, **values: Any) -> bytes:
    """The template `name` filled with `values`, as UTF-8.

    Raises:
        NotRenderable: A value cannot be said in that file's syntax.
    """
    return environment().get_template(name).render(values).encode()
