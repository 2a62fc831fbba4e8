"""The prompts that show tools, and the examples that are made with them."""

import json
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from hephaestus_dag.documents import Document, DocumentWriter
from hephaestus_dag.mixture.chat import ChatRenderer, results_of_the_user
from hephaestus_dag.mixture.config import InstructionConfig
from hephaestus_dag.mixture.instructions import build_instructions
from hephaestus_dag.mixture.store import TokenStore
from hephaestus_dag.mixture.tokenizer import load_tokenizer
from hephaestus_dag.mixture.tool_prompts import bfcl_functions, tool_prompt, written_calls
from hephaestus_dag.trajectories import Call, Message, Trajectory, write_trajectories

TOOL = {
    "name": "tides.get",
    "description": "Gets the tides.",
    "parameters": {
        "type": "object",
        "properties": {
            "height": {"type": "number", "description": "In metres."},
            "days": {"type": "array", "items": {"type": "object", "properties": {"n": {"type": "number"}}}},
            "unit": {"type": "string", "enum": ["m", "ft"], "default": "m", "description": "The unit."},
        },
        "required": ["height"],
    },
}
CHAT = (
    Message(role="user", content="tides?"),
    Message(role="assistant", calls=(Call(name="tides.get", arguments={"height": 1.5}),)),
    Message(role="tool", content='{"at": 7}', answers=0),
    Message(role="assistant", content="At seven."),
)


def trajectory(number: int) -> Trajectory:
    asked = (Message(role="user", content=f"tide number {number}"), *CHAT[1:])
    return Trajectory(messages=asked, tools=(TOOL,), source="t", origin=str(number), license="MIT", synthetic=True)


def test_bfcl_s_functions_have_python_s_types_at_every_depth() -> None:
    (function,) = bfcl_functions([TOOL])
    parameters = function["parameters"]
    assert function["description"] == "Gets the tides. Note that the provided function is in Python 3 syntax."
    assert (parameters["type"], parameters["properties"]["height"]["type"]) == ("dict", "float")
    assert parameters["properties"]["days"]["items"] == {"type": "dict", "properties": {"n": {"type": "float"}}}
    assert TOOL["parameters"]["type"] == "object"


def test_calls_of_other_languages_hold_their_literals() -> None:
    (java,) = bfcl_functions([TOOL], "bfcl_java")
    height, days = (java["parameters"]["properties"][name] for name in ("height", "days"))
    assert height == {
        "type": "string",
        "description": "In metres. This is Java double type parameter in string representation.",
    }
    assert days["description"].endswith("The list elements are of type HashMap; they are not in string representation.")
    call = Call(name="f", arguments={"a": "it's", "b": [1, True], "c": {"d": 2}})
    assert written_calls([call], "bfcl_javascript") == """[f(a="it's", b=[1, true], c={"d": 2})]"""
    assert written_calls([call], "bfcl_java") == (
        """[f(a="it's", b=new ArrayList<>(Arrays.asList(1, true)), c=new HashMap<String, Object>() {{ put("d", 2); }})]"""
    )
    assert written_calls([call], "bfcl") == f"[{call.as_python()}]"
    assert written_calls([Call(name="f", arguments={"a": 1})], "bfcl_java") == "[f(a=1);]"


def test_signatures_say_what_a_schema_says() -> None:
    shown = tool_prompt([TOOL], "signatures")
    assert "def tides.get(height: float, days: list[dict] = None, unit: Literal['m', 'ft'] = 'm'):" in shown
    assert "    height: In metres." in shown


@pytest.mark.parametrize("style", ["plain", "bfcl", "bfcl_java", "bfcl_javascript", "short", "signatures"])
def test_every_prompt_shows_every_tool(style) -> None:
    other = {**TOOL, "name": "moon.get"}
    assert all(name in tool_prompt([TOOL, other], style) for name in ("tides.get", "moon.get", "Gets the tides."))


def test_results_go_back_as_bfcl_gives_them() -> None:
    twice = Message(role="assistant", calls=(*CHAT[1].calls, Call(name="tides.get", arguments={"height": 2})))
    said = results_of_the_user([CHAT[0], twice, Message(role="tool", content="a"), Message(role="tool", content="b"), CHAT[3]])
    assert [message.role for message in said] == ["user", "assistant", "user", "assistant"]
    assert said[2].content == repr(
        [
            {"role": "tool", "name": "tides.get(height=1.5)", "content": "a"},
            {"role": "tool", "name": "tides.get(height=2)", "content": "b"},
        ]
    )


def test_the_prompt_of_an_example_is_drawn_by_its_identity(tokenizer_folder: Path, tmp_path: Path) -> None:
    write_trajectories(tmp_path / "trajectories.parquet", [trajectory(n) for n in range(24)])
    config = InstructionConfig(
        num_examples=24, sequence_length=4_000, synthetic_share=1, heldout_share=0, prompts={"bfcl": 0.5, "short": 0.5}
    )
    build_instructions([tmp_path], tokenizer_folder, tmp_path / "a", config)
    build_instructions([tmp_path], tokenizer_folder, tmp_path / "b", config)
    opened = TokenStore(tmp_path / "a")
    assert opened.fingerprint == TokenStore(tmp_path / "b").fingerprint
    text = load_tokenizer(tokenizer_folder).decode(opened.tokens("instruction"))
    official = text.count("You are an expert in composing functions.")
    assert 0 < official < 24
    assert official + text.count("Answer with calls of these functions") == 24


def test_an_official_prompt_in_training_is_the_one_in_evaluation(tokenizer_folder: Path) -> None:
    from hephaestus_dag.evaluation.prompts import render_chat

    tokenizer = load_tokenizer(tokenizer_folder)
    asked = [{"role": "system", "content": tool_prompt([TOOL], "bfcl")}, {"role": "user", "content": "tides?"}]
    prompt = tokenizer(render_chat(tokenizer, asked), add_special_tokens=False)["input_ids"]
    tokens, mask = ChatRenderer(tokenizer)(CHAT[:2], [TOOL], style="bfcl")
    assert tokens[: len(prompt)].tolist() == prompt
    assert not mask[: len(prompt)].any()
    assert tokenizer.decode(tokens[mask == 1]) == "[tides.get(height=1.5)]<|im_end|>"


def test_pieces_of_documents_stand_among_the_conversations(tokenizer_folder: Path, tmp_path: Path) -> None:
    write_trajectories(tmp_path / "trajectories.parquet", [trajectory(n) for n in range(30)])
    text = Document(text="", domain="text", kind="k", source="s", origin="o", license="MIT")
    with DocumentWriter(tmp_path / "documents") as writer:
        writer.write(trajectory(n).to_document() for n in range(30))
        writer.write(replace(text, text=f"river {n} " * 200) for n in range(10))
    config = InstructionConfig(
        num_examples=25, sequence_length=4_000, synthetic_share=1, heldout_share=0, general_share=0.2, general_tokens=32
    )
    figures = build_instructions([tmp_path], tokenizer_folder, tmp_path / "store", config, [tmp_path / "documents"])
    assert (figures["synthetic"], figures["general"], figures["limited_by"]) == (20, 5, "num_examples")
    opened = TokenStore(tmp_path / "store")
    mask = opened.mask("instruction")
    assert mask is not None
    pieces = [row for row in opened.ledger.to_pylist() if row["source"] == "s"]
    assert len(pieces) == 5
    for row in pieces:
        assert row["length"] == 32
        assert mask[row["offset"] : row["offset"] + 32].tolist() == [0] + [1] * 31
    assert int(np.sum(mask)) == opened.streams["instruction"].target_tokens
    assert json.loads(json.dumps(figures["set_aside"])) == {}
