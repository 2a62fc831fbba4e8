"""Makes the root file system of the OS sandboxes: ``python -m hephaestus_dag.evaluation.agentbench.os_root FOLDER``.

By default ``mmdebstrap`` builds a minimal Debian or Ubuntu with the programs of AgentBench's image and those that its items
install; ``--from`` takes a tar archive (of ``docker export``, say) or a folder instead. The files get the owners that
sandboxes expect, so a root made by one user serves that user only.
"""

import argparse
import hashlib
import json
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Sequence
from pathlib import Path

from hephaestus_dag.evaluation.agentbench.os_sandbox import LAUNCHER

PACKAGES = (
    *("python3", "git", "vim", "curl", "wget", "unzip", "zip", "tree"),
    *("sudo", "net-tools", "iproute2", "lsof"),
    *("procps", "psmisc", "file", "less", "gawk", "bc", "bzip2", "xz-utils", "acl"),
)
"""AgentBench's image has the first line (and pip, which is no use without network), its items install the second."""


def build(folder: Path, suite: str = "bookworm", mirror: str | None = None) -> None:
    """Build a root with mmdebstrap into a new folder. Raises RuntimeError with the remedy when the tool is missing or fails."""
    if not shutil.which("mmdebstrap"):
        raise RuntimeError("mmdebstrap is missing: apt-get install mmdebstrap, or name a tar archive or folder with --from")
    with tempfile.TemporaryDirectory() as scratch:
        archive = Path(scratch, "root.tar")
        # Nobody answers apt's questions in a sandbox.
        hook = """--customize-hook=echo 'APT::Get::Assume-Yes "true";' > "$1/etc/apt/apt.conf.d/90assume-yes\""""
        options = ["--variant=minbase", f"--include={','.join(PACKAGES)}", hook]
        command = ["mmdebstrap", *options, suite, str(archive), *([mirror] if mirror else [])]
        if subprocess.run(command, check=False).returncode:
            raise RuntimeError(
                f"mmdebstrap failed (its message is above): is {suite} a suite of {mirror or 'this machine’s mirror'}, and are "
                "its keys installed (debian-archive-keyring, ubuntu-keyring)?"
            )
        take(folder, archive)


def take(folder: Path, source: Path) -> None:
    """Copy a root from a tar archive or a folder into a new folder.

    Raises FileExistsError, FileNotFoundError, or RuntimeError with what is wrong with the source.
    """
    if folder.exists():
        raise FileExistsError(f"{folder} exists: remove it, or name another folder")
    if not source.exists():
        raise FileNotFoundError(f"{source} is missing: name a tar archive or a folder with a root file system")
    partial = folder.with_name(folder.name + ".partial")
    (partial / "root").mkdir(parents=True)
    try:
        packing = ["cat", str(source)] if source.is_file() else _tar(source)
        archive = subprocess.Popen(packing, stdout=subprocess.PIPE)
        arguments = json.dumps({"folder": str(partial / "root"), "options": ["--file=-"]})
        command = [sys.executable, "-I", "-S", str(LAUNCHER), "unpack", arguments]
        unpacked = subprocess.run(command, stdin=archive.stdout, check=False).returncode
        if archive.wait() or unpacked:
            raise RuntimeError(
                f"{source} could not be unpacked (the message is above): is it a whole, uncompressed tar archive?"
            )
        missing = [name for name in ("bin/bash", "usr/bin/python3", "usr/bin/env") if not _exists(partial / "root", name)]
        if missing:
            raise RuntimeError(f"{source} has no {', '.join(missing)}: the task needs them; install them there first")
        (partial / "root.json").write_text(json.dumps(describe(partial / "root"), indent=1) + "\n")
        partial.rename(folder)
    except BaseException:
        shutil.rmtree(partial, ignore_errors=True)
        raise


def describe(root: Path) -> dict[str, str]:
    """Return what tells a root from another: the distribution's name, and a digest of its installed packages."""
    release = dict(line.split("=", 1) for line in (root / "etc/os-release").read_text().splitlines() if "=" in line)
    status = root / "var/lib/dpkg/status"
    digest = hashlib.sha256(status.read_bytes() if status.exists() else b"").hexdigest()
    return {"system": release.get("PRETTY_NAME", "unknown").strip('"'), "packages": digest[:16]}


def _tar(folder: Path) -> list[str]:
    return ["tar", "--create", "--one-file-system", "--numeric-owner", "--directory", str(folder), "."]


def _exists(root: Path, name: str) -> bool:
    """Whether a file is there; its folders may be links within the root, and itself a link to anywhere in it."""
    return any((root / path).is_symlink() or (root / path).exists() for path in (name, f"usr/{name}"))


def main(arguments: Sequence[str] | None = None) -> None:
    """Run the command."""
    parser = argparse.ArgumentParser(prog="os_root", description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("folder", type=Path, help="new folder for the root file system")
    parser.add_argument("--from", dest="source", type=Path, help="tar archive or folder to take instead of building")
    parser.add_argument("--suite", default="bookworm", help="suite to build, such as bookworm or jammy (default: %(default)s)")
    parser.add_argument("--mirror", help="archive to build from (default: the one that mmdebstrap knows for the suite)")
    chosen = parser.parse_args(arguments)
    try:
        if chosen.source:
            take(chosen.folder, chosen.source)
        else:
            build(chosen.folder, chosen.suite, chosen.mirror)
    except (OSError, RuntimeError) as error:
        parser.exit(1, f"{error}\n")
    print(f"{chosen.folder}: {(chosen.folder / 'root.json').read_text().strip()}")


if __name__ == "__main__":
    main()
