"""Two machines, played by two network namespaces of this one: a link between them, and an sshd in each. Linux, as root."""

import os
import shutil
import signal
import subprocess
import time
from collections.abc import Sequence
from contextlib import ExitStack, suppress
from pathlib import Path
from typing import Self

PROGRAMS = ("ip", "ssh", "ssh-keygen", "sshd")
PORT = 2222


def missing() -> str | None:
    """Return why there can be no two machines here, or None."""
    if os.geteuid() != 0:
        return "network namespaces need root"
    absent = [name for name in PROGRAMS if not _program(name)]
    return f"not installed: {', '.join(absent)} (Debian: iproute2, openssh-server)" if absent else None


class TwoMachines:
    """A context in which two namespaces are joined by a link and answer ssh; what still runs in them at the end is killed."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.names = tuple(f"hephaestus-{side}-{os.getpid()}" for side in "ab")
        number = os.getpid() % 250
        self.hosts = (f"10.78.{number}.1", f"10.78.{number}.2")
        key = folder / "key"
        known = ("-o", "StrictHostKeyChecking=no", "-o", "UserKnownHostsFile=/dev/null", "-o", "LogLevel=ERROR")
        self.ssh = ("ip", "netns", "exec", self.names[0], "ssh", "-F", "none", "-i", str(key), "-p", str(PORT), *known)
        """With options and a host behind it: what reaches both machines, from the first one."""
        self._stack = ExitStack()

    def __enter__(self) -> Self:
        try:
            self._set_up()
        except BaseException:
            self._stack.close()
            raise
        return self

    def __exit__(self, *_: object) -> None:
        self._stack.close()

    def _set_up(self) -> None:
        (first, second), ends = self.names, ("veth-a", "veth-b")
        for name in self.names:
            _run("ip", "netns", "add", name)
            self._stack.callback(_run, "ip", "netns", "del", name)
        _run("ip", "link", "add", ends[0], "netns", first, "type", "veth", "peer", "name", ends[1], "netns", second)
        for name, end, host in zip(self.names, ends, self.hosts, strict=True):
            _run("ip", "-n", name, "address", "add", f"{host}/24", "dev", end)
            for device in ("lo", end):
                _run("ip", "-n", name, "link", "set", device, "up")
        _run("ssh-keygen", "-q", "-t", "ed25519", "-N", "", "-f", str(self.folder / "key"))
        for name, host in zip(self.names, self.hosts, strict=True):
            self._serve(name, host)

    def _serve(self, name: str, host: str) -> None:
        """Start an sshd whose one key opens it, and lets its host in."""
        Path("/run/sshd").mkdir(exist_ok=True)
        key = self.folder / "key"
        options = {
            "ListenAddress": host, "Port": PORT, "HostKey": key, "AuthorizedKeysFile": f"{key}.pub", "PidFile": "none",
            "PermitRootLogin": "prohibit-password", "PasswordAuthentication": "no", "StrictModes": "no", "UsePAM": "no",
        }  # fmt: skip
        settings = [argument for option in options.items() for argument in ("-o", "{}={}".format(*option))]
        program = ("ip", "netns", "exec", name, _program("sshd") or "sshd", "-D", "-e", "-f", "/dev/null", *settings)
        path = self.folder / f"{name}.log"
        with path.open("wb") as log:
            process = subprocess.Popen(program, stdin=subprocess.DEVNULL, stdout=log, stderr=log)
        self._stack.callback(process.wait)
        self._stack.callback(self.kill, name)
        while "Server listening" not in (said := path.read_text()):
            if process.poll() is not None:
                raise RuntimeError(f"sshd ended with exit status {process.returncode}: {said}")
            time.sleep(0.02)

    def processes(self, name: str) -> list[int]:
        """Return the ids of all processes of a namespace."""
        return [int(pid) for pid in _run("ip", "netns", "pids", name).split()]

    def running(self, name: str, word: bytes) -> list[int]:
        """Return the processes of a namespace with a word in their command line."""
        commands = ((pid, Path(f"/proc/{pid}/cmdline")) for pid in self.processes(name))
        return [pid for pid, command in commands if command.exists() and word in command.read_bytes()]

    def kill(self, name: str, but: Sequence[int] = ()) -> None:
        """Kill every process of a namespace, and those that they start meanwhile."""
        while found := [pid for pid in self.processes(name) if pid not in but]:
            for pid in found:
                with suppress(ProcessLookupError):
                    os.kill(pid, signal.SIGKILL)

    def lose_second(self) -> None:
        """Kill what runs on the second machine, as when its power fails; only its sshd comes back, to let a restart in."""
        self.kill(self.names[1])
        self._serve(self.names[1], self.hosts[1])

    def link(self, state: str) -> None:
        """Cut the link between the machines (``down``), so that packets vanish, or mend it (``up``)."""
        _run("ip", "-n", self.names[1], "link", "set", "veth-b", state)


def _program(name: str) -> str | None:
    return shutil.which(name, path=f"{os.environ.get('PATH', '')}:/usr/sbin:/sbin")


def _run(*command: str) -> str:
    return subprocess.run(command, check=True, capture_output=True, text=True).stdout
