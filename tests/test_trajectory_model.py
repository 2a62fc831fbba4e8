import ast
import json
import keyword
from pathlib import Path
from typing import Any

import pyarrow.parquet as pq
import pytest
from hypothesis import given
from hypothesis import strategies as st

from hephaestus_dag.trajectories import Call, Message, Trajectory, messages_from_json, write_trajectories

texts = st.text(st.characters(exclude_categories=["Cs"]), max_size=20)
names = st.from_regex(r"[A-Za-z_][A-Za-z0-9_]{0,8}", fullmatch=True).filter(lambda name: not keyword.iskeyword(name))
json_values = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False, allow_infinity=False) | texts,
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(texts, inner, max_size=3),
    max_leaves=6,
)
dotted = st.lists(names, min_size=1, max_size=3).map(".".join)
calls = st.builds(Call, name=dotted, arguments=st.dictionaries(names, json_values, max_size=3))
tools = st.fixed_dictionaries(
    {"name": dotted, "description": texts, "parameters": st.dictionaries(texts, json_values, max_size=2)}
)


def turns(content: st.SearchStrategy[str]) -> st.SearchStrategy[Message]:
    said = st.builds(Message, role=st.sampled_from(["system", "user", "tool"]), content=content)
    answered = st.builds(Message, role=st.just("assistant"), content=content, calls=st.lists(calls, max_size=2).map(tuple))
    return said | answered


def trajectories(content: st.SearchStrategy[str] = texts) -> st.SearchStrategy[Trajectory]:
    return st.builds(
        Trajectory,
        messages=st.lists(turns(content), max_size=4).map(tuple),
        tools=st.lists(tools, max_size=2).map(tuple),
        source=st.sampled_from(["aws_commands", "aws_calls"]),
        origin=texts,
        license=st.just("MIT"),
        synthetic=st.booleans(),
    )


def call_of(text: str) -> Call:
    """Read a call back from its Python expression."""
    expression = ast.parse(text, mode="eval").body
    assert isinstance(expression, ast.Call)
    assert not expression.args
    arguments = {str(keyword.arg): ast.literal_eval(keyword.value) for keyword in expression.keywords}
    return Call(name=ast.unparse(expression.func), arguments=arguments)


@given(calls)
def test_a_call_as_python_reads_back_as_the_same_call(call: Call) -> None:
    assert call_of(call.as_python()) == call


LABELS: dict[str, Any] = {"System": "system", "User": "user", "Assistant": "assistant", "Result": "tool"}
sentence = st.from_regex(r"[a-zé,]([a-zé, ]{0,20}[a-zé.])?", fullmatch=True)


@given(trajectories(sentence))
def test_the_rendered_text_holds_every_turn_and_tool_in_order(trajectory: Trajectory) -> None:
    parts = trajectory.render().split("\n\n") if trajectory.render() else []
    shown: list[dict[str, Any]] = []
    if trajectory.tools:
        head, *lines = parts.pop(0).split("\n")
        assert head == "Tools:"
        shown = [json.loads(line) for line in lines]
    assert tuple(shown) == trajectory.tools
    read = []
    for part in parts:
        label, _, body = part.partition(": ")
        lines = body.split("\n") if body else []
        words = [line for line in lines if not line.startswith("Call: ")]
        made = tuple(call_of(line.removeprefix("Call: ")) for line in lines if line.startswith("Call: "))
        read.append(Message(role=LABELS[label], content="\n".join(words), calls=made))
    assert tuple(read) == trajectory.messages


@given(st.lists(trajectories(), max_size=4))
def test_what_is_written_reads_back_and_joins_its_document(
    tmp_path_factory: pytest.TempPathFactory, given: list[Trajectory]
) -> None:
    path = tmp_path_factory.mktemp("trajectories") / "trajectories.parquet"
    write_trajectories(path, given)
    rows = pq.read_table(path).to_pylist()
    assert [messages_from_json(row["messages"]) for row in rows] == [t.messages for t in given]
    assert [tuple(json.loads(row["tools"])) for row in rows] == [t.tools for t in given]
    assert [(row["source"], row["synthetic"]) for row in rows] == [(t.source, t.synthetic) for t in given]
    assert [row["id"] for row in rows] == [t.to_document().id for t in given]


@given(trajectories())
def test_the_document_says_what_it_is(trajectory: Trajectory) -> None:
    document = trajectory.to_document()
    assert document.text == trajectory.render()
    assert (document.domain, document.license) == ("agent", "MIT")
    assert (document.source, document.origin) == (trajectory.source, trajectory.origin)
    assert document.kind == ("synthetic_trajectory" if trajectory.synthetic else "trajectory")


def test_the_same_trajectories_give_the_same_bytes(tmp_path: Path) -> None:
    trajectory = Trajectory(
        messages=(
            Message(role="user", content="List the functions"),
            Message(role="assistant", calls=(Call(name="lambda.list_functions", arguments={"MaxItems": 5, "Marker": "é"}),)),
            Message(role="tool", content='{"Functions": []}'),
        ),
        tools=({"name": "lambda.list_functions", "description": "Lists them.", "parameters": {"type": "object"}},),
        source="aws_calls",
        origin="botocore==1/lambda",
        license="Apache-2.0",
    )
    for name in ("one", "two"):
        write_trajectories(tmp_path / name, [trajectory] * 3)
    assert (tmp_path / "one").read_bytes() == (tmp_path / "two").read_bytes()
    assert trajectory.render() == (
        "Tools:\n"
        '{"name": "lambda.list_functions", "description": "Lists them.", "parameters": {"type": "object"}}\n\n'
        "User: List the functions\n\n"
        "Assistant: Call: lambda.list_functions(MaxItems=5, Marker='é')\n\n"
        'Result: {"Functions": []}'
    )
