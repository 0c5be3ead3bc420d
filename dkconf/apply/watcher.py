"""The lasting name of `dkconf.operations.watcher`: timers and boot units name it, whichever dkconf armed them.

It holds no import, since this room must not reach operations: the module is run as the program that it is.
"""

from __future__ import annotations

import runpy

if __name__ == "__main__":
    runpy.run_module("dkconf.operations.watcher", run_name="__main__", alter_sys=True)
