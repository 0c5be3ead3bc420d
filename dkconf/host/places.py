"""Places of dkconf's own on a host that no inventory names."""

from __future__ import annotations

import os

RUN_DIRECTORY = ("/run" if os.path.isdir("/run") else "/var/run") + "/dkconf-manager"
"""Root's own: staging directories, and what is known of filters that dkconf started itself. Not /run/dkconf, where the
filter has its socket. It is short enough for a socket's path (107 octets), and no directory above it may be written to
by others: sendmail calls such a socket unsafe."""
