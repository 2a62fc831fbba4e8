"""SQLite in place of MySQL for the DB task: an approximation, in memory, for machines without a server."""

import hashlib
import sqlite3
import threading
import time
from collections.abc import Mapping
from types import TracebackType
from typing import Any, Self

from hephaestus_dag.evaluation.agentbench.database import Database, Table, print_rows, shorten

_LARGEST_VALUE = 16 << 20
_PAGES = 64 << 8
"""Of 4 KiB: 64 MiB."""
_DENIED = {sqlite3.SQLITE_ATTACH, sqlite3.SQLITE_DETACH, sqlite3.SQLITE_PRAGMA}
_DENIED_FUNCTIONS = {"load_extension", "fts3_tokenizer"}


class SQLiteEngine:
    """See `Engine`."""

    approximation = "SQLite"

    def __init__(self, statement_seconds: float) -> None:
        self.statement_seconds = statement_seconds

    def missing(self) -> str:
        """See `Task.missing`."""
        return ""

    def unavailable(self) -> str:
        """See `Task.unavailable`."""
        return ""

    def identity(self) -> Mapping[str, Any]:
        """See `Task.identity`."""
        return {"engine": f"SQLite {sqlite3.sqlite_version}", "statement_seconds": self.statement_seconds}

    def create(self, table: Table) -> Database:
        """See `Engine.create`."""
        return SQLiteDatabase(table, self.statement_seconds)

    def __enter__(self) -> Self:
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None) -> None:
        pass


class SQLiteDatabase:
    """See `Database`."""

    def __init__(self, table: Table, statement_seconds: float) -> None:
        self.table, self.statement_seconds = table, statement_seconds
        self.lock = threading.Lock()
        self.connection = sqlite3.connect(":memory:", check_same_thread=False, isolation_level=None)
        self.connection.execute(f"PRAGMA max_page_count = {_PAGES}")
        self.connection.execute("PRAGMA temp_store = MEMORY")
        columns = ", ".join(f"{_quoted(name)} TEXT" for name in table.columns)
        self.connection.execute(f"CREATE TABLE {_quoted(table.name)} ({columns})")
        marks = ", ".join("?" for _ in table.columns)
        rows = [[None if cell is None else str(cell) for cell in row] for row in table.rows]
        self.connection.executemany(f"INSERT INTO {_quoted(table.name)} VALUES ({marks})", rows)
        self.connection.setlimit(sqlite3.SQLITE_LIMIT_LENGTH, _LARGEST_VALUE)
        self.connection.setlimit(sqlite3.SQLITE_LIMIT_ATTACHED, 0)
        self.connection.set_authorizer(_authorise)

    def execute(self, sql: str) -> str:
        """See `Database.execute`."""
        deadline = time.monotonic() + self.statement_seconds
        self.connection.set_progress_handler(lambda: time.monotonic() > deadline, 10_000)
        try:
            return print_rows(self.connection.execute(sql))
        except (sqlite3.Error, sqlite3.Warning, MemoryError, ValueError) as error:
            return shorten(str(error))
        finally:
            if self.connection.in_transaction:
                self.connection.execute("COMMIT")

    def digest(self) -> str:
        """See `Database.digest`."""
        columns = ", ".join(_quoted(name) for name in self.table.columns)
        try:
            rows = self.connection.execute(f"SELECT {columns} FROM {_quoted(self.table.name)} LIMIT 100000").fetchall()
        except sqlite3.Error as error:
            return str(error)
        hashes = sorted(_md5(",".join(str(cell) for cell in row if cell is not None))[:5] for row in rows)
        return str([(_md5(",".join(hashes)[:1024]) if hashes else None,)])  # MySQL's group_concat_max_len

    def close(self) -> None:
        """See `Database.close`."""
        self.connection.close()


def _authorise(action: int, first: str | None, second: str | None, *_: str | None) -> int:
    refused = action in _DENIED or (action == sqlite3.SQLITE_FUNCTION and second in _DENIED_FUNCTIONS)
    return sqlite3.SQLITE_DENY if refused else sqlite3.SQLITE_OK


def _quoted(name: str) -> str:
    return "`" + name.replace("`", "``") + "`"


def _md5(text: str) -> str:
    return hashlib.md5(text.encode("utf-8", "surrogatepass")).hexdigest()
