"""From records of the published formats to masked tokens: the loss lies on the assistant's trained turns alone."""

from pathlib import Path
from typing import Any

import numpy as np
import pyarrow.parquet as pq
import pytest

from hephaestus_dag.mixture.chat import system_prompt
from hephaestus_dag.mixture.config import InstructionConfig
from hephaestus_dag.mixture.instructions import build_instructions
from hephaestus_dag.mixture.store import TokenStore
from hephaestus_dag.mixture.tokenizer import load_tokenizer
from hephaestus_dag.sources.trajectories import agent_flan, sharegpt, toolace
from hephaestus_dag.trajectories import Trajectory, write_trajectories

WEATHER = {
    "name": "weather",
    "description": "Tell the weather",
    "parameters": {"type": "object", "properties": {"city": {"type": "string"}}, "required": ["city"]},
}
JSON = (
    '{"name": "weather", "description": "Tell the weather", "parameters": {"type": "object", "properties": '
    '{"city": {"type": "string"}}, "required": ["city"]}}'
)
REACT = (
    "Use the tools so:\nThought: what you think\nAction: the tool\nAction Input: its input as JSON\nThe tools: look_up(term)"
)


def examples(kind: Any, record: dict, tokenizer_folder: Path, folder: Path, **settings: Any) -> tuple[str, list[str]]:
    """Return the whole text of the one example of a record, and each stretch of it that a model learns."""
    messages, tools = kind.convert(record)
    trajectory = Trajectory(messages=tuple(messages), tools=tuple(tools), source="s", origin="o", license="MIT")
    write_trajectories(folder / "trajectories.parquet", [trajectory])
    config = InstructionConfig(num_examples=1, sequence_length=2_500, synthetic_share=0, heldout_share=0, **settings)
    build_instructions([folder], tokenizer_folder, folder / "store", config)
    tokenizer, store = load_tokenizer(tokenizer_folder), TokenStore(folder / "store")
    (row,) = store.ledger.to_pylist()
    tokens, mask = store.tokens("instruction"), store.mask("instruction")
    assert mask is not None
    assert not mask[row["length"] :].any()
    edges = np.flatnonzero(np.diff(mask, prepend=0, append=0)).tolist()
    learnt = [tokenizer.decode(tokens[a:b]) for a, b in zip(edges[::2], edges[1::2], strict=True)]
    return tokenizer.decode(tokens[: row["length"]]), learnt


def test_sharegpt_with_tools(tokenizer_folder: Path, tmp_path: Path) -> None:
    record = {
        "system": "Be brief.",
        "tools": f"[{JSON}]",
        "conversations": [
            {"from": "human", "value": "weather in Ulm?"},
            {"from": "function_call", "value": '{"name": "weather", "arguments": {"city": "Ulm"}}'},
            {"from": "observation", "value": '{"degrees": 12}'},
            {"from": "gpt", "value": "12 degrees."},
        ],
    }
    text, learnt = examples(sharegpt, record, tokenizer_folder, tmp_path)
    assert learnt == ["[weather(city='Ulm')]<|im_end|>", "12 degrees.<|im_end|>"]
    assert text.startswith(f"<|im_start|>system\n{system_prompt([WEATHER])}\n\nBe brief.<|im_end|>\n<|im_start|>user\nweather")
    assert '<|im_start|>tool\n{"degrees": 12}<|im_end|>' in text


def test_sharegpt_without_tools_is_a_plain_chat(tokenizer_folder: Path, tmp_path: Path) -> None:
    turns = [("human", "hi"), ("gpt", "Hello."), ("human", "bye"), ("gpt", "Bye.")]
    record = {"conversations": [{"from": role, "value": value} for role, value in turns]}
    text, learnt = examples(sharegpt, record, tokenizer_folder, tmp_path)
    assert learnt == ["Hello.<|im_end|>", "Bye.<|im_end|>"]
    assert text.startswith("<|im_start|>system\nYou are a helpful assistant.<|im_end|>\n<|im_start|>user\nhi<|im_end|>")
    (tmp_path / "own").mkdir()
    text, _ = examples(sharegpt, {"system": "You are a bard.", **record}, tokenizer_folder, tmp_path / "own")
    assert text.startswith("<|im_start|>system\nYou are a bard.<|im_end|>\n<|im_start|>user\nhi<|im_end|>")


def test_toolace(tokenizer_folder: Path, tmp_path: Path) -> None:
    record = {
        "system": "You are an expert in composing functions. The current time is 2024-07-26.\n"
        f"Here is a list of functions in JSON format that you can invoke:\n[{JSON}]\n",
        "conversations": [
            {"from": "user", "value": "weather in Ulm and Bonn?"},
            {"from": "assistant", "value": '[weather(city="Ulm"), weather(city="Bonn")]'},
            {"from": "tool", "value": '[{"name": "weather", "results": 12}]'},
            {"from": "assistant", "value": "12 in both."},
        ],
    }
    text, learnt = examples(toolace, record, tokenizer_folder, tmp_path)
    assert learnt == ["[weather(city='Ulm'), weather(city='Bonn')]<|im_end|>", "12 in both.<|im_end|>"]
    assert f"{system_prompt([WEATHER])}\n\nThe current time is 2024-07-26.<|im_end|>" in text


def test_agent_flan_learns_where_loss_is_true_and_keeps_the_rest_as_context(tokenizer_folder: Path, tmp_path: Path) -> None:
    turns = [
        ("user", "What is a larch?", None),
        ("assistant", "Thought: I had better look.\nFinal Answer: I do not know.", False),
        ("user", "Please try.", None),
        ("assistant", "A tree.", True),
        ("user", "Sure?", None),
        ("assistant", "Quite.", True),
    ]
    record = {"conversation": [{"role": r, "content": c, **({} if loss is None else {"loss": loss})} for r, c, loss in turns]}
    text, learnt = examples(agent_flan, record, tokenizer_folder, tmp_path)
    assert learnt == ["A tree.<|im_end|>", "Quite.<|im_end|>"]
    assert "I do not know." in text


@pytest.mark.parametrize("role", ["system", "user"])
def test_agent_flan_s_loops_are_written_as_their_prompt_asks(tokenizer_folder: Path, tmp_path: Path, role: str) -> None:
    record = {
        "conversation": [
            {"role": role, "content": REACT if role == "system" else f"{REACT}\nWhat is a larch?"},
            *([{"role": "user", "content": "What is a larch?"}] if role == "system" else []),
            {"role": "assistant", "content": 'Thought: hm\nAction: search\nAction Input: {"term": "larc"}', "loss": False},
            {"role": "user", "content": "Observation: nothing"},
            {"role": "assistant", "content": 'Thought: again\nAction: look_up\nAction Input: {"term": "larch"}', "loss": True},
            {"role": "user", "content": "Observation: a tree"},
            {"role": "assistant", "content": "Thought: I know\nFinal Answer: A tree.", "loss": True},
        ]
    }
    text, learnt = examples(agent_flan, record, tokenizer_folder, tmp_path)
    assert learnt == [
        'Thought: again\nAction: look_up\nAction Input: {"term": "larch"}<|im_end|>',
        "Thought: I know\nFinal Answer: A tree.<|im_end|>",
    ]
    assert 'Thought: hm\nAction: search\nAction Input: {"term": "larc"}<|im_end|>' in text
    assert REACT in text
    assert "one list of Python calls" not in text


def test_a_loop_whose_prompt_says_nothing_of_its_tools_is_set_aside(tokenizer_folder: Path, tmp_path: Path) -> None:
    loop = [
        {"role": "user", "content": "What is a larch?"},
        {"role": "assistant", "content": 'Thought: again\nAction: look_up\nAction Input: {"term": "larch"}'},
        {"role": "user", "content": "Observation: a tree"},
        {"role": "assistant", "content": "Final Answer: A tree."},
    ]
    with pytest.raises(ValueError, match="recorded examples ran out at once"):
        examples(agent_flan, {"conversation": loop}, tokenizer_folder, tmp_path)
    (reason,) = pq.read_table(tmp_path / "store" / "rejects.parquet")["reason"].to_pylist()
    assert reason == "undeclared tool: look_up is called, which is not among its tools"
