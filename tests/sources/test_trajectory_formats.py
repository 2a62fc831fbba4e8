"""Six formats of recorded trajectories become one model."""

import contextlib
import datetime
import json
import keyword
import time
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from hephaestus_dag.documents import Reject
from hephaestus_dag.sources import load_kind
from hephaestus_dag.sources.config import SourceConfig
from hephaestus_dag.sources.dialogues.declared_tools import declared_tools, embedded_tools
from hephaestus_dag.sources.dialogues.react import call_of_action, read_loop
from hephaestus_dag.sources.dialogues.tool_calls import DEEPEST, MalformedError, parse_calls, split_calls
from hephaestus_dag.sources.dialogues.validation import checked
from hephaestus_dag.trajectories import Call, Message, Trajectory

PARAMETERS = {"type": "object", "properties": {"city": {"type": "string"}, "days": {"type": "integer"}}, "required": ["city"]}
TOOL = {"name": "weather", "description": "Tell the weather.", "parameters": PARAMETERS}
CALL = Call(name="weather", arguments={"city": "Ulm", "days": 2})
ASKED = Message(role="user", content="Weather in Ulm?")
CALLED = Message(role="assistant", calls=(CALL,))
RESULT = Message(role="tool", content='{"degrees": 12}')
SAID = Message(role="assistant", content="12 degrees.")


def read(folder: Path, kind: str, *records: Any) -> list[Trajectory | Reject]:
    """Read records through a kind and the validation, as a run does."""
    (folder / "rows.json").write_text(json.dumps(records))
    config = SourceConfig.model_validate({"name": "rows", "kind": kind, "location": str(folder), "domain": "agent"})
    items = load_kind(kind).list_items(config)
    found: list[Any] = [each for item in items for each in load_kind(kind).read_item(config, item)]
    return [checked(config, items[0], each) for each in found]


def one(folder: Path, kind: str, record: Any) -> Trajectory:
    (found,) = read(folder, kind, record)
    assert isinstance(found, Trajectory), found
    return found


def reason(folder: Path, kind: str, record: Any) -> str:
    (found,) = read(folder, kind, record)
    assert isinstance(found, Reject), found
    assert (found.source, found.origin, found.position) == ("rows", f"{folder.name}/rows.json", "row 1")
    return found.reason


def test_sharegpt(tmp_path: Path) -> None:
    turns = [
        {"from": "human", "value": "Weather in Ulm?"},
        {"from": "function_call", "value": '{"name": "weather", "arguments": {"city": "Ulm", "days": 2}}'},
        {"from": "observation", "value": '{"degrees": 12}'},
        {"from": "gpt", "value": "12 degrees."},
    ]
    record = {"conversations": turns, "system": "Be brief.", "tools": json.dumps([TOOL])}
    found = one(tmp_path, "sharegpt", record)
    assert found.messages == (Message(role="system", content="Be brief."), ASKED, CALLED, RESULT, SAID)
    assert found.tools == (TOOL,)
    assert found.origin == f"{tmp_path.name}/rows.json row 1"
    assert found.license == "unknown"


def test_sharegpt_with_tags_and_tools_in_the_prompt(tmp_path: Path) -> None:
    turns = [
        {"from": "system", "value": f"You may call <tools>[{json.dumps(TOOL)}]</tools>."},
        {"from": "human", "value": "Weather in Ulm?"},
        {"from": "gpt", "value": f"Let me see.\n<tool_call>\n{CALL.as_json()}\n</tool_call>"},
    ]
    found = one(tmp_path, "sharegpt", {"conversations": turns})
    assert found.messages[0].content == "You may call <tools></tools>."
    assert found.messages[2] == Message(role="assistant", content="Let me see.", calls=(CALL,))
    assert found.tools == (TOOL,)


def test_what_an_assistant_says_before_its_calls_is_one_turn(tmp_path: Path) -> None:
    call = {"from": "function_call", "value": CALL.as_json()}
    turns = [{"from": "human", "value": "Hi"}, {"from": "gpt", "value": "Let me see."}, call, call]
    found = one(tmp_path, "sharegpt", {"conversations": turns, "tools": [TOOL]})
    assert found.messages[1:] == (Message(role="assistant", content="Let me see.", calls=(CALL, CALL)),)


def openai_call(call_id: str, arguments: str) -> dict[str, Any]:
    return {"id": call_id, "type": "function", "function": {"name": "weather", "arguments": arguments}}


def test_openai_messages(tmp_path: Path) -> None:
    calls = [openai_call("a", '{"city": "Ulm", "days": 2}'), openai_call("b", '{"city": "Bonn"}')]
    messages = [
        {"role": "user", "content": [{"type": "text", "text": "Weather in Ulm?"}]},
        {"role": "assistant", "content": None, "tool_calls": calls},
        {"role": "tool", "tool_call_id": "b", "content": "9"},
        {"role": "tool", "tool_call_id": "a", "content": '{"degrees": 12}'},
        {"role": "assistant", "content": "12 degrees.", "weight": 0},
    ]
    record = {"messages": messages, "tools": [{"type": "function", "function": TOOL}]}
    found = one(tmp_path, "openai_messages", record)
    assert found.messages[1].calls == (CALL, Call(name="weather", arguments={"city": "Bonn"}))
    assert [(m.content, m.answers) for m in found.messages[2:4]] == [("9", 1), ('{"degrees": 12}', 0)]
    assert [m.loss for m in found.messages] == [False, True, False, False, False]
    assert found.tools == (TOOL,)


def test_openai_s_older_calls_and_runs_that_failed(tmp_path: Path) -> None:
    messages = [
        {"role": "user", "content": "Weather in Ulm?"},
        {"role": "assistant", "content": "", "function_call": {"name": "weather", "arguments": '{"city": "Ulm", "days": 2}'}},
        {"role": "function", "name": "weather", "content": '{"degrees": 12}'},
        {"role": "assistant", "content": "12 degrees."},
    ]
    found = one(tmp_path, "openai_messages", {"traj": messages, "reward": 1.0})
    assert found.messages == (ASKED, CALLED, RESULT, SAID)
    assert found.tools == ()
    assert reason(tmp_path, "openai_messages", {"traj": messages, "reward": 0.0}).startswith("failed run: ")


def test_toolace(tmp_path: Path) -> None:
    written = {
        "name": "Weather Report.v2",
        "description": "Tell the weather.",
        "parameters": {"type": "dict", "properties": {"city": {"type": "str"}, "lat": {"type": "float"}}, "required": ["city"]},
        "required": None,
    }
    prompt = f"Here is a list of functions in JSON format that you can invoke:\n{json.dumps([written])}.\nToday is 2024-05-01."
    calls = "[Weather Report.v2(city=\"Ulm, [old]\", lat=-48.4), Weather Report.v2(city='Bonn')]"
    turns = [
        {"from": "user", "value": "Weather?"},
        {"from": "assistant", "value": calls},
        {"from": "tool", "value": '[{"name": "Weather Report.v2", "results": {"degrees": 12}}]'},
        {"from": "assistant", "value": "12 degrees [all day]."},
    ]
    found = one(tmp_path, "toolace", {"system": prompt, "conversations": turns})
    assert found.messages[0] == Message(role="system", content="Today is 2024-05-01.")
    assert found.messages[2].calls == (
        Call(name="Weather Report.v2", arguments={"city": "Ulm, [old]", "lat": -48.4}),
        Call(name="Weather Report.v2", arguments={"city": "Bonn"}),
    )
    assert found.messages[4].content == "12 degrees [all day]."
    properties = {"city": {"type": "string"}, "lat": {"type": "number"}}
    assert found.tools[0]["parameters"] == {"type": "object", "properties": properties, "required": ["city"]}


def test_toolace_calls_that_do_not_parse_are_set_aside(tmp_path: Path) -> None:
    turns = [{"from": "user", "value": "?"}, {"from": "assistant", "value": "[weather(city='Children's')]"}]
    record = {"system": f"Tools: [{json.dumps(TOOL)}]", "conversations": turns}
    assert reason(tmp_path, "toolace", record).startswith("calls: ")
    record["system"] = "No tools."
    assert reason(tmp_path, "toolace", record).startswith("tools: the system prompt holds no list")


def test_agent_flan_keeps_its_loss_flags(tmp_path: Path) -> None:
    turns = [
        {"role": "system", "content": f"Use these APIs: [{TOOL!r}]\nAction Input: JSON", "loss": False},
        {"role": "user", "content": "Weather in Ulm?", "loss": False},
        {"role": "assistant", "content": 'Thought: I ask.\nAction: weather\nAction Input: {"city": "Bonn"}', "loss": False},
        {"role": "function", "content": "9", "loss": False},
        {
            "role": "assistant",
            "content": 'Thought: Wrong.\nAction: {"name": "weather", "arguments": {"city": "Ulm"}}',
            "loss": True,
        },
        {"role": "user", "content": "Observation: 12", "loss": False},
        {"role": "assistant", "content": "Final Answer: 12 degrees.", "loss": True},
    ]
    found = one(tmp_path, "agent_flan", {"conversation": turns, "id": "1"})
    assert [m.role for m in found.messages] == ["system", "user", "assistant", "tool", "assistant", "tool", "assistant"]
    assert [m.loss for m in found.messages] == [False, False, False, False, True, False, True]
    assert found.messages[2] == Message(
        role="assistant", thought="I ask.", calls=(Call(name="weather", arguments={"city": "Bonn"}),), loss=False
    )
    assert found.messages[4].calls == (Call(name="weather", arguments={"city": "Ulm"}),)
    assert found.messages[5].content == "12"
    assert found.messages[6] == SAID
    assert found.tools == (TOOL,)
    assert found.format == "react"
    assert reason(tmp_path, "agent_flan", {"conversation": [{**turns[1], "loss": "maybe"}]}).startswith("turns: the loss flag")


LOOP = """Question: Weather in Ulm?
Thought 1: I look
it up.
Action 1: weather[Ulm]
Observation 1: {"degrees": 12}
Thought 2: Enough.
Final Answer: 12 degrees."""


def test_react_text(tmp_path: Path) -> None:
    expected = (
        ASKED,
        Message(role="assistant", thought="I look\nit up.", calls=(Call(name="weather", arguments={"input": "Ulm"}),)),
        RESULT,
        Message(role="assistant", thought="Enough.", content="12 degrees."),
    )
    assert one(tmp_path, "react_text", {"text": LOOP}).messages == expected
    (tmp_path / "loop.txt").write_text(LOOP)
    config = SourceConfig(name="x", kind="react_text", location=str(tmp_path / "loop.txt"), domain="agent")
    (item,) = load_kind("react_text").list_items(config)
    (found,) = load_kind("react_text").read_item(config, item)
    assert isinstance(found, Trajectory)
    assert found.messages == expected


def test_react_text_of_messages_tags_and_steps(tmp_path: Path) -> None:
    messages = [
        {"role": "user", "content": "Weather in Ulm?"},
        {"role": "assistant", "content": "Assistant:\n<thought> I look. </thought>\n<execute> print(1) </execute>"},
        {"role": "user", "content": "Observation:\n1"},
        {"role": "assistant", "content": "It is <solution> 1 </solution>."},
    ]
    run = Call(name="execute", arguments={"code": "print(1)"})
    found = one(tmp_path, "react_text", {"messages": messages})
    assert found.messages[1:] == (
        Message(role="assistant", thought="I look.", calls=(run,)),
        Message(role="tool", content="1"),
        Message(role="assistant", content="It is  1 ."),
    )
    steps = [{"thought": "I look.", "action": "ls -a\n", "observation": ""}, {"thought": "Done.", "action": "submit"}]
    found = one(tmp_path, "react_text", {"task": "Look.", "traj": {"trajectory": steps}})
    assert [[call.arguments["command"] for call in m.calls] for m in found.messages] == [[], ["ls -a"], [], ["submit"]]


@pytest.mark.parametrize(
    ("action", "given", "expected"),
    [
        ("search[a [b] c]", None, Call(name="search", arguments={"input": "a [b] c"})),
        ("`weather`", '{"city": "Ulm", "days": 2}', CALL),
        ("weather(city='Ulm', days=2)", None, CALL),
        ("answer(42)", None, Call(name="answer", arguments={"input": "42"})),
        ("bash\n\n```bash\nls -l\n```", None, Call(name="bash", arguments={"input": "ls -l"})),
        ('{"action": "weather", "action_input": {"city": "Ulm", "days": 2}}', None, CALL),
        ("look", None, Call(name="look", arguments={})),
        ("look", "None", Call(name="look", arguments={})),
    ],
)
def test_the_ways_in_which_an_action_is_written(action: str, given: str | None, expected: Call) -> None:
    assert call_of_action(action, given) == expected


@pytest.mark.parametrize(
    ("action", "given"), [("go to desk 1", None), ("weather", '{"city": '), ("two\nlines", "x"), ("{}", None)]
)
def test_actions_that_are_no_calls_are_malformed(action: str, given: str | None) -> None:
    with pytest.raises(MalformedError):
        call_of_action(action, given)


ANSWERS: list[Any] = [
    ["weather(city='Ulm', days=2)"],
    [{"weather": {"city": ["Ulm", "ulm"], "days": [2, ""]}}],
    [{"name": "weather", "arguments": {"city": "Ulm", "days": 2}}],
    "[weather(city='Ulm', days=2)]",
    json.dumps([{"name": "weather", "arguments": {"city": "Ulm", "days": 2}}]),
]


@pytest.mark.parametrize("answers", ANSWERS)
def test_call_lists(tmp_path: Path, answers: Any) -> None:
    written = {**TOOL, "parameters": {**PARAMETERS, "type": "dict"}}
    for question in ("Weather in Ulm?", [[{"role": "user", "content": "Weather in Ulm?"}]]):
        found = one(tmp_path, "call_lists", {"question": question, "function": [written], "ground_truth": answers})
        assert (found.messages, found.tools) == ((ASKED, CALLED), (TOOL,))


def test_call_lists_of_several_turns_and_xlam_s_parameters(tmp_path: Path) -> None:
    parameters = {"city": {"description": "Where.", "type": "str"}, "days": {"type": "int, optional", "default": 1}}
    record = {
        "query": [[{"role": "user", "content": "Weather in Ulm?"}], [{"role": "user", "content": "And Bonn?"}]],
        "tools": json.dumps([{**TOOL, "parameters": parameters}]),
        "answers": [["weather(city='Ulm', days=2)"], ["weather(city='Bonn')"]],
    }
    found = one(tmp_path, "call_lists", record)
    assert found.messages[:3] == (ASKED, CALLED, Message(role="user", content="And Bonn?"))
    properties = found.tools[0]["parameters"]["properties"]
    assert [each["type"] for each in properties.values()] == ["string", "integer"]
    record["answers"] = record["answers"][:1]
    assert reason(tmp_path, "call_lists", record) == "calls: not one list of calls for each of 2 turns"
    assert reason(tmp_path, "call_lists", {**record, "answers": []}).startswith("calls: nothing under")


def test_a_tool_with_broken_requirements_sets_its_call_list_aside(tmp_path: Path) -> None:
    broken = {**TOOL, "parameters": {**PARAMETERS, "required": -1}}
    record = {"question": "?", "function": [broken], "ground_truth": [{"weather": {"city": ["Ulm"]}}]}
    assert reason(tmp_path, "call_lists", record) == "tools: what weather requires is not a list"


def test_content_of_a_table_that_json_cannot_hold_is_set_aside(tmp_path: Path) -> None:
    turns = [{"role": "user", "content": "When?"}, {"role": "assistant", "content": {"day": datetime.date(2024, 5, 1)}}]
    pq.write_table(pa.Table.from_pylist([{"messages": turns[1:]}]), tmp_path / "rows.parquet")
    config = SourceConfig(name="x", kind="openai_messages", location=str(tmp_path), domain="agent")
    (item,) = load_kind("openai_messages").list_items(config)
    (found,) = load_kind("openai_messages").read_item(config, item)
    assert isinstance(found, Reject)
    assert found.reason.startswith("turns: content that is not JSON")


texts = st.text(st.characters(exclude_categories=["Cs"]), max_size=20)
names = st.from_regex(r"[A-Za-z_][A-Za-z0-9_]{0,8}", fullmatch=True).filter(lambda name: not keyword.iskeyword(name))
words = st.from_regex(r"[A-Za-z0-9_é][A-Za-z0-9_é/. -]{0,8}[A-Za-z0-9_é]", fullmatch=True)
values = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False, allow_infinity=False) | texts,
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(texts, inner, max_size=3),
    max_leaves=6,
)
calls = st.builds(Call, name=words, arguments=st.dictionaries(names | texts, values, max_size=3))


@given(st.lists(calls, min_size=1, max_size=3))
@example([Call(name="f", arguments={"ﬁle": 1, "from": 2, "max-results": 3, "größe": -0.5})])
def test_calls_read_back_from_every_notation(made: list[Call]) -> None:
    expected = tuple(made)
    python = f"[{', '.join(call.as_python() for call in made)}]"
    assert parse_calls(python) == expected
    assert split_calls(python) == ("", expected)
    assert parse_calls(f"[{', '.join(call.as_json() for call in made)}]") == expected
    tagged = "".join(f"<tool_call>\n{call.as_json()}\n</tool_call>\n" for call in made if "tool_call>" not in call.as_json())
    if tagged:
        assert split_calls(f"Words.\n{tagged}") == ("Words.", tuple(c for c in made if "tool_call>" not in c.as_json()))


@pytest.mark.parametrize(
    "text",
    [
        "",
        "[]",
        "[f(1)]",
        "[f(a=g())]",
        "[f(a=1+1)]",
        "[f(a={1: 2})]",
        "[f(a=1, a=2)]",
        "[f(a=b'x')]",
        "[f(a=1e999)]",
        "[f(a=x)]",
        "[f(a=1)] and more",
        "[f(a='x]",
        "[f(a=1) g(b=2)]",
        "f(a=1).b()",
        '{"name": "f", "arguments": "[1]"}',
        '{"name": "f", "arguments": {"a": NaN}}',
        '{"arguments": {}}',
        f"f(a={'[' * (DEEPEST + 1)}{']' * (DEEPEST + 1)})",
        f'{{"name": "f", "arguments": {{"a": {"[" * 5_000}{"]" * 5_000}}}}}',
        f"f(a={'-' * 100_000}1)",
        f"f(a={'9' * 10_000})",
        "f(a=\x00)",
        "f(**{})(b=1)",
    ],
)
def test_what_is_no_call_is_malformed_and_nothing_runs(text: str) -> None:
    with pytest.raises(MalformedError, match=":"):
        parse_calls(text)


@pytest.mark.parametrize("text", ["[f(" + ")" + " " * 100_000, "<tool_call>" + " " * 100_000 + "x", "[" + "a " * 50_000])
def test_long_texts_take_no_longer_than_they_should(text: str) -> None:
    started = time.process_time()
    with contextlib.suppress(MalformedError):
        split_calls(text)
    assert time.process_time() - started < 1


def test_words_that_hold_brackets_are_not_calls() -> None:
    for text in ("I see [f] (maybe).", "[1, 2]", "Use [f(a=1)] to do it.", '{"degrees": 12}'):
        assert split_calls(text) == (text, ())


@pytest.mark.parametrize(
    ("written", "expected"),
    [
        ({"type": "dict"}, {"type": "object"}),
        ({"type": "List[int]"}, {"type": "array", "items": {"type": "integer"}}),
        ({"type": "Optional[str]"}, {"type": ["string", "null"]}),
        ({"type": "float, optional"}, {"type": "number"}),
        ({"type": "Tuple[int, str]"}, {"type": "array"}),
        ({"type": "Dict[str, int]"}, {"type": "object"}),
        ({"type": "any"}, {}),
        ({"type": ["str", "None"]}, {"type": ["string", "null"]}),
        ({"type": "array", "items": {"type": "bool"}}, {"type": "array", "items": {"type": "boolean"}}),
        ({"type": "weird"}, {"type": "weird"}),
        ({"properties": {"type": {"type": "str"}}}, {"properties": {"type": {"type": "string"}}}),
        (
            {"type": "object", "properties": {"a": {"type": "int", "required": True}, "b": {"required": False}}},
            {"type": "object", "properties": {"a": {"type": "integer"}, "b": {}}, "required": ["a"]},
        ),
    ],
)
def test_type_words_are_made_those_of_json_schema(written: dict[str, Any], expected: dict[str, Any]) -> None:
    (tool,) = declared_tools([{"name": "f", "parameters": {"properties": {"p": written}}}])
    assert tool == {"name": "f", "description": "", "parameters": {"type": "object", "properties": {"p": expected}}}


def test_tools_are_found_in_prompts() -> None:
    assert embedded_tools(f"Use {json.dumps([TOOL])} now.") == ((TOOL,), "Use  now.")
    assert embedded_tools(f"Use {[TOOL]!r} now.") == ((TOOL,), "Use  now.")
    assert embedded_tools("Nothing [{here}].") == ((), "Nothing [{here}].")
    with pytest.raises(MalformedError):
        embedded_tools('[{"name": f}]')


@given(st.lists(st.tuples(names, st.from_regex(r"[a-z]{1,9}", fullmatch=True), st.from_regex(r"[a-z ]{1,9}", fullmatch=True))))
def test_every_step_of_a_loop_is_read(steps: list[tuple[str, str, str]]) -> None:
    text = "Question: why\n" + "".join(f"Action: {a}\nAction Input: {i}\nObservation: {o}\n" for a, i, o in steps)
    read_back = read_loop(text)
    assert [m.calls[0].name for m in read_back if m.calls] == [a for a, _, _ in steps]
    assert [m.content for m in read_back if m.role == "tool"] == [o.strip() for _, _, o in steps]


def test_calls_in_python_s_notation_are_python(tmp_path: Path) -> None:
    def asking(name: str, origin: str) -> Trajectory:
        turns = (Message(role="user", content="Go."), Message(role="assistant", calls=(Call(name=name, arguments={"a": 1}),)))
        return Trajectory(messages=turns, source="s", origin=origin, license="MIT")

    drawn = {
        name: {asking(name, str(n)).in_format().format for n in range(100)} for name in ("shop.buy", "Get User/Info", "if")
    }
    assert drawn["shop.buy"] == {"chat_json", "chat_python", "react", "transcript"}
    assert drawn["Get User/Info"] == drawn["if"] == {"chat_json", "react"}


@pytest.mark.parametrize("form", ["chat_json", "chat_python", "react", "transcript"])
def test_what_is_empty_leaves_no_blanks(form: str) -> None:
    turns = (
        Message(role="user", content="Go."),
        Message(role="assistant", calls=(Call(name="go", arguments={}), Call(name="look", arguments={}))),
        Message(role="tool", content=""),
        Message(role="tool", content="\nGone."),
        Message(role="assistant", content="Done."),
    )
    tools = tuple({"name": name, "description": said, "parameters": {}} for name, said in (("go", ""), ("look", "See a thing")))
    text = Trajectory(messages=turns, tools=tools, source="s", origin="o", license="MIT", format=form).render()
    assert not [line for line in text.split("\n") if line != line.rstrip()]
    if form == "react":
        assert text.split("\n")[1:3] == ["go: Input: {}", "look: See a thing. Input: {}"]
