import dataclasses
import json
from pathlib import Path
from typing import Any

import pytest

from hephaestus_dag.artifacts import Identity, Report, Store
from hephaestus_dag.costs.amount import about, at_most
from hephaestus_dag.costs.devices import begin_measuring, find_gpu, measured, this_cpu
from hephaestus_dag.costs.estimate import Estimate, estimate
from hephaestus_dag.costs.lists import closing_lines, missing_lines
from hephaestus_dag.costs.show import cost_rows
from hephaestus_dag.costs.standing import Standing
from hephaestus_dag.costs.words import number
from hephaestus_dag.recipe import Recipe
from hephaestus_dag.recipe_file import read_recipe, recipe_path
from tests.laptop import RAW, recipe

A100 = find_gpu("A100-40GB")


def estimated(given: Recipe, **more: Any) -> Estimate:
    return estimate(given, A100, 0.35, **more)


@pytest.fixture(scope="module")
def paper() -> Estimate:
    found, missing = read_recipe("paper")
    return estimate(found, A100, 0.35, missing)


def test_the_papers_run_takes_its_steps(paper: Estimate) -> None:
    stages = paper.stage_jobs()
    assert {stage: (job.steps.value, job.steps.kind) for stage, job in stages.items()} == {
        1: (55_000, ""),
        2: (55_000, ""),
        3: (24_000, "≤"),
    }
    assert stages[1].model is not None
    assert stages[1].model.parameters == 8_030_261_248


def test_gpu_hours_are_flops_over_peak_and_utilisation(paper: Estimate) -> None:
    cost = paper.costs["hephaestus/stage1_checkpoint"]
    matrices = 32 * (2 * 4096 * (4096 + 1024) + 3 * 4096 * 14336) + 4096 * 128_256
    flops = 55_000 * 256 * 8192 * (6 * matrices + 12 * 32 * 4096 * 8192)
    assert cost.training.value == pytest.approx(flops)
    hours = paper.time(cost).value or 0
    assert paper.hours(cost.training, "bfloat16").value == pytest.approx(flops / (312e12 * 0.35) / 3600)
    assert hours == pytest.approx(paper.hours(cost.training + cost.inference, "bfloat16").value)
    assert dataclasses.replace(paper, utilisation=0.7).time(cost).value == pytest.approx(hours / 2)
    assert paper.wall_hours(cost.key).value == pytest.approx(hours / 128)
    last = paper.stage_jobs()[3].key
    assert paper.wall_hours(last).value == pytest.approx((paper.time(paper.costs[last]).value or 0) / 16)


def test_one_time_of_a_stage_is_given_wherever_it_is_printed(paper: Estimate) -> None:
    hours = f"{paper.time(paper.costs['hephaestus/stage1_checkpoint']).value:,.0f}"
    (row,) = (row for _, rows in cost_rows(paper) for row, _ in rows if row[0] == "hephaestus/stage1_checkpoint")
    assert row[5] == f"≤{hours} h"
    assert any(line.startswith("hephaestus, Stage I:") and f"≤{hours} GPU-hours" in line for line in closing_lines(paper))


def test_missing_inputs_stand_beside_the_assets_that_read_them(paper: Estimate) -> None:
    assert {"tool_documentation", "function_calling_trajectories", "code_documents", "text_documents", "web_corpus"} <= set(
        paper.lacking
    )
    (code,) = paper.lacking["code_documents"]
    lines = recipe_path("paper").read_text().splitlines()
    assert "the_stack_v2" in lines[code.line - 1]
    assert lines[code.line - 2].strip() == f"# {code.hint}"
    assert [name.partition("@")[0] for name in paper.fetched] == [
        "OpenMatch/cocodr-base-msmarco",
        "meta-llama/Meta-Llama-3-8B",
        "meta-llama/Meta-Llama-3-8B-Instruct",
    ]


def test_too_few_agent_documents_are_told_with_the_remedy(paper: Estimate) -> None:
    assert paper.costs["mixed_corpus"].shortage == ""
    said = paper.costs["seed_mixture"].shortage
    needed = 0.7 * 55_000 * 256 * 8192 / 4
    assert said.startswith(f"agent: {needed / 1e6:,.1f}M different tokens are needed for max_epochs 4, about ")
    assert "raise max_epochs" in said


def test_what_no_cap_bounds_is_not_guessed() -> None:
    uncapped = estimated(recipe()).costs
    assert uncapped["code_documents"].documents.value is None
    assert "stdlib: no max_documents" in uncapped["code_documents"].documents.reason
    assert uncapped["seed_corpus"].tokens.value is None
    sources = [{**source, "max_documents": 10} for source in RAW["seed_corpus"]["code_documents"]]
    capped = estimated(recipe(seed_corpus__code_documents=sources)).costs["code_documents"]
    assert (capped.documents.value, capped.documents.kind, capped.tokens.kind) == (10, "≤", "~")


def test_an_unknown_shape_is_said_and_not_guessed() -> None:
    raw = {"mixture__tokenizer": {"model": "acme/model@v1"}}
    backbone = {"training__backbone": {"model": "acme/model@v1"}}
    found = estimated(recipe(**raw, **backbone))
    training = found.costs["hephaestus/stage1_checkpoint"].training
    assert training.value is None
    assert "unknown shape of acme/model@v1" in training.reason
    assert found.costs["tokenized_seed"].disk.value is None


def test_a_server_has_no_gpu_hours_here() -> None:
    annotator = {"kind": "openai", "model": "judge", "endpoint": "http://localhost:8000/v1"}
    found = estimated(recipe(quality__annotation__annotator=annotator)).costs["quality_annotations"].inference
    assert found.value is None
    assert "server" in found.reason


def test_more_evaluations_cost_more_forward_passes() -> None:
    plain, often = (estimated(recipe(training__stage1__evaluate_every=every)).costs for every in (0, 10))
    key = "hephaestus/stage1_checkpoint"  # 146 steps: before the first, after each tenth, after the last
    assert (often[key].inference.value or 0) / (plain[key].inference.value or 0) == pytest.approx(16 / 2)
    assert often[key].training == plain[key].training


def test_steps_that_branches_share_are_counted_once() -> None:
    changed = {"scaling_law__sweep__benchmark_items": None}
    one, two = (
        estimated(recipe(scaling_law__sweep__budgets=budgets, **changed)).costs["proxy_runs/0.4M-a36-s0"]
        for budgets in ([204_800], [102_400, 204_800])
    )
    assert one.tokens.value == 204_800
    assert two.tokens.value == 204_800 + 10 * 2048  # the smaller decays over a fifth of its 50 steps
    assert (two.inference.value or 0) / (one.inference.value or 0) == pytest.approx(3 / 2)
    scored = estimated(recipe(scaling_law__sweep__budgets=[204_800], scaling_law__sweep__benchmark_items=4)).costs
    added = (scored["proxy_runs/0.4M-a36-s0"].inference.value or 0) / (one.inference.value or 0) - 1
    assert added == pytest.approx(10 * 4 * 256 / (3 * 16_384))


def test_pretrained_proxies_are_counted() -> None:
    costs = estimated(recipe(scaling_law__sweep__start={"tokens_per_parameter": 4, "code_share": 0.5})).costs
    rung = recipe().scaling_law.sweep.ladder[1]
    assert costs[f"proxy_backbones/{rung.name}"].tokens.value == 4 * rung.params // 2048 * 2048


def document_artifact(store: Path, given: Recipe, rows: int = 7) -> None:
    values = {
        "seed_corpus.code_documents": [source.name for source in given.seed_corpus.code_documents],
        **{f"seed_corpus.code_documents.{source.name}": source.content() for source in given.seed_corpus.code_documents},
    }

    def write(workspace: Any) -> Report:
        (workspace.folder / "part.bin").write_bytes(b"x" * 1000)
        return Report(headline="", rows=rows, figures={"characters": 4_000})

    Store(store).build(Identity(key="code_documents", code="old", values=json.loads(json.dumps(values))), write)


def test_measured_sizes_take_the_place_of_estimates_when_the_recipe_agrees(tmp_path: Path) -> None:
    given = recipe(seed_corpus__code_documents=[{"name": "s", "kind": "python_code", "location": "stdlib", "domain": "code"}])
    document_artifact(tmp_path, given)
    found = estimated(given, store=tmp_path).costs["code_documents"]
    assert found.measured
    assert (found.documents.value, found.tokens.value, found.disk.value) == (7, 1_000, 1_000)
    other = recipe(
        seed_corpus__code_documents=[
            {"name": "s", "kind": "python_code", "location": "stdlib", "domain": "code", "max_documents": 5}
        ]
    )
    assert not estimated(other, store=tmp_path).costs["code_documents"].measured


def test_an_artifact_whose_inputs_are_of_another_recipe_is_not_this_recipes(tmp_path: Path) -> None:
    def built(key: str, values: dict[str, Any], inputs: dict[str, str]) -> str:
        identity = Identity(key=key, code="c", values=values, inputs=inputs)
        Store(tmp_path).build(identity, lambda workspace: Report(headline="", rows=3))
        return identity.fingerprint

    given = recipe()
    rules = {"seed_corpus.curation": given.value("seed_corpus.curation")}
    right = built("tool_documentation", {"seed_corpus.tool_documentation": ["aws", "google", "python"]}, {})
    wrong = built("tool_documentation", {"seed_corpus.tool_documentation": ["others"]}, {})
    built("seed_corpus", rules, {"tool_documentation": wrong})
    assert not estimated(given, store=tmp_path).costs["seed_corpus"].measured
    built("seed_corpus", rules, {"tool_documentation": right})
    assert estimated(given, store=tmp_path).costs["seed_corpus"].measured


def test_a_core_of_the_cpu_takes_as_long_as_its_given_speed_says() -> None:
    hours = estimate(recipe(), this_cpu(gflops=100), 0.5).hours(at_most(100e9 * 3600), "float32")
    assert (hours.value, hours.kind) == (pytest.approx(2), "≤")


@pytest.mark.slow
def test_the_speed_of_a_core_is_measured_in_the_recipes_number_format() -> None:
    with begin_measuring(["float32", "bfloat16"]) as process:
        found = measured(this_cpu(), process)
    assert set(found.peaks) == {"float32", "bfloat16"}
    assert all(1e8 < peak < 1e14 for peak in found.peaks.values())
    assert found.peak("bfloat16") == found.peaks["bfloat16"]
    assert "measured here" in found.peak_in_words


def test_an_asset_takes_as_long_as_its_last_build(tmp_path: Path) -> None:
    given = recipe()
    rules = {"seed_corpus.text_documents": [source.name for source in given.seed_corpus.text_documents]}
    Store(tmp_path).build(Identity(key="text_documents", code="old", values=rules), lambda workspace: Report(headline=""))
    again = estimate(given, this_cpu(gflops=100), 0.5, store=tmp_path, as_before=True)
    text, backbone = again.costs["text_documents"], again.costs["backbone"]
    assert again.timed(text)
    assert again.time(text) == about((text.seconds or 0) / 3600)
    assert again.time(backbone) == again.hours(backbone.inference + backbone.training, "float32")
    assert "backbone" in [cost.key for cost in again.unpriced]
    assert again.sum_of_time()[1] == 1
    assert not estimate(given, this_cpu(gflops=100), 0.5, store=tmp_path).timed(text)


def test_own_files_are_counted_before_they_are_read(tmp_path: Path) -> None:
    (tmp_path / "a.txt").write_text("x" * 4_000)
    (tmp_path / "b.txt").write_text("x" * 4_000)
    (tmp_path / "rows.jsonl.gz").write_bytes(b"x" * 28_000)
    source = {"name": "mine", "kind": "text_files", "location": str(tmp_path), "domain": "text"}
    found = estimated(recipe(seed_corpus__text_documents=[source])).costs["text_documents"]
    assert found.tokens == about(2_000 + 3 * 7_000)
    assert found.documents == about(2 + 3 * 7_000 / 700)
    capped = estimated(recipe(seed_corpus__text_documents=[{**source, "max_documents": 10}])).costs["text_documents"]
    assert capped.documents.value == 10


def test_many_missing_inputs_of_one_list_are_one_line_with_the_remedy(tmp_path: Path) -> None:
    file = tmp_path / "mine.yaml"
    lost = "{{ name: lost{0}, kind: html_pages, location: no/such/{0}/*.html, domain: agent }}"
    rows = "\n".join(f"    - {lost.format(number)}" for number in range(34))
    file.write_text(f"extends: laptop\nname: mine\nweb_retrieval:\n  web_corpus:\n    # make pages\n{rows}\n")
    lines = missing_lines(estimated(*read_recipe(file)[:1], missing=read_recipe(file)[1]))
    assert len(lines) == 2
    assert "mine.yaml:6-39: web_retrieval.web_corpus: 34 sources (lost0, lost1, lost2 and 31 more)" in lines[0]
    assert lines[1] == "    make pages"


@pytest.mark.parametrize(
    ("hours", "said"),
    [(0.2 / 3600, "<1 s"), (43 / 3600, "≤43 s"), (0.2, "≤12 min"), (3.25, "≤3.2 h"), (16_992.4, "≤16,992 h")],
)
def test_a_time_is_in_the_unit_that_fits(hours: float, said: str) -> None:
    assert number(at_most(hours), "h") == said


def test_what_is_there_is_no_longer_to_do() -> None:
    everything = estimated(recipe())
    done = {key: Standing(action="reuse") for key in everything.costs}
    assert dataclasses.replace(everything, standings=done).sum_of("training")[0].value == 0
    left = {**done, "hephaestus/stage1_checkpoint": Standing(action="rebuild", reasons=("code changed",))}
    found = dataclasses.replace(everything, standings=left).sum_of("training")[0]
    assert found == everything.costs["hephaestus/stage1_checkpoint"].training


@pytest.mark.parametrize(("price", "money"), [(2.0, 2.0), (None, None)])
def test_a_servers_answers_have_their_tokens_and_their_price(price: float | None, money: float | None) -> None:
    server = {"kind": "openai", "model": "judge", "endpoint": "http://localhost:8000/v1", "max_tokens": 1_000}
    prices = {} if price is None else {"input_price": price, "output_price": 3 * price}
    asked = estimated(recipe(quality__annotation__annotator={**server, **prices})).costs["quality_annotations"].answers
    assert asked
    read, written = asked.read.value or 0, asked.written.value or 0
    assert asked.questions.value == 330
    assert read > 330 * 1_000
    assert written == 330 * 8
    if money is None:
        assert asked.money.value is None
        assert "quality.annotation.annotator.input_price" in asked.money.reason
    else:
        assert asked.money.value == pytest.approx((read * 2 + written * 6) / 1e6)


def test_a_local_annotator_costs_no_money_and_an_endpoint_is_asked_all_items() -> None:
    endpoint = {"model": "m", "endpoint": "http://localhost:8000/v1", "input_price": 1.0, "output_price": 1.0}
    costs = estimated(recipe(evaluation__endpoints={"rival": endpoint})).costs
    local, rival, own = (costs[key].answers for key in ("quality_annotations", "rival/bfcl_scores", "base/bfcl_scores"))
    assert local
    assert local.money.value == 0
    assert rival
    assert rival.money.value == pytest.approx(((rival.read.value or 0) + (rival.written.value or 0)) / 1e6)
    assert own is None


def test_different_tokens_are_bounded_by_the_token_store(paper: Estimate) -> None:
    assert paper.costs["mixed_corpus"].shortage == ""
    section = paper.recipe.mixture
    store = section.token_store.model_copy(update={"max_tokens_per_domain": 1_000_000})
    capped = paper.recipe.model_copy(update={"mixture": section.model_copy(update={"token_store": store})})
    said = estimate(capped, A100, 0.35).costs["mixed_corpus"].shortage
    assert "code: " in said
    assert "about 1.0M are there" in said
