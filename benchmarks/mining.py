"""Exact mining beside the matrix product it cannot do without, and beside faiss.knn, the exact search of a library.

    OMP_WAIT_POLICY=passive python benchmarks/mining.py [--threads 1] [--queries 200 2000 20000] [--pages 200000]
    python benchmarks/mining.py --device cuda

Random unit vectors of 384 dimensions, threshold at the 99 % quantile, 100 neighbours, 10 queries a page. Random vectors are
the hard case: matches are spread evenly, so that nearly every tile holds some.

    GEMM     torch.matmul of the same pages with the same queries and nothing else, in the tiles of mining and in tiles of
             1,024 pages: the faster of the two, just before and just after mining
    share    seconds of GEMM / seconds of mining; on a processor these are CPU-seconds, so that neighbours do not count
    faiss    faiss.knn: the 100 nearest pages of every query, without threshold, cap and order of ties (faiss-cpu, installed
             with the package); it holds all pages in memory

Rates are per CPU-second; OMP_WAIT_POLICY keeps threads that wait for others from counting. FAISS multiplies with OpenBLAS,
which on AMD is 1.15 times as fast as torch's MKL; mixing both in one process makes their threads fight. On a processor more
than 2,000 queries meet a quarter of the pages, so that no row takes minutes.
"""

import argparse
import tempfile
import time
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
from curation_cases import cpu_seconds, peak_megabytes

NEIGHBOURS, QUERIES_PER_PAGE, QUANTILE = 100, 10, 0.99
GEMM_ROWS = 1_024


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--device", default="cpu")
    parser.add_argument("--pages", type=int, default=200_000)
    parser.add_argument("--dimension", type=int, default=384)
    parser.add_argument("--threads", type=int, default=1)
    parser.add_argument("--queries", type=int, nargs="+", default=[200, 2_000, 20_000])
    parser.add_argument("--without-faiss", action="store_true")
    parser.add_argument("--repeats", type=int, default=3)
    options = parser.parse_args()

    import faiss
    import torch

    from hephaestus_dag.retrieval.vectors import open_vectors, write_vectors

    columns = (
        "threads",
        "queries",
        "pages",
        "GEMM GFLOP/s",
        "mining GFLOP/s",
        "share",
        "M pairs/s",
        "CPU-s",
        "faiss.knn CPU-s",
    )
    print(" | ".join(columns))
    generator = np.random.default_rng(0)
    with tempfile.TemporaryDirectory() as scratch:
        shards = [min(50_000, options.pages - start) for start in range(0, options.pages, 50_000)]
        vectors = (([""] * rows, unit(generator, rows, options.dimension)) for rows in shards)
        write_vectors(Path(scratch), vectors, {}, options.dimension)
        torch.set_num_threads(options.threads)
        faiss.omp_set_num_threads(options.threads)
        for number in options.queries:
            pages = open_vectors(Path(scratch))
            if options.device == "cpu" and number > 2_000:
                pages.shards = pages.shards[:1]
            print(" | ".join(line(unit(generator, number, options.dimension), pages, options)), flush=True)
    print(f"peak memory {peak_megabytes():,.0f} MB, faiss's copy of the pages included")


def unit(generator: np.random.Generator, rows: int, dimension: int) -> np.ndarray:
    vectors = generator.standard_normal((rows, dimension), dtype=np.float32)
    return vectors / np.linalg.norm(vectors, axis=1, keepdims=True)


def line(queries: np.ndarray, pages: Any, options: argparse.Namespace) -> list[str]:
    """Measure one row: the median of the repeats, each with its own GEMM."""
    import faiss

    from hephaestus_dag.retrieval.mining import MIN_TILE_ROWS, TILE_SCORES, mine

    threshold = float(np.quantile(queries[:500] @ pages.take(np.arange(2_000)).T, QUANTILE))
    own_rows = max(MIN_TILE_ROWS, TILE_SCORES[options.device] // len(queries))
    clock = cpu_seconds if options.device == "cpu" else time.perf_counter

    def gemm() -> float:
        return min(timed(partial(multiply, queries, pages, rows, options.device), clock) for rows in (own_rows, GEMM_ROWS))

    runs = []
    for _ in range(options.repeats):
        before = gemm()
        mining = timed(lambda: mine(queries, pages, NEIGHBOURS, QUERIES_PER_PAGE, threshold, options.device), clock)
        runs.append((min(before, gemm()) / mining, mining))
    share, mining = sorted(runs)[len(runs) // 2]
    pairs, work = len(queries) * len(pages), 2 * len(queries) * len(pages) * pages.dimension
    knn = "-"
    if not options.without_faiss:
        base = pages.take(np.arange(len(pages)))
        knn = f"{timed(lambda: faiss.knn(queries, base, NEIGHBOURS, faiss.METRIC_INNER_PRODUCT), cpu_seconds):.2f}"
    # CPU-seconds of several threads add up: rates are per CPU-second there.
    rates = [f"{work / (share * mining) / 1e9:.0f}", f"{work / mining / 1e9:.0f}"]
    return [
        f"{options.threads}",
        f"{len(queries):,}",
        f"{len(pages):,}",
        *rates,
        f"{share:.2f}",
        f"{pairs / mining / 1e6:.0f}",
        f"{mining:.2f}",
        knn,
    ]


def timed(work: Callable[[], Any], clock: Callable[[], float]) -> float:
    before = clock()
    work()
    return clock() - before


def multiply(queries: np.ndarray, pages: Any, rows: int, device: str) -> None:
    import torch

    columns = torch.from_numpy(np.ascontiguousarray(queries.T)).to(device)
    with torch.inference_mode():
        for _, block in pages.blocks():
            for start in range(0, len(block), rows):
                torch.matmul(torch.from_numpy(block[start : start + rows].copy()).to(device), columns)
        if device == "cuda":
            torch.cuda.synchronize()


if __name__ == "__main__":
    main()
