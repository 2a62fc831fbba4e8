"""Which release of a package is installed, without importing it or asking its program: both take seconds."""

import sys
from importlib.metadata import distributions
from pathlib import Path


def release(package: str, environment: Path | None = None) -> str:
    """Return the version of a package in a Python environment's folder, by default in this one; empty where it is not found."""
    folders = sys.path if environment is None else [str(path) for path in environment.glob("lib/python*/*-packages")]
    return next((found.version for found in distributions(name=package, path=folders)), "")
