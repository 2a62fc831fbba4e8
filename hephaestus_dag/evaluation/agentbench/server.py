"""A MariaDB or MySQL server for the DB task: one that is there already, or a private one that lives as long as it is used."""

import hashlib
import os
import pwd
import shutil
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from functools import cache
from pathlib import Path
from typing import Any

INSTALL = "install MariaDB (Debian, Ubuntu: apt-get install mariadb-server-core mariadb-client-core), or name a server"
_SYSTEM_FOLDERS = ("/usr/local/sbin", "/usr/sbin", "/usr/libexec", "/usr/local/libexec")
_START_SECONDS = 60


@dataclass(frozen=True, slots=True, kw_only=True)
class ServerAddress:
    """Where a server is, and an account that may create and drop databases and users."""

    socket: str = ""
    """Path of its socket; empty: host and port are used."""
    host: str = "localhost"
    port: int = 3306
    user: str = "root"
    password: str = field(default="", repr=False)

    def connect(self, **arguments: Any) -> Any:
        """Return a pymysql connection; ``arguments`` are pymysql's and override the address."""
        import pymysql

        # A socket needs no encryption, and preparing for it costs 50 ms.
        where = {"unix_socket": self.socket, "ssl_disabled": True} if self.socket else {"host": self.host, "port": self.port}
        account = {"user": self.user, "password": self.password}
        return pymysql.connect(**{**where, **account, "charset": "utf8mb4", "connect_timeout": 10, **arguments})


def missing_programs() -> str:
    """Say what a private server needs and this machine lacks; empty when it can be started."""
    missing = [name for name in ("mariadbd", "mariadb-install-db") if not _program(name)]
    return f"{' and '.join(missing)} not found: {INSTALL}" if missing else ""


def program_digest() -> str:
    """Return a digest of the program that a private server runs. Raises FileNotFoundError when it is missing."""
    path = Path(_program("mariadbd") or "mariadbd")
    found = path.stat()
    return _digest(path, found.st_size, found.st_mtime_ns)


@cache
def _digest(path: Path, size: int, modified: int) -> str:
    """Read a file once, unless it changes."""
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()[:16]


@contextmanager
def private_server() -> Iterator[ServerAddress]:
    """Run an installed MariaDB in a temporary folder, without network, until the block ends or this process does.

    Run by root it becomes the user ``mysql``, or ``nobody``. Raises RuntimeError with the server's log when it does not start.
    """
    if problem := missing_programs():
        raise RuntimeError(problem)
    user = _unprivileged_user()
    folder = Path(tempfile.mkdtemp(prefix="agentbench-"))
    try:
        for name in ("data", "tmp", "files"):
            (folder / name).mkdir(mode=0o700)
        if user:
            for path in (folder, *folder.iterdir()):
                shutil.chown(path, user)
        _create_system_tables(folder, user)
        with (folder / "log").open("wb") as log:
            script = Path(__file__).with_name("supervise.py")
            supervisor = subprocess.Popen(
                [sys.executable, "-I", str(script), str(folder), user, *_server_command(folder)],
                stdin=subprocess.PIPE,
                stdout=log,
                stderr=log,
                start_new_session=True,  # an interrupt from the keyboard is for us, who then close its input
            )
        try:
            address = ServerAddress(socket=str(folder / "socket"))
            _wait_until_it_answers(address, supervisor, folder / "log")
            yield address
        finally:
            supervisor.communicate()  # closes its input, and waits
    finally:
        shutil.rmtree(folder, ignore_errors=True)


def server_version(address: ServerAddress) -> str:
    """Return what the server calls itself, such as ``10.11.6-MariaDB``. Raises pymysql's errors."""
    connection = address.connect()
    try:
        return str(connection.get_server_info()).removeprefix("5.5.5-")  # which MariaDB puts before its own
    finally:
        connection.close()


def _create_system_tables(folder: Path, user: str) -> None:
    command = [
        _program("mariadb-install-db"),
        *("--no-defaults", "--auth-root-authentication-method=normal", "--skip-test-db"),
        *(f"--datadir={folder / 'data'}", f"--tmpdir={folder / 'tmp'}", *_FAST),
    ]
    done = subprocess.run(command, capture_output=True, text=True, check=False, env=_environment(), **_as_user(user))
    if done.returncode:
        raise RuntimeError(f"mariadb-install-db failed (status {done.returncode}):\n{_tail(done.stdout + done.stderr)}")


_FAST = (
    # Nothing has to survive a crash: the folder goes with the server.
    *("--innodb-flush-method=nosync", "--innodb-log-file-size=16M", "--innodb-flush-log-at-trx-commit=0"),
    *("--innodb-doublewrite=0", "--skip-sync-frm", "--innodb-stats-persistent=0", "--innodb-buffer-pool-size=64M"),
)


def _server_command(folder: Path) -> list[str]:
    return [
        _program("mariadbd"),
        *("--no-defaults", "--skip-networking", "--skip-log-bin", *_FAST),
        *(f"--datadir={folder / 'data'}", f"--tmpdir={folder / 'tmp'}", f"--socket={folder / 'socket'}"),
        *(f"--pid-file={folder / 'pid'}", f"--secure-file-priv={folder / 'files'}", "--local-infile=0"),
        *("--performance-schema=OFF", "--event-scheduler=OFF", "--skip-symbolic-links"),
        *("--max-session-mem-used=268435456", "--max-allowed-packet=16M"),
    ]


def _wait_until_it_answers(address: ServerAddress, supervisor: subprocess.Popen[bytes], log: Path) -> None:
    import pymysql

    deadline = time.monotonic() + _START_SECONDS
    while True:
        try:
            server_version(address)
            return
        except (pymysql.err.OperationalError, OSError) as error:
            text = log.read_text(errors="replace") if log.exists() else ""
            if supervisor.poll() is not None:
                raise RuntimeError(f"mariadbd ended while it started:\n{_tail(text)}") from None
            if time.monotonic() > deadline:
                raise RuntimeError(f"mariadbd did not answer in {_START_SECONDS} s ({error}):\n{_tail(text)}") from None
            time.sleep(0.05)


def _program(name: str) -> str:
    path = os.pathsep.join([os.environ.get("PATH", os.defpath), *_SYSTEM_FOLDERS])
    return shutil.which(name, path=path) or ""


def _unprivileged_user() -> str:
    if os.geteuid() != 0:
        return ""
    return next(name for name in ("mysql", "nobody") if name in {entry.pw_name for entry in pwd.getpwall()})


def _as_user(user: str) -> dict[str, Any]:
    return {"user": user, "group": pwd.getpwnam(user).pw_gid, "extra_groups": []} if user else {}


def _environment() -> Mapping[str, str]:
    return {"PATH": os.pathsep.join([os.defpath, *_SYSTEM_FOLDERS]), "LANG": "C.UTF-8"}


def _tail(text: str) -> str:
    return "\n".join(text.strip().splitlines()[-8:])
