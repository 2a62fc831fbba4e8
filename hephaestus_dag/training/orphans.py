"""A child process that ends when its parent does, even when the parent is killed and can clean nothing up (Linux)."""

import ctypes
import os
import signal
import sys

VARIABLE = "HEPHAESTUS_DIE_WITH_PARENT"

_PR_SET_PDEATHSIG = 1
_LIBC = ctypes.CDLL(None) if sys.platform == "linux" else None


def die_with_parent(parent: int | None = None) -> None:
    """Ask the kernel to kill this process when the thread that started it ends; elsewhere than on Linux do nothing.

    With ``parent`` the process ends at once when that was no longer its parent, and so cannot signal it any more. The
    setting survives exec, not fork.
    """
    if _LIBC is None:
        return
    _LIBC.prctl(_PR_SET_PDEATHSIG, signal.SIGKILL)
    if parent is not None and os.getppid() != parent:
        os._exit(1)
