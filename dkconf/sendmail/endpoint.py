"""The S= of a filter: `inet:PORT@HOST`, `inet6:PORT@HOST`, `local:PATH` or `unix:PATH`."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

from dkconf.errors import DkconfError


class EndpointError(DkconfError):
    """Not an S= that sendmail understands."""


@dataclass(frozen=True, slots=True)
class Endpoint:
    family: Literal["inet", "inet6", "unix"]
    host: str
    """Host name or address; "" for unix."""
    port: str
    """Number or service name; "" for unix."""
    path: str
    """"" for inet and inet6."""

    def __str__(self) -> str:
        return f"local:{self.path}" if self.family == "unix" else f"{self.family}:{self.port}@{self.host}"


def parse(value: str) -> Endpoint:
    """Return the parts of an S=.

    Raises:
        EndpointError: sendmail's `bad address` or `unknown socket type`.
    """
    scheme, colon, rest = value.strip().partition(":")
    if not colon or scheme == "":
        return _unix(value.strip() if not colon else rest, value)
    if scheme in ("local", "unix"):
        return _unix(rest, value)
    if scheme in ("inet", "inet6"):
        port, at, host = rest.partition("@")
        if not at or not host or not port:
            raise EndpointError(f'"{value}" names no port or no host; write {scheme}:PORT@HOST')
        return Endpoint("inet6" if scheme == "inet6" else "inet", host.strip().strip("[]"), port.strip(), "")
    raise EndpointError(f'"{value}": unknown socket type {scheme}; use inet, inet6, local or unix')


def _unix(path: str, value: str) -> Endpoint:
    if not path.startswith("/"):
        raise EndpointError(f'"{value}": the socket\'s path must be absolute')
    return Endpoint("unix", "", "", path)
