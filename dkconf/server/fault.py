"""Why the daemon does not start, with the exit status that dk-filter's init scripts know."""

from __future__ import annotations

from typing import Final

from dkconf.errors import DkconfError

EX_OK: Final = 0
EX_USAGE: Final = 64
EX_NOUSER: Final = 65
EX_UNAVAILABLE: Final = 69
EX_SOFTWARE: Final = 70
EX_OSERR: Final = 71
EX_NOPERM: Final = 77
EX_CONFIG: Final = 78


class StartFailure(DkconfError):
    """The daemon cannot start; the message is for standard error, `exit_status` for the caller."""

    def __init__(self, text: str, exit_status: int) -> None:
        super().__init__(text)
        self.exit_status = exit_status
