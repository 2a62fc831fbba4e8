"""AgentBench's HH task: what needs no game, and the conversation with a game of our own."""

import json
import sys
from pathlib import Path

import pytest

from hephaestus_dag.evaluation.agentbench import alfworld
from hephaestus_dag.evaluation.agentbench.alfworld import AlfWorldTask, arrived, bleu, choose
from hephaestus_dag.evaluation.agentbench.plug_in_config import AlfWorldConfig

GAME = """
import json, sys
done = won = False
observation = "-= Welcome =-\\n\\nYou are in a room.\\n\\nYour task is to: put a mug in the sink."
while True:
    state = {"observation": observation, "commands": ["go to sink 1", "take mug 1"], "done": done, "won": won}
    print(json.dumps(state), flush=True)
    action = json.loads(input())
    won = action == "take mug 1"
    done = won or action == "give up"
    observation = "You arrive at loc 7. On the sink 1, you see nothing." if action.startswith("go") else "Nothing happens."
"""


@pytest.fixture
def task(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> AlfWorldTask:
    """HH with a game of our own in the place of ALFWorld's."""
    (tmp_path / "game.py").write_text(GAME)
    monkeypatch.setattr(alfworld, "GAMES", tmp_path / "game.py")
    trial = tmp_path / "json_2.1.1/valid_seen/pick_and_place_simple-Mug/trial/game.tw-pddl"
    trial.parent.mkdir(parents=True)
    trial.touch()
    (tmp_path / alfworld.PROMPT).write_text(
        json.dumps({"put": ["scene", "OK", "go", "THOUGHT: x\n ACTION: y", "end", "ACTION: z"]})
    )
    (tmp_path / "alfworld").mkdir()
    (tmp_path / "alfworld/dev.json").write_text(json.dumps({"pick_and_place": [str(trial.relative_to(tmp_path))]}))
    return AlfWorldTask(AlfWorldConfig(python=Path(sys.executable), games=tmp_path, prompts=tmp_path, step_seconds=20))


def test_a_game_is_played_and_won(task: AlfWorldTask, tmp_path: Path) -> None:
    (item,) = task.read_items(tmp_path, "dev")
    assert (item.item_id, item.question) == ("hh-dev-pick_and_place-0", "pick_and_place_simple-Mug")
    conversation = task.start(item)
    try:
        messages = conversation.messages()
        assert [message["role"] for message in messages] == ["user", "assistant"] * 4 + ["user"]
        offered = " AVAILABLE ACTIONS: go to sink 1\ntake mug 1\n"
        assert (
            messages[-1]["content"]
            == "Here is your task. You are in a room.\nYour task is to: put a mug in the sink." + offered
        )
        messages = conversation.observe("THOUGHT: first\n ACTION: go to the sink 1")
        assert messages is not None
        assert "AVAILABLE" not in messages[-3]["content"], "only the latest offer stays"
        assert messages[-1]["content"] == "On the sink 1, you see nothing." + offered
        assert conversation.observe("ACTION: take mug 1") is None
        assert conversation.outcome().score == 1
    finally:
        conversation.close()


@pytest.mark.parametrize(
    ("replies", "reason"),
    [
        (["I wait"], "names no action"),
        (["ACTION: dance"] * 4, "three times"),
        ([f"THOUGHT: {turn}\n ACTION: go to sink 1" for turn in range(35)], "not done within 35"),
    ],
)
def test_a_game_that_is_not_won(task: AlfWorldTask, tmp_path: Path, replies: list[str], reason: str) -> None:
    conversation = task.start(task.read_items(tmp_path, "dev")[0])
    try:
        conversation.messages()
        answers = [conversation.observe(reply) for reply in replies]
        assert answers[-1] is None
        assert all(answers[:-1])
        assert conversation.outcome().score == 0
        assert reason in conversation.outcome().reason
    finally:
        conversation.close()


def test_actions_are_read_as_the_most_similar_command() -> None:
    commands = ["go to cabinet 1", "take mug 1 from cabinet 1", "inventory"]
    assert choose("ACTION: Inventory", commands) == "inventory"
    assert choose("THOUGHT: a\n ACTION: take the mug 1 from cabinet 1.\nACTION: x", commands) == "take mug 1 from cabinet 1"
    assert choose("ACTION: sing", commands) == "sing"
    assert choose("action: inventory", commands) == ""
    assert arrived("You arrive at loc 3. On it is a mug. Nice.") == "On it is a mug. Nice."


@pytest.mark.parametrize(
    ("reference", "candidate", "of_nltk"),
    [
        ("a b c d e", "a b c d", 0.778801),
        ("a b", "a", 0.367879),
        ("go to x 1", "go x 1 to", 0.200047),
        ("a", "a", 1.0),
        ("a b c", "d", 0.0),
        ("a", "b a c a", 0.061033),
        ("take mug 1 from cabinet 1", "take the mug 1 from cabinet 1.", 0.434721),
    ],
)
def test_likeness_is_that_of_nltk(reference: str, candidate: str, of_nltk: float) -> None:
    assert bleu(reference.split(), candidate.split()) == pytest.approx(of_nltk, abs=1e-6)


def test_what_is_missing_is_said(task: AlfWorldTask, tmp_path: Path) -> None:
    assert "alfworld==0.4.2" in AlfWorldTask(AlfWorldConfig()).unavailable()
    assert alfworld.try_game(Path(sys.executable), tmp_path, 20) == ""
    (tmp_path / "game.py").write_text("import sys; sys.exit(3)")
    assert "status 3" in alfworld.try_game(Path(sys.executable), tmp_path, 21)


def test_the_release_of_the_package_belongs_to_the_identity(task: AlfWorldTask, tmp_path: Path) -> None:
    (tmp_path / "bin").mkdir()
    (tmp_path / "bin/python").symlink_to(sys.executable)
    config = task.config.model_copy(update={"python": tmp_path / "bin/python"})
    assert AlfWorldTask(config).identity()["alfworld"] == ""
    information = tmp_path / "lib/python3.9/site-packages/alfworld-0.4.2.dist-info/METADATA"
    information.parent.mkdir(parents=True)
    information.write_text("Metadata-Version: 2.1\nName: alfworld\nVersion: 0.4.2\n")
    assert AlfWorldTask(config).identity()["alfworld"] == "0.4.2"
