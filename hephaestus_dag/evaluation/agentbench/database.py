"""The DB task: a question about a table, or a change to it, by SQL that the model writes.

Prompt, grammar, limits and judgement are those of AgentBench v0.2 (THUDM/AgentBench, Apache-2.0,
``src/server/tasks/dbbench``), with one difference: the final answer is read as a Python literal, where upstream evaluates it.
"""

import ast
import json
import re
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from types import TracebackType
from typing import Any, Protocol, Self

from hephaestus_dag.evaluation.agentbench.task import Outcome, TaskItem, split_file
from hephaestus_dag.evaluation.prompts import ChatMessage

PROMPT = """
I will ask you a question, then you should help me operate a MySQL database with SQL to answer the question.
You have to explain the problem and your solution to me and write down your thoughts.
After thinking and explaining thoroughly, every round you can choose to operate or to answer.
your operation should be like this:
Action: Operation
```sql
SELECT * FROM table WHERE condition;
```
You MUST put SQL in markdown format without any other comments. Your SQL should be in one line.
Every time you can only execute one SQL statement. I will only execute the statement in the first SQL code block. Every time you write a SQL, I will execute it for you and give you the output.
If you are done operating, and you want to commit your final answer, then write down:
Action: Answer
Final Answer: ["ANSWER1", "ANSWER2", ...]
DO NOT write this pattern unless you are sure about your answer. I expect an accurate and correct answer.
Your answer should be accurate. Your answer must be exactly the same as the correct answer.
If the question is about modifying the database, then after done operation, your answer field can be anything.
If your response cannot match any pattern I mentioned earlier, you will be judged as FAIL immediately.
Your input will be raw MySQL response, you have to deal with it by yourself.
"""  # noqa: E501
MAX_ROUNDS = 15
"""Operations of a conversation (``configs/tasks/dbbench.yaml``); one more reply may hold the answer."""
MAX_RESULT = 800
"""Characters of a result that the model sees."""
CHANGES = ("INSERT", "UPDATE")
"""Categories that are judged by the table, not by the answer."""
_FILES = {"dev": "dbbench/dev.jsonl", "test": "dbbench/standard.jsonl"}


@dataclass(frozen=True, slots=True)
class Table:
    """The one table of an item's database; every column is text."""

    name: str
    columns: Sequence[str]
    rows: Sequence[Sequence[Any]]

    @classmethod
    def of(cls, content: Mapping[str, Any]) -> "Table":
        """Return the table in a row of the data."""
        info = content["table"]["table_info"]
        return cls(content["table"]["table_name"], [column["name"] for column in info["columns"]], info["rows"])


class Database(Protocol):
    """An item's own database."""

    def execute(self, sql: str) -> str:
        """Run a statement in a new session; return its rows as Python prints them, or the error's text; cut by `shorten`."""
        ...

    def digest(self) -> str:
        """Return the printed row with the hash of the table, or the error's text."""
        ...

    def close(self) -> None:
        """Drop it; raises nothing."""
        ...


class Engine(Protocol):
    """Makes databases."""

    @property
    def approximation(self) -> str:
        """What stands in for MySQL, for the score's name; empty when nothing does."""
        ...

    def missing(self) -> str:
        """See `Task.missing`."""
        ...

    def unavailable(self) -> str:
        """See `Task.unavailable`."""
        ...

    def identity(self) -> Mapping[str, Any]:
        """See `Task.identity`."""
        ...

    def create(self, table: Table) -> Database:
        """Return a new database that holds the table."""
        ...

    def __enter__(self) -> Self: ...

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None) -> None: ...


class DatabaseTask:
    """AgentBench DB, on an engine."""

    name = "DB"
    turn_limit = MAX_ROUNDS + 1

    def __init__(self, engine: Engine) -> None:
        self.engine = engine

    @property
    def title(self) -> str:
        """See `Task.title`."""
        other = self.engine.approximation
        return f"AgentBench DB ({other} approximation)" if other else "AgentBench DB"

    def missing(self) -> str:
        """See `Task.missing`."""
        return self.engine.missing()

    def unavailable(self) -> str:
        """See `Task.unavailable`."""
        return self.engine.unavailable()

    def identity(self) -> Mapping[str, Any]:
        """See `Task.identity`."""
        return self.engine.identity()

    def read_items(self, data: Path, split: str) -> list[TaskItem]:
        """See `Task.read_items`."""
        (path,) = split_file(data, _FILES, split)
        items = []
        for number, line in enumerate(path.read_text(encoding="utf-8").splitlines()):
            try:
                items.append(_item(json.loads(line), f"db-{split}-{number}"))
            except (ValueError, KeyError, TypeError, IndexError) as error:
                raise ValueError(
                    f"{path}, line {number + 1}: no DB item ({type(error).__name__}: {error}); fetch the file again"
                ) from None
        return items

    def start(self, item: TaskItem) -> "DatabaseConversation":
        """See `Task.start`."""
        return DatabaseConversation(item, self.engine.create(Table.of(item.content)))

    def weights(self, items: Mapping[str, int]) -> dict[str, float]:
        """Return equal weights of INSERT, UPDATE and all kinds of SELECT together, as far as they were run."""
        kinds: dict[str, int] = {}
        for category, count in items.items():
            kinds[_kind(category)] = kinds.get(_kind(category), 0) + count
        return {category: count / kinds[_kind(category)] / len(kinds) for category, count in items.items()}

    def __enter__(self) -> Self:
        self.engine.__enter__()
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None) -> None:
        self.engine.__exit__(kind, error, trace)


class DatabaseConversation:
    """See `Conversation`."""

    def __init__(self, item: TaskItem, database: Database) -> None:
        self.item = item
        self.database = database
        self.rounds = 0
        self.answer = ""
        self.problem = "no answer was given"

    def messages(self) -> list[ChatMessage]:
        """See `Conversation.messages`."""
        return list(self.item.opening)

    def observe(self, reply: str) -> str | None:
        """See `Conversation.observe`."""
        action = re.search(r"Action: (.*?)\n", reply)
        if action and action.group(1) == "Operation" and self.rounds < MAX_ROUNDS:
            block = re.search(r"```sql\n([\s\S]*?)\n```", reply)
            if not block:
                self.problem = "invalid format: an operation without a SQL block"
                return None
            self.rounds += 1
            return self.database.execute(block.group(1).strip().replace("\n", " "))
        answer = re.search(r"\nFinal Answer:(.*)", reply)
        self.answer = answer.group(1) if answer else ""
        if self.answer:
            self.problem = ""
        elif self.rounds >= MAX_ROUNDS:
            self.problem = f"no answer after {MAX_ROUNDS} operations"
        else:
            self.problem = "invalid format: neither an operation nor a final answer"
        return None

    def outcome(self) -> Outcome:
        """See `Conversation.outcome`: changes are judged by the table, whatever the answer is."""
        content = self.item.content
        if self.item.category in CHANGES:
            right = self.database.digest() == content["answer_md5"]
            wrong = "the table is not as expected"
        else:
            right = is_right(self.answer, content["label"])
            wrong = f"answered {self.answer.strip()[:200]!r}, expected {content['label']}"
        return Outcome(1.0) if right else Outcome(0.0, self.problem or wrong)

    def close(self) -> None:
        """See `Conversation.close`."""
        self.database.close()


def is_right(answer: str, label: Sequence[str]) -> bool:
    """Compare a final answer, as it was written, with the expected one: single values as numbers or text, others as sets."""
    try:
        values: list[Any] = list(ast.literal_eval(answer.strip(" \t")))
    except (ValueError, TypeError, SyntaxError, MemoryError, RecursionError):
        values = [answer]
    try:
        if len(values) != 1 or len(label) != 1:
            return set(values) == set(label)
        try:
            return float(values[0]) == float(label[0])
        except (ValueError, TypeError, OverflowError):
            return bool(values[0] == label[0])
    except TypeError:  # a value that no set can hold
        return False


def shorten(result: str) -> str:
    """Cut a result to what the model sees."""
    return result[:MAX_RESULT] + "[TRUNCATED]" if len(result) > MAX_RESULT else result


def print_rows(rows: Iterable[Sequence[Any]]) -> str:
    """Return ``str`` of the list of rows as tuples, shortened; rows that would be cut off are passed over."""
    parts: list[str] = []
    size = 0
    for row in rows:
        if size <= MAX_RESULT:
            parts.append(repr(tuple(row)))
            size += len(parts[-1]) + 2
    return shorten(f"[{', '.join(parts)}]")


def operation(sql: str) -> str:
    """Return a reply that runs a statement."""
    return f"Action: Operation\n```sql\n{sql}\n```"


def _item(row: Mapping[str, Any], item_id: str) -> TaskItem:
    """Return an item; raises KeyError and the like on a row of another shape."""
    category = row["type"][0]
    changes = category in CHANGES
    answer = row["label"]
    Table.of(row)
    opening: list[ChatMessage] = [
        {"role": "user", "content": PROMPT},
        {"role": "assistant", "content": "Ok."},
        {"role": "user", "content": f"{row['description']}\n{row['add_description']}"},
    ]
    target = operation(answer[0]) if changes else f"Action: Answer\nFinal Answer: {json.dumps(answer, ensure_ascii=False)}"
    judged = {"answer_md5": row["answer_md5"]} if changes else {"label": answer}
    return TaskItem(
        task="DB",
        category=category,
        item_id=item_id,
        question=row["description"],
        reference=answer[0] if changes else "",
        content={"table": row["table"], **judged},
        opening=opening,
        target=target,
    )


def _kind(category: str) -> str:
    return category if category in CHANGES else "SELECT"
