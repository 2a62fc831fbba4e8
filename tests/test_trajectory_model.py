import ast
import json
import keyword
from dataclasses import replace
from pathlib import Path
from typing import Any

import pyarrow.parquet as pq
import pytest
from hypothesis import given
from hypothesis import strategies as st

from hephaestus_dag.mixture.chat import render_chat
from hephaestus_dag.mixture.config import InstructionConfig, TrainTokenizerConfig
from hephaestus_dag.mixture.instructions import build_instructions
from hephaestus_dag.mixture.store import TokenStore
from hephaestus_dag.mixture.tokenizer import load_tokenizer, train_tokenizer
from hephaestus_dag.trajectories import Call, Message, Trajectory, load_trajectories, messages_from_json, write_trajectories
from hephaestus_dag.trajectory_formats import FORMATS

texts = st.text(st.characters(exclude_categories=["Cs"]), max_size=20)
names = st.from_regex(r"[A-Za-z_][A-Za-z0-9_]{0,8}", fullmatch=True).filter(lambda name: not keyword.iskeyword(name))
json_values = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False, allow_infinity=False) | texts,
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(texts, inner, max_size=3),
    max_leaves=6,
)
dotted = st.lists(names, min_size=1, max_size=3).map(".".join)
calls = st.builds(Call, name=dotted, arguments=st.dictionaries(names | texts, json_values, max_size=3))
parameters = st.dictionaries(names, st.just({"type": "string"}), max_size=2).map(
    lambda properties: {"type": "object", "properties": properties}
)
tools = st.fixed_dictionaries({"name": dotted, "description": texts, "parameters": parameters})


def turns(content: st.SearchStrategy[str]) -> st.SearchStrategy[Message]:
    asked = st.builds(Message, role=st.sampled_from(["system", "user"]), content=content)
    told = st.builds(Message, role=st.just("tool"), content=content, answers=st.none() | st.integers(0, 2))
    answered = st.builds(
        Message,
        role=st.just("assistant"),
        content=content,
        thought=content,
        calls=st.lists(calls, max_size=2).map(tuple),
        loss=st.booleans(),
    )
    return asked | told | answered


def trajectories(content: st.SearchStrategy[str] = texts) -> st.SearchStrategy[Trajectory]:
    return st.builds(
        Trajectory,
        messages=st.lists(turns(content), max_size=4).map(tuple),
        tools=st.lists(tools, max_size=2).map(tuple),
        source=st.sampled_from(["aws_commands", "aws_calls"]),
        origin=texts,
        license=st.just("MIT"),
        synthetic=st.booleans(),
        provider=st.sampled_from(["", "amazonaws.com"]),
        format=st.sampled_from(["", *FORMATS]),
    )


def call_of(text: str) -> Call:
    """Read a call back from its Python expression."""
    expression = ast.parse(text, mode="eval").body
    assert isinstance(expression, ast.Call)
    assert not expression.args
    arguments: dict[str, Any] = {}
    for argument in expression.keywords:
        value = ast.literal_eval(argument.value)
        arguments |= value if argument.arg is None else {argument.arg: value}
    return Call(name=ast.unparse(expression.func), arguments=arguments)


@given(calls)
def test_a_call_as_python_reads_back_as_the_same_call(call: Call) -> None:
    assert call_of(call.as_python()) == call


@given(st.lists(trajectories(), max_size=4), st.integers(0, 9))
def test_what_is_written_reads_back_and_joins_its_document(
    tmp_path_factory: pytest.TempPathFactory, given: list[Trajectory], seed: int
) -> None:
    path = tmp_path_factory.mktemp("trajectories") / "trajectories.parquet"
    write_trajectories(path, given, seed)
    found = load_trajectories(path)
    assert found == [trajectory.in_format(seed) for trajectory in given]
    rows = pq.read_table(path).to_pylist()
    assert [messages_from_json(row["messages"]) for row in rows] == [t.messages for t in given]
    assert [row["id"] for row in rows] == [t.to_document(seed).id for t in given] == [t.to_document().id for t in found]


@given(trajectories(), st.integers(0, 9))
def test_the_document_says_what_it_is(trajectory: Trajectory, seed: int) -> None:
    document = trajectory.to_document(seed)
    assert document.format in FORMATS
    assert document.format == (trajectory.format or document.format)
    assert document.text == replace(trajectory, format=document.format).render()
    assert (document.domain, document.license) == ("agent", "MIT")
    assert (document.source, document.origin) == (trajectory.source, trajectory.origin)
    assert document.kind == ("synthetic_trajectory" if trajectory.synthetic else "trajectory")
    assert document.provider == trajectory.provider


@given(trajectories(st.from_regex(r"[a-zé,]([a-zé, ]{0,20}[a-zé.])?", fullmatch=True)))
def test_every_format_holds_every_turn_and_call_in_order(trajectory: Trajectory) -> None:
    for form in FORMATS:
        text = replace(trajectory, format=form).render()
        at = 0
        for message in trajectory.messages:
            react = [part for call in message.calls for part in (call.name, json.dumps(call.arguments, ensure_ascii=False))]
            called = {"react": react, "chat_json": [call.as_json() for call in message.calls]}
            spoken = [message.thought, message.content] if message.role == "assistant" else [message.content]
            for part in [*spoken, *called.get(form, [call.as_python() for call in message.calls])]:
                at = text.index(part, at) + len(part)
        assert form == "transcript" or all(tool["name"] in text for tool in trajectory.tools)


@given(trajectories())
def test_only_an_assistant_s_turn_is_ever_trained_on(trajectory: Trajectory) -> None:
    assert not any(message.loss for message in trajectory.messages if message.role != "assistant")
    assert Message(role="assistant").loss
    assert not Message(role="user", loss=True).loss


TRAJECTORY = Trajectory(
    messages=(
        Message(role="user", content="List the functions"),
        Message(
            role="assistant",
            thought="Five will do.",
            calls=(Call(name="functions.list", arguments={"MaxItems": 5, "from": "é"}),),
        ),
        Message(role="tool", content='{"Functions": []}', answers=0),
        Message(role="assistant", content="There are none."),
    ),
    tools=({"name": "functions.list", "description": "Lists them.", "parameters": {"type": "object"}},),
    source="aws_calls",
    origin="botocore==1/lambda",
    license="Apache-2.0",
)
RENDERED = {
    "chat_json": (
        "Tools:\n"
        '{"name": "functions.list", "description": "Lists them.", "parameters": {"type": "object"}}\n\n'
        "User: List the functions\n\n"
        "Assistant: Five will do.\n"
        '<tool_call>{"name": "functions.list", "arguments": {"MaxItems": 5, "from": "é"}}</tool_call>\n\n'
        'Result: {"Functions": []}\n\n'
        "Assistant: There are none."
    ),
    "chat_python": (
        "Tools:\n"
        '{"name": "functions.list", "description": "Lists them.", "parameters": {"type": "object"}}\n\n'
        "User: List the functions\n\n"
        "Assistant: Five will do.\n"
        "[functions.list(MaxItems=5, **{'from': 'é'})]\n\n"
        'Result: {"Functions": []}\n\n'
        "Assistant: There are none."
    ),
    "react": (
        "Tools:\n"
        'functions.list: Lists them. Input: {"type": "object"}\n'
        "Question: List the functions\n"
        "Thought: Five will do.\n"
        "Action: functions.list\n"
        'Action Input: {"MaxItems": 5, "from": "é"}\n'
        'Observation: {"Functions": []}\n'
        "Final Answer: There are none."
    ),
    "transcript": (
        "user: List the functions\n"
        "assistant: Five will do.\n"
        "functions.list(MaxItems=5, **{'from': 'é'})\n"
        'tool: {"Functions": []}\n'
        "assistant: There are none."
    ),
}


@pytest.mark.parametrize("form", FORMATS)
def test_the_formats_read_like_this(form: str) -> None:
    assert replace(TRAJECTORY, format=form).render() == RENDERED[form]


def test_the_draw_uses_every_format_and_depends_on_origin_and_seed_alone() -> None:
    drawn = [replace(TRAJECTORY, origin=str(n)).to_document().format for n in range(60)]
    assert set(drawn) == set(FORMATS)
    assert drawn == [replace(TRAJECTORY, origin=str(n)).to_document().format for n in range(60)]
    assert drawn != [replace(TRAJECTORY, origin=str(n)).to_document(seed=1).format for n in range(60)]
    silent = replace(TRAJECTORY, messages=(TRAJECTORY.messages[0], TRAJECTORY.messages[3]))
    assert "react" not in {replace(silent, origin=str(n)).to_document().format for n in range(60)}


def test_signatures_are_those_of_the_tools_and_of_the_calls() -> None:
    parameters = {"type": "object", "properties": {"cityName": {}, "day": {}}}
    tool = {"name": "getWeather", "description": "", "parameters": parameters}
    called = (Call(name="getWeather", arguments={"cityName": "Ulm"}), Call(name="Say It", arguments={}))
    trajectory = replace(TRAJECTORY, tools=(tool,), messages=(Message(role="assistant", calls=called),))
    assert trajectory.to_document().signatures == "get_weather(city_name)\nget_weather(city_name,day)\nsay_it()"


def test_the_same_trajectories_give_the_same_bytes(tmp_path: Path) -> None:
    for name in ("one", "two"):
        write_trajectories(tmp_path / name, [TRAJECTORY] * 3)
    assert (tmp_path / "one").read_bytes() == (tmp_path / "two").read_bytes()


def tokenizer_in(folder: Path) -> None:
    train_tokenizer([Path(__file__).read_text()], TrainTokenizerConfig(vocab_size=300), folder)


def test_a_chat_trains_on_the_turns_whose_loss_is_true(tmp_path: Path) -> None:
    tokenizer_in(tmp_path)
    tokenizer = load_tokenizer(tmp_path)
    flagged = (replace(TRAJECTORY.messages[1], loss=False), TRAJECTORY.messages[3])
    messages = [TRAJECTORY.messages[0], flagged[0], TRAJECTORY.messages[2], flagged[1]]
    tokens, mask = render_chat(messages, TRAJECTORY.tools, tokenizer)
    assert tokenizer.decode(tokens[mask == 1]) == "There are none.<|im_end|>"
    assert "Five will do.\n[functions.list(MaxItems=5" in tokenizer.decode(tokens[mask == 0])
    _, mask = render_chat([replace(message, loss=False) for message in messages], TRAJECTORY.tools, tokenizer)
    assert not mask.any()


def test_instructions_need_a_turn_to_train_on(tmp_path: Path) -> None:
    tokenizer_in(tmp_path / "tokenizer")
    tool = {**TRAJECTORY.tools[0], "name": "list_functions"}
    called = replace(TRAJECTORY.messages[1], calls=(Call(name="list_functions", arguments={"MaxItems": 5}),), loss=False)
    untrained = replace(TRAJECTORY, tools=(tool,), messages=(TRAJECTORY.messages[0], called))
    trained = replace(untrained, messages=(*untrained.messages, TRAJECTORY.messages[2], TRAJECTORY.messages[3]))
    write_trajectories(tmp_path / "trajectories.parquet", [untrained, trained])
    config = InstructionConfig(num_examples=9, sequence_length=3_000, synthetic_share=0, heldout_share=0)
    figures = build_instructions([tmp_path], tmp_path / "tokenizer", tmp_path / "store", config)
    assert (figures["examples"], figures["rejected"]) == (1, 1)
    assert pq.read_table(tmp_path / "store" / "rejects.parquet")["reason"].to_pylist() == ["no assistant turn to train on"]
    store = TokenStore(tmp_path / "store")
    mask = store.mask("instruction")
    assert mask is not None
    said = load_tokenizer(tmp_path / "tokenizer").decode(store.tokens("instruction")[mask == 1])
    assert said == "There are none.<|im_end|>"
    assert store.streams["instruction"].bytes == len("There are none.")
