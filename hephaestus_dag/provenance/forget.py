"""The recipe that builds everything without some documents: a file that extends the given one and excludes them."""

import os
from pathlib import Path
from typing import Any

import duckdb
import yaml

from hephaestus_dag.licenses import mentions
from hephaestus_dag.provenance.artifact_graph import ArtifactGraph, ProvenanceError
from hephaestus_dag.provenance.question import Question, condition_of
from hephaestus_dag.recipe import Recipe
from hephaestus_dag.recipe_file import read_recipe, recipe_path
from hephaestus_dag.whole_folder import whole_file

MOST_IDS = 10_000
"""Documents that a recipe may name; more are a licence, a source or an origin."""


def exclusion(
    question: Question, graph: ArtifactGraph, connection: duckdb.DuckDBPyConnection, more: tuple[str, ...] = ()
) -> dict[str, list[str]]:
    """Return what a recipe must exclude for a question, by field of `ExclusionConfig`; ``more`` are ids of near-duplicates.

    Raises ProvenanceError when the question means nothing in the store.
    """
    condition = condition_of(question, graph, connection)
    if condition.ids is not None:
        return {"documents": sorted({*condition.ids, *more})}
    if question.license:
        return {"licenses": [question.license]}
    return {"sources": [question.source]} if question.source else {"origins": [question.origin]}


def write_recipe(base: str, excluded: dict[str, list[str]], path: Path, why: str) -> Recipe:
    """Write a recipe that extends another and excludes what that excludes, and more; return it.

    ``base`` is a packaged name or a path, ``why`` is written on top, as a comment. Raises ProvenanceError when ``path`` is
    there already or the base excludes all of it, and RecipeError when the recipe cannot be used.
    """
    if path.exists():
        raise ProvenanceError(f"{path} is there already: give another --out, or delete it")
    if path.suffix != ".yaml" or not path.parent.is_dir():
        raise ProvenanceError(f"{path}: give a .yaml file in a folder that is there")
    below, _ = read_recipe(base)
    before = below.seed_corpus.curation.exclude
    known = before.model_dump(mode="json") if before else {}
    merged = {name: list(dict.fromkeys([*known.get(name, ()), *excluded.get(name, ())])) for name in {**known, **excluded}}
    merged = {name: values for name, values in merged.items() if values}
    if before and all(set(values) <= set(known.get(name, ())) for name, values in excluded.items()):
        raise ProvenanceError(f"the recipe {base} excludes all of that already")
    found = recipe_path(base)
    packaged = found.parent == recipe_path("laptop").parent
    content: dict[str, Any] = {
        "extends": found.stem if packaged else os.path.relpath(found.absolute(), path.absolute().parent),
        "seed_corpus": {"curation": {"exclude": merged}},
    }
    comment = "".join(f"# {line}\n" for line in why.splitlines())
    with whole_file(path) as staging:
        staging.write_text(comment + yaml.safe_dump(content, sort_keys=False, allow_unicode=True, width=120))
        recipe, _ = read_recipe(staging)
    return recipe


def left_over(recipe: Recipe) -> list[str]:
    """Return which parts of a recipe cannot be built as they stand because what they name is excluded, in words."""
    exclude = recipe.seed_corpus.curation.exclude
    if exclude is None:
        return []
    components = [*(recipe.mixture.stage1_components or ()), *recipe.mixture.stage2_components]
    named = {each.source for each in components if each.source} & set(exclude.sources)
    left = recipe.seed_corpus.curation.licenses or ()
    gone = [each for each in left if any(mentions(each, license) for license in exclude.licenses)]
    return [
        f"mixture: a component is of the source {name}, which is excluded; remove the component" for name in sorted(named)
    ] + [f"seed_corpus.curation.licenses allows {name}, which is excluded: the exclusion counts" for name in gone]
