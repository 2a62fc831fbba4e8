"""The kept runs: read, checked against each other, and put side by side with the library's report."""

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from itertools import combinations
from pathlib import Path
from typing import Any

from pydantic import ValidationError
from results_kept import ResultsError

from hephaestus_dag.evaluation.report.compare import compare
from hephaestus_dag.evaluation.report.entrant import Entrant, Stage
from hephaestus_dag.evaluation.report.published import NAMES
from hephaestus_dag.evaluation.report.write import assemble
from hephaestus_dag.evaluation.scores import Scores, read_scores
from hephaestus_dag.evaluation.statistics import Stratum, weighted_score
from hephaestus_dag.identity import differences
from hephaestus_dag.recipe import Recipe

HEADLINE = "BFCL AST non-live"
"""The score that decides which run is best."""
ALIKE = ("evaluation", "training.backbone", "mixture.tokenizer")
"""Parts of the recipe in which all runs must agree."""
TRAINED_ALIKE = ("seed_corpus", "web_retrieval", "quality", "mixture", "training")
"""Those in which trained ones must agree too."""
FREE = {"mixture.seed", "mixture.instruction.seed"}
"""What may differ: seeds, and `PLACES`."""
PLACES = {"data", "games", "location", "ontology", "python", "root", "url"}
"""Last parts of the names of fields that say where something lies."""


@dataclass(frozen=True)
class Run:
    """A kept run of one variant."""

    folder: Path

    @cached_property
    def facts(self) -> dict[str, Any]:
        """What run.json says."""
        return json.loads((self.folder / "run.json").read_text())

    @property
    def variant(self) -> str:
        """Name of the variant in its recipe."""
        return self.facts["variant"]

    @property
    def seed(self) -> int | None:
        """Seed of the training data's order; None where nothing is drawn."""
        return self.facts["seed"]

    @property
    def name(self) -> str:
        """The variant with its seed."""
        return self.variant if self.seed is None else f"{self.variant}, seed {self.seed}"

    @cached_property
    def scores(self) -> dict[str, Scores]:
        """Score folders by benchmark, in the order of the report."""
        there = {path.parent.name: path.parent for path in self.folder.glob("scores/*/summary.json")}
        found = {key: read_scores(there[key]) for key in sorted(there, key=[*NAMES].index)}
        for key, scores in found.items():
            _check_scores(there[key], scores)
        return found

    @cached_property
    def stages(self) -> list[dict[str, Any]]:
        """What the training of each stage says of itself, with seconds and checkpoint."""
        folders = sorted(self.folder.glob("stages/*/summary.json"))
        return [json.loads(path.read_text()) | told for path, told in zip(folders, self.facts["stages"], strict=True)]

    @cached_property
    def values(self) -> dict[str, Any]:
        """The recipe's values; what was not yet a field when it was kept has its default."""
        raw = json.loads((self.folder / "recipe.json").read_text())
        try:
            return Recipe.model_validate(raw).model_dump(mode="json")
        except ValidationError:  # a field was renamed since
            return raw

    def read(self, name: str) -> Any:
        """Return what a JSON file of the folder holds."""
        return json.loads((self.folder / name).read_text())

    def group(self, name: str) -> dict[str, Any] | None:
        """Return the entry of a score, or of a category of one."""
        for scores in self.scores.values():
            for part in ("groups", "categories"):
                if name in scores.summary[part]:
                    return scores.summary[part][name]
        return None

    @property
    def entrant(self) -> Entrant:
        """What the report is told about it."""
        overlap = self.folder / "overlap"
        return Entrant(
            scores=[self.folder / "scores" / key for key in self.scores],
            role="variant" if self.stages else "base",
            backbone=self.facts["backbone"],
            overlap=overlap if overlap.is_dir() else None,
            stages=[
                Stage(name=f"Stage {n}", checkpoint=self.folder / "stages" / str(n)) for n in range(1, len(self.stages) + 1)
            ],
        )


@dataclass(frozen=True)
class Results:
    """Runs that may be compared, in the order of the recipe's variants."""

    recipe: Recipe
    runs: Sequence[Run]
    again: Sequence[Run] = ()
    """The same runs, made once more in a second clone."""

    @property
    def variants(self) -> list[str]:
        """Variants that were run."""
        return list(dict.fromkeys(run.variant for run in self.runs))

    @property
    def missing(self) -> list[str]:
        """Variants of the recipe of which nothing is kept."""
        return [name for name in self.recipe.variants if name not in self.variants]

    @cached_property
    def best(self) -> Run:
        """A run than which none has a higher `HEADLINE`: of several one that was trained, then the first."""
        return max(self.runs, key=lambda run: ((run.group(HEADLINE) or {"score": -1})["score"], bool(run.stages)))

    @cached_property
    def report(self) -> dict[str, Any]:
        """The library's report over all runs, compared with the best one and with their base."""
        entrants = {run.name: run.entrant for run in self.runs}
        notice = self.best.facts["caveat"]
        return assemble(entrants, notice, self.best.name, self.recipe.evaluation.bootstrap_samples)

    def groups(self, *benchmarks: str) -> list[str]:
        """Return the scores of some benchmarks; of MMLU without those of its areas."""
        found = [(column["benchmark"], column["group"]) for column in self.report["columns"]]
        return [group for key, group in found if key in benchmarks and (key != "mmlu" or group.endswith("-shot"))]

    def paired(self, one: str, other: str, group: str) -> list[dict[str, Any]]:
        """Return the paired differences of a score of two variants, between runs of the same seed; see `compare`.

        A run without a seed is compared with every one of the other variant.
        """
        return [
            row
            for a in self.runs
            for b in self.runs
            if (a.variant, b.variant) == (one, other) and (None in (a.seed, b.seed) or a.seed == b.seed)
            for row in compare(a.name, _only(a.scores, group), b.name, _only(b.scores, group))
        ]

    def between_seeds(self, group: str) -> list[dict[str, Any]]:
        """Return the paired differences of a score between the runs of one variant."""
        return [
            row
            for a, b in combinations(self.runs, 2)
            if a.variant == b.variant
            for row in compare(b.name, _only(b.scores, group), a.name, _only(a.scores, group))
        ]


def read_results(recipe: Recipe, folder: Path, again: Path) -> Results:
    """Return the kept runs below a folder, and below another one those of a second clone.

    Raises ResultsError when there is none, when two have one name, or when two were made with recipes that differ in more than
    seeds and what does not decide scores.
    """
    runs, repeated = ([Run(path.parent) for path in sorted(each.glob("*/*/run.json"))] for each in (folder, again))
    if not runs:
        raise ResultsError(f"{folder} holds no kept run: run a recipe, then `python benchmarks/results.py keep`")
    order = [*recipe.variants]
    if unknown := [run for run in runs if run.variant not in order]:
        raise ResultsError(f"{unknown[0].folder}: {unknown[0].variant} is no variant of {recipe.name}; remove the folder")
    for one, other in combinations(runs, 2):
        if one.name == other.name:
            raise ResultsError(f"{one.folder} and {other.folder} are both {one.name}; remove one")
        _check_alike(one, other)
    for one in repeated:
        for other in runs:
            _check_alike(one, other)
    return Results(recipe, sorted(runs, key=lambda run: (order.index(run.variant), run.seed or 0)), repeated)


def _check_alike(one: Run, other: Run) -> None:
    parts = (*ALIKE, *(TRAINED_ALIKE if one.stages and other.stages else ()))
    wrong = [
        line
        for part in dict.fromkeys(parts)
        for line in differences(_part(one.values, part), _part(other.values, part), part)
        if (name := line.partition(":")[0]) not in FREE and name.rpartition(".")[2] not in PLACES
    ]
    if wrong:
        raise ResultsError(
            f"{one.folder} and {other.folder} come from recipes that differ: {'; '.join(wrong[:5])}. Run one of them again"
        )


def _check_scores(folder: Path, scores: Scores) -> None:
    """Raise ResultsError unless the scores of a folder follow from its rows."""
    for name, entry in scores.summary["groups"].items():
        strata = [Stratum(*scores.columns(category)[1:], weight) for category, weight in entry["weights"].items()]
        told, found = (entry["score"], entry["n"]), (weighted_score(strata), sum(len(each.numerators) for each in strata))
        if abs(told[0] - found[0]) > 1e-6 or told[1] != found[1]:
            raise ResultsError(
                f"{folder / 'summary.json'}: {name} is {told[0]} of {told[1]} items, but rows.parquet gives {found[0]:.6f} of "
                f"{found[1]}; keep the run again"
            )


def _part(values: Mapping[str, Any], path: str) -> Any:
    found: Any = values
    for name in path.split("."):
        found = found[name]
    return found


def _only(benchmarks: Mapping[str, Scores], group: str) -> dict[str, Scores]:
    """Return the benchmark of a score with that score alone."""
    return {
        key: Scores(read.summary | {"groups": {group: read.summary["groups"][group]}}, read.rows)
        for key, read in benchmarks.items()
        if group in read.summary["groups"]
    }
