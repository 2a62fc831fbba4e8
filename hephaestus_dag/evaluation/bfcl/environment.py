"""The official BFCL checker in a virtual environment of its own: its old pins would not live with ours."""

import fcntl
import hashlib
import json
import os
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

REQUIREMENTS = Path(__file__).with_name("requirements.txt")


def environment_fingerprint() -> str:
    """Return the identity of the environment: 12 hex digits over its pins and the Python version."""
    version = f"python {sys.version_info.major}.{sys.version_info.minor}\n"
    return hashlib.sha256((version + REQUIREMENTS.read_text()).encode()).hexdigest()[:12]


def ensure_environment(folder: Path) -> Path:
    """Return the Python of the checker's environment under ``folder``, building it there (about 15 s) when it is missing.

    Each set of pins has a subfolder of its own; a build becomes visible whole, and two builders do not collide.
    Raises RuntimeError, with the remedy, when the packages cannot be installed.
    """
    folder = folder.resolve()
    target = folder / environment_fingerprint()
    if (target / "manifest.json").exists():
        return target / "bin" / "python"
    folder.mkdir(parents=True, exist_ok=True)
    with _locked(folder / ".lock"):
        if not (target / "manifest.json").exists():
            staging = Path(tempfile.mkdtemp(prefix=".building-", dir=folder))
            try:
                _build(staging)
                shutil.rmtree(target, ignore_errors=True)
                staging.rename(target)
            finally:
                shutil.rmtree(staging, ignore_errors=True)
    return target / "bin" / "python"


def _build(staging: Path) -> None:
    """Create the environment; its manifest comes last."""
    _run([sys.executable, "-m", "venv", str(staging)], "install Python's venv module (python3-venv on Debian)")
    # All dependencies are pinned in the file: those that the package declares (every vendor's SDK) are not wanted.
    _run(
        [
            *(str(staging / "bin" / "python"), "-m", "pip", "install", "--quiet", "--disable-pip-version-check"),
            *("--no-deps", "--only-binary", ":all:", "-r", str(REQUIREMENTS)),
        ],
        "a Python package index must be reachable once: set PIP_INDEX_URL to a mirror, or fetch the wheels elsewhere with "
        f"'pip download --no-deps -r {REQUIREMENTS.name}' and set PIP_FIND_LINKS to their folder and PIP_NO_INDEX=1",
    )
    manifest = {"requirements": REQUIREMENTS.read_text().split(), "python": ".".join(map(str, sys.version_info[:2]))}
    with (staging / "manifest.json").open("w") as file:
        file.write(json.dumps(manifest, indent=1) + "\n")
        file.flush()
        os.fsync(file.fileno())


def _run(command: list[str], remedy: str) -> None:
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    if done.returncode:
        tail = "\n".join((done.stdout + done.stderr).strip().splitlines()[-8:])
        raise RuntimeError(f"the BFCL checker's environment could not be built: {remedy}.\n{tail}")


@contextmanager
def _locked(path: Path) -> Iterator[None]:
    """Hold an exclusive lock between processes; the kernel releases it even after a crash."""
    with path.open("w") as file:
        fcntl.flock(file, fcntl.LOCK_EX)
        yield
