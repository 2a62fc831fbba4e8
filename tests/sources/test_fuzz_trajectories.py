"""The parsers of trajectories survive damaged files, and what passes validation can be rendered and stored."""

from pathlib import Path
from random import Random
from typing import Any

import orjson
import pytest
from fuzzing import damage, fuzz

from hephaestus_dag.sources import load_kind
from hephaestus_dag.sources.config import SourceConfig
from hephaestus_dag.sources.dialogues.validation import checked
from hephaestus_dag.trajectories import Trajectory, load_trajectories, write_trajectories
from hephaestus_dag.trajectory_formats import FORMATS

TOOL: dict[str, Any] = {
    "name": "brew",
    "description": "Brew tea.",
    "parameters": {
        "type": "dict",
        "properties": {"leaf": {"type": "str", "enum": ["oolong", "sencha"]}, "ml": {"type": "List[int]"}},
        "required": ["leaf"],
    },
}
ARGUMENTS = {"leaf": "oolong", "ml": [200, 300]}
CALL = orjson.dumps({"name": "brew", "arguments": ARGUMENTS}).decode()
REACT = f"Thought: Tea.\nAction: brew\nAction Input: {orjson.dumps(ARGUMENTS).decode()}"
OPENAI = [
    {"role": "user", "content": "Tea, please."},
    {
        "role": "assistant",
        "content": None,
        "tool_calls": [{"id": "a", "function": {"name": "brew", "arguments": '{"leaf": "oolong"}'}}],
    },
    {"role": "tool", "tool_call_id": "a", "content": '{"pot": 1}'},
    {"role": "assistant", "content": "Here you are.", "weight": 1},
]
SHAREGPT = [
    {"from": "human", "value": "Tea, please."},
    {"from": "function_call", "value": CALL},
    {"from": "observation", "value": '{"pot": 1}'},
    {"from": "gpt", "value": f"Another? <tool_call>{CALL}</tool_call>"},
]
TOOLACE = [
    {"from": "user", "value": "Tea, please."},
    {"from": "assistant", "value": "[brew(leaf=\"oolong\", ml=[200, 300]), brew(leaf='sencha')]"},
    {"from": "tool", "value": '[{"pot": 1}]'},
]
FLAN = [
    {"role": "user", "content": f"Tools: {orjson.dumps([TOOL]).decode()} Tea, please.", "loss": False},
    {"role": "assistant", "content": REACT, "loss": True},
    {"role": "user", "content": "Observation: a pot", "loss": False},
    {"role": "assistant", "content": "Final Answer: a pot", "loss": True},
]
STEPS = [{"thought": "Tea.", "action": "brew[oolong]", "observation": "a pot"}, {"action": "ls -a", "observation": ""}]
LOOP = f"Question: Tea?\n{REACT}\nObservation: a pot\nThought 2: Enough.\nAction 2: finish[a pot]\n"
CASES: dict[str, list[dict[str, Any]]] = {
    "sharegpt": [{"system": "You brew.", "tools": orjson.dumps([TOOL]).decode(), "conversations": SHAREGPT}],
    "openai_messages": [{"tools": [{"type": "function", "function": TOOL}], "messages": OPENAI, "reward": 1.0}],
    "toolace": [{"system": f"Functions: {orjson.dumps([TOOL]).decode()}. Today is Monday.", "conversations": TOOLACE}],
    "agent_flan": [{"conversation": FLAN, "id": "1"}],
    "react_text": [{"text": LOOP}, {"question": "Tea?", "steps": STEPS}, {"messages": FLAN}],
    "call_lists": [
        {"question": "Tea?", "function": [TOOL], "ground_truth": [{"brew": {"leaf": ["oolong"], "ml": [[200], ""]}}]},
        {"query": "Tea?", "tools": orjson.dumps([TOOL]).decode(), "answers": f"[{CALL}]"},
        {"question": [[{"role": "user", "content": "Tea?"}]], "function": [TOOL], "ground_truth": ["brew(leaf='oolong')"]},
    ],
}


def lines(kind: str) -> bytes:
    return b"\n".join(map(orjson.dumps, CASES[kind]))


def survive(kind: str, folder: Path, count: int) -> int:
    """Check, render and store what is read of damaged copies; return how many trajectories came through."""
    folder.mkdir()
    source = SourceConfig.model_validate({"name": "fuzzed", "kind": kind, "location": str(folder), "domain": "agent"})
    kept = 0
    for number in range(count):
        (folder / "rows.jsonl").write_bytes(damage(lines(kind), Random(f"survive:{kind}:{number}")))
        items = load_kind(kind).list_items(source)
        reader: Any = load_kind(kind)
        found = [checked(source, item, each) for item in items for each in reader.read_item(source, item)]
        good = [each for each in found if isinstance(each, Trajectory)]
        for trajectory in good:
            assert trajectory.to_document().text.encode()
            assert trajectory.format in FORMATS
        if number % 50 == 0:
            write_trajectories(folder / "out", good)
            assert load_trajectories(folder / "out") == good
            (folder / "out").unlink()
        kept += len(good)
    return kept


@pytest.mark.parametrize("kind", CASES)
def test_damaged_trajectories_are_set_aside(kind: str, tmp_path: Path) -> None:
    assert fuzz(kind, tmp_path / "in", "rows.jsonl", lines(kind), count=300)
    assert survive(kind, tmp_path / "out", count=150)


@pytest.mark.slow
@pytest.mark.timeout(600)
@pytest.mark.parametrize("kind", CASES)
def test_ten_thousand_damaged_trajectories_are_set_aside(kind: str, tmp_path: Path) -> None:
    assert fuzz(kind, tmp_path / "in", "rows.jsonl", lines(kind), count=10_000)
    assert survive(kind, tmp_path / "out", count=10_000)


def test_damaged_text_files_are_set_aside(tmp_path: Path) -> None:
    assert fuzz("react_text", tmp_path / "in", "loop.txt", LOOP.encode(), count=300)
