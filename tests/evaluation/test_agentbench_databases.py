"""The engines of AgentBench's DB task; those on a server need an installed MariaDB."""

import os
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from benchmarks.agentbench_attacks import TABLE, attacks, attempt, harm, make_victim
from hephaestus_dag.evaluation.agentbench.config import AgentBenchConfig
from hephaestus_dag.evaluation.agentbench.database import DatabaseTask, Engine, Table
from hephaestus_dag.evaluation.agentbench.mariadb import ServerEngine
from hephaestus_dag.evaluation.agentbench.server import ServerAddress, private_server
from hephaestus_dag.evaluation.agentbench.sqlite import SQLiteEngine
from hephaestus_dag.evaluation.agentbench.task import TaskLostError
from resources.database import DatabaseServer
from tests.evaluation.agentbench_cases import write_data

needs_server = pytest.mark.skipif(bool(why := ServerEngine(1).unavailable()), reason=why)


@pytest.fixture(scope="module")
def server() -> Iterator[ServerAddress]:
    with private_server() as address:
        yield address


@pytest.fixture(params=["sqlite", pytest.param("server", marks=[needs_server, pytest.mark.slow])])
def engine(request: pytest.FixtureRequest) -> Engine:
    if request.param == "sqlite":
        return SQLiteEngine(0.3)
    return ServerEngine(0.5, request.getfixturevalue("server"))


def test_gold_statements_give_the_published_hash(engine: Engine, tmp_path: Path):
    task = DatabaseTask(engine)
    for item in task.read_items(write_data(tmp_path / "data"), "test")[3:]:
        conversation = task.start(item)
        assert conversation.outcome().score == 0
        assert conversation.observe(item.target) == "[]"
        assert conversation.outcome().score == 1
        conversation.close()


def test_items_of_one_table_do_not_meet(engine: Engine):
    first, second = engine.create(TABLE), engine.create(TABLE)
    before = second.digest()
    assert first.execute("DELETE FROM `Best Scores`") == "[]"
    assert first.execute("SELECT * FROM `Best Scores`") == "[]"
    assert second.digest() == before
    first.close()
    second.close()


def test_results_are_python_text_and_errors_are_shown(engine: Engine):
    database = engine.create(Table("t", ["a%s", "b"], [["1", "x'y\\"], [None, 2]]))
    assert database.execute("SELECT * FROM t;") == """[('1', "x'y\\\\"), (None, '2')]"""
    assert "syntax" in database.execute("SELEC 1")
    assert len(database.execute("SELECT * FROM t" + " CROSS JOIN t AS t%d" * 5 % (1, 2, 3, 4, 5))) == 811
    database.close()


def test_attacks_change_nothing_outside(engine: Engine, open_folder: Path):
    (open_folder / "secret").write_text("xyzzy")
    address = engine.address if isinstance(engine, ServerEngine) else None
    if address:
        make_victim(address)
    bystander = engine.create(TABLE)
    before = bystander.digest()
    for name, sql in attacks(open_folder / "target", open_folder / "secret"):
        began = time.monotonic()
        seen = attempt(engine.create(TABLE), sql)
        assert harm(address, open_folder / "target", seen) == [], name
        assert bystander.digest() == before, name
        assert len(seen) < 1000, name
        assert time.monotonic() - began < 5, name
    bystander.close()


def test_sqlite_keeps_its_limits(tmp_path: Path):
    database = SQLiteEngine(3).create(TABLE)
    rows = "WITH RECURSIVE c AS (SELECT 1 AS n UNION ALL SELECT n + 1 FROM c WHERE n < 100000) SELECT"
    assert database.execute("PRAGMA max_page_count = 1000000000") == "not authorized"
    assert database.execute(f"ATTACH DATABASE '{tmp_path / 'file'}' AS a") == "not authorized"
    assert database.execute(f"CREATE TABLE big AS {rows} hex(zeroblob(5000)) FROM c") == "database or disk is full"
    assert database.execute("SELECT COUNT(*) FROM `Best Scores`") == "[(2,)]"
    database.close()


@pytest.mark.slow
@needs_server
def test_texts_are_those_of_the_official_client(server: ServerAddress):
    """Recorded with mysql-connector-python 8.0.33, as AgentBench v0.2 calls it."""
    database = ServerEngine(5, server).create(Table("t", ["a", "b"], [["1", "x"], ["2", "y"]]))
    recorded = {
        "SELECT COUNT(*), SUM(a), SUM(CAST(a AS DECIMAL)), CAST('2020-01-02' AS DATE), X'41', NULL FROM t": (
            "[(2, 3.0, Decimal('3'), datetime.date(2020, 1, 2), bytearray(b'A'), None)]"
        ),
        "INSERT INTO t VALUES ('3','z')": "[]",
        "SELECT nope FROM t": "1054 (42S22): Unknown column 'nope' in 'SELECT'",
        "SELECT * FROM nope": "1146 (42S02): Table 't.nope' doesn't exist",
        "SHOW TABLES": "[('t',)]",
        "SELECT REPEAT('ab', 1000)": "[('" + "ab" * 398 + "a[TRUNCATED]",
        "UPDATE t SET b='s' WHERE a='1'; SELECT 2": "Commands out of sync; you can't run this command now",
        "SELECT * FROM t": "[('1', 'x'), ('2', 'y'), ('3', 'z')]",
        ";": "1065 (42000): Query was empty",
    }
    assert {sql: database.execute(sql) for sql in recorded} == recorded
    database.close()


@pytest.mark.slow
@needs_server
def test_nothing_stays_on_a_server_of_somebody_else(server: ServerAddress):
    def names() -> set[str]:
        connection = server.connect()
        with connection.cursor() as cursor:
            cursor.execute("SELECT schema_name FROM information_schema.schemata UNION SELECT user FROM mysql.user")
            return {name for (name,) in cursor.fetchall()}

    before = names()
    database = ServerEngine(1, server).create(TABLE)
    assert TABLE.name not in names()
    assert len(names() - before) == 2
    database.close()
    assert names() == before


@pytest.mark.slow
@needs_server
def test_a_server_that_dies_ends_the_run():
    with ServerEngine(1) as engine:
        assert engine.address
        database = engine.create(TABLE)
        folder = Path(engine.address.socket).parent
        os.kill(int((folder / "pid").read_text()), signal.SIGKILL)
        with pytest.raises(TaskLostError):
            database.execute("SELECT 1")
        database.close()
    assert not folder.exists()


@pytest.mark.slow
@needs_server
def test_a_private_server_ends_with_a_process_that_is_killed():
    code = (
        "import time\nfrom hephaestus_dag.evaluation.agentbench.server import private_server\n"
        "with private_server() as address:\n    print(address.socket, flush=True)\n    time.sleep(60)"
    )
    with subprocess.Popen([sys.executable, "-c", code], stdout=subprocess.PIPE, text=True) as process:
        assert process.stdout
        folder = Path(process.stdout.readline().strip()).parent
        server = int((folder / "pid").read_text())
        process.kill()
    deadline = time.monotonic() + 20
    while time.monotonic() < deadline and (folder.exists() or Path(f"/proc/{server}").exists()):
        time.sleep(0.05)
    assert not folder.exists()
    assert not Path(f"/proc/{server}").exists()


def test_an_address_that_does_not_answer_says_so():
    if ServerEngine(1).unavailable().startswith("pymysql"):
        pytest.skip("pymysql is not installed: pip install pymysql")
    reason = ServerEngine(1, ServerAddress(socket="/nonexistent/socket")).unavailable()
    assert "correct its address" in reason


def test_the_program_of_a_private_server_belongs_to_the_identity(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr("shutil.which", lambda name, **_: str(tmp_path / name))
    programs = []
    for release in ("10.11", "10.11.19"):
        (tmp_path / "mariadbd").write_text(release)
        programs.append(ServerEngine(1).identity()["program"])
    assert programs[0] != programs[1]
    assert "program" not in ServerEngine(1, ServerAddress()).identity()


def test_without_programs_the_reason_names_the_packages(monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr("shutil.which", lambda *_, **__: None)
    assert "mariadb-server-core" in ServerEngine(1).unavailable() or "pymysql" in ServerEngine(1).unavailable()


def test_the_resource_takes_its_password_from_the_environment(monkeypatch: pytest.MonkeyPatch):
    assert DatabaseServer().address is None
    monkeypatch.setenv("SECRET", "hush")
    address = DatabaseServer(host="db", user="bench", password_variable="SECRET").address
    assert address == ServerAddress(host="db", user="bench", password="hush")
    assert "hush" not in repr(address)


def test_the_engine_follows_the_config():
    from hephaestus_dag.evaluation.agentbench.tasks import database_task

    assert database_task(AgentBenchConfig(database="sqlite")).title == "AgentBench DB (SQLite approximation)"
    assert database_task(AgentBenchConfig()).title == "AgentBench DB"
