"""CPU-seconds and memory of every data step, at three sizes, and what they amount to at 10^6, 10^8 and 10^10 web pages.

    nice .venv/bin/python benchmarks/scaling_up.py store                # measure on a finished store's documents: ten minutes
    .venv/bin/python benchmarks/scaling_up.py --cpu-price 0.03          # the tables again, from the rows that were measured

The store is one of the laptop recipe. Its documents are cut into pieces and mixed anew into as many pages of about 2,800
characters as are wanted; for the first step each is wrapped into HTML with menus and scripts, 60 kB, and packed into a WARC
file. Steps that are slow read fewer pages, those that hold all of them more. Every step runs once for each size, in a process
of its own with one thread, after it has run over 64 other pages: CPU-seconds are user and system time without imports and
models. Memory is the peak above what the process held before. Linux.

`unit` is the slope between the smallest and the largest size. `growth` is how many times longer the largest takes, over how
many times more pages it has: 1 is proportional. The rows go to ``scaling_up.json`` beside this file; the tables that follow
(see `scale_table.py`) are printed as Markdown.
"""

import argparse
import gzip
import html
import json
import os
import random
import re
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterable
from dataclasses import asdict
from pathlib import Path
from typing import Any

from curation_cases import cpu_seconds
from scale_table import Point, Prices, tables

ROWS = Path(__file__).with_suffix(".json")
SIZES = (2_000, 8_000, 32_000)
ONE_THREAD = {"OMP_NUM_THREADS": "1", "OPENBLAS_NUM_THREADS": "1", "RAYON_NUM_THREADS": "1", "TOKENIZERS_PARALLELISM": "false"}
CHARACTERS, WARM = 2_800, 64
QUERIES, DIMENSION = 1_000, 384

Work = Callable[[], Any]


def pages(folder: Path) -> Iterable[Any]:
    """Return the pages of a folder in record batches."""
    import pyarrow.parquet as pq

    files = sorted((folder / "documents").iterdir())
    return (batch for file in files for batch in pq.ParquetFile(file).iter_batches(2_048, use_threads=False))


def newest(store: Path, key: str) -> Path:
    return max((store / key).iterdir(), key=lambda path: path.stat().st_mtime)


def filtering(steps: Iterable[Any], folder: Path) -> Work:
    """Return what runs steps of curation one after the other over the pages."""

    def work() -> None:
        for batch in pages(folder):
            for step in steps:
                batch, _ = step.filter(batch)

    return work


def extraction(folder: Path, store: Path) -> Work:
    from hephaestus_dag.sources import list_items, read_items
    from hephaestus_dag.sources.config import SourceConfig

    source = SourceConfig(name="web", kind="warc", location=str(folder), domain="agent")
    return lambda: [None for _ in read_items(source, list_items(source))]


def filters(folder: Path, store: Path) -> Work:
    from hephaestus_dag.curation.config import HeuristicRules
    from hephaestus_dag.curation.heuristics import HeuristicFilter
    from hephaestus_dag.curation.language import LanguageRule

    return filtering([LanguageRule({"agent": ["en"]}, 0.5), HeuristicFilter({"agent": HeuristicRules()})], folder)


def decontamination(folder: Path, store: Path) -> Work:
    from hephaestus_dag.curation.decontamination import BenchmarkIndex

    return filtering([BenchmarkIndex.load(newest(store, "benchmark_items") / "index")], folder)


def signatures(folder: Path, store: Path) -> Work:
    from hephaestus_dag.curation.config import NearDuplicateConfig
    from hephaestus_dag.curation.near_duplicates import signatures

    return lambda: [signatures(batch, NearDuplicateConfig()).num_rows for batch in pages(folder)]


def near_duplicates(folder: Path, store: Path) -> Work:
    import pyarrow.parquet as pq

    from hephaestus_dag.curation.config import NearDuplicateConfig
    from hephaestus_dag.curation.exact import ExactDeduplicator
    from hephaestus_dag.curation.near_duplicates import find_near_duplicates, signature_schema, signatures

    config, signed = NearDuplicateConfig(), folder / "signatures.parquet"
    with pq.ParquetWriter(signed, signature_schema(config)) as writer:
        for batch in pages(folder):
            writer.write_batch(signatures(batch, config))

    def work() -> None:
        batches = pq.ParquetFile(signed).iter_batches(4_096, use_threads=False)
        filtering([ExactDeduplicator(), find_near_duplicates(batches, lambda: pages(folder), config, folder)], folder)()

    return work


def first_pass(folder: Path, store: Path) -> Work:
    from hephaestus_dag.documents import read_documents
    from hephaestus_dag.retrieval.lexical import LexicalScorer

    def beginnings(batch: Any) -> list[str]:
        return [text[:600] for text in batch.column("text").to_pylist()]

    some = [[text[:600] for text in texts[:2_000]] for texts in (texts_of(store, "seed_corpus"), texts_of(store, "web_corpus"))]
    scorer = LexicalScorer([some[0]], [some[1]], 1)
    return lambda: [scorer(beginnings(batch)) for batch in read_documents(folder, ["id", "text"])]


def encoding(folder: Path, store: Path) -> Work:
    from hephaestus_dag.models import resolve_model
    from hephaestus_dag.retrieval.config import EncoderConfig
    from hephaestus_dag.retrieval.encoder import Encoder

    config = EncoderConfig()
    encoder = Encoder(config, resolve_model(config.model, folder), "cpu")
    return lambda: [encoder.encode(batch.column("text").to_pylist()) for batch in pages(folder)]


def search(folder: Path, store: Path) -> Work:
    import numpy as np

    from hephaestus_dag.retrieval.mining import mine
    from hephaestus_dag.retrieval.vectors import open_vectors, write_vectors

    number = sum(batch.num_rows for batch in pages(folder))
    rng = np.random.default_rng(0)
    vectors = [rng.standard_normal((rows, DIMENSION), dtype=np.float32) for rows in (number, QUERIES)]
    vectors = [each / np.linalg.norm(each, axis=1, keepdims=True) for each in vectors]
    blocks = [([f"{row:032x}" for row in range(number)], vectors[0])]
    write_vectors(folder / "vectors", blocks, {}, DIMENSION)
    return lambda: mine(vectors[1], open_vectors(folder / "vectors"), 150, 16, 0.12)


def classifier(folder: Path, store: Path) -> Work:
    from hephaestus_dag.quality.scoring import score_documents

    return lambda: score_documents(folder, newest(store, "quality_classifier"), folder / "scores")


def tokens(folder: Path, store: Path) -> Work:
    from hephaestus_dag.mixture.config import TokenStoreConfig
    from hephaestus_dag.mixture.tokenise import tokenise_documents

    config = TokenStoreConfig.model_validate({"heldout_share": 0.001})
    return lambda: tokenise_documents([folder], newest(store, "tokenizer"), folder / "tokens", config)


STEPS: dict[str, tuple[Callable[[Path, Path], Work], float]] = {
    "extraction": (extraction, 8),
    "filters": (filters, 2),
    "decontamination": (decontamination, 1),
    "signatures": (signatures, 1),
    "near-duplicates": (near_duplicates, 0.25),
    "first pass": (first_pass, 1),
    "encoding": (encoding, 32),
    "search": (search, 1),
    "classifier": (classifier, 1),
    "tokens": (tokens, 0.25),
}
"""How each step is prepared, and how many times fewer pages it reads: slow ones fewer, those that hold all of them more."""


def texts_of(store: Path, key: str) -> list[str]:
    from hephaestus_dag.documents import read_documents

    return [text for batch in read_documents(newest(store, key), ["id", "text"]) for text in batch.column("text").to_pylist()]


def make_pages(store: Path, folder: Path, number: int) -> None:
    """Write pages that are put together of pieces of the store's documents, and an eighth of them as a WARC file."""
    from hephaestus_dag.documents import Document, DocumentWriter

    draw = random.Random(number)
    texts = [text for key in ("web_corpus", "text_documents", "tool_documentation") for text in texts_of(store, key)]
    pieces = [piece for text in texts for piece in re.findall(r"(?s)\S.{150,450}?(?:\n|\. |\Z)", text[:20_000])]
    made: list[str] = []
    with DocumentWriter(folder) as writer:
        for row in range(number):
            size, parts = draw.randint(CHARACTERS // 3, CHARACTERS * 5 // 3), []
            while sum(map(len, parts)) < size:
                parts.append(draw.choice(pieces))
            if draw.random() < 0.1 and made:  # a near-duplicate of an earlier page, one piece of which is another
                parts = [*draw.choice(made[-500:]).split("\n\n")[1:], draw.choice(pieces)]
            made.append("\n\n".join(part.strip() for part in parts))
            page = Document(text=made[-1], domain="agent", kind="page", source="web", origin=f"{row}", license="unknown")
            writer.write([page])
    menu = "".join(
        f'<li class="nav-item"><a href="/section/{n}/index.html">Section {n} of the site</a></li>' for n in range(200)
    )
    script = "<script>" + "window.settings = {answer: 42}; " * 1_400 + "</script>"
    with (folder / "pages.warc.gz").open("wb") as file:
        for row, text in enumerate(made[: int(number / STEPS["extraction"][1])]):
            body = "".join(f"<p>{html.escape(part)}</p>" for part in text.split("\n\n"))
            page = f"<html><head><title>Page {row}</title>{script}</head><body><ul>{menu}</ul>"
            page += f"<article>{body}</article></body></html>"
            response = b"HTTP/1.1 200 OK\r\nContent-Type: text/html; charset=utf-8\r\n\r\n" + page.encode()
            head = f"WARC/1.0\r\nWARC-Type: response\r\nWARC-Target-URI: https://example.org/{row}\r\n"
            head += "WARC-Date: 2024-01-01T00:00:00Z\r\nContent-Type: application/http; msgtype=response\r\n"
            head += f"WARC-Record-ID: <urn:uuid:00000000-0000-0000-0000-{row:012d}>\r\nContent-Length: {len(response)}\r\n\r\n"
            file.write(gzip.compress(head.encode() + response + b"\r\n\r\n", 6))


def status(name: str) -> int:
    """Return bytes of this process's memory: VmRSS now, VmHWM at its highest."""
    found = re.search(rf"{name}:\s+(\d+) kB", Path("/proc/self/status").read_text())
    assert found
    return int(found[1]) * 1_024


def measure_here(step: str, folder: Path, store: Path) -> dict[str, float]:
    STEPS[step][0](folder.parent / "warm", store)()
    work = STEPS[step][0](folder, store)
    Path("/proc/self/clear_refs").write_text("5")  # forgets the highest
    held, began = status("VmRSS"), cpu_seconds()
    work()
    return {"seconds": cpu_seconds() - began, "bytes": max(0, status("VmHWM") - held)}


def measure(store: Path, sizes: tuple[int, ...], steps: list[str]) -> list[Point]:
    """Return a row for each step and size."""
    found = []
    with tempfile.TemporaryDirectory(prefix="scaling-up-") as scratch:
        make_pages(store, Path(scratch, "warm"), WARM)
        for step in steps:
            for size in sizes:
                number = int(size / STEPS[step][1])
                held = size if step == "extraction" else number
                if not (folder := Path(scratch, str(held))).exists():
                    make_pages(store, folder, held)
                command = [sys.executable, __file__, "--run", step, str(folder), str(store)]
                done = subprocess.run(command, env={**os.environ, **ONE_THREAD}, stdout=subprocess.PIPE, text=True)
                done.check_returncode()
                took = json.loads(done.stdout.splitlines()[-1])
                found.append(Point(step=step, pages=number, **took))
                print(
                    f"{step:16} {number:>7,} pages {took['seconds']:8.2f} CPU-s {took['bytes'] / 1e6:8.1f} MB", file=sys.stderr
                )
    return found


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("store", nargs="?", type=Path, help="finished store to measure on; without it the last rows are used")
    parser.add_argument("--steps", nargs="+", choices=STEPS, default=list(STEPS), help="steps to measure; all without it")
    parser.add_argument("--sizes", nargs=3, type=int, default=SIZES, help="numbers of pages")
    for name, value in asdict(Prices()).items():
        parser.add_argument(f"--{name.replace('_', '-')}", type=float, default=value, help=f"default {value:g}")
    parser.add_argument("--run", nargs=3, metavar=("STEP", "FOLDER", "STORE"), help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.run:
        step, folder, store = options.run
        print(json.dumps(measure_here(step, Path(folder), Path(store))))
        return
    rows = [Point(**row) for row in json.loads(ROWS.read_text())] if ROWS.exists() else []
    if options.store:
        began = time.monotonic()
        new = measure(options.store, tuple(options.sizes), options.steps)
        rows = [row for row in rows if row.step not in options.steps] + new
        rows.sort(key=lambda row: list(STEPS).index(row.step))
        ROWS.write_text("[\n" + ",\n".join(json.dumps(asdict(row)) for row in rows) + "\n]\n")
        print(f"measured in {time.monotonic() - began:.0f} s", file=sys.stderr)
    print(tables(rows, Prices(**{name: getattr(options, name) for name in asdict(Prices())})))


if __name__ == "__main__":
    main()
