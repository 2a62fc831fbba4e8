"""CPU-seconds of our index over those of raw FAISS, and the memory of encoding and exact mining by corpus size.

    .venv/bin/python benchmarks/vector_index.py                   # 100,000 vectors of 384 dimensions, 1,000 queries
    .venv/bin/python benchmarks/vector_index.py --memory          # peak memory at 10,000, 100,000 and 1,000,000 documents

Vectors are random around 500 centres and of length 1. One thread; a fresh process for each line. `ours / raw` is the median
of pairs of runs, one after the other, on the same queries and the same index file. Raw is `index.search` of FAISS; for ivf_pq
it is FAISS's own two-step search (IndexRefineFlat, which holds all vectors in memory), fetching as many candidates as ours.
Recall is that of 200 of the vectors, each without itself. Memory is what opening and searching adds to the process; for
ivf_pq most of it is pages of the vector files, which the operating system takes back when it needs them.
"""

import argparse
import json
import os
import statistics
import subprocess
import sys
import tempfile
import zlib
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any

from curation_cases import cpu_seconds, peak_megabytes

ONE_THREAD = {"OMP_NUM_THREADS": "1", "OPENBLAS_NUM_THREADS": "1"}
KINDS = ("flat", "hnsw", "ivf_pq")
STEPS = ("embed", "embed, all copied", "mine")
SIZES = (10_000, 100_000, 1_000_000)
DIMENSION = 384


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--vectors", type=int, default=100_000)
    parser.add_argument("--queries", type=int, default=1_000)
    parser.add_argument("--neighbours", type=int, default=10)
    parser.add_argument("--repeats", type=int, default=9)
    parser.add_argument("--memory", action="store_true", help="show peak memory by number of documents")
    parser.add_argument("--sizes", type=int, nargs="+", default=SIZES, help="numbers of documents for --memory")
    parser.add_argument("--run", nargs=3, metavar=("WHAT", "NAME", "FOLDER"), help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.run:
        print("RESULT", json.dumps(run_here(options, *options.run)))
        return
    with tempfile.TemporaryDirectory() as folder:
        memory_table(options, Path(folder)) if options.memory else search_table(options, Path(folder))


def run_apart(*run: str) -> Any:
    """Do one thing in a fresh process with the same options, and return what it printed."""
    command = [sys.executable, __file__, *sys.argv[1:], "--run", *run]
    done = subprocess.run(command, env=os.environ | ONE_THREAD, capture_output=True, text=True)
    results = [line for line in done.stdout.splitlines() if line.startswith("RESULT ")]
    if done.returncode or not results:
        sys.exit(f"{', '.join(run)}: failed\n{done.stderr[-2000:]}")
    return json.loads(results[-1].removeprefix("RESULT "))


def run_here(options: argparse.Namespace, what: str, name: str, folder: str) -> Any:
    if what == "vectors":
        return write_clustered(Path(folder), options.vectors)
    if what == "build":
        return build(name, Path(folder))
    if what == "search":
        return search(options, name, Path(folder))
    if what == "corpus":
        return write_corpus(Path(folder), int(name))
    return step_memory(what, Path(folder), Path(name))


# Search


def search_table(options: argparse.Namespace, folder: Path) -> None:
    run_apart("vectors", "", str(folder / "vectors"))
    print(
        f"{options.vectors:,} vectors of {DIMENSION}, {options.queries:,} queries, {options.neighbours} neighbours, one thread"
    )
    print(f"{'kind':8} {'ours / raw':>10} {'ms/query':>9} {'recall':>7} {'file MB':>8} {'memory MB':>10} {'build CPU-s':>12}")
    for kind in KINDS:
        built = run_apart("build", kind, str(folder))
        ran = run_apart("search", kind, str(folder))
        print(
            f"{kind:8} {ran['ratio']:10.3f} {ran['milliseconds']:9.3f} {built['recall']:7.3f} {built['bytes'] / 1e6:8.1f} "
            f"{ran['memory']:10.1f} {built['seconds']:12.1f}",
            flush=True,
        )


def write_clustered(folder: Path, count: int) -> None:
    import numpy as np

    from hephaestus_dag.retrieval.embeddings import write_vectors

    centres = np.random.default_rng(0).standard_normal((500, DIMENSION), dtype=np.float32)

    def blocks() -> Iterator[tuple[list[str], Any]]:
        for start in range(0, count, 8_192):
            rows = range(start, min(start + 8_192, count))
            draw = np.random.default_rng(start + 1)
            noise = draw.standard_normal((len(rows), DIMENSION), dtype=np.float32)
            vectors = centres[draw.integers(500, size=len(rows))] + 0.7 * noise
            yield [f"d{row}" for row in rows], vectors / np.linalg.norm(vectors, axis=1, keepdims=True)

    write_vectors(folder, blocks(), {"model": "random"}, DIMENSION)


def build(kind: Any, folder: Path) -> dict[str, Any]:
    from hephaestus_dag.retrieval.config import IndexConfig
    from hephaestus_dag.retrieval.index import build_index
    from hephaestus_dag.retrieval.vectors import open_vectors

    before = cpu_seconds()
    figures = build_index(open_vectors(folder / "vectors"), folder / kind, IndexConfig(kind=kind))
    return {**figures, "seconds": cpu_seconds() - before}


def search(options: argparse.Namespace, kind: str, folder: Path) -> dict[str, float]:
    import faiss
    import numpy as np

    from hephaestus_dag.retrieval.index import open_index
    from hephaestus_dag.retrieval.vectors import open_vectors

    vectors = open_vectors(folder / "vectors")
    rows = np.sort(np.random.default_rng(1).choice(len(vectors), options.queries, replace=False))
    queries = vectors.take(rows) + np.float32(0.01)
    warm = faiss.IndexFlatIP(DIMENSION)
    warm.add(queries)
    warm.search(queries, options.neighbours)
    peak = peak_megabytes()
    index = open_index(folder / kind, vectors)
    found = index.search(queries, options.neighbours)
    memory = peak_megabytes() - peak
    raw = raw_search(folder / kind / "index.faiss", kind, vectors)
    again = raw(queries, options.neighbours)
    same = np.isclose(found[0], again[0], atol=1e-5).mean()
    assert same > 0.999, f"ours and raw agree in {same:.2%} of scores"
    pairs = [[seconds(lambda f=f: f(queries, options.neighbours)) for f in (index.search, raw)] for _ in range(options.repeats)]
    ours = statistics.median(pair[0] for pair in pairs)
    ratio = statistics.median(pair[0] / pair[1] for pair in pairs)
    return {"ratio": ratio, "milliseconds": ours / options.queries * 1e3, "memory": memory}


def raw_search(path: Path, kind: str, vectors: Any) -> Callable[[Any, int], Any]:
    import faiss

    from hephaestus_dag.retrieval.index import MIN_FETCH, OVERFETCH

    index = faiss.read_index(str(path))
    if kind != "ivf_pq":
        return lambda queries, k: index.search(queries, k)
    exact = faiss.IndexFlatIP(DIMENSION)
    for _, block in vectors.blocks():
        exact.add(block)
    both = faiss.IndexRefine(index, exact)

    def refined(queries: Any, k: int, keep: Any = (index, exact)) -> Any:  # a reference, so that neither is freed
        both.k_factor = max(OVERFETCH, MIN_FETCH / k)
        return both.search(queries, k)

    return refined


def seconds(run: Callable[[], Any]) -> float:
    before = cpu_seconds()
    run()
    return cpu_seconds() - before


# Memory


def memory_table(options: argparse.Namespace, folder: Path) -> None:
    print("Peak memory above that of a run on 1,000 documents, one fresh process each")
    print(f"{'step':18} {'documents':>10} {'MB':>8} {'CPU-s':>7}")
    run_apart("corpus", "1000", str(folder / "small"))
    for size in options.sizes:
        run_apart("corpus", str(size), str(folder / str(size)))
        for step in STEPS:
            ran = run_apart(step, str(folder / "small"), str(folder / str(size)))
            print(f"{step:18} {size:10,} {ran['peak']:8.1f} {ran['seconds']:7.1f}", flush=True)


def write_corpus(folder: Path, count: int) -> None:
    from hephaestus_dag.documents import Document, DocumentWriter

    with DocumentWriter(folder) as writer:
        for first in range(0, count, 1_000):
            texts = (f"page {number}: " + f"words of page {number % 977} " * 20 for number in range(first, first + 1_000))
            writer.write(Document(text=t, domain="text", kind="page", source="s", origin="o", license="MIT") for t in texts)


class CheapEncoder:
    """Random vectors, drawn anew for every 256 texts."""

    identity: dict[str, Any] = {"model": "random"}  # noqa: RUF012
    dimension = DIMENSION

    def encode(self, texts: Sequence[str], progress: Callable[[int, int], None] | None = None) -> Any:
        import numpy as np

        found = np.empty((len(texts), DIMENSION), dtype=np.float32)
        for start in range(0, len(texts), 256):
            draw = np.random.default_rng(zlib.crc32(texts[start].encode()))
            draw.standard_normal(dtype=np.float32, out=found[start : start + 256])
        return found


def step_memory(step: str, corpus: Path, small: Path) -> dict[str, float]:
    """Return the peak memory (MB) above that of a run on the small corpus, and CPU-seconds."""
    do_step(step, small)
    peak, before = peak_megabytes(), cpu_seconds()
    do_step(step, corpus)
    return {"peak": peak_megabytes() - peak, "seconds": cpu_seconds() - before}


def do_step(step: str, corpus: Path) -> None:
    import numpy as np

    from hephaestus_dag.retrieval.embeddings import embed_documents
    from hephaestus_dag.retrieval.mining import mine
    from hephaestus_dag.retrieval.vectors import open_vectors

    if step.startswith("embed"):
        earlier = [corpus / "embed"] if "copied" in step else []
        folder = corpus / ("again" if earlier else "embed")
        with tempfile.TemporaryDirectory(dir=corpus) as work:
            counts = embed_documents(corpus, CheapEncoder(), folder, Path(work), earlier=earlier)
        assert counts["copied"] == (counts["documents"] if earlier else 0)
        return
    queries = np.random.default_rng(0).standard_normal((256, DIMENSION), dtype=np.float32)
    mine(queries, open_vectors(corpus / "embed"), neighbours=100, max_queries_per_document=10, threshold=60.0)


if __name__ == "__main__":
    main()
