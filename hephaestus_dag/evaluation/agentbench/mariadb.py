"""Databases for the DB task on a MariaDB or MySQL server: each with a user of its own, who has rights on nothing else."""

import logging
import secrets
import threading
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager, suppress
from dataclasses import replace
from importlib.util import find_spec
from types import TracebackType
from typing import Any, Self

from hephaestus_dag.evaluation.agentbench.database import Database, Table, print_rows, shorten
from hephaestus_dag.evaluation.agentbench.server import (
    ServerAddress,
    missing_programs,
    private_server,
    program_digest,
    server_version,
)
from hephaestus_dag.evaluation.agentbench.task import TaskLostError

logger = logging.getLogger(__name__)

Run = Callable[..., Any]

_RIGHTS = (
    "SELECT, INSERT, UPDATE, DELETE, CREATE, DROP, ALTER, INDEX, REFERENCES, "
    "CREATE TEMPORARY TABLES, LOCK TABLES, CREATE VIEW, SHOW VIEW"
)
_SQL_MODE = (
    "ONLY_FULL_GROUP_BY,STRICT_TRANS_TABLES,NO_ZERO_IN_DATE,NO_ZERO_DATE,ERROR_FOR_DIVISION_BY_ZERO,NO_ENGINE_SUBSTITUTION"
)
"""MySQL 8's default."""
_TIMED_OUT = "3024 (HY000): Query execution was interrupted, maximum statement execution time exceeded"
_SEVERAL = "Commands out of sync; you can't run this command now"
_EXISTS = 1007
"""Error code: there is a database of that name."""


class ServerEngine:
    """See `Engine`. Without an address a private server runs between enter and exit."""

    approximation = ""

    def __init__(self, statement_seconds: float, address: ServerAddress | None = None) -> None:
        self.statement_seconds = statement_seconds
        self.private = address is None
        self.address = address
        self.version = "MariaDB or MySQL"
        self.stack = ExitStack()

    def missing(self) -> str:
        """See `Task.missing`."""
        if find_spec("pymysql") is None:
            return "pymysql is not installed: pip install pymysql"
        return missing_programs() if self.private else ""

    def unavailable(self) -> str:
        """See `Task.unavailable`."""
        if missing := self.missing():
            return missing
        import pymysql

        try:
            if self.address:
                server_version(self.address)
        except (pymysql.Error, OSError, RuntimeError) as error:  # the last where a package for the password is missing
            return f"the database server does not let us in ({error}): correct its address, user or password"
        return ""

    def identity(self) -> Mapping[str, Any]:
        """See `Task.identity`; the version is known after enter, the program of a private server before."""
        program = {"program": program_digest()} if self.private else {}
        return {"engine": self.version, **program, "statement_seconds": self.statement_seconds}

    def create(self, table: Table) -> Database:
        """See `Engine.create`. Raises TaskLostError when the server does not answer."""
        assert self.address, "enter the engine first"
        return ServerDatabase(self.address, table, self.statement_seconds, self.private)

    def __enter__(self) -> Self:
        if self.private:
            self.address = self.stack.enter_context(private_server())
        assert self.address
        self.version = server_version(self.address)
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None) -> None:
        self.stack.close()
        if self.private:
            self.address = None


class ServerDatabase:
    """See `Database`."""

    def __init__(self, address: ServerAddress, table: Table, statement_seconds: float, private: bool) -> None:
        self.table, self.statement_seconds, self.admin = table, statement_seconds, address
        unique = secrets.token_hex(8)
        self.user = replace(address, user=f"agentbench_user_{unique}", password=secrets.token_hex(16))
        self.name, other = "", f"agentbench_{unique}"
        with _administrator(address) as run:
            try:
                # Upstream's database is called as its table. On a server of somebody else that could be a name of theirs.
                self.name = self._create(run, [table.name, other] if private else [other])
                run("CREATE USER %s@'%%' IDENTIFIED BY %s", self.user.user, self.user.password)
                pattern = _quoted(self.name.replace("\\", "\\\\").replace("_", "\\_").replace("%", "\\%"))
                run(f"GRANT {_RIGHTS} ON {_escaped(pattern)}.* TO %s@'%%'", self.user.user)
                where = f"{_quoted(self.name)}.{_quoted(table.name)}"
                run(f"CREATE TABLE {where} ({','.join(f'{_quoted(name)} TEXT' for name in table.columns)})")
                if table.rows:
                    columns = ",".join(map(_quoted, table.columns))
                    marks = ",".join("(" + ",".join("%s" for _ in row) + ")" for row in table.rows)
                    cells = [cell for row in table.rows for cell in row]
                    run(f"{_escaped(f'INSERT INTO {where} ({columns})')} VALUES {marks}", *cells)
            except BaseException:
                self.close()
                raise

    def _create(self, run: "Run", names: list[str]) -> str:
        import pymysql

        for name in names:
            try:
                run(f"CREATE DATABASE {_quoted(name)} CHARACTER SET utf8mb4")
                return name
            except pymysql.err.ProgrammingError as error:
                if error.args[0] != _EXISTS or name == names[-1]:
                    raise
        raise AssertionError("names is not empty")

    def execute(self, sql: str) -> str:
        """See `Database.execute`. Several statements at once are an error, and nothing of them is committed, as upstream."""
        from pymysql.constants import CLIENT
        from pymysql.cursors import SSCursor

        connection = self._connect(
            database=self.name,
            client_flag=CLIENT.MULTI_STATEMENTS,
            sql_mode=_SQL_MODE,
            init_command="SET SESSION group_concat_max_len = 1024",
            read_timeout=self.statement_seconds + 20,
            cursorclass=SSCursor,
        )
        try:
            with self._time_limit(connection) as timed_out:
                text = _run(connection, sql)
            if timed_out.is_set():
                text = _TIMED_OUT
        finally:
            if connection.open:
                connection.close()
        return shorten(text.replace(self.user.user, "root").replace(self.name, self.table.name))

    def digest(self) -> str:
        """See `Database.digest`. Asked as the item's user: what the model put in the table's place gets no more rights."""
        columns = ",".join(_quoted(name) for name in self.table.columns)
        return self.execute(
            "select md5(group_concat(rowhash order by rowhash)) as hash from("
            f" SELECT substring(MD5(CONCAT_WS(',', {columns})), 1, 5) AS rowhash FROM {_quoted(self.table.name)}) as sub"
        )

    def close(self) -> None:
        """See `Database.close`."""
        try:
            with _administrator(self.admin) as run:
                if self.name:
                    run(f"DROP DATABASE IF EXISTS {_quoted(self.name)}")
                run("DROP USER IF EXISTS %s@'%%'", self.user.user)
        except Exception as error:  # whatever it is: the item is over, and its end must not end the run
            logger.warning("database %s stays on the server: %s", self.name, error)

    def _connect(self, **arguments: Any) -> Any:
        import pymysql

        try:
            return self.user.connect(**arguments)
        except pymysql.err.OperationalError:
            with _administrator(self.admin):  # raises TaskLostError when the server is gone
                raise

    @contextmanager
    def _time_limit(self, connection: Any) -> Iterator[threading.Event]:
        """Kill what a connection runs when its time is over: a limit of the session could be lifted by the statement itself."""
        import pymysql

        done, timed_out = threading.Event(), threading.Event()

        def watch() -> None:
            if done.wait(self.statement_seconds):
                return
            timed_out.set()
            for what in ("QUERY", "CONNECTION"):  # the second for what goes on with another statement
                # It may have ended meanwhile; and a server that is gone is found by the item itself.
                with suppress(pymysql.Error, OSError, TaskLostError), _administrator(self.admin) as run:
                    run(f"KILL {what} {connection.thread_id()}")
                if done.wait(2):
                    return

        watcher = threading.Thread(target=watch, daemon=True)
        watcher.start()
        try:
            yield timed_out
        finally:
            done.set()
            watcher.join()


@contextmanager
def _administrator(address: ServerAddress) -> Iterator["Run"]:
    """Yield a function that runs a statement with its values; raises TaskLostError when the server does not answer."""
    import pymysql

    try:
        connection = address.connect(autocommit=True, init_command="SET SESSION lock_wait_timeout = 30")
    except (pymysql.err.OperationalError, OSError) as error:
        raise TaskLostError(f"the database server is gone: {error}") from error
    try:
        # Without values pymysql leaves per cent signs alone, so only statements with values have them doubled.
        yield lambda sql, *values: connection.cursor().execute(sql, values or None)
    finally:
        connection.close()


def _run(connection: Any, sql: str) -> str:
    import pymysql

    try:
        cursor = connection.cursor()
        cursor.execute(sql)
        text = print_rows(map(_as_upstream, cursor))
        several = cursor.nextset()
        if not several:
            connection.commit()
            return text
        while several:
            for _ in cursor:
                pass
            several = cursor.nextset()
        return _SEVERAL
    except UnicodeError as error:
        return str(error)
    except (pymysql.Error, OSError) as error:
        return _error_text(error)


def _as_upstream(row: Sequence[Any]) -> list[Any]:
    """Return a row with bytes in the type that MySQL's own client has them in."""
    return [bytearray(cell) if isinstance(cell, bytes) else cell for cell in row]


def _error_text(error: Exception) -> str:
    """Return an error as MySQL's own client for Python prints it, which is what upstream shows."""
    code, message = (*error.args, "", "")[:2]
    return f"{code} ({getattr(error, 'sqlstate', None) or 'HY000'}): {message}"


def _escaped(text: str) -> str:
    return text.replace("%", "%%")


def _quoted(name: str) -> str:
    return "`" + name.replace("`", "``") + "`"
