from pathlib import Path

import pytest
from provenance_store import TinyRun


@pytest.fixture(scope="session")
def run(tmp_path_factory: pytest.TempPathFactory) -> TinyRun:
    """A finished run, to be read only."""
    return TinyRun(tmp_path_factory.mktemp("run"))


@pytest.fixture(scope="session")
def store(run: TinyRun) -> Path:
    """Where that run lies."""
    return run.store.root
