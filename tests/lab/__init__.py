"""A private mail host: own UTS, mount, net and PID namespaces around Debian's real sendmail.

`Lab` starts one, runs programs in it, sends mail through it and keeps what left. Nothing outside is written: in the
lab every file system of the machine is read-only, and /etc, /var, /run, /tmp and /dev are copies that vanish with it.
"""

from tests.lab.client import Outcome, build_message
from tests.lab.lab import Lab, LabError, Ran, missing_tools
from tests.lab.sink import Received

__all__ = ["Lab", "LabError", "Outcome", "Ran", "Received", "build_message", "missing_tools"]
