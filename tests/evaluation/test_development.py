"""The development split: what its items are, and that the official checker judges them."""

import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pytest

from hephaestus_dag.evaluation.bfcl.checker import Checker
from hephaestus_dag.evaluation.development.items import HELD_OUT_SERVICES, Item, allowed, development_items, written_items
from hephaestus_dag.evaluation.development.score import score_development, shares
from hephaestus_dag.evaluation.model import Reply
from hephaestus_dag.mixture.tool_prompts import tool_prompt
from hephaestus_dag.recipe_file import read_recipe


class Answering:
    """A model whose replies are given."""

    def __init__(self, replies: Sequence[str]) -> None:
        self.identity: dict[str, Any] = {}
        self.replies = replies

    def generate(self, prompts: Sequence[Any], *_: Any, **__: Any) -> list[Reply]:
        assert len(prompts) == len(self.replies)
        return [Reply(text=text, num_prompt_tokens=1, num_new_tokens=1, seconds=0.0) for text in self.replies]


def perfect(item: Item) -> str:
    return f"[{', '.join(call.as_python() for call in item.calls)}]" if item.calls else "None of the functions can do that."


def test_items_are_the_same_each_time_and_of_every_kind() -> None:
    items = development_items()
    assert [item.as_line() for item in items] == [item.as_line() for item in development_items()]
    assert 180 <= len(items) <= 240
    assert len({item.item_id for item in items}) == len(items)
    assert {item.kind for item in items} == {"simple", "multiple", "parallel", "parallel_multiple", "irrelevance"}
    assert {item.category.partition("_")[0] for item in items} == {"everyday", "service", "written"}
    assert all(bool(item.calls) == (item.kind != "irrelevance") for item in items)


def test_the_recipe_leaves_out_the_services_that_are_asked_for() -> None:
    assert set(HELD_OUT_SERVICES) <= set(read_recipe("smollm2")[0].seed_corpus.synthetic_calls.held_out_services)
    names = {tool["name"] for item in development_items() if item.item_id.startswith("service") for tool in item.tools}
    spelled = tuple(service.replace("-", "_") for service in HELD_OUT_SERVICES)
    assert names
    assert all(name.startswith(spelled) for name in names)


def test_what_is_not_asked_for_may_be_left_out() -> None:
    schema = {"properties": {"a": {}, "b": {"default": 3}, "c": {}}, "required": ["a"]}
    assert allowed({"a": {"x": 1}}, schema) == {"a": [{"x": [1]}], "b": ["", 3], "c": [""]}


@pytest.mark.slow
def test_the_official_checker_accepts_the_answers_and_nothing_else(bfcl_python: Path) -> None:
    items = development_items()
    found = score_development(Answering([perfect(item) for item in items]), bfcl_python, items)
    assert [outcome.item.item_id for outcome in found if not outcome.valid] == []
    assert shares(found)["ast"].score == pytest.approx(1)
    wrong = score_development(Answering(["[nonsense(a=1)]"] * len(items)), bfcl_python, items)
    assert not any(outcome.valid for outcome in wrong)
    silent = score_development(Answering(["I cannot do that."] * len(items)), bfcl_python, items)
    assert {outcome.item.kind for outcome in silent if outcome.valid} == {"irrelevance"}


@pytest.mark.slow
def test_the_prompt_is_the_official_one_word_for_word(bfcl_python: Path) -> None:
    with Checker(bfcl_python) as checker:
        lines, _ = checker.ask({"command": "items", "categories": ["simple_python", "parallel_multiple"]})
    for line in lines[::40]:
        head, _, functions = line["messages"][0]["content"].partition("can invoke.\n")
        ours, _, shown = tool_prompt([], "bfcl").partition("can invoke.\n")
        assert head == ours
        assert functions == json.dumps(json.loads(functions), indent=4) + shown.removeprefix("[]")


def test_written_items_name_only_what_they_declare() -> None:
    for item in written_items():
        schemas = {tool["name"]: tool["parameters"] for tool in item.tools}
        for call in item.calls:
            assert set(schemas[call.name]["required"]) <= set(call.arguments) <= set(schemas[call.name]["properties"])
