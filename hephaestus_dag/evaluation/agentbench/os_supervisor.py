"""Process 1 of a sandbox: starts programs there when the evaluator asks for them, and reports their ends.

Its text runs under the sandbox's own Python (3.6 or newer), started with the number of the control socket. A request is a
4-byte length and a JSON object: ``id``, ``argv``, ``environment``, ``terminal``. The answers are three integers (kind, id,
value): STARTED, with the file descriptors to read and to write, and ENDED with the exit status. It ends with its socket,
and the whole sandbox with it.
"""

import array
import ctypes
import fcntl
import json
import os
import select
import signal
import socket
import struct
import sys
import termios

STARTED, ENDED = 1, 2
ANSWER = struct.Struct("!iii")
LENGTH = struct.Struct("!I")
PR_SET_NAME = 15


def serve(control):
    """Answer requests until the evaluator closes its end."""
    waking, wake = os.pipe2(os.O_NONBLOCK | os.O_CLOEXEC)
    signal.signal(signal.SIGCHLD, lambda *_: None)
    signal.set_wakeup_fd(wake)
    running = {}
    while True:
        ready = select.select([control, waking], [], [])[0]
        if waking in ready:
            os.read(waking, 4096)
            for identifier, status in reap(running):
                control.sendall(ANSWER.pack(ENDED, identifier, status))
        if control in ready:
            header = receive(control, LENGTH.size)
            request = json.loads(receive(control, LENGTH.unpack(header)[0]).decode())
            pid, descriptors = start(request)
            running[pid] = request["id"]
            rights = (socket.SOL_SOCKET, socket.SCM_RIGHTS, array.array("i", descriptors))
            control.sendmsg([ANSWER.pack(STARTED, request["id"], pid)], [rights])
            for descriptor in descriptors:
                os.close(descriptor)


def receive(control, size):
    """Return exactly ``size`` bytes; the end of the evaluator is the end of this process."""
    data = b""
    while len(data) < size:
        chunk = control.recv(size - len(data))
        if not chunk:
            os._exit(0)
        data += chunk
    return data


def reap(running):
    """Yield id and exit status of each program that ended, and forget orphans."""
    while True:
        try:
            pid, status = os.waitpid(-1, os.WNOHANG)
        except ChildProcessError:
            return
        if not pid:
            return
        if pid in running:
            yield running.pop(pid), os.WEXITSTATUS(status) if os.WIFEXITED(status) else 128 + os.WTERMSIG(status)


def start(request):
    """Start a program in a session of its own; return its pid and the ends of its output and input for the evaluator.

    With a terminal, its output is one, and its input a pipe; otherwise its output is a pipe, and its input empty.
    """
    if request["terminal"]:
        reading, output = os.openpty()
        settings = termios.tcgetattr(output)
        settings[1] &= ~termios.OPOST
        settings[3] &= ~termios.ECHO
        termios.tcsetattr(output, termios.TCSANOW, settings)
        fcntl.ioctl(output, termios.TIOCSWINSZ, struct.pack("HHHH", 24, 80, 0, 0))
        standard_input, writing = os.pipe()
    else:
        reading, output = os.pipe()
        standard_input, writing = os.open(os.devnull, os.O_RDONLY), os.open(os.devnull, os.O_WRONLY)
    pid = os.fork()
    if not pid:
        try:
            signal.set_wakeup_fd(-1)
            for ignored in (signal.SIGPIPE, signal.SIGXFSZ):  # by Python
                signal.signal(ignored, signal.SIG_DFL)
            os.setsid()
            if request["terminal"]:
                fcntl.ioctl(output, termios.TIOCSCTTY, 0)
            for descriptor, source in enumerate((standard_input, output, output)):
                os.dup2(source, descriptor)
            os.chdir("/")
            os.execvpe(request["argv"][0], request["argv"], request["environment"])
        except Exception as error:  # of a forked child: told as the program's output, never carried on
            os.write(2, str(error).encode())
        finally:
            os._exit(127)
    os.close(standard_input)
    os.close(output)
    return pid, (reading, writing)


def disguise():
    """Look like the shell that is a container's first process, for items that look at processes."""
    with open("/proc/self/stat") as stat:  # noqa: PTH123
        start, end = map(int, stat.read().rpartition(")")[2].split()[45:47])
    ctypes.memset(start, 0, end - start)
    ctypes.memmove(start, b"bash", 4)
    ctypes.CDLL(None).prctl(PR_SET_NAME, b"bash", 0, 0, 0)


if __name__ == "__main__":
    disguise()
    channel = socket.socket(fileno=int(sys.argv[1]))
    channel.set_inheritable(False)
    serve(channel)
