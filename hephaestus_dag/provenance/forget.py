"""The recipe that builds everything without some documents: a file that extends the given one and excludes them."""

import os
from pathlib import Path
from typing import Any

import duckdb
import yaml

from hephaestus_dag.licenses import mentions
from hephaestus_dag.mixture.config import Component
from hephaestus_dag.provenance.artifact_graph import ArtifactGraph, ProvenanceError
from hephaestus_dag.provenance.question import Question, condition_of
from hephaestus_dag.recipe import Recipe
from hephaestus_dag.recipe_file import RecipeError, read_recipe, recipe_path

MOST_IDS = 10_000
"""Documents that a recipe may name; more are a licence, a source or an origin."""


def exclusion(
    question: Question, graph: ArtifactGraph, connection: duckdb.DuckDBPyConnection, more: tuple[str, ...] = ()
) -> dict[str, list[str]]:
    """Return what a recipe must exclude for a question, by field of `ExclusionConfig`; ``more`` are ids of near-duplicates.

    Raises ProvenanceError when the question means nothing in the store, or more documents than a recipe may name.
    """
    condition = condition_of(question, graph, connection)
    if condition.ids is not None:
        documents = sorted({*condition.ids, *more})
        if len(documents) > MOST_IDS:
            raise ProvenanceError(
                f"{len(documents):,} documents with their near-duplicates, a recipe names at most {MOST_IDS:,}; "
                "exclude their source or origin, or ask with --exact"
            )
        return {"documents": documents}
    if question.license:
        return {"licenses": [question.license]}
    return {"sources": [question.source]} if question.source else {"origins": [question.origin]}


def write_recipe(base: str, excluded: dict[str, list[str]], path: Path, why: str) -> Recipe:
    """Write a recipe that extends another and excludes what that excludes, and more; return it.

    ``base`` is a packaged name or a path, ``why`` is written on top, as a comment. Raises ProvenanceError when ``path`` is
    there already or cannot be written or the base excludes all of it, and RecipeError when the recipe cannot be used.
    """
    there = f"{path} is there already: give another --out, or delete it"
    if path.exists():
        raise ProvenanceError(there)
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
        "extends": found.stem if packaged else os.path.relpath(found.resolve(), path.parent.resolve()),
        "seed_corpus": {"curation": {"exclude": merged}},
    }
    comment = "".join(f"# {line}\n" for line in why.splitlines())
    staging = path.with_name(f".{path.stem}-{os.getpid()}.yaml")
    try:
        text = comment + yaml.safe_dump(content, sort_keys=False, allow_unicode=True, width=120)
        staging.write_text(text, encoding="utf-8")
        recipe, _ = read_recipe(staging)
        os.link(staging, path)  # unlike a renaming, it fails where somebody else has written meanwhile
    except FileExistsError as error:
        raise ProvenanceError(there) from error
    except OSError as error:
        raise ProvenanceError(f"{path} cannot be written: {error.strerror}") from error
    except RecipeError as error:
        raise RecipeError(f"{error}".replace(str(staging), str(path))) from error
    finally:
        staging.unlink(missing_ok=True)
    return recipe


def emptied(recipe: Recipe, question: Question, graph: ArtifactGraph, connection: duckdb.DuckDBPyConnection) -> list[str]:
    """Return, in words, of which domains, and sources that its mixtures name, a recipe excludes all that was tokenised.

    ``question`` is what was excluded last; the newest token store of each name counts.
    """
    exclude = recipe.seed_corpus.curation.exclude
    tokenised = {node.key: node for node in graph.nodes.values() if node.holder("store.json")}.values()
    shards = sorted({shard for node in tokenised for each in graph.inputs(node) for shard in each.shards})
    if not (shards and exclude):
        return []
    condition = condition_of(question, graph, connection)
    values = {**condition.values, **({"ids": list(exclude.documents)} if condition.ids is not None else {})}
    query = f"""
        SELECT 'domain', domain FROM read_parquet($shards) GROUP BY domain HAVING bool_and({condition.where}) UNION ALL
        SELECT 'source', source FROM read_parquet($shards) GROUP BY source HAVING bool_and({condition.where}) ORDER BY ALL
    """
    found = connection.execute(query, {"shards": shards, **values}).fetchall()
    named = {each.source for each in _components(recipe)} - set(exclude.sources)
    return [
        f"mixture: all documents of the {kind} {name} that were tokenised are excluded; no mixture can draw on it"
        for kind, name in found
        if kind == "domain" or name in named
    ]


def _components(recipe: Recipe) -> list[Component]:
    return [*(recipe.mixture.stage1_components or ()), *recipe.mixture.stage2_components]


def left_over(recipe: Recipe) -> list[str]:
    """Return which parts of a recipe cannot be built as they stand because what they name is excluded, in words."""
    exclude = recipe.seed_corpus.curation.exclude
    if exclude is None:
        return []
    named = {each.source for each in _components(recipe) if each.source} & set(exclude.sources)
    left = recipe.seed_corpus.curation.licenses or ()
    gone = [each for each in left if any(mentions(each, license) for license in exclude.licenses)]
    return [
        f"mixture: a component is of the source {name}, which is excluded; remove the component" for name in sorted(named)
    ] + [f"seed_corpus.curation.licenses allows {name}, which is excluded: the exclusion counts" for name in gone]
