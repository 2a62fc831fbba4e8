"""Megabytes and tokens per CPU-second from documents to a token store, beside datatrove and `tokenizers` alone.

    .venv/bin/python benchmarks/tokenising.py --peers .venv-peers/bin/python
    .venv/bin/python benchmarks/tokenising.py --tokenizer FOLDER --megabytes 100 --repeats 1

datatrove lives in an environment of its own: ``python -m venv .venv-peers && .venv-peers/bin/pip install
'datatrove[processing]==0.10.1' tokenizers==0.23.3 orjson``; without ``--peers`` its rows are left out.

All have the same documents (sources and documentation of installed packages, in shards) and the same tokenizer: that of
``--tokenizer``, or a byte-level BPE of 8,192 entries that is trained on them first. Ours is the whole of `tokenise_documents`:
Parquet read, all encoded, shuffled, written by domain and source with the ledger. datatrove's is JSONL read, encoded, shuffled,
written with its index. `encode_batch_fast` starts from texts in memory and throws the tokens away. CPU-seconds are user and
system time of a fresh process and its children, without imports of the first process; the table has the median. `two` is two
processes for ours, two threads for the others. Text of all three is compared by number of tokens, ours with
`encode_batch_fast` token by token on a sample (``same``).
"""

import argparse
import hashlib
import json
import os
import statistics
import subprocess
import sys
import sysconfig
import tempfile
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ProcessPoolExecutor
from multiprocessing import get_context
from pathlib import Path
from typing import Any

from curation_cases import cpu_seconds, peak_megabytes

SUFFIXES = (".py", ".pyi", ".md", ".rst", ".txt")
Figures = dict[str, Any]


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--megabytes", type=float, default=20)
    parser.add_argument("--tokenizer", type=Path, help="folder of a fast tokenizer")
    parser.add_argument("--peers", help="python of an environment that has datatrove")
    parser.add_argument("--repeats", type=int, default=3)
    parser.add_argument("--run", nargs=3, metavar=("WHO", "THREADS", "FOLDER"), help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.run:
        who, threads, folder = options.run
        print("RESULT", json.dumps(CASES[who](Path(folder), int(threads)) | {"peak": peak_megabytes()}))
        return
    with tempfile.TemporaryDirectory() as name:
        documents, megabytes = prepare(options, Path(name))
        print(f"{documents:,} documents, {megabytes:.1f} MB of text")
        print(f"{'by':20} {'threads':8} {'MB/CPU-s':>9} {'Mtok/CPU-s':>11} {'ours is':>8} {'MB/s':>7} {'peak MB':>8}  told")
        for threads in (1, 2):
            ours = 0.0
            for who in CASES:
                if who == "datatrove" and not options.peers:
                    print(f"{who:20} {'':8} left out: see --peers")
                    continue
                runs = [run_apart(options, who, threads, name) for _ in range(options.repeats)]
                cpu, seconds = (statistics.median(run[clock] for run in runs) for clock in ("cpu", "seconds"))
                rate = megabytes / cpu
                ours = ours or rate
                ratio = "" if who == "ours" else f"{ours / rate:.2f} x"
                peak = max(run["peak"] for run in runs)
                rates = f"{rate:9.2f} {runs[0]['tokens'] / cpu / 1e6:11.2f} {ratio:>8} {megabytes / seconds:7.2f} {peak:8.0f}"
                print(f"{who:20} {('one', 'two')[threads - 1]:8} {rates}  {runs[0]['told']}", flush=True)


def run_apart(options: argparse.Namespace, who: str, threads: int, folder: str) -> Figures:
    python = options.peers if who == "datatrove" else sys.executable
    limits = {"OMP_NUM_THREADS": "1", "RAYON_NUM_THREADS": str(threads), "TOKENIZERS_PARALLELISM": "true"}
    command = [python, __file__, "--run", who, str(threads), folder]
    done = subprocess.run(command, env=os.environ | limits, capture_output=True, text=True)
    results = [line for line in done.stdout.splitlines() if line.startswith("RESULT ")]
    if done.returncode or not results:
        sys.exit(f"{who}: failed\n{done.stderr[-2000:]}")
    return json.loads(results[-1].removeprefix("RESULT "))


def prepare(options: argparse.Namespace, folder: Path) -> tuple[int, float]:
    """Write the documents as Parquet and JSON lines, and the tokenizer; return documents and megabytes."""
    from hephaestus_dag.documents import Document, DocumentWriter
    from hephaestus_dag.mixture.config import TrainTokenizerConfig
    from hephaestus_dag.mixture.tokenise import sample_texts
    from hephaestus_dag.mixture.tokenizer import copy_tokenizer, train_tokenizer

    size = 0
    with DocumentWriter(folder, documents_per_shard=500) as writer, (folder / "corpus.jsonl").open("w") as lines:
        for origin, text in texts(options.megabytes * 1e6):
            domain = "code" if origin.endswith((".py", ".pyi")) else "text"
            writer.write([Document(text=text, domain=domain, kind="file", source="packages", origin=origin, license="unknown")])
            lines.write(json.dumps({"id": origin, "text": text}) + "\n")
            size += len(text.encode())
    if options.tokenizer:
        copy_tokenizer(options.tokenizer, folder / "tokenizer")
    else:
        config = TrainTokenizerConfig(vocab_size=8_192, sample_characters=3_000_000)
        train_tokenizer(sample_texts([folder], config), config, folder / "tokenizer")
    return writer.num_documents, size / 1e6


def texts(size: float) -> Iterator[tuple[str, str]]:
    """Yield files of installed packages, in the order of a hash of their names."""
    folder = Path(sysconfig.get_path("purelib"))
    files = {str(path.relative_to(folder)): path for path in folder.rglob("*") if path.suffix in SUFFIXES and path.is_file()}
    seen = set()
    for name in sorted(files, key=lambda name: hashlib.blake2b(name.encode()).digest()):
        text = files[name].read_text("utf-8", "replace")[:50_000]
        if text and text not in seen:
            seen.add(text)
            yield name, text
            size -= len(text.encode())
            if size < 0:
                return


def measured(work: Callable[[], Any]) -> tuple[Any, Figures]:
    cpu, seconds = cpu_seconds(), time.perf_counter()
    result = work()
    return result, {"cpu": cpu_seconds() - cpu, "seconds": time.perf_counter() - seconds}


def ours(folder: Path, threads: int) -> Figures:
    from tokenizers import Tokenizer
    from transformers import AutoTokenizer  # noqa: F401  # what it imports is no work

    from hephaestus_dag.documents import read_documents
    from hephaestus_dag.mixture.config import TokenStoreConfig
    from hephaestus_dag.mixture.store import TokenStore
    from hephaestus_dag.mixture.tokenise import tokenise_documents

    def map_in_processes(function: Callable[[Any], Any], items: list[Any]) -> Iterator[Any]:
        with ProcessPoolExecutor(threads, mp_context=get_context("spawn")) as pool:
            yield from pool.map(function, items)

    def work() -> Figures:
        chosen = map if threads == 1 else map_in_processes
        return tokenise_documents(folder, folder / "tokenizer", Path(scratch), TokenStoreConfig(), map=chosen)

    with tempfile.TemporaryDirectory() as scratch:
        figures, clocks = measured(work)
        store = TokenStore(Path(scratch))
        rows = store.ledger.to_pylist()[::50]
        texts = {row["id"]: row["text"] for batch in read_documents(folder, ["id", "text"]) for row in batch.to_pylist()}
        backend = Tokenizer.from_file(str(folder / "tokenizer" / "tokenizer.json"))
        backend.encode_special_tokens = True
        wanted = [backend.encode(texts[row["document_id"]], add_special_tokens=False).ids for row in rows]
        found = [store.tokens(r["stream"])[r["offset"] : r["offset"] + r["length"]].tolist() for r in rows]
        same = sum(one in (other[:-1], other[1:-1]) for one, other in zip(wanted, found, strict=True))
    tokens = sum(stream["tokens"] for stream in figures["streams"].values())
    return clocks | {"tokens": tokens, "told": f"{tokens:,} tokens, {figures['encoder']}, same {same} of {len(rows)}"}


def batch_fast(folder: Path, threads: int) -> Figures:
    from tokenizers import Tokenizer

    from hephaestus_dag.documents import read_document_table

    texts = read_document_table(folder, ["text"])["text"].to_pylist()

    def work() -> int:
        backend = Tokenizer.from_file(str(folder / "tokenizer" / "tokenizer.json"))
        backend.encode_special_tokens = True
        batches = (texts[first : first + 512] for first in range(0, len(texts), 512))
        encodings = (backend.encode_batch_fast(batch, add_special_tokens=False) for batch in batches)
        return sum(len(encoding.ids) for batch in encodings for encoding in batch)

    tokens, clocks = measured(work)
    return clocks | {"tokens": tokens, "told": f"{tokens:,} tokens"}


def datatrove(folder: Path, threads: int) -> Figures:
    from datatrove.executor import LocalPipelineExecutor  # pyright: ignore[reportMissingImports]
    from datatrove.pipeline.readers import JsonlReader  # pyright: ignore[reportMissingImports]
    from datatrove.pipeline.tokens.tokenizer import DocumentTokenizer  # pyright: ignore[reportMissingImports]

    tokenizer = json.loads((folder / "tokenizer" / "tokenizer_config.json").read_text())
    with tempfile.TemporaryDirectory() as scratch:
        steps = [
            JsonlReader(str(folder), glob_pattern="corpus.jsonl"),
            DocumentTokenizer(
                output_folder=f"{scratch}/out",
                local_working_dir=f"{scratch}/work",
                tokenizer_name_or_path=str(folder / "tokenizer" / "tokenizer.json"),
                eos_token=tokenizer["eos_token"],
                seed=0,
            ),
        ]
        executor = LocalPipelineExecutor(pipeline=steps, tasks=1, workers=1, logging_dir=f"{scratch}/logs")
        _, clocks = measured(executor.run)
        size = sum(path.stat().st_size for path in Path(scratch, "out").glob("*.ds"))
    entries = len(json.loads((folder / "tokenizer" / "tokenizer.json").read_text())["model"]["vocab"])
    tokens = size // (2 if entries < 65_536 else 4)
    return clocks | {"tokens": tokens, "told": f"{tokens:,} tokens"}


CASES: dict[str, Callable[[Path, int], Figures]] = {"ours": ours, "datatrove": datatrove, "encode_batch_fast": batch_fast}

if __name__ == "__main__":
    main()
