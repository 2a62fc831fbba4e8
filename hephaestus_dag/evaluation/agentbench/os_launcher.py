"""Starts a program as root of namespaces of its own, where it owns nothing of the machine; run as a script.

Two commands, with a JSON object of arguments: ``machine`` boots a sandbox from a root folder and watches its memory and
number of processes until the evaluator closes this process's input; ``unpack`` extracts a tar archive from the input into a
folder, so that its files have the owners that a sandbox expects.

Uses the standard library alone, because a fresh interpreter per sandbox has to start fast.
"""

import contextlib
import ctypes
import json
import os
import resource
import select
import shutil
import subprocess
import sys
from pathlib import Path
from typing import Any, NoReturn

LIBC = ctypes.CDLL(None, use_errno=True)
CLONE_NEWNS, CLONE_NEWUSER = 0x00020000, 0x10000000
MS_NOSUID, MS_NODEV, MS_REC, MS_PRIVATE = 2, 4, 1 << 14, 1 << 18
PR_SET_DUMPABLE = 4
NUM_IDS = 1 << 16
FIRST_ID = 30_500 * NUM_IDS
"""Where a sandbox's user 0 lies among the machine's users when root starts it: far from all real ones."""
WATCH_SECONDS = 0.1

CAPABILITIES = (
    *("CHOWN", "DAC_OVERRIDE", "FOWNER", "FSETID", "KILL", "SETGID", "SETUID"),
    *("SETPCAP", "NET_BIND_SERVICE", "SYS_CHROOT", "SETFCAP", "AUDIT_WRITE"),
)
"""What root may do in a container as Docker starts it, without raw network access and device files."""


def main() -> None:
    """Run the command that the arguments name."""
    command, arguments = sys.argv[1], json.loads(sys.argv[2])
    if command == "unpack":
        folder = os.open(arguments["folder"], os.O_RDONLY | os.O_DIRECTORY)
        if os.geteuid() == 0:
            os.fchown(folder, FIRST_ID, FIRST_ID)
        owners = ["--same-owner"] if enter_namespaces() == NUM_IDS else ["--no-same-owner"]
        options = ["--extract", "--preserve-permissions", "--numeric-owner", *owners, "--exclude=./dev/*", "--exclude=dev/*"]
        os.fchdir(folder)
        os.execvp("tar", ["tar", *options, *arguments["options"]])
    else:
        machine(**arguments)


def enter_namespaces() -> int:
    """Become root of a new user and mount namespace; return how many user ids it has: `NUM_IDS`, or 1."""
    pid, uid, gid = os.getpid(), os.geteuid(), os.getegid()
    waiting, created = os.pipe()
    mapper = os.fork()
    if not mapper:  # only a process that is still outside may map ids
        os.close(created)
        try:
            os._exit(map_ids(pid, uid, gid) if os.read(waiting, 1) else 0)
        except OSError as error:
            print(f"cannot map user ids: {error}", file=sys.stderr)
        finally:
            os._exit(2)
    check(LIBC.unshare(CLONE_NEWUSER | CLONE_NEWNS), "a new user namespace")
    os.write(created, b"1")
    status = os.waitstatus_to_exitcode(os.waitpid(mapper, 0)[1])
    if status == 2:
        sys.exit(1)
    os.setresgid(0, 0, 0)
    if status == 0:
        os.setgroups([])
    os.setresuid(0, 0, 0)
    LIBC.prctl(PR_SET_DUMPABLE, 1, 0, 0, 0)  # makes this process's files under /proc its own again
    check(LIBC.mount(None, b"/", None, MS_REC | MS_PRIVATE, None), "private mounts")
    return NUM_IDS if status == 0 else 1


def map_ids(pid: int, uid: int, gid: int) -> int:
    """Give a process's user namespace its ids; return 0 when it has `NUM_IDS`, and 1 when there is but one to give."""
    process = Path("/proc", str(pid))
    if uid == 0:
        for name in ("uid_map", "gid_map"):
            (process / name).write_text(f"0 {FIRST_ID} {NUM_IDS}")
        return 0
    ranges = [subordinate(Path("/etc", name), uid) for name in ("subuid", "subgid")]
    if all(ranges) and shutil.which("newuidmap") and shutil.which("newgidmap"):
        for tool, own, first in (("newuidmap", uid, ranges[0]), ("newgidmap", gid, ranges[1])):
            subprocess.run([tool, str(pid), "0", str(own), "1", "1", str(first), str(NUM_IDS - 1)], check=True)
        return 0
    (process / "setgroups").write_text("deny")
    (process / "uid_map").write_text(f"0 {uid} 1")
    (process / "gid_map").write_text(f"0 {gid} 1")
    return 1


def subordinate(path: Path, uid: int) -> int | None:
    """Return the first id of the range that a file of subordinate ids gives to a user; None without one large enough."""
    import pwd

    names = {str(uid), pwd.getpwuid(uid).pw_name}
    for line in path.read_text().splitlines() if path.exists() else ():
        owner, first, count = line.split(":")
        if owner in names and int(count) >= NUM_IDS - 1:
            return int(first)
    return None


def machine(
    root: str, control: int, supervisor: str, disk: int, memory: int, processes: int, cpu_seconds: int, bubblewrap: str
) -> NoReturn:
    """Boot a sandbox over a read-only root folder, write ``ready`` and watch it; a reason is written when it is stopped."""
    os.chdir(root)  # the folders above may be closed to the sandbox's user
    ids = enter_namespaces()
    mount("tmpfs", "/tmp", "tmpfs", f"size={disk},mode=755,nr_inodes=200000")
    for name in ("upper", "work", "root"):
        Path("/tmp", name).mkdir()
    mount("overlay", "/tmp/root", "overlay", "lowerdir=.,upperdir=/tmp/upper,workdir=/tmp/work,userxattr")
    told, tell = os.pipe()
    options = [
        *("--bind", "/tmp/root", "/", "--proc", "/proc", "--dev", "/dev", "--size", str(disk), "--tmpfs", "/dev/shm"),
        *("--unshare-pid", "--unshare-net", "--unshare-ipc", "--unshare-uts", "--unshare-cgroup-try", "--hostname", "ubuntu"),
        # Elsewhere root may list the one folder of /proc that stays closed here: `find /` would complain of it.
        *("--size", "4096", "--tmpfs", "/proc/tty/driver", "--remount-ro", "/proc/tty/driver"),
        *("--remount-ro", "/dev", "--die-with-parent", "--new-session", "--as-pid-1", "--clearenv", "--cap-drop", "ALL"),
        *(part for name in CAPABILITIES for part in ("--cap-add", f"CAP_{name}")),
        *("--info-fd", str(tell)),
    ]

    def bound() -> None:
        """Limit what one process of the sandbox takes; the watch bounds them together."""
        Path("/proc/self/oom_score_adj").write_text("1000")
        for kind, amount in (
            (resource.RLIMIT_AS, memory),
            (resource.RLIMIT_NPROC, processes),
            (resource.RLIMIT_CPU, cpu_seconds),
            (resource.RLIMIT_CORE, 0),
        ):
            hardest = resource.getrlimit(kind)[1]
            bounded = amount if hardest == resource.RLIM_INFINITY else min(amount, hardest)
            resource.setrlimit(kind, (bounded, bounded))

    # No further user namespaces, in which a program could mount what has no limits.
    Path("/proc/sys/user/max_user_namespaces").write_text("0")
    command = [bubblewrap, *options, "python3", "-I", "-S", "-c", supervisor, str(control)]
    sandbox = subprocess.Popen(
        command, stdin=subprocess.DEVNULL, stdout=subprocess.DEVNULL, pass_fds=(control, tell), preexec_fn=bound
    )
    os.close(control)
    os.close(tell)
    with os.fdopen(told) as information:
        text = information.read()
    if not text:
        sys.exit(f"bubblewrap ended with status {sandbox.wait()}")
    say(ready=ids)
    reason = watch(sandbox, json.loads(text)["pid-namespace"], memory, processes)
    sandbox.kill()
    sandbox.wait()
    say(stopped=reason)
    sys.exit(0)


def watch(sandbox: "subprocess.Popen[bytes]", namespace: int, memory: int, processes: int) -> str:
    """Return why a sandbox has to end: its evaluator left, it ended by itself, or it takes too much."""
    while not select.select([0], [], [], WATCH_SECONDS)[0]:
        if sandbox.poll() is not None:
            return "its first process ended"
        taken = [pages for pages in map(private_pages, inside(namespace)) if pages]
        if sum(taken) * resource.getpagesize() > memory:
            return f"it took more than {memory >> 20} MiB of memory"
        if len(taken) > processes:
            return f"it had more than {processes} processes"
    return "the evaluator left"


def inside(namespace: int) -> list[Path]:
    """Return the processes of a pid namespace, as this process sees them."""
    found = []
    for process in Path("/proc").glob("[0-9]*"):
        try:
            if str((process / "ns/pid").readlink()) == f"pid:[{namespace}]":
                found.append(process)
        except OSError:  # gone, or somebody else's
            continue
    return found


def private_pages(process: Path) -> int:
    """Return the pages of memory that a process shares with no file."""
    try:
        resident, shared = (process / "statm").read_text().split()[1:3]
    except OSError:
        return 0
    return int(resident) - int(shared)


def mount(source: str, target: str, kind: str, options: str) -> None:
    """Mount a file system, without devices and set-user-id programs; raises OSError."""
    arguments = source.encode(), target.encode(), kind.encode(), MS_NOSUID | MS_NODEV, options.encode()
    check(LIBC.mount(*arguments), f"mounting {kind}")


def check(result: int, action: str) -> None:
    """Raise OSError naming the action when a system call failed."""
    if result:
        number = ctypes.get_errno()
        raise OSError(number, f"{action}: {os.strerror(number)}")


def say(**message: Any) -> None:
    """Write a line to the evaluator, if it is still there."""
    with contextlib.suppress(BrokenPipeError):
        print(json.dumps(message), flush=True)


if __name__ == "__main__":
    try:
        main()
    except OSError as failure:
        sys.exit(str(failure))
