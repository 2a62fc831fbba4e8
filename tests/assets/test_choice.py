"""A recipe that a run's config names, and what is said when its graph is another one."""

from pathlib import Path
from types import SimpleNamespace
from typing import Any

import dagster as dg
import pytest
import yaml

from assets.choice import chosen
from assets.graph import lineage_of
from hephaestus_dag.definitions import definitions
from hephaestus_dag.recipe import Recipe
from hephaestus_dag.recipe_file import RecipeError, load_recipe
from resources.recipe import RecipeChoice

CODE = {"name": "code", "kind": "python_code", "domain": "code", "location": "package:click", "license": "BSD-3-Clause"}


def write(folder: Path, name: str, **more: Any) -> Path:
    path = folder / f"{name}.yaml"
    path.write_text(yaml.safe_dump({"extends": "laptop", "name": name, **more}))
    return path


def choose(loaded: Recipe, name: str | Path) -> Any:
    context = SimpleNamespace(resources=SimpleNamespace(recipe=RecipeChoice(name=str(name))))
    return chosen(lineage_of(loaded), context)


@pytest.fixture(scope="module")
def laptop() -> Recipe:
    return load_recipe("laptop")


def test_a_run_computes_with_the_recipe_that_its_config_names(laptop: Recipe, tmp_path: Path) -> None:
    small = write(tmp_path, "small", seed_corpus={"code_documents": [{**CODE, "max_documents": 3}]})
    loaded = definitions(load_recipe(write(tmp_path, "whole", seed_corpus={"code_documents": [CODE]})))

    def run(name: str) -> dict[str, Any]:
        store = {"config": {"root": str(tmp_path / "store")}}
        config = {"recipe": {"config": {"name": name}}, "store": store, "compute": {"config": {"num_workers": 1}}}
        job = loaded.resolve_job_def("seed_corpus")
        done = job.execute_in_process(run_config={"resources": config}, asset_selection=[dg.AssetKey("code_documents")])
        (event,) = done.get_asset_materialization_events()
        return {key: value.value for key, value in event.materialization.metadata.items()}

    other, own, again = run(str(small)), run(""), run(str(small))
    assert [found["recipe"] for found in (other, own, again)] == ["small", "whole", "small"]
    assert other["dagster/row_count"] == 3 < own["dagster/row_count"]
    assert (other["reused"], own["reused"], again["reused"]) == (False, False, True)
    assert other["fingerprint"] == lineage_of(load_recipe(small)).identity("code_documents").fingerprint


def test_it_computes_where_the_loaded_recipe_runs(laptop: Recipe, tmp_path: Path) -> None:
    gpu = {"launcher": {"num_processes": 2, "num_gpus": 2, "threads": 9}, "threads": 9}
    found = choose(laptop, write(tmp_path, "elsewhere", execution=gpu, mixture={"agent_ratio": 0.5}))
    assert found.recipe.execution == laptop.execution
    assert found.recipe.mixture.agent_ratio == 0.5


def test_other_cells_of_the_sweep_are_the_same_graph(laptop: Recipe) -> None:
    found = choose(laptop, "laptop-sweep")
    assert {key for key in found.assets if key.startswith("proxy_runs/")}.isdisjoint(lineage_of(laptop).assets)


@pytest.mark.parametrize(
    ("more", "said"),
    [
        (
            {"variants": {"without_retrieval": {"web": "none"}}},
            "it has besides without_retrieval/.* and 6 more;",
        ),
        ({"mixture": {"agent_ratio": "fitted"}}, "it connects otherwise mixed_corpus"),
        (
            {"scaling_law": {"sweep": {"start": {"tokens_per_parameter": 2, "code_share": 0.5}}}},
            "connects otherwise proxy_runs",
        ),
        ({"web_retrieval": {"retrieval": {"first_pass": {"kind": "lexical"}}}}, "it has besides web_candidates; it connects"),
    ],
)
def test_another_graph_stops_the_run_and_is_named(laptop: Recipe, tmp_path: Path, more: dict[str, Any], said: str) -> None:
    path = write(tmp_path, "unlike", **more)
    with pytest.raises(RecipeError, match=rf"unlike\.yaml has another graph than laptop.*{said}.*HEPHAESTUS_RECIPE=.*unlike"):
        choose(laptop, path)


def test_fewer_assets_are_named_too(laptop: Recipe, tmp_path: Path) -> None:
    more = load_recipe(write(tmp_path, "more", variants={"without_retrieval": {"web": "none"}}))
    with pytest.raises(RecipeError, match=r"laptop has another graph than more.*it lacks without_retrieval/"):
        choose(more, "laptop")


def test_an_unknown_recipe_is_said_with_those_that_are_known(laptop: Recipe) -> None:
    with pytest.raises(RecipeError, match=r"no recipe 'lapdog': give a path to a YAML file or one of .*laptop"):
        choose(laptop, "lapdog")


def test_the_launchpad_explains_every_field(laptop: Recipe) -> None:
    for name, resource in (definitions(laptop).resources or {}).items():
        assert isinstance(resource, dg.ConfigurableResource), name
        fields = type(resource).model_fields
        assert [field for field in fields if not fields[field].description and field != "launcher"] == [], name
        assert [field for field in fields if fields[field].is_required() and field != "launcher"] == [], name
