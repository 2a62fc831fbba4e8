"""The cases of `curation.py`, one function each: ours, and the same work done by a plain loop, rensa and datatrove.

Everything is imported inside the functions: a peer's case runs in the peer's environment, which lacks ours.
"""

import hashlib
import json
import random
import re
import resource
import sys
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

Case = Callable[["Job"], dict[str, Any]]
CASES: dict[str, dict[str, Case]] = {}
"""Work -> who does it -> a function that returns figures; the first is ours."""


class Job:
    """The corpus of one case, and its clock."""

    def __init__(self, data: Path, openapi: str, scratch: Path) -> None:
        self.folder, self.jsonl, self.openapi, self.scratch = data / "corpus", data / "corpus.jsonl", openapi, scratch
        self.small_jsonl = data / "small" / "corpus.jsonl"
        self.seconds = 0.0

    @contextmanager
    def timed(self) -> Iterator[None]:
        before = cpu_seconds()
        yield
        self.seconds += cpu_seconds() - before

    def rows(self) -> Iterator[dict[str, str]]:
        with self.jsonl.open("rb") as lines:
            yield from map(json.loads, lines)


def case(work: str, who: str) -> Callable[[Case], Case]:
    def add(function: Case) -> Case:
        CASES.setdefault(work, {})[who] = function
        return function

    return add


def cpu_seconds() -> float:
    usages = [resource.getrusage(who) for who in (resource.RUSAGE_SELF, resource.RUSAGE_CHILDREN)]
    return sum(usage.ru_utime + usage.ru_stime for usage in usages)


def peak_megabytes() -> float:
    unit = 1 if sys.platform == "darwin" else 1_024
    return max(resource.getrusage(who).ru_maxrss for who in (resource.RUSAGE_SELF, resource.RUSAGE_CHILDREN)) * unit / 1e6


def planted(removed: set[str], jsonl: Path) -> dict[str, float]:
    """Return the share of planted pairs, if there are any, of which one name is among the removed."""
    with jsonl.open("rb") as lines:
        names = {json.loads(line)["id"] for line in lines}
    found: dict[str, float] = {"removed": len(removed)}
    for tag, title in (("copy:", "copies"), ("plant:", "edited")):
        pairs = [(name, name.removeprefix(tag)) for name in names if name.startswith(tag) and name.removeprefix(tag) in names]
        if pairs:
            found[title] = sum(not removed.isdisjoint(pair) for pair in pairs) / len(pairs)
    return found


def read(job: Job, columns: list[str] | None = None) -> Iterator[Any]:
    """Return the corpus in record batches; nothing but imports happens before the first is taken."""
    import pyarrow as pa
    import pyarrow.parquet as pq

    pa.array([""])  # makes pyarrow import pandas, where that is installed
    files = sorted((job.folder / "documents").iterdir())
    return (batch for f in files for batch in pq.ParquetFile(f).iter_batches(512, columns=columns, use_threads=False))


def origins(job: Job, ids: set[str]) -> set[str]:
    return {row["origin"] for batch in read(job, ["id", "origin"]) for row in batch.to_pylist() if row["id"] in ids}


@case("exact", "ours, from text")
def exact(job: Job) -> dict[str, Any]:
    import pyarrow as pa

    from hephaestus_dag.curation.exact import ExactDeduplicator, text_ids

    step, removed, batches = ExactDeduplicator(), [], read(job, ["id", "text", "source", "origin"])
    with job.timed():
        for batch in batches:
            batch = batch.set_column(0, "id", pa.array(text_ids(batch.column("text"))))
            removed += step.filter(batch)[1].column("document_id").to_pylist()
    return planted(origins(job, set(removed)), job.jsonl) | {"removed": len(removed)}


@case("exact", "ours, ids as stored")
def exact_stored(job: Job) -> dict[str, Any]:
    from hephaestus_dag.curation.exact import ExactDeduplicator

    step, batches = ExactDeduplicator(), read(job, ["id", "source", "origin"])
    with job.timed():
        removed = sum(step.filter(batch)[1].num_rows for batch in batches)
    return {"removed": removed}


@case("exact", "Python loop over JSONL")
def exact_loop(job: Job) -> dict[str, Any]:
    import orjson

    seen: set[bytes] = set()
    removed: set[str] = set()
    with job.timed(), job.jsonl.open("rb") as lines:
        for line in lines:
            row = orjson.loads(line)
            key = hashlib.blake2b(row["text"].encode(), digest_size=16).digest()
            if key in seen:
                removed.add(row["id"])
            seen.add(key)
    return planted(removed, job.jsonl)


@case("near_duplicates", "ours, verified")
def near_duplicates(job: Job) -> dict[str, Any]:
    from hephaestus_dag.curation.config import NearDuplicateConfig
    from hephaestus_dag.curation.near_duplicates import find_near_duplicates, signatures

    def documents() -> Iterable[Any]:
        return read(job, ["id", "text"])

    config, batches = NearDuplicateConfig(), documents()
    with job.timed():
        found = find_near_duplicates((signatures(batch, config) for batch in batches), documents, config, job.scratch)
    counts = planted(origins(job, set(found.removed)), job.jsonl)
    # Copies have one id here and are left to the exact step.
    return {"removed": len(found.removed), "edited": counts.get("edited", 1.0), "compared": found.num_compared}


@case("near_duplicates", "rensa, not verified")
def near_duplicates_rensa(job: Job) -> dict[str, Any]:
    import rensa

    rows = list(job.rows())
    with job.timed():
        words = (re.findall(r"\w+", row["text"].lower()) for row in rows)
        shingles = [[" ".join(w[at : at + 5]) for at in range(max(1, len(w) - 4))] for w in words]
        matrix = rensa.RMinHash.digest_matrix_from_token_sets(shingles, 112, 42)  # pyright: ignore[reportAttributeAccessIssue]
        index = rensa.RMinHashLSH(0.7, 112, 14)  # pyright: ignore[reportAttributeAccessIssue]
        flags = index.query_duplicate_flags_matrix_one_shot(matrix)
    return planted({row["id"] for row, flag in zip(rows, flags, strict=True) if flag}, job.jsonl)


@case("heuristics", "ours, Gopher + C4 + FineWeb")
def heuristics(job: Job) -> dict[str, Any]:
    from hephaestus_dag.curation.config import HeuristicRules
    from hephaestus_dag.curation.heuristics import HeuristicFilter

    step, batches = HeuristicFilter({"text": HeuristicRules()}), read(job)
    with job.timed():
        removed = sum(step.filter(batch)[1].num_rows for batch in batches)
    return {"removed": removed}


def benchmark_items(rows: Iterable[dict[str, str]]) -> list[tuple[str, str]]:
    """Return 10,000 items: 40 words of every hundredth document, and 40 words at random."""
    texts = [row["text"].split() for number, row in enumerate(rows) if number % 100 == 0]
    draw, words = random.Random(3), [word for text in texts for word in text]
    drawn = [text[5:45] for text in texts if len(text) >= 45]
    drawn += [draw.choices(words, k=40) for _ in range(10_000 - len(drawn))]
    return [(f"item/{number}", " ".join(item)) for number, item in enumerate(drawn)]


@case("decontamination", "ours, 13-grams, item named")
def decontamination(job: Job) -> dict[str, Any]:
    from hephaestus_dag.curation.decontamination import BenchmarkIndex

    index, batches = BenchmarkIndex.build(benchmark_items(job.rows())), read(job)
    with job.timed():
        removed = sum(index.filter(batch)[1].num_rows for batch in batches)
    return {"removed": removed}


@case("openapi", "ours, parsed and rendered")
def openapi(job: Job) -> dict[str, Any]:
    from hephaestus_dag.sources import list_items, read_items
    from hephaestus_dag.sources.config import SourceConfig

    source = SourceConfig(name="openapi", kind="openapi", location=job.openapi, domain="agent")
    files = Path(job.openapi).rglob("*") if Path(job.openapi).is_dir() else [Path(job.openapi)]
    megabytes = sum(path.stat().st_size for path in files if path.suffix in (".json", ".yaml", ".yml")) / 1e6
    with job.timed():
        documents = sum(len(read_items(source, [item])) for item in list_items(source))
    return {"documents": documents, "megabytes": megabytes}


def datatrove_run(job: Job, name: str, pipeline: list[Any], tasks: int = 1) -> None:
    from datatrove.executor import LocalPipelineExecutor  # pyright: ignore[reportMissingImports]

    logs = str(job.scratch / f"log_{name}")
    executor = LocalPipelineExecutor(pipeline=pipeline, tasks=tasks, workers=1, logging_dir=logs)
    with job.timed():
        executor.run()


def datatrove_reader(jsonl: Path) -> Any:
    from datatrove.pipeline.readers import JsonlReader  # pyright: ignore[reportMissingImports]

    return JsonlReader(str(jsonl.parent), glob_pattern=jsonl.name)


def datatrove_writer(job: Job, name: str) -> Any:
    from datatrove.pipeline.writers.jsonl import JsonlWriter  # pyright: ignore[reportMissingImports]

    return JsonlWriter(str(job.scratch / name), compression=None)


def datatrove_removed(job: Job, jsonl: Path) -> dict[str, Any]:
    lines = [line for path in (job.scratch / "removed").rglob("*.jsonl") for line in path.read_bytes().splitlines()]
    return planted({json.loads(line)["id"] for line in lines}, jsonl)


@case("exact", "datatrove")
def exact_datatrove(job: Job) -> dict[str, Any]:
    from datatrove.pipeline import dedup  # pyright: ignore[reportMissingImports]
    from datatrove.pipeline.dedup.exact_dedup import ExactDedupConfig  # pyright: ignore[reportMissingImports]

    config = ExactDedupConfig(content_getter=lambda document: document.text)
    signatures, found = str(job.scratch / "signatures"), str(job.scratch / "found")
    datatrove_run(job, "1", [datatrove_reader(job.jsonl), dedup.ExactDedupSignature(signatures, config=config)])
    datatrove_run(job, "2", [dedup.ExactFindDedups(data_folder=signatures, output_folder=found, config=config)])
    keep = dedup.ExactDedupFilter(data_folder=found, config=config, exclusion_writer=datatrove_writer(job, "removed"))
    datatrove_run(job, "3", [datatrove_reader(job.jsonl), keep, datatrove_writer(job, "kept")])
    megabytes = sum(len(row["text"].encode()) for row in job.rows()) / 1e6
    return {"megabytes": megabytes, **datatrove_removed(job, job.jsonl)}


@case("near_duplicates", "datatrove, not verified")
def near_duplicates_datatrove(job: Job) -> dict[str, Any]:
    from datatrove.pipeline.dedup import minhash  # pyright: ignore[reportMissingImports]

    config = minhash.MinhashConfig()
    signatures, buckets, remove = (str(job.scratch / name) for name in ("signatures", "buckets", "remove"))
    datatrove_run(job, "1", [datatrove_reader(job.small_jsonl), minhash.MinhashDedupSignature(signatures, config=config)])
    datatrove_run(job, "2", [minhash.MinhashDedupBuckets(signatures, buckets, config=config)], config.num_buckets)
    datatrove_run(job, "3", [minhash.MinhashDedupCluster(buckets, remove, config=config)])
    keep = minhash.MinhashDedupFilter(remove, exclusion_writer=datatrove_writer(job, "removed"))
    datatrove_run(job, "4", [datatrove_reader(job.small_jsonl), keep, datatrove_writer(job, "kept")])
    return datatrove_removed(job, job.small_jsonl)


@case("heuristics", "datatrove, the same four filters")
def heuristics_datatrove(job: Job) -> dict[str, Any]:
    from datatrove.pipeline import filters  # pyright: ignore[reportMissingImports]

    steps = [filters.GopherRepetitionFilter(), filters.GopherQualityFilter(), filters.FineWebQualityFilter()]
    for number, step in enumerate([*steps, filters.C4QualityFilter(filter_no_terminal_punct=False)]):
        datatrove_run(job, str(number), [datatrove_reader(job.small_jsonl), step])
    return {}


@case("decontamination", "datatrove, 13-grams, task named")
def decontamination_datatrove(job: Job) -> dict[str, Any]:
    import numpy as np
    from datatrove.pipeline.decont import n_grams  # pyright: ignore[reportMissingImports]
    from datatrove.utils.text import ngrams, simplify_text  # pyright: ignore[reportMissingImports]

    index, config = job.scratch / "index", n_grams.NGramsDecontConfig(n_grams=13)
    index.mkdir()
    step = n_grams.NGramsDecontFilter(str(index), config, datatrove_writer(job, "removed"))
    items = [step.tokenizer.word_tokenize(simplify_text(t, config.norm_config)) for _, t in benchmark_items(job.rows())]
    hashes = {step.hash_func(" ".join(gram)) for item in items for gram in ngrams(item, 13)}
    np.array(sorted(hashes), config.hash_config.np_descr).tofile(index / "items.index.hashes")
    datatrove_run(job, "filter", [datatrove_reader(job.small_jsonl), step])
    return {"removed": datatrove_removed(job, job.small_jsonl)["removed"]}
