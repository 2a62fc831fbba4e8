"""AgentBench's OS task: its data, the grammar of actions, and judging."""

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from os_machine import machine

from hephaestus_dag.evaluation.agentbench.os_config import OsConfig
from hephaestus_dag.evaluation.agentbench.os_interaction import FILES, OsConversation, OsTask, judge_match, parse_action

INTEGERS = {"language": "python", "file": "check/integer-match.py"}
RECORDS: list[dict[str, Any]] = [
    {
        "description": "How many files are in /data?",
        "create": {"local": "default", "init": [{"file": "init/files.sh"}, "touch /data/c"]},
        "evaluation": {"check": [None, INTEGERS], "example": {"code": "ls /data | wc -l"}},
    },
    {
        "description": "Which word appears in /tmp/log?",
        "create": {"init": {"code": "mkdir -p /tmp/start"}},
        "start": "cd /tmp/start; (while true; do echo tick >> /tmp/log; sleep 0.05; done) &",
        "evaluation": {"match": "tick"},
    },
    {
        "description": "Make /made, and say 7.",
        "evaluation": {"check": ["[ -d /made ]", {"code": "import sys; assert sys.argv[1] == '7'", "language": "python"}]},
    },
    {"description": "Broken set-up.", "create": {"init": "exit 5"}, "evaluation": {"match": {"regex": "^a+$"}}},
    {"description": "A list by mistake.", "create": [None], "evaluation": {"match": {"regex": "^a+$"}}},
]


@pytest.fixture
def data(tmp_path: Path) -> Path:
    """A folder in the shape of the public data."""
    folder = tmp_path / "os_interaction"
    for split, files in FILES.items():
        for name in files:
            (folder / "data" / name).parent.mkdir(parents=True, exist_ok=True)
            (folder / "data" / name).write_text("[]")
            scripts = folder / "scripts" / ("dev" if split == "dev" else name.split("/")[0])
            for script, text in (
                ("init/files.sh", "mkdir /data; touch /data/a /data/b"),
                ("check/integer-match.py", "import sys\nsys.exit(int(sys.argv[1]) != int(sys.argv[2]))"),
            ):
                (scripts / script).parent.mkdir(parents=True, exist_ok=True)
                (scripts / script).write_text(text)
    (folder / "data/dev.json").write_text(json.dumps(RECORDS))
    (folder / "data/4/N11.json").write_text(json.dumps(RECORDS[0]))
    return tmp_path


@pytest.fixture(scope="session")
def config(tmp_path_factory: pytest.TempPathFactory) -> OsConfig:
    """Sandboxes on a tiny root."""
    return machine(tmp_path_factory.getbasetemp() / "machine")


@pytest.fixture
def play(data: Path, config: OsConfig) -> Iterator[Any]:
    """Starts the conversation of a row."""
    task, open_ones = OsTask(config), []

    def start(row: int) -> OsConversation:
        open_ones.append(task.start(task.read_items(data, "dev")[row]))
        return open_ones[-1]

    yield start
    for conversation in open_ones:
        conversation.close()


def bash(code: str) -> str:
    """Return a reply that runs code."""
    return f"Think: I try it.\n\nAct: bash\n\n```bash\n{code}\n```"


def test_items_carry_their_scripts_and_their_solution(data: Path) -> None:
    task = OsTask(OsConfig())
    items = task.read_items(data, "dev")
    assert [item.item_id for item in items] == [f"os-dev-dev-dev-{row}" for row in range(5)]
    assert items[0].content["init"][0] == ("bash", "mkdir /data; touch /data/a /data/b")
    assert items[0].target == "Act: bash\n\n```bash\nls /data | wc -l\n```"
    assert (items[1].reference, items[1].target) == ("tick", "Act: answer(tick)")
    assert items[0].opening[-1]["content"].endswith("My problem is:\n\nHow many files are in /data?")
    assert [message["role"] for message in items[0].opening] == ["user", "assistant"] * 3 + ["user"]
    (only,) = task.read_items(data, "test")
    assert (only.item_id, only.category) == ("os-test-4-N11-0", "set 4")
    assert "bubblewrap" in task.unavailable() or "os_root" in task.unavailable()


def test_bad_data_is_refused_with_file_and_row(data: Path) -> None:
    path = data / "os_interaction/data/dev.json"
    for record, message in (
        ({"description": "x"}, "row 0: needs `description` and `evaluation`"),
        ({"description": "x", "evaluation": {}}, "neither `match` nor `check`"),
        ({"description": "x", "evaluation": {"check": [None]}}, "an `example` that is missing"),
        ({"description": "x", "evaluation": {"check": {"language": "c", "code": ""}}}, "no bash or python script"),
    ):
        path.write_text(json.dumps([record]))
        with pytest.raises(ValueError, match=message):
            OsTask(OsConfig()).read_items(data, "dev")
    path.write_text(json.dumps([{"description": "x", "evaluation": {"check": {"file": "check/none.sh"}}}]))
    with pytest.raises(FileNotFoundError, match=r"check/none.sh is missing.*git clone"):
        OsTask(OsConfig()).read_items(data, "dev")
    path.unlink()
    with pytest.raises(FileNotFoundError, match=r"dev\.json"):
        OsTask(OsConfig()).read_items(data, "dev")


@pytest.mark.parametrize(
    ("reply", "expected"),
    [
        (bash("ls /"), ("bash", "ls /")),
        ("Act: bash\n```bash\na\n```\ntext\n```bash\nb\n```", ("bash", "a\n\nb")),
        ("Act: bash\nno fence", ("bash", "")),
        ("Think: done\n\nAct: finish", ("commit", None)),
        ("Act: answer(a (b) c) and more", ("commit", "a (b) c")),
        ("Act: Answer( 5 )", ("commit", " 5 ")),
        ("Act: bash\n```bash\nls\n```\nAct: answer(5)", ("commit", "5")),
        ("Act: answer(5)\nAct: answer 6", ("commit", "5")),
        ("answer(5)", (None, None)),
        ("Act: dance", (None, None)),
    ],
)
def test_the_last_valid_action_counts(reply: str, expected: tuple[str | None, str | None]) -> None:
    assert parse_action(reply) == expected


def test_matches() -> None:
    assert judge_match({"answer": "a", "strip": True}, " a\n").score == 1
    assert judge_match({"answer": "a"}, " a").score == 0
    assert judge_match({"regex": "^a+$"}, "aaa").score == 1
    assert "None" in judge_match({"regex": "a"}, None).reason


def test_answers_are_compared_with_the_solution_in_the_same_machine(play: Any) -> None:
    for answer, score in ((" 3", 1), ("three", 0), ("$(ls /data | wc -l)", 0)):
        conversation = play(0)
        assert conversation.observe(f"Act: answer({answer})") is None
        assert conversation.outcome().score == score
    conversation = play(0)
    conversation.observe(bash("rm /data/a"))
    conversation.observe("Act: answer(2)")
    assert conversation.outcome().score == 1, "the solution sees what the model has changed"


def test_a_conversation_works_in_one_shell(play: Any) -> None:
    conversation = play(1)
    assert conversation.observe(bash("pwd")) == "The output of the OS:\n\n/tmp/start\n"
    assert conversation.observe(bash("x=1")) == "The output of the OS is empty."
    long = conversation.observe(bash("seq 1000"))
    assert len(long) < 900
    assert long.endswith("\n[truncated because the output is too long]")
    assert conversation.observe(bash("head -1 /tmp/log")) == "The output of the OS:\n\ntick\n"
    assert conversation.observe("Act: answer( tick )") is None
    assert conversation.outcome().score == 1


def test_checks_judge_the_machine_and_finish_answers_nothing(play: Any) -> None:
    conversation = play(2)
    conversation.observe(bash("mkdir /made"))
    conversation.observe("Act: finish")
    assert conversation.outcome().reason == "not accepted by check 2 of 2: answer None"
    conversation = play(2)
    conversation.observe("Act: answer(7)")
    assert "check 1 of 2" in conversation.outcome().reason
    conversation = play(2)
    conversation.observe(bash("mkdir /made"))
    conversation.observe("Act: answer(7)")
    assert conversation.outcome().score == 1


def test_conversations_end_by_the_rules(play: Any) -> None:
    conversation = play(4)
    assert conversation.observe("I would look around first.") is None
    assert "none of the actions" in conversation.outcome().reason
    conversation = play(4)
    answers = [conversation.observe(bash("echo")) for _ in range(8)]
    assert answers[:-1] == ["The output of the OS:\n\n\n"] * 7
    assert answers[-1] is None
    assert conversation.outcome().reason == "no answer within 8 turns"
    with pytest.raises(RuntimeError, match=r"set-up failed \(5\)"):
        play(3)
