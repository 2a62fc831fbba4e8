"""A tiny finished run: documents, curation, tokens, mixtures, two checkpoints and a score, made by the functions that make real
ones. The tokens of a document are its number, so that a batch says by itself which documents it shows.
"""

import json
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq

from hephaestus_dag.artifacts import Identity, Report, Store, Workspace
from hephaestus_dag.curation.config import CurationConfig
from hephaestus_dag.curation.decontamination import BenchmarkIndex
from hephaestus_dag.curation.pipeline import curate
from hephaestus_dag.documents import Document, DocumentWriter, document_id, read_document_table
from hephaestus_dag.evaluation.overlap import ItemIndex, OverlapConfig, overlap_of, scan_documents
from hephaestus_dag.evaluation.scores import Benchmark, Group, write_scores
from hephaestus_dag.evaluation.trained_on import trained_documents
from hephaestus_dag.mixture.config import Component, MixtureConfig
from hephaestus_dag.mixture.plan import Replay, plan_mixture
from hephaestus_dag.mixture.store import StreamWriter, write_store

LENGTH, BATCH = 8, 2
SEEN = "Compute the number of sheep that are left on the farm when all but nine have run away"
ITEMS = {"simple_1": SEEN, "simple_2": "Which zeppelin crosses the glacier at dawn", "simple_3": "qwertz"}
LONG = " ".join(f"word{number}" for number in range(30))
GPL = "A text that stands under a licence which somebody does not want"


def documents() -> list[Document]:
    """Documents of four sources; a near-duplicate of `LONG`, an exact copy, and one that is too short."""

    def made(text: str, source: str, license: str, domain: Any = "text") -> Document:
        return Document(
            text=text, domain=domain, kind="prose", source=source, origin=f"{source}==1/{text[:9]}", license=license
        )

    return [
        *(made(f"manual page {n}: how to tie knot {n} " + "and pull " * n, "manual", "Python-2.0") for n in range(12)),
        *(made(f"note {n} of the zeppelin club, deck {n}", "notes", "MIT", "agent") for n in range(12)),
        made("The zeppelin crossed the old glacier long before dawn", "notes", "MIT", "agent"),
        made(f"Once more: {SEEN}, says the old farmer", "notes", "Apache-2.0 AND MIT", "agent"),
        made(GPL, "forum", "GPL-3.0-only OR MIT"),
        made(LONG, "manual", "Python-2.0"),
        made(f"{LONG} and more", "forum", "MIT"),
        made(GPL, "copies", "MIT"),
        made("short", "forum", "MIT"),
    ]


def in_order(function: Callable[[Any], Any], items: Sequence[Any], progress: Any = None) -> Iterator[Any]:
    yield from map(function, items)


class TinyRun:
    """Builds the run in a folder; ``curation`` are the rules, ``documents`` what is read."""

    def __init__(self, root: Path, curation: CurationConfig | None = None) -> None:
        self.store = Store(root)
        self.curation = curation or CurationConfig(min_characters=10)
        self.made: dict[str, str] = {}
        self._build("benchmark_items", self._items)
        self._build("text_documents", self._read)
        self.seed = self._build("seed_corpus", self._curate, "text_documents", "benchmark_items")
        kept = read_document_table(self.seed, ["id", "domain", "source", "text"]).to_pylist()
        self.numbers = {row["id"]: number for number, row in enumerate(kept, 1)}
        self.tokens = self._build("tokenized_seed", lambda w: self._tokenise(w, kept), "seed_corpus")
        self.mixed = self._build("mixed_corpus", self._mix, "tokenized_seed")
        self.replayed = self._build("seed_mixture", self._mix_again, "tokenized_seed", "mixed_corpus")
        first = ("mixed_corpus", "tokenized_seed")
        self._build("backbone", lambda w: self._train(w, 0))
        self._build("tiny/stage1_checkpoint", lambda w: self._train(w, 18), "backbone", *first)
        self._build(
            "tiny/stage2_checkpoint", lambda w: self._train(w, 8), "tiny/stage1_checkpoint", "seed_mixture", "tokenized_seed"
        )
        self._build("tiny/bfcl_scores", self._score, "tiny/stage2_checkpoint", "benchmark_items")
        self._build("base/bfcl_scores", self._score, "backbone", "benchmark_items")
        self._build(
            "tiny/benchmark_overlap", self._overlap, "seed_mixture", "mixed_corpus", "tokenized_seed", "benchmark_items"
        )

    def _build(self, key: str, write: Callable[[Workspace], Report], *inputs: str) -> Path:
        values = {"curation": self.curation.model_dump(mode="json")} if key == "seed_corpus" else {}
        identity = Identity(key=key, code="c", values=values, inputs={name: self.made[name] for name in inputs})
        artifact = self.store.build(identity, write).artifact
        self.made[key] = artifact.fingerprint
        return artifact.path

    def _items(self, w: Workspace) -> Report:
        (w.folder / "index").mkdir()
        BenchmarkIndex.build([("riddles/1", " ".join(f"riddle{n}" for n in range(20)))]).save(w.folder / "index")
        columns = {"benchmark": "bfcl", "category": "simple", "prompt": "[]", "functions": "[]", "reference": "[]"}
        rows = [{**columns, "item_id": name, "question": text, "sampled": True} for name, text in ITEMS.items()]
        pq.write_table(pa.Table.from_pylist(rows), w.folder / "items.parquet")
        return Report(headline="items")

    def _read(self, w: Workspace) -> Report:
        with DocumentWriter(w.folder) as writer:
            writer.write(documents())
        return Report(headline="read")

    def _curate(self, w: Workspace) -> Report:
        inputs = [self.store.root / "text_documents" / self.made["text_documents"][:12]]
        index = self.store.root / "benchmark_items" / self.made["benchmark_items"][:12] / "index"
        curate(inputs, w.folder, w.work, self.curation, index, in_order)
        return Report(headline="curated")

    def _tokenise(self, w: Workspace, kept: list[dict[str, Any]]) -> Report:
        writers: dict[tuple[str, str], StreamWriter] = {}
        for row in kept:
            heldout = row["text"].startswith("manual page 3:")
            place = (row["domain"], "" if heldout else row["source"])
            if place not in writers:
                split = "heldout" if heldout else "train"
                writers[place] = StreamWriter(w.folder, row["domain"], split, np.dtype("<u2"), source=place[1] or None)
            writer, count = writers[place], len(row["text"].split())
            writer.record(row["id"], writer.tokens, count, len(row["text"]), row["source"])
            writer.append(np.full(count, self.numbers[row["id"]]))
        write_store(w.folder, 300, list(writers.values()))
        return Report(headline="tokens")

    def _config(self, tokens: int, share: float, **settings: Any) -> MixtureConfig:
        parts = (Component(domain="agent", share=share), Component(domain="text", share=1 - share))
        return MixtureConfig(tokens=tokens, sequence_length=LENGTH, components=parts, max_epochs=4, seed=1, **settings)

    def _mix(self, w: Workspace) -> Report:
        plan_mixture(self._config(20 * LENGTH, 0.5), [self.tokens], w.folder)
        return Report(headline="mixed")

    def _mix_again(self, w: Workspace) -> Report:
        replay = Replay(self.mixed, [self.tokens])
        plan_mixture(self._config(8 * LENGTH, 0.7, replay_share=0.25), [self.tokens], w.folder, replay)
        return Report(headline="mixed again")

    def _train(self, w: Workspace, sequences: int) -> Report:
        (w.folder / "model").mkdir()
        (w.folder / "model" / "config.json").write_text("{}")
        summary = {"sequences": sequences, "steps": sequences // BATCH, "sequence_length": LENGTH}
        (w.folder / "summary.json").write_text(json.dumps(summary))
        return Report(headline="trained")

    def _score(self, w: Workspace) -> Report:
        rows = [{"item_id": item, "category": "simple", "reply": f"r {item}", "verdict": item == "simple_1"} for item in ITEMS]
        groups = (Group(name="all", definition="mean", weights={"simple": 1.0}),)
        bfcl = Benchmark(
            key="bfcl",
            name="BFCL",
            metric="accuracy",
            higher_is_better=True,
            numerator="verdict",
            denominator=None,
            groups=groups,
        )
        summary = write_scores(w.folder, pa.Table.from_pylist(rows), bfcl, num_samples=10)
        return Report(headline=f"all {summary['groups']['all']['score']:.3f}")

    def _overlap(self, w: Workspace) -> Report:
        index = ItemIndex([(f"bfcl/{name}", text) for name, text in ITEMS.items()], [], OverlapConfig())
        scan_documents(index, self.seed, w.work / "scan")
        trained = trained_documents([self.mixed, self.replayed], [self.tokens])
        overlap_of([w.work / "scan"], trained, [], OverlapConfig(), w.folder)
        return Report(headline="overlap")


def id_of(begins: str) -> str:
    """Id of the first document that begins so."""
    return next(document_id(each.text) for each in documents() if each.text.startswith(begins))
