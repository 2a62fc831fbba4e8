"""A tiny root file system for sandboxes, of this machine's own programs, for tests that need to run commands."""

import os
import re
import shutil
import subprocess
from pathlib import Path

import pytest

from hephaestus_dag.evaluation.agentbench.os_config import OsConfig
from hephaestus_dag.evaluation.agentbench.os_root import take
from hephaestus_dag.evaluation.agentbench.os_sandbox import cannot_run

PROGRAMS = (
    *("bash", "sh", "python3", "env", "true", "ls", "cat", "head", "sleep", "id", "touch", "rm", "mkdir", "seq", "mknod"),
    *("mount", "kill", "df", "tr", "wc", "setsid", "unshare"),
)
LEFT_OUT = shutil.ignore_patterns(
    "test", "idlelib", "lib2to3", "__pycache__", "dist-packages", "pydoc_data", "config-*", "asyncio"
)


def machine(folder: Path) -> OsConfig:
    """Return sandboxes over a root made in ``folder``; skips the test where none can run."""
    if os.name != "posix" or not shutil.which("bwrap") or not Path("/usr/bin/python3").exists():
        pytest.skip("not run: needs bubblewrap and /usr/bin/python3 (apt-get install bubblewrap python3)")
    if not (folder / "root").exists():
        take(folder / "root", _source(folder / "source"))
    config = OsConfig(root=folder / "root", command_seconds=20, memory_mebibytes=200, disk_mebibytes=16, processes=40)
    if reason := cannot_run(config):
        pytest.skip(f"not run: {reason}")
    return config


def _source(folder: Path) -> Path:
    """Copy the programs, the libraries that they load, and Python's modules."""
    for name in ("etc", "root", "tmp", "home", "proc", "dev", "usr/bin", "usr/sbin"):
        (folder / name).mkdir(parents=True)
    for name in ("bin", "sbin", "lib", "lib64"):
        (folder / "usr" / name).mkdir(exist_ok=True)
        (folder / name).symlink_to(f"usr/{name}")
    files = [Path(found).resolve() for name in PROGRAMS if (found := shutil.which(name, path="/usr/bin:/bin"))]
    version = re.search(r"(\d+\.\d+)", subprocess.run(["/usr/bin/python3", "-V"], capture_output=True, text=True).stdout)
    assert version
    modules = Path("/usr/lib", f"python{version[1]}")
    shutil.copytree(modules, folder / modules.relative_to("/"), ignore=LEFT_OUT)
    loaded = subprocess.run(
        ["ldd", *map(str, files), *map(str, modules.glob("lib-dynload/_ctypes*.so"))], capture_output=True, text=True
    ).stdout
    libraries = {Path(path) for path in re.findall(r"(/[^\s:()]+\.so[^\s:()]*)", loaded) if "dynload" not in path}
    for path in [*files, *libraries]:
        target = folder / str(path).lstrip("/")
        target = target if target.parent.exists() else folder / "usr" / str(path).lstrip("/")
        target.parent.mkdir(parents=True, exist_ok=True)
        shutil.copyfile(path, target)
        target.chmod(0o755)
    for name in PROGRAMS:
        if not (folder / "usr/bin" / name).exists() and (found := shutil.which(name, path="/usr/bin:/bin")):
            (folder / "usr/bin" / name).symlink_to(Path(found).resolve().name)
    (folder / "etc/passwd").write_text("root:x:0:0:root:/root:/bin/bash\n")
    (folder / "etc/os-release").write_text('PRETTY_NAME="a test"\n')
    return folder
