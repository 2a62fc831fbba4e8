"""Trajectories that are read from the worked examples of a command line and of service models."""

import json
import shlex
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from hephaestus_dag.documents import Reject
from hephaestus_dag.sources.config import SourceConfig
from hephaestus_dag.sources.trajectories import botocore_examples, command_examples
from hephaestus_dag.trajectories import Message, Trajectory

PAGE = r"""**Example 1: To create an IAM user**

The following ``create-user`` command creates an IAM user named ``Bob`` in the current account. The name is unique. ::

    aws iam create-user \
        --user-name Bob \
        --path /division/

Output::

    {
        "User": {"UserName": "Bob"}
    }

For more information, see `Users <https://example.com/users>`__ in the *Guide*.

**Example 2: To delete an IAM user**

The following ``delete-user`` command removes the specified user::

  aws iam delete-user --user-name Bob

This command produces no output.
"""


def read(folder: Path, text: str | bytes) -> list[Trajectory | Reject]:
    (folder / "page.rst").write_bytes(text if isinstance(text, bytes) else text.encode())
    config = SourceConfig(name="cli", kind="command_examples", location=str(folder), domain="agent", license="Apache-2.0")
    return [found for item in command_examples.list_items(config) for found in command_examples.read_item(config, item)]


def trajectory(found: Trajectory | Reject) -> Trajectory:
    assert isinstance(found, Trajectory)
    return found


def command(messages: tuple[Message, ...]) -> str:
    return messages[1].calls[0].arguments["command"]


def test_each_example_becomes_request_call_and_result(tmp_path: Path):
    first, second = map(trajectory, read(tmp_path, PAGE))
    user, assistant, result = first.messages
    assert user.content == "Create an IAM user named `Bob` in the current account. Use path `/division/`."
    assert assistant.content == "The name is unique."
    assert command(first.messages) == "aws iam create-user --user-name Bob --path /division/"
    assert json.loads(result.content) == {"User": {"UserName": "Bob"}}
    assert first.origin.endswith("page.rst line 5")
    assert not first.synthetic
    assert first.license == "Apache-2.0"
    assert second.messages[0].content == "Remove the user. Use user name `Bob`."
    assert second.messages[2].content == "(no output)"
    assert "shell(command='aws iam delete-user --user-name Bob')" in replace(second, format="transcript").render()


@pytest.mark.parametrize(
    ("block", "expected"),
    [
        (".. code::\n\n  aws s3 ls", "aws s3 ls"),
        (".. code-block:: bash\n\n  $ aws s3 ls", "aws s3 ls"),
        ("Command::\n\n  aws s3 ls --human-readable", "aws s3 ls --human-readable"),
        ("It lists buckets.\n\n  aws s3 ls", "aws s3 ls"),
        ("Linux::\n\n  aws s3 ls \\\n    --summarize\n\nWindows::\n\n  aws s3 ls ^\n    --summarize", "aws s3 ls --summarize"),
        ("::\n\n  aws s3 ls\n    --summarize", "aws s3 ls --summarize"),
    ],
)
def test_the_ways_in_which_a_command_is_set(tmp_path: Path, block: str, expected: str):
    (found,) = map(trajectory, read(tmp_path, f"To list your buckets\n--------------------\n\n{block}\n"))
    assert found.messages[0].content.startswith("List your buckets.")
    assert command(found.messages) == expected


def test_output_in_the_command_block_is_parted_and_files_are_told(tmp_path: Path):
    text = '**To put**\n\nThis example puts a rule::\n\n  aws x put --rule file://r.json\n  {\n    "Id": 1\n  }\n'
    text += '\nContents of ``r.json``::\n\n  {"a": 1}\n'
    (found,) = map(trajectory, read(tmp_path, text))
    assert command(found.messages) == "aws x put --rule file://r.json"
    assert json.loads(found.messages[2].content) == {"Id": 1}
    assert found.messages[0].content.endswith('Contents of r.json:\n{"a": 1}')


@pytest.mark.parametrize(
    ("text", "position", "reason"),
    [
        ("**To do**\n\nThis does it.\n", "file", "no command block"),
        ("::\n\n  aws s3 ls\n", "line 3", "without heading"),
        ("**To do**\n\nThis does it::\n\n  aws s3 ls 'x\n", "line 5", "quotation is not closed"),
        (b"**To do**\n\n  aws s3 ls \xff\n", "line 3", "not UTF-8"),
    ],
)
def test_what_cannot_be_read_says_where_and_why(tmp_path: Path, text: str | bytes, position: str, reason: str):
    (found,) = read(tmp_path, text)
    assert isinstance(found, Reject)
    assert (found.source, found.position) == ("cli", position)
    assert reason in found.reason


@given(st.lists(st.tuples(st.from_regex(r"[a-z]{3,9}", fullmatch=True), st.text("abc XYZ019'\"$\\", min_size=1)), max_size=4))
def test_every_value_of_a_command_is_in_the_request(tmp_path_factory: pytest.TempPathFactory, options: list[tuple[str, str]]):
    options = [(name, value.strip() or "x") for name, value in options]
    line = " ".join(["aws x do", *(f"--{name} {shlex.quote(value)}" for name, value in options)])
    (found,) = map(trajectory, read(tmp_path_factory.mktemp("cli"), f"**To do it**\n\n::\n\n    {line}\n"))
    assert command(found.messages) == line
    assert all(" ".join(shlex.split(shlex.quote(value))) in found.messages[0].content for _, value in options)


def write_service(folder: Path, examples: Any, version: str = "2020-01-01") -> None:
    model = {
        "metadata": {"serviceFullName": "Toy Service"},
        "operations": {
            "CreateThing": {"name": "CreateThing", "documentation": "<p>Creates a thing.</p>", "input": {"shape": "In"}}
        },
        "shapes": {
            "In": {
                "type": "structure",
                "required": ["ThingName"],
                "members": {"ThingName": {"shape": "S"}, "Count": {"shape": "N"}},
            },
            "S": {"type": "string"},
            "N": {"type": "integer"},
        },
    }
    place = folder / "toy" / version
    place.mkdir(parents=True)
    (place / "service-2.json").write_text(json.dumps(model))
    (place / "examples-1.json").write_text(json.dumps({"version": "1.0", "examples": examples}))


def example(**values: Any) -> dict[str, Any]:
    return {"id": "e1", "title": "To create", "description": "This example creates a thing.", **values}


def read_calls(folder: Path) -> list[Trajectory | Reject]:
    config = SourceConfig(name="calls", kind="botocore_examples", location=str(folder), domain="agent", license="Apache-2.0")
    assert botocore_examples.list_items(config) == [f"{folder.name}/toy"]
    return list(botocore_examples.read_item(config, f"{folder.name}/toy"))


def test_service_example_becomes_a_call_of_the_operations_schema(tmp_path: Path):
    written = example(input={"ThingName": "bolt", "Count": 2}, output={"Id": "t-1"})
    write_service(tmp_path, {"CreateThing": [written]})
    (found,) = map(trajectory, read_calls(tmp_path))
    assert found.messages[0].content == "Create a thing. Use thing name `bolt` and count 2."
    assert found.messages[1].calls[0].as_python() == "toy_create_thing(ThingName='bolt', Count=2)"
    assert json.loads(found.messages[2].content) == {"Id": "t-1"}
    (tool,) = found.tools
    assert tool["name"] == "toy_create_thing"
    assert tool["parameters"]["required"] == ["ThingName"]


def test_an_example_that_two_api_versions_share_is_read_once(tmp_path: Path):
    for version in ("2019-01-01", "2020-01-01"):
        write_service(tmp_path, {"CreateThing": [example(input={"ThingName": "bolt"})]}, version)
    (found,) = map(trajectory, read_calls(tmp_path))
    assert "2020-01-01" in found.origin


def test_an_example_that_the_model_does_not_know_is_set_aside(tmp_path: Path):
    write_service(tmp_path, {"CreateThing": [example(input={"Nmae": "x"})], "DropThing": [example(id="e2")]})
    first, second = read_calls(tmp_path)
    assert isinstance(first, Reject)
    assert isinstance(second, Reject)
    assert "Nmae" in first.reason
    assert second.position == "operation DropThing, example e2"


def test_a_malformed_examples_file_is_named(tmp_path: Path):
    write_service(tmp_path, {})
    (tmp_path / "toy/2020-01-01/examples-1.json").write_text("{")
    (found,) = read_calls(tmp_path)
    assert isinstance(found, Reject)
    assert found.origin.endswith("examples-1.json")


def test_the_assistant_says_nothing_about_the_page_that_the_example_stood_on(tmp_path: Path):
    said = "The following ``x`` example etrieves one. It costs a cent. The output is like the following"
    page = f"**To do it**\n\n{said}::\n\n  aws s3 ls\n"
    (found,) = read(tmp_path, page)
    assert trajectory(found).messages[1].content == "It costs a cent."
    (found,) = read(
        tmp_path, "**To do it**\n\nThe following ``x`` example example gets details about buckets::\n\n  aws s3 ls\n"
    )
    assert [message.content for message in trajectory(found).messages[:2]] == ["Get details about buckets.", ""]
