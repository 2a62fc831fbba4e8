"""A Linux machine for one item: commands run in it, change nothing outside, and end with it.

bubblewrap enters an overlay over a read-only root folder; what an item writes lies in memory and goes with it. User, mount,
process, network, IPC and host name spaces are its own; root in there is nobody outside, without network, device files and
most capabilities, and gains none from set-user-id programs. What a command in there can still do is tamper with its own
machine's programs, as in AgentBench's containers.
"""

import array
import json
import os
import re
import select
import shutil
import socket
import struct
import subprocess
import sys
import time
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import IO, Self

from hephaestus_dag.evaluation.agentbench.os_config import OsConfig

LAUNCHER = Path(__file__).with_name("os_launcher.py")
SUPERVISOR = Path(__file__).with_name("os_supervisor.py")
STARTED, ENDED = 1, 2
ANSWER = struct.Struct("!iii")
BOOT_SECONDS = 30.0
MAX_COMMAND = 60_000
"""Bytes; what a pipe holds, so that a shell that does not read cannot make the evaluator wait."""
ENVIRONMENT = {
    "PATH": "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin",
    "HOME": "/root",
    "HOSTNAME": "ubuntu",
    "LANG": "C.UTF-8",
}
ESCAPES = re.compile(rb"\x1b\[[0-9;?]*[a-zA-Z]|\x1b\][0-9]*;[^\x07]*\x07|\x07")
"""Terminal control sequences, which AgentBench removes from what the model sees."""


class SandboxError(RuntimeError):
    """A sandbox could not start, or has ended; says why."""


@dataclass(frozen=True, slots=True)
class Finished:
    """A command that ended."""

    status: int
    """Exit status; 128 and the signal's number when a signal ended it."""
    output: bytes
    """Standard output and error, as they came."""


class Sandbox:
    """A running machine. Use as a context manager, or call `close`."""

    def __init__(self, root: Path, config: OsConfig) -> None:
        """Boot a machine over a root folder. Raises SandboxError with the reason when it cannot start."""
        self.config = config
        self._next_id = 0
        self._shell: Shell | None = None
        self._control, theirs = socket.socketpair()
        arguments = {
            "root": str(root),
            "control": theirs.fileno(),
            "supervisor": SUPERVISOR.read_text(),
            "disk": config.disk_mebibytes << 20,
            "memory": config.memory_mebibytes << 20,
            "processes": config.processes,
            "cpu_seconds": config.cpu_seconds,
            "bubblewrap": shutil.which("bwrap") or "bwrap",
        }
        with theirs:
            self._launcher = subprocess.Popen(
                [sys.executable, "-I", "-S", str(LAUNCHER), "machine", json.dumps(arguments)],
                stdin=subprocess.PIPE,
                stdout=subprocess.PIPE,
                stderr=subprocess.PIPE,
                pass_fds=(theirs.fileno(),),
                start_new_session=True,
                bufsize=0,
            )
        self._control.settimeout(config.command_seconds)
        try:
            ready = self._said(time.monotonic() + BOOT_SECONDS)
            if "ready" not in ready:
                raise SandboxError(f"the sandbox does not start: {ready.get('stopped', 'no answer')}")
            # Before anything else, as in AgentBench: set-up scripts change the start-up files of shells.
            self._shell = Shell(self)
        except BaseException:
            self.close()
            raise

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def run(self, argv: Sequence[str], seconds: float | None = None) -> Finished:
        """Run a program in ``/`` with empty input and return when it ended; what it left in the background stays.

        Raises TimeoutError after ``seconds`` (default: the configured limit), SandboxError when the machine has ended or
        the program printed too much.
        """
        identifier, output, writing = self._start(argv, terminal=False)
        os.close(writing)
        with os.fdopen(output, "rb", buffering=0) as stream:
            reader = Reader(stream, self, seconds)
            status: int | None = None
            while status is None:
                if reader.wait():
                    status = self._status(identifier)
            return Finished(status, reader.rest())

    def shell(self, command: str, seconds: float | None = None) -> bytes:
        """Run a command in the machine's one login shell, where directory and variables stay, and return what it printed.

        Raises as `run` does, and SandboxError when an earlier command has ended the shell.
        """
        assert self._shell
        return self._shell.execute(command, seconds)

    def close(self) -> None:
        """End every process of the machine and forget its files."""
        if self._shell:
            self._shell.close()
            self._shell = None
        self._control.close()
        for stream in (self._launcher.stdin, self._launcher.stdout, self._launcher.stderr):
            if stream:
                stream.close()
        try:
            self._launcher.wait(BOOT_SECONDS)
        except subprocess.TimeoutExpired:
            self._launcher.kill()
            self._launcher.wait()

    def _start(self, argv: Sequence[str], terminal: bool) -> tuple[int, int, int]:
        """Start a program; return its id, and the descriptors of its output and of its input."""
        self._next_id += 1
        environment = ENVIRONMENT | ({"TERM": "xterm"} if terminal else {})
        request = {"id": self._next_id, "argv": list(argv), "environment": environment, "terminal": terminal}
        text = json.dumps(request).encode()
        try:
            self._control.sendall(struct.pack("!I", len(text)) + text)
            while True:
                room = socket.CMSG_SPACE(2 * array.array("i").itemsize)
                data, ancillary, _, _ = self._control.recvmsg(ANSWER.size, room, socket.MSG_CMSG_CLOEXEC)
                if len(data) < ANSWER.size:
                    raise self.ended()
                kind, identifier, _ = ANSWER.unpack(data)
                if kind == STARTED:
                    descriptors = array.array("i")
                    descriptors.frombytes(ancillary[0][2])
                    return identifier, descriptors[0], descriptors[1]
        except TimeoutError:
            raise TimeoutError(f"the machine took more than {self.config.command_seconds:g} s to start a command") from None
        except OSError as error:
            raise self.ended() from error

    def _status(self, identifier: int) -> int | None:
        """Read one report of an end; return its status when it is of this program."""
        data = self._control.recv(ANSWER.size)
        if len(data) < ANSWER.size:
            raise self.ended()
        _, ended, status = ANSWER.unpack(data)
        return status if ended == identifier else None

    def ended(self) -> SandboxError:
        """Return the error that says why the machine has ended."""
        said = self._said(time.monotonic() + BOOT_SECONDS)
        return SandboxError(f"the sandbox ended: {said.get('stopped', 'no reason given')}")

    def _said(self, deadline: float) -> dict[str, int | str]:
        """Return the launcher's next line; when it ended without one, what it wrote as its error."""
        out, err = self._launcher.stdout, self._launcher.stderr
        assert out
        assert err
        if not select.select([out], [], [], max(0.0, deadline - time.monotonic()))[0]:
            return {}
        if line := out.readline():
            return json.loads(line)
        return {"stopped": err.read(2000).decode(errors="replace").strip()}


class Reader:
    """Collects what one command prints, within its limits."""

    def __init__(self, stream: IO[bytes], sandbox: Sandbox, seconds: float | None) -> None:
        self.stream, self.sandbox = stream, sandbox
        self.seconds = seconds if seconds is not None else sandbox.config.command_seconds
        self.deadline = time.monotonic() + self.seconds
        self.data = bytearray()
        self.open = True
        os.set_blocking(stream.fileno(), False)

    def wait(self) -> bool:
        """Wait for output, which is collected, or for a report of the machine: True says that there is one to read."""
        control = self.sandbox._control
        sources = [control, self.stream] if self.open else [control]
        ready = select.select(sources, [], [], max(0.0, self.deadline - time.monotonic()))[0]
        if not ready:
            raise TimeoutError(f"a command took more than {self.seconds:g} s")
        if self.stream in ready:
            self.take()
        return control in ready

    def take(self) -> bool:
        """Collect what is there; return whether there was anything."""
        try:
            chunk = self.stream.read(1 << 16)
        except OSError:  # a terminal whose last program ended
            chunk = b""
        if chunk == b"":
            self.open = False
        self.data += chunk or b""
        if len(self.data) > self.sandbox.config.output_mebibytes << 20:
            raise SandboxError(f"a command printed more than {self.sandbox.config.output_mebibytes} MiB")
        if time.monotonic() > self.deadline:
            raise TimeoutError(f"a command took more than {self.seconds:g} s")
        return bool(chunk)

    def rest(self) -> bytes:
        """Return all output, with what is still on its way; what background programs print later is not waited for."""
        while self.open and self.take():
            pass
        return bytes(self.data)


class Shell:
    """A login shell on a terminal of its own, which lives as long as the machine."""

    def __init__(self, sandbox: Sandbox) -> None:
        self.sandbox = sandbox
        self.mark = b"\x1e" + os.urandom(8).hex().encode() + b"\x1e"
        self.identifier, output, self.writing = sandbox._start(["bash", "--login", "-i"], terminal=True)
        self.stream = os.fdopen(output, "rb", buffering=0)
        # Whatever start-up files print or set as a prompt is no command's output.
        self.execute("PROMPT_COMMAND='PS1= PS2='")

    def execute(self, command: str, seconds: float | None = None) -> bytes:
        """Run a command; return what it printed, without terminal control sequences."""
        if self.stream.closed:
            raise SandboxError("an earlier command has ended the shell")
        text = command.replace("\0", "").encode()
        if len(text) > MAX_COMMAND:
            raise SandboxError(f"a command is longer than {MAX_COMMAND} bytes")
        # `eval` keeps what the command sets; its input is empty, so that it cannot eat the next command. The shell shows
        # what it reads, before the first mark.
        mark = self.mark.decode().replace("\x1e", "\\036")
        line = f"IFS= read -r -d ''; printf '{mark}' >/dev/tty; eval \"$REPLY\" </dev/null; printf '{mark}' >/dev/tty\n"
        try:
            os.write(self.writing, line.encode() + text + b"\0")
        except OSError as error:
            raise SandboxError(f"the shell has ended: {error}") from error
        reader = Reader(self.stream, self.sandbox, seconds)
        while reader.data.count(self.mark) < 2:
            if reader.wait() and self.sandbox._status(self.identifier) is not None:
                reader.rest()
                self.close()
                break
        return ESCAPES.sub(b"", bytes(reader.data.split(self.mark)[1] if self.mark in reader.data else b""))

    def close(self) -> None:
        """End the shell, as by closing its terminal."""
        if not self.stream.closed:
            self.stream.close()
            os.close(self.writing)


def cannot_run(config: OsConfig) -> str:
    """Say why no sandbox can run here, with the remedy; empty when one ran."""
    return missing_parts(config) or _try(config.model_dump_json())


def missing_parts(config: OsConfig) -> str:
    """Say what a sandbox needs and is not at hand, with the remedy; empty when all is there. Runs nothing."""
    if sys.platform != "linux" or not shutil.which("bwrap"):
        return "needs bubblewrap on Linux (Debian and Ubuntu: apt-get install bubblewrap)"
    if config.root is None or not (config.root / "root.json").is_file():
        return (
            "needs a root file system: python -m hephaestus_dag.evaluation.agentbench.os_root FOLDER makes one; "
            "name it as agentbench.os.root"
        )
    return ""


@cache
def _try(text: str) -> str:
    config = OsConfig.model_validate_json(text)
    assert config.root
    try:
        with Sandbox(config.root / "root", config) as sandbox:
            status = sandbox.run(["true"]).status
    except (OSError, SandboxError) as error:
        return f"needs user namespaces with overlay file systems, as root or as a user who may make them: {error}"
    return "" if status == 0 else f"the root file system {config.root.name} is broken: `true` ends with {status}; make it anew"
