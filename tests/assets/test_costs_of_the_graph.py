import pytest

from assets.graph import lineage_of
from hephaestus_dag.costs.devices import find_gpu
from hephaestus_dag.costs.estimate import estimate
from hephaestus_dag.recipe import Recipe
from hephaestus_dag.recipe_file import read_recipe


def costs_and_lineage(recipe: Recipe) -> tuple[dict[str, str], dict[str, str]]:
    costs = {key: cost.group for key, cost in estimate(recipe, find_gpu("H200"), 0.4).costs.items()}
    return costs, {key: asset.group for key, asset in lineage_of(recipe).assets.items()}


@pytest.mark.parametrize("name", ["laptop", "laptop-sweep", "one-gpu", "paper"])
def test_every_asset_of_a_recipe_has_its_cost(name: str) -> None:
    costs, graph = costs_and_lineage(read_recipe(name)[0])
    assert costs == graph


@pytest.mark.parametrize("replay", [0.0, 0.1])
def test_every_asset_has_its_cost_whatever_the_recipe_switches_on(replay: float) -> None:
    recipe = read_recipe("one-gpu")[0]
    retrieval = recipe.web_retrieval.retrieval
    changed = recipe.model_dump(mode="json")
    changed["mixture"]["stage2_replay"] = replay
    changed["seed_corpus"]["synthetic_documentation"] = {"count": 10}
    changed["web_retrieval"]["retrieval"] = {**retrieval.model_dump(mode="json"), "first_pass": {"kind": "lexical"}}
    changed["variants"] = {
        "plain": {"web": "none"},
        "raw": {"web": "unfiltered", "stages": [2, 3]},
        "raw_too": {"web": "unfiltered"},
        "all": {},
        "short": {"stages": [1]},
    }
    changed["evaluation"]["reference_variant"] = "all"
    costs, graph = costs_and_lineage(Recipe.model_validate(changed))
    assert costs == graph
