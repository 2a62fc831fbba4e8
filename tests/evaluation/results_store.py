"""A tiny finished run with all scores that a variant has, of forty items each, for what is kept of it."""

import json
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq

from hephaestus_dag.artifacts import Identity, Report, Workspace
from hephaestus_dag.evaluation.scores import Benchmark, Group, write_scores
from hephaestus_dag.recipe import Recipe
from tests.laptop import recipe
from tests.provenance.provenance_store import TinyRun

NUM_ITEMS = 40
QUESTION = "Who keeps the | of item {0}? `<b>`"


def tiny_recipe(seed: int = 0, **changes: Any) -> Recipe:
    """A recipe with the variants of the run: ``base`` and ``tiny``."""
    variants = {"base": {"stages": []}, "tiny": {"stages": [1, 2]}}
    chosen = {"variants": variants, "evaluation__reference_variant": "tiny", "evaluation__bootstrap_samples": 400} | changes
    return recipe(name="tiny" if seed == 0 else f"tiny-seed{seed}", mixture__seed=seed, **chosen)


class ScoredRun(TinyRun):
    """Builds it; ``right`` says how many of its forty items of BFCL a variant gets right."""

    def __init__(self, root: Path, right: Mapping[str, int], seed: int = 0, without: tuple[str, ...] = ()) -> None:
        self.right, self.order, self.without, self.key = right, seed, without, ""
        super().__init__(root)
        for name, model in (("base", "backbone"), ("tiny", "tiny/stage2_checkpoint")):
            self._build(f"{name}/agentbench_scores", self._play, model, "benchmark_items")
            self._build(f"{name}/mmlu_scores", self._ask, model, "benchmark_items")
            self._build(f"{name}/benchmark_loss", self._lose, model, "benchmark_items")

    def _build(self, key: str, write: Callable[[Workspace], Report], *inputs: str) -> Path:
        self.key = key
        if key in self.without:
            return self.store.root
        values = {"mixture.seed": self.order} if key == "mixed_corpus" else {}
        identity = Identity(key=key, code="c", values=values, inputs={name: self.made[name] for name in inputs})
        artifact = self.store.build(identity, write).artifact
        self.made[key] = artifact.fingerprint
        return artifact.path

    @property
    def _is_base(self) -> bool:
        return self.key.startswith("base/")

    def _items(self, w: Workspace) -> Report:
        made = super()._items(w)
        columns = {"benchmark": "bfcl", "category": "simple_python", "prompt": "[]", "sampled": True}
        parameters = {"properties": {"area": {}, "unit": {}}}
        functions = json.dumps([{"name": "land.keeper", "parameters": parameters}])
        rows = [
            {**columns, "item_id": name, "question": QUESTION.format(name), "functions": functions, "reference": f"[f({name})]"}
            for name in map("simple_{}".format, range(1, NUM_ITEMS + 1))
        ]
        pq.write_table(pa.Table.from_pylist(rows), w.folder / "items.parquet")
        return made

    def _train(self, w: Workspace, sequences: int) -> Report:
        made = super()._train(w, sequences)
        path = w.folder / "summary.json"
        told = json.loads(path.read_text())
        before, after = ({"text": {"bits_per_byte": loss}} for loss in (1.0, 1.02))
        told |= {"tokens": 8 * sequences, "heldout_before": before, "heldout": after}
        path.write_text(json.dumps(told))
        return Report(headline=made.headline, figures={"training seconds": 3_600.0, "processes": 1})

    def _score(self, w: Workspace) -> Report:
        right = self.right["base" if self._is_base else "tiny"]
        rows = [
            {
                "item_id": f"simple_{n}",
                "category": "simple_python",
                "reply": f"a reply {n}" * 40,
                "verdict": n <= right,
                "reason": "" if n <= right else "wrong value",
            }
            for n in range(1, NUM_ITEMS + 1)
        ]
        group = Group(name="BFCL AST non-live", definition="mean", weights={"simple_python": 1.0})
        return self._write(w, rows, "bfcl", "verdict", group)

    def _play(self, w: Workspace) -> Report:
        rows = [{"item_id": f"db{n}", "category": "DB/insert", "score": 0.0} for n in range(5)]
        return self._write(
            w, rows, "agentbench", "score", Group(name="AgentBench DB", definition="d", weights={"DB/insert": 1.0})
        )

    def _ask(self, w: Workspace) -> Report:
        rows = [{"item_id": f"law{n}", "category": "law", "verdict": n < (5 if self._is_base else 6)} for n in range(20)]
        return self._write(w, rows, "mmlu", "verdict", Group(name="MMLU 0-shot", definition="d", weights={"law": 1.0}))

    def _lose(self, w: Workspace) -> Report:
        factor = 1.0 if self._is_base else 1.02
        rows = [{"item_id": f"d{n}", "category": "heldout/text", "bits": factor * n, "bytes": n} for n in range(10, 30)]
        group = Group(name="loss on held-out text", definition="d", weights={"heldout/text": 1.0})
        return self._write(w, rows, "benchmark_loss", "bits", group, "bytes")

    def _write(
        self, w: Workspace, rows: list[dict[str, Any]], key: str, top: str, group: Group, bottom: str | None = None
    ) -> Report:
        made = Benchmark(
            key=key,
            name=key,
            metric="bits per byte" if bottom else "accuracy",
            higher_is_better=not bottom,
            numerator=top,
            denominator=bottom,
            groups=(group,),
        )
        write_scores(w.folder, pa.Table.from_pylist(rows), made, num_samples=400)
        return Report(headline=key)
