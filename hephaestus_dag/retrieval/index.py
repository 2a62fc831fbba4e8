"""A FAISS index over document vectors, by inner product.

Up to ``EXACT_UP_TO`` vectors the index is flat: exact, and at 384 dimensions some thousand queries a second per 50,000
vectors. Above, inverted lists: 4 x sqrt(n) of them, of which a search reads one in 32.
"""

from pathlib import Path
from typing import Any

import numpy as np

EXACT_UP_TO = 1_000_000
LISTS_PER_PROBE = 32
TRAINING_VECTORS_PER_LIST = 64


def build_index(vectors: np.ndarray, folder: Path, exact_up_to: int = EXACT_UP_TO, seed: int = 0) -> dict[str, Any]:
    """Write ``index.faiss`` over float32 vectors of shape (n, d); return its kind, lists, probes and bytes."""
    import faiss

    num, dimension = vectors.shape
    if not num:
        raise ValueError("there are no vectors to index: the corpus is empty")
    lists = probes = 0
    if num <= exact_up_to:
        index: Any = faiss.IndexFlatIP(dimension)
    else:
        lists = 2 ** round(np.log2(4 * np.sqrt(num)))
        probes = max(1, lists // LISTS_PER_PROBE)
        index = faiss.IndexIVFFlat(faiss.IndexFlatIP(dimension), dimension, lists, faiss.METRIC_INNER_PRODUCT)
        index.cp.seed = seed
        index.nprobe = probes
        sample = np.random.default_rng(seed).permutation(num)[: lists * TRAINING_VECTORS_PER_LIST]
        index.train(np.ascontiguousarray(vectors[np.sort(sample)]))
    for start in range(0, num, 65_536):
        index.add(np.ascontiguousarray(vectors[start : start + 65_536]))
    path = folder / "index.faiss"
    faiss.write_index(index, str(path))
    return {"kind": "ivf" if lists else "flat", "lists": lists, "probes": probes, "bytes": path.stat().st_size}


def open_index(folder: Path) -> Any:
    """Return the FAISS index of a folder."""
    import faiss

    path = folder / "index.faiss"
    if not path.is_file():
        raise FileNotFoundError(f"{folder} holds no index.faiss: build the index first")
    return faiss.read_index(str(path))
