"""A login node of Slurm on this machine: an sshd on the loopback, and the only place from which the cluster is known."""

import os
import shlex
import shutil
import subprocess
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from tests.slurm_cluster import PATH, free_ports, hiding, wait_for

PROGRAMS = ("ssh", "ssh-keygen", "sshd")
NAME = "127.0.0.1"


def missing() -> list[str]:
    """Return the programs that are not installed."""
    return [program for program in PROGRAMS if not shutil.which(program, path=PATH)]


@contextmanager
def login_node(config: Path, folder: Path, own: Path) -> Iterator[Path]:
    """Serve until the block ends; return a folder for the PATH with an ssh that is let in.

    ``own`` is a folder that the node does not share, where this user may mount.
    """
    key, log, (port,) = folder / "key", folder / "sshd.log", free_ports(1)
    subprocess.run(["ssh-keygen", "-q", "-t", "ed25519", "-N", "", "-f", str(key)], check=True)
    options = {
        "ListenAddress": NAME, "Port": port, "HostKey": key, "AuthorizedKeysFile": f"{key}.pub", "PidFile": "none",
        "PermitRootLogin": "prohibit-password", "PasswordAuthentication": "no", "StrictModes": "no", "UsePAM": "no",
        "SetEnv": f"SLURM_CONF={config}",
    }  # fmt: skip
    settings = [argument for option in options.items() for argument in ("-o", "{}={}".format(*option))]
    program = [shutil.which("sshd", path=PATH) or "sshd", "-D", "-e", "-f", "/dev/null", *settings]
    if os.geteuid() == 0:
        Path("/run/sshd").mkdir(exist_ok=True)
        program = [*hiding(own), *program]
    client = folder / "bin" / "ssh"
    client.parent.mkdir()
    known = ["-F", "none", "-o", "StrictHostKeyChecking=no", "-o", "UserKnownHostsFile=/dev/null", "-o", "LogLevel=ERROR"]
    real = [shutil.which("ssh") or "ssh", "-i", str(key), "-p", str(port), *known]
    client.write_text(f'#!/bin/sh\nexec {shlex.join(real)} "$@"\n')
    client.chmod(0o755)
    with log.open("wb") as file:
        sshd = subprocess.Popen(program, stdin=subprocess.DEVNULL, stdout=file, stderr=file)
    try:
        wait_for(lambda: "Server listening" in log.read_text(), log)
        yield client.parent
    finally:
        sshd.terminate()
        sshd.wait()
