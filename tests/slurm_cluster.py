"""A Slurm of two nodes on this machine: Debian's munged, slurmctld and two slurmd, in a folder of their own.

Each node has a folder that it does not share, where this user may mount: ``own-n1`` and ``own-n2``.
"""

import getpass
import os
import shlex
import shutil
import socket
import subprocess
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack, contextmanager
from functools import partial
from pathlib import Path

PROGRAMS = ("munged", "slurmctld", "slurmd", "sbatch", "squeue")
PATH = os.pathsep.join([os.environ["PATH"], "/usr/sbin"])

CONFIG = """
ClusterName=test
SlurmctldHost={host}(127.0.0.1)
SlurmctldPort={ports[0]}
SlurmUser={user}
SlurmdUser={user}
AuthType=auth/munge
AuthInfo=socket={folder}/munge/socket
StateSaveLocation={folder}/state
SlurmdSpoolDir={folder}/spool-%n
SlurmctldPidFile={folder}/slurmctld.pid
SlurmdPidFile={folder}/slurmd-%n.pid
ProctrackType=proctrack/linuxproc
TaskPlugin=task/none
MpiDefault=none
SwitchType=switch/none
SelectType=select/cons_tres
SelectTypeParameters=CR_CPU
SchedulerParameters=sched_interval=1,batch_sched_delay=0
AccountingStorageType=accounting_storage/{accounting}
AccountingStorageHost=127.0.0.1
AccountingStoragePort={ports[3]}
AccountingStoragePass={folder}/munge/socket
JobAcctGatherType=jobacct_gather/none
KillWait=5
MailProg=/bin/true
NodeName=n1 NodeHostname={host} NodeAddr=127.0.0.1 Port={ports[1]} CPUs=2 State=UNKNOWN
NodeName=n2 NodeHostname={host} NodeAddr=127.0.0.1 Port={ports[2]} CPUs=2 State=UNKNOWN
PartitionName=debug Nodes=n1,n2 Default=YES MaxTime=INFINITE State=UP
"""

ACCOUNTING_PROGRAMS = ("slurmdbd", "sacct", "mariadbd", "mariadb-install-db")
ACCOUNTING = """
AuthType=auth/munge
AuthInfo=socket={folder}/munge/socket
DbdHost={host}
DbdAddr=127.0.0.1
DbdPort={ports[3]}
SlurmUser={user}
PidFile={folder}/slurmdbd.pid
StorageType=accounting_storage/mysql
StorageHost=127.0.0.1
StoragePort={ports[4]}
StorageUser=slurm
StoragePass=slurm
StorageLoc=slurm
"""


def missing(programs: Sequence[str] = PROGRAMS) -> list[str]:
    """Return the programs that are not installed."""
    return [program for program in programs if not shutil.which(program, path=PATH)]


@contextmanager
def slurm_cluster(folder: Path, accounting: bool = False) -> Iterator[Path]:
    """Run the daemons until the block ends; return the configuration, which SLURM_CONF has to name.

    With ``accounting`` a slurmdbd keeps what became of jobs in a MariaDB, for sacct.
    """
    for name in ("munge", "state", "spool-n1", "spool-n2"):
        (folder / name).mkdir()
    folder.chmod(0o755)
    key = folder / "munge" / "key-file"
    key.write_bytes(os.urandom(1024))
    key.chmod(0o400)
    (folder / "munge").chmod(0o711)
    config = folder / "slurm.conf"
    host, ports = socket.gethostname().split(".")[0], free_ports(5)
    facts = {"host": host, "user": getpass.getuser(), "folder": folder, "ports": ports}
    config.write_text(CONFIG.format(**facts, accounting="slurmdbd" if accounting else "none"))
    files = [(name, folder / "munge" / name) for name in ("socket", "key-file", "pid-file", "log-file", "seed-file")]
    munge = [f"--{name}={path}" for name, path in files]
    env = {**os.environ, "SLURM_CONF": str(config), "PATH": PATH}
    with ExitStack() as daemons:
        daemons.enter_context(daemon(["munged", "--foreground", "--force", *munge], env, folder))
        wait_for((folder / "munge" / "socket").exists, folder / "daemons.log")
        if accounting:
            (folder / "slurmdbd.conf").write_text(ACCOUNTING.format(**facts))
            (folder / "slurmdbd.conf").chmod(0o600)
            for command, port in ((_mariadbd(folder, ports[4]), ports[4]), (["slurmdbd", "-D"], ports[3])):
                daemons.enter_context(daemon(command, env, folder))
                wait_for(partial(_listening, port), folder / "daemons.log")
        for command in (["slurmctld", "-D", "-i"], _slurmd("n1", folder), _slurmd("n2", folder)):
            daemons.enter_context(daemon(command, env, folder))
        daemons.callback(_end_jobs, env)
        wait_for(lambda: said("sinfo", "--noheader", "--format=%T %D", env=env) == "idle 2", folder / "daemons.log")
        yield config


def _mariadbd(folder: Path, port: int) -> list[str]:
    """Return the command of a server whose fresh database the user slurm may use."""
    data, grant = folder / "mariadb", folder / "grant.sql"
    grant.write_text("CREATE USER slurm@'127.0.0.1' IDENTIFIED BY 'slurm';\nGRANT ALL ON *.* TO slurm@'127.0.0.1';\n")
    user = f"--user={getpass.getuser()}"
    install = ["mariadb-install-db", "--no-defaults", f"--datadir={data}", user, "--skip-test-db"]
    subprocess.run(install, env={**os.environ, "PATH": PATH}, check=True, capture_output=True)
    where = [f"--socket={folder}/mariadb.sock", "--bind-address=127.0.0.1", f"--port={port}", f"--datadir={data}"]
    return ["mariadbd", "--no-defaults", user, *where, "--skip-name-resolve", f"--init-file={grant}"]


def _listening(port: int) -> bool:
    with socket.socket() as probe:
        return probe.connect_ex(("127.0.0.1", port)) == 0


def _slurmd(node: str, folder: Path) -> list[str]:
    own, program = folder / f"own-{node}", ["slurmd", "-D", "-N", node]
    own.mkdir()
    return [*hiding(own), *program] if os.geteuid() == 0 else program


def hiding(folder: Path) -> list[str]:
    """Return what runs the command behind it so that a folder is another one for it, an empty one. It is for root."""
    return ["unshare", "--mount", "sh", "-c", f'mount -t tmpfs none {shlex.quote(str(folder))} && exec "$@"', "sh"]


@contextmanager
def daemon(command: list[str], env: dict[str, str], folder: Path) -> Iterator[None]:
    """Run a program until the block ends; what it says goes into ``daemons.log`` of a folder."""
    with (folder / "daemons.log").open("ab") as log:
        program = subprocess.Popen(command, env=env, stdin=subprocess.DEVNULL, stdout=log, stderr=log)
    try:
        yield
    finally:
        program.terminate()
        try:
            program.wait(10)
        except subprocess.TimeoutExpired:
            program.kill()
            program.wait()


def _end_jobs(env: dict[str, str]) -> None:
    if subprocess.run(["scontrol", "ping"], env=env, capture_output=True, check=False).returncode:
        return  # The controller was ended already, and scancel would wait for it.
    subprocess.run(["scancel", "--user", getpass.getuser()], env=env, check=False)
    limit = time.monotonic() + 20
    while said("squeue", "--noheader", env=env) and time.monotonic() < limit:
        time.sleep(0.2)


def said(*command: str, env: dict[str, str]) -> str:
    return subprocess.run(command, env=env, capture_output=True, text=True, check=False).stdout.strip()


def wait_for(condition: Callable[[], bool], log: Path) -> None:
    """Wait for half a minute; what a daemon wrote says why it was in vain."""
    limit = time.monotonic() + 30
    while not condition():
        assert time.monotonic() < limit, log.read_text()
        time.sleep(0.1)


def free_ports(count: int) -> list[int]:
    """Return ports of the loopback that nobody listens at."""
    with ExitStack() as probes:
        sockets = [probes.enter_context(socket.socket()) for _ in range(count)]
        for probe in sockets:
            probe.bind(("127.0.0.1", 0))
        return [probe.getsockname()[1] for probe in sockets]
