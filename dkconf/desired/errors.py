"""What cannot be rendered for a host: the one exception of this room."""

from __future__ import annotations

from dkconf.errors import DkconfError, Status


class NotRenderable(DkconfError):
    """The inventory asks for something that a target's format cannot say, or that would not be read back."""

    status = Status.INVALID
