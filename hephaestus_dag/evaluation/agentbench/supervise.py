"""``python supervise.py FOLDER USER COMMAND...``: run a server in a folder of its own; end it when standard input closes.

Whoever holds the other end of standard input may be killed: the server ends with it, and its folder is removed. The server
ends with this script too (Linux). Standard library only; run as a script.
"""

import ctypes
import resource
import shutil
import signal
import subprocess
import sys
import threading

LARGEST_FILE = 1 << 30
"""Bytes: bounds what a client can make the server write into one table."""
_PR_SET_PDEATHSIG = 1


def main(folder: str, user: str, *command: str) -> None:
    """Run ``command`` as ``user`` (empty: as the caller) until it ends, or until standard input does."""
    resource.setrlimit(resource.RLIMIT_FSIZE, (LARGEST_FILE, LARGEST_FILE))
    try:
        group = {"user": user, "group": user_group(user), "extra_groups": []} if user else {}
        with subprocess.Popen(command, stdin=subprocess.DEVNULL, preexec_fn=end_with_supervisor, **group) as server:

            def end_with_parent() -> None:
                sys.stdin.buffer.read()
                server.kill()

            threading.Thread(target=end_with_parent, daemon=True).start()
            server.wait()
    finally:
        shutil.rmtree(folder, ignore_errors=True)


def end_with_supervisor() -> None:
    """Have the kernel kill the server when this process ends; set after the change of user, which would undo it."""
    if sys.platform == "linux":
        ctypes.CDLL(None).prctl(_PR_SET_PDEATHSIG, signal.SIGKILL)


def user_group(user: str) -> int:
    """Return the primary group of a user."""
    import pwd

    return pwd.getpwnam(user).pw_gid


if __name__ == "__main__":
    main(*sys.argv[1:])
