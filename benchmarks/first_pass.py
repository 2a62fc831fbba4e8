"""The first pass beside the encoder: pages and megabytes per CPU-second, and what is lost, in one run on the same pages.

    .venv/bin/python benchmarks/first_pass.py                      # 5,000 pages
    .venv/bin/python benchmarks/first_pass.py --memory             # peak memory at 10,000, 100,000 and 1,000,000 pages

The corpus is documentation of installed packages. The seed describes AWS, Google and the standard library; the web holds other
operations of AWS and other Python packages (one page in ten) among prose and comments of sources: software throughout, so
harder to tell apart than the web at large. The encoder (MiniLM, 128 tokens, bfloat16) reads every page, so what it wants is
known and not estimated: pages whose best score with a query exceeds 99 % of random pairs. `recall` is the share of these that
go on at a keep share, next to the best that any pass could reach. Needs the packages of `requirements-models.txt`.

CPU-seconds are user and system time, one thread, of scoring alone: reading Parquet (zstd) and writing scores is inside,
counting words, loading models and measuring loss is not. Megabytes are UTF-8 text that was read: 600 characters of a page,
which for the encoder stand for its 128 tokens.
"""

import argparse
import multiprocessing
import os
import random
import subprocess
import sys
import tempfile
from collections.abc import Callable, Iterator, Sequence
from importlib.metadata import distributions
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
from curation_cases import cpu_seconds, peak_megabytes

from hephaestus_dag.documents import SCHEMA, DocumentWriter, count_documents, read_document_table, read_documents
from hephaestus_dag.models import resolve_model
from hephaestus_dag.retrieval.config import EncoderConfig, FirstPassConfig, RetrievalConfig
from hephaestus_dag.retrieval.encoder import Encoder
from hephaestus_dag.retrieval.first_pass import best, draw_pages, first_pass, make_scorer, score_pages, write_kept
from hephaestus_dag.retrieval.lexical import LexicalScorer
from hephaestus_dag.retrieval.queries import open_queries, write_queries
from hephaestus_dag.sources.collect import collect_documents
from hephaestus_dag.sources.config import SourceConfig

REFERENCE = (
    "click",
    "httpx",
    "jinja2",
    "matplotlib",
    "networkx",
    "numpy",
    "pyarrow",
    "pydantic",
    "scipy",
    "sqlalchemy",
    "sympy",
)
ONE_THREAD = {"OMP_NUM_THREADS": "1", "OPENBLAS_NUM_THREADS": "1", "RAYON_NUM_THREADS": "1"}
SIZES = (10_000, 100_000, 1_000_000)
CASES = {"lexical": {}, "lexical, pairs too": {"longest_run": 2}, "static (wordllama)": {}}


class KeptVectors:
    """The encoder, which reads each text once and remembers; its clock runs while it reads."""

    def __init__(self, encoder: Encoder) -> None:
        self.encoder, self.identity, self.dimension = encoder, encoder.identity, encoder.dimension
        self.known: dict[str, np.ndarray] = {}
        self.seconds = 0.0

    def encode(self, texts: Sequence[str], progress: Callable[[int, int], None] | None = None) -> np.ndarray:
        before = cpu_seconds()
        if missing := [text for text in texts if text not in self.known]:
            self.known |= dict(zip(missing, self.encoder.encode(missing, progress), strict=True))
            self.seconds += cpu_seconds() - before
        return np.stack([self.known[text] for text in texts])


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--pages", type=int, default=5_000, help="pages of the web corpus, of which a tenth is reference")
    parser.add_argument("--memory", action="store_true", help="show peak memory by number of pages")
    parser.add_argument("--run", action="store_true", help=argparse.SUPPRESS)
    options = parser.parse_args()
    if not options.run:  # in fresh processes, whose libraries take one thread
        for size in SIZES if options.memory else (options.pages,):
            arguments = ["--run", "--pages", str(size), *(["--memory"] if options.memory else [])]
            subprocess.run([sys.executable, __file__, *arguments], env=os.environ | ONE_THREAD, check=True)
        return
    with tempfile.TemporaryDirectory() as folder:
        (memory if options.memory else table)(options.pages, Path(folder))


def table(pages: int, folder: Path) -> None:
    build(pages, folder)
    pages = count_documents(folder / "web")
    config = RetrievalConfig(encoder=EncoderConfig())
    encoder = Encoder(config.encoder, resolve_model(config.encoder.model, folder))
    (folder / "queries").mkdir()
    write_queries(folder / "seed", encoder, config, folder / "queries", folder / "work")
    reader, lines, encoder_rate = KeptVectors(encoder), [], 0.0
    read = sum(len(text[:600].encode()) for text in read_document_table(folder / "web", ["text"])["text"].to_pylist()) / 1e6
    for number, (name, values) in enumerate(CASES.items()):
        kind = name.partition(" ")[0].strip(",")
        first = FirstPassConfig.model_validate({"kind": kind, "recall_sample": max(50, pages), **values})
        settings = config.model_copy(update={"first_pass": first})
        model = resolve_model(first.model, folder) if kind == "static" else None
        paths = folder / "seed", folder / "web", folder / "queries"
        found = first_pass(*paths, reader, settings, folder / f"out{number}", model)
        encoder_rate = encoder_rate or pages / reader.seconds
        seconds = scoring_seconds(folder, settings, first, model, folder / f"scores{number}.parquet")
        lines.append((name, pages / seconds, read / seconds, found))
    found = lines[0][3]
    print(f"{pages:,} pages, {read:.1f} MB read; the encoder wants {found['wanted']:,} ({found['wanted_share']:.0%})")
    shares = [row["keep_share"] for row in found["by_keep_share"]]
    print(f"{'':22}{'pages/CPU-s':>12}{'MB/CPU-s':>10}{'x encoder':>10}  recall at {shares}, of the best tenth, kept by source")
    print(f"{'encoder':22}{encoder_rate:>12,.0f}{encoder_rate * read / pages:>10.2f}{1:>10}")
    for name, rate, megabytes, found in lines:
        recalls = " ".join(f"{row['recall']:.2f}" for row in found["by_keep_share"])
        tenths = " ".join(f"{row['recall_of_best_tenth']:.2f}" for row in found["by_keep_share"])
        sources = " ".join(f"{row['source']} {row['kept'] / row['pages']:.2f}" for row in found["by_source"])
        print(f"{name:22}{rate:>12,.0f}{megabytes:>10.1f}{rate / encoder_rate:>10,.0f}  {recalls}  {tenths}  {sources}")
    possible = " ".join(f"{row['best_possible_recall']:.2f}" for row in found["by_keep_share"])
    print(f"{'best possible':22}{'':32}  {possible}  {' '.join(f'{min(1, 10 * share):.2f}' for share in shares)}")


def build(pages: int, folder: Path) -> None:
    """Write the seed and the web."""
    every = sorted({d.metadata["Name"].lower() for d in distributions() if d.metadata["Name"]})
    aws = {"kind": "botocore", "location": "package:botocore", "license": "Apache-2.0"}
    google = {"kind": "google_discovery", "location": "package:google-api-python-client", "license": "Apache-2.0"}
    python = {"kind": "python_modules", "location": "packages", "packages": [name for name in REFERENCE if name in every]}
    stdlib = {"kind": "python_modules", "location": "stdlib"}
    seed = [{"name": f"seed_{n}", **source, "max_documents": 1_000} for n, source in enumerate((aws, google, stdlib))]
    collected(folder / "seed", [{**source, "domain": "agent"} for source in seed])
    known = set(read_document_table(folder / "seed", ["id"])["id"].to_pylist())
    web = [
        {"name": "aws", **aws, "seed": 1, "max_documents": pages // 20},
        {"name": "python", **python, "max_documents": pages // 20},
        {"name": "comments", "kind": "python_comments", "location": "packages", "packages": every},
    ]
    web[-1]["max_documents"] = pages - pages // 10
    collected(folder / "all", [{**source, "domain": "text"} for source in web])
    with DocumentWriter(folder / "web") as writer:
        for batch in read_documents(folder / "all"):
            writer.write_batch(batch.filter(pa.array([i not in known for i in batch.column("id").to_pylist()])))


def collected(folder: Path, sources: list[dict[str, Any]]) -> None:
    def in_order(function: Callable[[Any], Any], items: Sequence[Any], progress: Any = None) -> Iterator[Any]:
        yield from map(function, items)

    collect_documents([SourceConfig.model_validate(s) for s in sources], folder, folder.with_suffix(".work"), in_order)


def scoring_seconds(
    folder: Path, config: RetrievalConfig, first: FirstPassConfig, model: Path | None, scores: Path, repeats: int = 3
) -> float:
    counted = draw_pages(folder / "web", 50, config.seed)[1]["text"].to_pylist()
    scorer = make_scorer(first, folder / "seed", counted, open_queries(folder / "queries"), model)
    seconds = []
    for _ in range(repeats):
        before = cpu_seconds()
        pages = count_documents(folder / "web")
        score_pages(folder / "web", scorer, first.characters, pages, scores, lambda _: None)
        seconds.append(cpu_seconds() - before)
    return sorted(seconds)[repeats // 2]


def memory(size: int, folder: Path) -> None:
    """Write ``size`` pages, and print the peak memory of a fresh process that scores, cuts and copies them."""
    draw, text = random.Random(0), pa.string()
    words = [f"{a}{b}" for a in ("get", "list", "rain", "snow", "put", "run") for b in range(5_000)]
    with DocumentWriter(folder / "web") as writer:
        for first in range(0, size, 1_000):
            rows = [{"id": f"{n:032x}", "text": " ".join(draw.choices(words, k=30))} for n in range(first, first + 1_000)]
            columns = {name: [row.get(name, "") for row in rows] for name in SCHEMA.names}
            writer.write_batch(pa.record_batch([pa.array(column, text) for column in columns.values()], schema=SCHEMA))
    process = multiprocessing.get_context("spawn").Process(target=peak, args=(size, folder))
    process.start()
    process.join()


def peak(size: int, folder: Path) -> None:
    scorer = LexicalScorer([["get1 list2 put3"]], [["rain1 snow2 run3"]], 1)
    before = peak_megabytes()
    scores = score_pages(folder / "web", scorer, 600, size, folder / "scores.parquet", lambda _: None)
    write_kept(folder / "web", scores, best(scores, 0.25), 0.25, folder / "out", lambda _: None)
    print(f"{size:>10,} pages: peak {peak_megabytes():,.0f} MB, {before:,.0f} MB before the first page")


if __name__ == "__main__":
    main()
