"""Dagster's own storage in PostgreSQL, on a real server of the test's own."""

import os
import pwd
import shutil
import socket
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from pathlib import Path

import dagster as dg
import pytest

ROOT = Path(__file__).parents[2]


def program(name: str) -> str | None:
    """Return a program of PostgreSQL; Debian keeps them out of the path."""
    return shutil.which(name) or next((str(path) for path in sorted(Path("/usr/lib/postgresql").glob(f"*/bin/{name}"))), None)


@pytest.fixture
def postgres_url() -> Iterator[str]:
    initdb, server = program("initdb"), program("postgres")
    user = None  # the server refuses to run as root
    if os.getuid() == 0:
        user = next((entry.pw_name for entry in pwd.getpwall() if entry.pw_name == "postgres"), None)
    if not (initdb and server) or (os.getuid() == 0 and not user):
        pytest.skip("needs PostgreSQL (Debian: apt install postgresql)")
    folder = Path(tempfile.mkdtemp())  # that user may not enter pytest's own folders
    if user:
        shutil.chown(folder, user)
    with socket.create_server(("127.0.0.1", 0)) as free:
        port = free.getsockname()[1]
    subprocess.run([initdb, "-A", "trust", "-U", "dagster", folder / "data"], user=user, check=True, stdout=subprocess.DEVNULL)
    command = [server, "-D", folder / "data", "-p", str(port), "-k", folder, "-c", "fsync=off"]
    with subprocess.Popen(command, user=user, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL) as process:
        try:
            ready = [program("pg_isready") or "pg_isready", "-q", "-h", "127.0.0.1", "-p", str(port)]
            while subprocess.run(ready).returncode:
                assert process.poll() is None, "PostgreSQL ended at once"
            yield f"postgresql+psycopg2://dagster@127.0.0.1:{port}/postgres"
        finally:
            process.terminate()
            process.wait()
            shutil.rmtree(folder)


@pytest.mark.slow
def test_runs_are_kept_in_postgres(postgres_url: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    pytest.importorskip("dagster_postgres", reason="needs the extra postgres")
    monkeypatch.setenv("HEPHAESTUS_POSTGRES_URL", postgres_url)
    settings = [(ROOT / name).read_text() for name in ("dagster.yaml", "deploy/postgres.yaml")]
    (tmp_path / "dagster.yaml").write_text("".join(settings))
    command = ["dagster", "asset", "materialize", "-m", "hephaestus_dag.definitions", "--select", "text_documents"]
    home = {"DAGSTER_HOME": str(tmp_path), "HEPHAESTUS_STORE": str(tmp_path / "store"), "HEPHAESTUS_RECIPE": "laptop"}
    run = subprocess.run([sys.executable, "-m", *command], cwd=ROOT, env={**os.environ, **home}, capture_output=True, text=True)
    assert run.returncode == 0, run.stderr[-3000:]

    with dg.DagsterInstance.from_config(str(tmp_path)) as instance:
        (kept,) = instance.get_runs()
        made = instance.get_latest_materialization_event(dg.AssetKey("text_documents"))
    assert kept.status == dg.DagsterRunStatus.SUCCESS
    assert made is not None
    assert "PostgresRunStorage" in type(instance.run_storage).__name__
    assert not list(tmp_path.glob("history/*.db"))
