import json
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import pyarrow.parquet as pq
import pytest
from hypothesis import given
from hypothesis import strategies as st
from pydantic import ValidationError

from hephaestus_dag.evaluation.agentbench.config import AgentBenchConfig
from hephaestus_dag.evaluation.agentbench.database import PROMPT, DatabaseTask, is_right, operation, print_rows, shorten
from hephaestus_dag.evaluation.agentbench.items import (
    agentbench_references,
    agentbench_texts,
    export_agentbench,
    sampled_items,
)
from hephaestus_dag.evaluation.agentbench.mariadb import ServerEngine
from hephaestus_dag.evaluation.agentbench.overall import TASKS, overall_name, overall_score
from hephaestus_dag.evaluation.agentbench.play import play, segments, window
from hephaestus_dag.evaluation.agentbench.score import NO_DATA, evaluate_agentbench
from hephaestus_dag.evaluation.agentbench.server import ServerAddress
from hephaestus_dag.evaluation.agentbench.sqlite import SQLiteEngine
from hephaestus_dag.evaluation.agentbench.task import Outcome, TaskItem, TaskLostError
from hephaestus_dag.evaluation.agentbench.tasks import agentbench_tasks
from hephaestus_dag.evaluation.benchmark_files import CHECKOUT
from hephaestus_dag.evaluation.config import BenchmarkLossConfig
from hephaestus_dag.evaluation.model import Prompt, Reply
from tests.evaluation.agentbench_cases import ANSWER, Scripted, write_data


@pytest.fixture
def config(tmp_path: Path) -> AgentBenchConfig:
    return AgentBenchConfig(data=write_data(tmp_path / "data"), tasks=("DB",), database="sqlite")


def export(config: AgentBenchConfig, folder: Path) -> dict[str, Any]:
    return export_agentbench(config, folder, agentbench_tasks(config))


def database_items(config: AgentBenchConfig) -> list[TaskItem]:
    assert config.data
    return DatabaseTask(SQLiteEngine(1)).read_items(config.data, "test")


def gold(items: Sequence[TaskItem]) -> Callable[[Prompt], str]:
    """Return a model's replies: an item's right action, then an answer that says nothing."""
    targets = {each.opening[-1]["content"]: each.target for each in items}
    return lambda prompt: targets[prompt[2]["content"]] if len(prompt) == 3 else "Action: Answer\nFinal Answer: []"  # type: ignore[index]


def test_gold_actions_are_right(config: AgentBenchConfig, tmp_path: Path):
    counts = export(config, tmp_path / "items")
    assert counts["items"] == 6
    assert counts["sampled_categories"] == {"DB/other": 1, "DB/counting": 1, "DB/ranking": 1, "DB/INSERT": 1, "DB/UPDATE": 1}
    model = Scripted(gold(database_items(config)))
    summary = evaluate_agentbench(model, tmp_path / "items", config, tmp_path / "scores", agentbench_tasks(config))
    group = summary["groups"]["AgentBench DB (SQLite approximation)"]
    assert group["score"] == 1
    assert group["n"] == 5
    assert summary["groups"]["AgentBench[DB (SQLite approximation)]"]["score"] == pytest.approx(100 / 13, abs=1e-5)
    assert "AgentBench overall" not in summary["groups"]
    assert "judge" in summary["not_run"]["AgentBench LTP"]
    rows = {row["item_id"]: row for row in pq.read_table(tmp_path / "scores/rows.parquet").to_pylist()}
    insert = rows["db-test-3"]
    assert [message["role"] for message in json.loads(insert["transcript"])[3:]] == ["assistant", "user", "assistant"]
    assert json.loads(insert["transcript"])[4]["content"] == "[]"
    assert (insert["turns"], insert["new_tokens"], insert["seconds"]) == (2, 6, 1.0)


def test_kinds_of_select_share_a_third(config: AgentBenchConfig):
    weights = DatabaseTask(SQLiteEngine(1)).weights({"other": 30, "counting": 10, "INSERT": 7, "UPDATE": 1})
    assert weights == pytest.approx({"other": 0.25, "counting": 1 / 12, "INSERT": 1 / 3, "UPDATE": 1 / 3})


def test_replies_are_read_as_upstream_reads_them(config: AgentBenchConfig):
    item = database_items(config)[0]
    task = DatabaseTask(SQLiteEngine(1))

    def result(*replies: str) -> tuple[list[str | None], Outcome]:
        conversation = task.start(item)
        assert conversation.messages()[0]["content"] == PROMPT
        observed = [conversation.observe(reply) for reply in replies]
        outcome = conversation.outcome()
        conversation.close()
        return observed, outcome

    assert result(ANSWER)[1] == Outcome(1.0)
    query = operation("SELECT Name\nFROM `Best Scores`\nWHERE `Points (%)` = '7'")
    assert result(query, 'Action: Answer\nFinal Answer: ["Bob"]') == (
        ["[('Bob',)]", None],
        Outcome(0.0, """answered '["Bob"]', expected ['Ann']"""),
    )
    assert result("I give up.")[1].reason == "invalid format: neither an operation nor a final answer"
    assert result("Action: Operation\nSELECT 1")[1].reason == "invalid format: an operation without a SQL block"
    # Only the first block counts, an action in the last line does not, and an answer needs a line of its own.
    assert result(query + "\n" + operation("SELECT 2"))[0] == ["[('Bob',)]"]
    assert "neither" in result('Final Answer: ["Ann"]')[1].reason
    assert result("Action: Answer\nFinal Answer: [['Ann']]")[1].score == 0
    observed, outcome = result(*[operation("SELECT 1")] * 16)
    assert observed == ["[(1,)]"] * 15 + [None]
    assert outcome.reason == "no answer after 15 operations"
    assert result(*[operation("SELECT 1")] * 15, ANSWER)[1].score == 1


@pytest.mark.parametrize(
    ("answer", "label", "right"),
    [
        (' ["3"]', ["3.0"], True),
        (" [3]", ["3"], True),
        (" [3]", ["4"], False),
        (' ["b", "a", "a"]', ["a", "b"], True),
        (' ["a"]', ["a", "b"], False),
        (" [1, 2]", ["1", "2"], False),
        (" [[1], 2]", ["1", "2"], False),
        (" Ann", ["Ann"], False),
        ("Ann", ["Ann"], True),
        (" [None]", ["None"], False),
        (" " + "[" * 5000, ["a"], False),
        (" 9**9**9**9", ["1"], False),
        (" [__import__('os').system('false')]", ["0"], False),
        ("", ["x"], False),
    ],
)
def test_answers_compare_as_upstream(answer: str, label: list[str], right: bool):
    assert is_right(answer, label) is right


@given(st.lists(st.tuples(st.text(max_size=300), st.integers()), max_size=20))
def test_rows_are_cut_as_their_whole_text_is(rows: list[tuple[str, int]]):
    assert print_rows(rows) == shorten(str(rows))


def test_gpt_4_has_its_published_score():
    scores = {"OS": 42.4, "DB": 32.0, "KG": 58.8, "DCG": 74.5, "LTP": 16.6, "HH": 78.0, "WS": 61.1, "WB": 29.0}
    assert round(overall_score({task: score / 100 for task, score in scores.items()}), 2) == 4.01
    assert overall_score({"DB": 0.26, "OS": 0.216}) == pytest.approx(2)


def test_only_eight_tasks_are_called_overall():
    everything = {task: task for task in TASKS}
    assert overall_name(everything) == "AgentBench overall"
    assert overall_name({"OS": "OS", "DB": "DB"}) == "AgentBench[DB,OS]"
    assert overall_name(everything | {"DB": "DB (SQLite approximation)"}) != "AgentBench overall"


def test_old_messages_make_room_for_new_ones():
    turn = [{"role": "assistant", "content": "word " * 1000}, {"role": "user", "content": "word " * 1000}]
    first = {"role": "user", "content": "the task"}
    assert window([first, *turn]) == [first, *turn]
    cut = window([first, *turn, *turn])
    assert cut == [{"role": "user", "content": "the task\n\n[NOTICE] 2 messages are omitted."}, *turn]
    assert segments("a bc, abcdefgh\n12") == 1 + 1 + 1 + 2 + 2


class Broken:
    """DB, with environments that fail in a way of the item's choice."""

    name, title, turn_limit = "DB", "AgentBench DB", 3

    def __init__(self, start: str = "", observe: str = "", lost: str = "") -> None:
        self.fails = {"start": start, "observe": observe, "lost": lost}
        self.open = 0

    def start(self, item: TaskItem) -> "Broken":
        if item.item_id == self.fails["start"]:
            raise OSError("no room")
        self.item, self.open = item, self.open + 1
        return self

    def messages(self) -> list[dict[str, str]]:
        return [{"role": "user", "content": self.item.item_id}]

    def observe(self, reply: str) -> str | None:
        if reply == self.fails["lost"]:
            raise TaskLostError("the server died")
        if reply == self.fails["observe"]:
            raise ValueError("bad luck")
        return None if reply.startswith("end") else "go on"

    def outcome(self) -> Outcome:
        return Outcome(0.5, "half")

    def close(self) -> None:
        self.open -= 1


def play_broken(
    task: Any, config: AgentBenchConfig, say: Callable[[Prompt], str | Reply], num: int = 4
) -> tuple[list[Any], Scripted]:
    items = [TaskItem(task="DB", category="other", item_id=f"i{n}", question="", reference="", content={}) for n in range(num)]
    model = Scripted(say)
    return play({"DB": task}, items, model, config.model_copy(update={"threads": 1})), model


def test_an_environment_that_fails_costs_its_item_alone(config: AgentBenchConfig):
    task = Broken(start="i0", observe="i1")
    played, model = play_broken(task, config, lambda prompt: "i1" if prompt[0]["content"] == "i1" else "end")  # type: ignore[index]
    assert [one.outcome.score for one in played] == [0, 0, 0.5, 0.5]
    assert [one.outcome.reason for one in played[:3]] == [
        "environment failed: OSError: no room",
        "environment failed: ValueError: bad luck",
        "half",
    ]
    assert model.batches == [3]
    assert task.open == 0


def test_a_conversation_without_end_is_ended(config: AgentBenchConfig):
    played, model = play_broken(Broken(), config, lambda prompt: "more")
    assert model.batches == [4, 4, 4]
    assert "after its 3 replies" in played[0].outcome.reason


def test_few_conversations_are_open_at_once(config: AgentBenchConfig):
    played, model = play_broken(Broken(), config.model_copy(update={"conversations": 3}), lambda prompt: "end", num=8)
    assert model.batches == [3, 3, 2]
    assert [one.item.item_id for one in played] == [f"i{n}" for n in range(8)]


def test_a_lost_environment_ends_the_run(config: AgentBenchConfig):
    task = Broken(lost="end")
    with pytest.raises(TaskLostError):
        play_broken(task, config, lambda prompt: "end")
    assert task.open == 0


def test_a_model_that_fails_is_judged_by_what_it_did(config: AgentBenchConfig):
    failed = Reply(text="", num_prompt_tokens=9, num_new_tokens=0, seconds=0, failure="prompt too long")
    at_once, _ = play_broken(Broken(), config, lambda prompt: failed)
    assert at_once[0].outcome == Outcome(0.0, "prompt too long")
    later, _ = play_broken(Broken(), config, lambda prompt: failed if len(prompt) > 1 else "more")
    assert later[0].outcome == Outcome(0.5, "prompt too long")


def test_an_item_has_limited_time(config: AgentBenchConfig):
    played, _ = play_broken(Broken(), config.model_copy(update={"item_seconds": 1e-9}), lambda prompt: "end")
    assert "time limit" in played[0].outcome.reason


def test_export_is_nested_and_deterministic(config: AgentBenchConfig, tmp_path: Path):
    counts = export(config, tmp_path / "a")
    assert export(config, tmp_path / "b") == counts
    assert (tmp_path / "a/agentbench.parquet").read_bytes() == (tmp_path / "b/agentbench.parquet").read_bytes()
    assert sampled_items(tmp_path / "a") == database_items(config)
    texts = dict(agentbench_texts(tmp_path / "a"))
    assert texts["agentbench/db-test-3 (answer)"].startswith("INSERT INTO")
    assert texts["agentbench/db-dev-0"] == "A question of kind other"
    references = list(agentbench_references(tmp_path / "a", BenchmarkLossConfig()))
    assert [each.category for each in references][3:] == ["agentbench/DB/INSERT", "agentbench/DB/UPDATE"]
    assert references[0].target == 'Action: Answer\nFinal Answer: ["Ann"]'
    assert references[3].prompt[0]["content"] == PROMPT  # type: ignore[index]


def test_missing_and_broken_data_name_the_remedy(config: AgentBenchConfig, tmp_path: Path):
    assert config.data
    assert export(AgentBenchConfig(), tmp_path / "none") == {}
    (config.data / "dbbench/standard.jsonl").write_text('{"type": ["INSERT"]}\n')
    with pytest.raises(ValueError, match=r"standard\.jsonl, line 1.*label"):
        export(config, tmp_path)
    (config.data / "dbbench/standard.jsonl").unlink()
    with pytest.raises(FileNotFoundError, match=r"git clone --branch v0\.2 "):
        export(config, tmp_path)


def test_a_task_that_cannot_run_says_why(config: AgentBenchConfig, tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    export(config, tmp_path / "items")
    task = DatabaseTask(SQLiteEngine(1))
    monkeypatch.setattr(task, "missing", lambda: "install a server")
    summary = evaluate_agentbench(Scripted(str), tmp_path / "items", config, tmp_path / "scores", {"DB": task})
    assert summary["not_run"]["AgentBench DB"] == "install a server"
    assert summary["groups"] == {}
    assert not any(reason.startswith("not run") for reason in summary["not_run"].values())


def test_without_data_there_is_one_reason_for_all_tasks(config: AgentBenchConfig, tmp_path: Path):
    export(config, tmp_path / "items")
    nothing = config.model_copy(update={"data": None})
    summary = evaluate_agentbench(Scripted(str), tmp_path / "items", nothing, tmp_path / "scores", {})
    assert summary["not_run"] == {"AgentBench": NO_DATA}


def test_a_task_that_is_set_up_but_does_not_run_stops_the_run(config: AgentBenchConfig, tmp_path: Path):
    export(config, tmp_path / "items")
    task = DatabaseTask(ServerEngine(1, ServerAddress(socket="/nonexistent/socket")))
    with pytest.raises(TaskLostError, match=r"DB is set up but does not run: .* take DB out of"):
        evaluate_agentbench(Scripted(str), tmp_path / "items", config, tmp_path / "scores", {"DB": task})
    assert not (tmp_path / "scores").exists()


def test_an_environment_that_starts_for_no_item_stops_the_run(
    config: AgentBenchConfig, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
):
    export(config, tmp_path / "items")
    task = DatabaseTask(SQLiteEngine(1))
    start = task.start

    def fails(items: set[str]) -> None:
        def starts(item: TaskItem) -> Any:
            if item.item_id in items:
                raise OSError("no room")
            return start(item)

        monkeypatch.setattr(task, "start", starts)

    fails({f"db-test-{n}" for n in range(5)})
    with pytest.raises(
        TaskLostError, match="DB: none of 5 items could start, the first for: environment failed: OSError: no room"
    ):
        evaluate_agentbench(Scripted(str), tmp_path / "items", config, tmp_path / "scores", {"DB": task})
    assert not (tmp_path / "scores").exists()
    fails({"db-test-0"})
    summary = evaluate_agentbench(Scripted(str), tmp_path / "items", config, tmp_path / "scores", {"DB": task})
    assert "1 of 5 items failed by their environment" in summary["note"]


def test_relative_paths_start_at_the_checkout(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.chdir(tmp_path)
    config = AgentBenchConfig.model_validate(
        {"data": "data", "os": {"root": "r"}, "kg": {"ontology": "o"}, "hh": {"python": "p", "games": "g", "prompts": "q"}}
    )
    paths = config.data, config.os.root, config.kg.ontology, config.hh.python, config.hh.games, config.hh.prompts
    assert paths == tuple(CHECKOUT / name for name in ("data", "r", "o", "p", "g", "q"))
    assert AgentBenchConfig(data=tmp_path).data == tmp_path
    assert AgentBenchConfig().data is None


def test_unknown_tasks_are_refused():
    with pytest.raises(ValidationError, match="DCG"):
        AgentBenchConfig(tasks=("DB", "DCG"))
    with pytest.raises(ValidationError, match="only once"):
        AgentBenchConfig(tasks=("DB", "DB"))


def test_the_same_replies_give_the_same_rows(config: AgentBenchConfig, tmp_path: Path):
    export(config, tmp_path / "items")
    say = gold(database_items(config))
    tables = []
    for number, conversations in enumerate((64, 2)):
        changed = config.model_copy(update={"conversations": conversations})
        folder = tmp_path / f"scores{number}"
        evaluate_agentbench(Scripted(say), tmp_path / "items", changed, folder, agentbench_tasks(config))
        tables.append(pq.read_table(folder / "rows.parquet").drop_columns(["environment_seconds"]))
    assert tables[0].equals(tables[1])
    assert (tmp_path / "scores0/summary.json").read_bytes() == (tmp_path / "scores1/summary.json").read_bytes()
