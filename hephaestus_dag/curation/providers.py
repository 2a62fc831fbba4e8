"""Caps what one provider may contribute to the API documentation, so that no vendor dominates.

Which documents of a provider stay is drawn by a seeded hash of their ids: the same whatever the order of the documents, and
a larger cap keeps all that a smaller one keeps. How many may stay depends on all providers, so there are two passes: `plan`
reads three columns, and the step that it returns then looks at one batch at a time.
"""

from collections.abc import Iterable, Mapping

import numpy as np
import pyarrow as pa

from hephaestus_dag.curation.removed import Verdict, part

KIND = "api_documentation"


class ProviderCap:
    """Keeps, of each provider's API documentation, the documents whose hash is at most the provider's limit."""

    name = "provider_cap"

    def __init__(self, limits: Mapping[str, tuple[int, int, int]], seed: int) -> None:
        """`limits` gives, for each provider above its cap, the largest hash that stays, the documents kept and of how many."""
        self.limits = dict(limits)
        self._seed = seed

    @classmethod
    def plan(
        cls,
        batches: Iterable[pa.RecordBatch],
        max_documents: int | None = None,
        max_share: float | None = None,
        seed: int = 0,
    ) -> "ProviderCap":
        """Return the step for the documents whose columns ``id``, ``kind`` and ``provider`` are in ``batches``.

        ``max_documents`` bounds each provider's documents, ``max_share`` its share of what all providers keep; documents
        without a provider count for neither. Give what passed the steps before, so that what they remove does not count.
        Holds 8 bytes for each document of API documentation. Raises ValueError when there are too few providers for
        the share.
        """
        parts: dict[str, list[np.ndarray]] = {}
        for batch in batches:
            if not batch.num_rows:  # all copies of what came before
                continue
            hashes, providers = _capped_rows(batch, seed)
            order = np.argsort(providers, kind="stable")
            names, starts = np.unique(providers[order], return_index=True)
            for name, part_of_name in zip(names.tolist(), np.split(hashes[order], starts[1:]), strict=True):
                if name:
                    parts.setdefault(name, []).append(part_of_name)
        found = {name: np.unique(np.concatenate(hashes)) for name, hashes in sorted(parts.items())}
        counts = np.array([len(hashes) for hashes in found.values()], np.int64)
        cap = cap_of(counts, max_documents, max_share)
        return cls({name: (int(h[cap - 1]), cap, len(h)) for name, h in found.items() if len(h) > cap}, seed)

    def filter(self, batch: pa.RecordBatch) -> tuple[pa.RecordBatch, pa.RecordBatch]:
        """Return what stays, and rows whose evidence is the provider, how many documents it keeps, and of how many."""
        hashes, providers = _capped_rows(batch, self._seed)
        verdicts: list[Verdict | None] = [None] * batch.num_rows
        for row, (value, provider) in enumerate(zip(hashes.tolist(), providers.tolist(), strict=True)):
            limit = self.limits.get(provider)
            if limit and value > limit[0]:
                verdicts[row] = Verdict("provider is above its cap", f"{provider}: {limit[1]:,} of {limit[2]:,} kept")
        return part(batch, self.name, verdicts)


def cap_of(counts: np.ndarray, max_documents: int | None, max_share: float | None) -> int:
    """Return the documents that each provider may keep, given how many each has; at least 1.

    With a share ``s`` it is the largest ``c`` with ``c <= s * sum(min(count, c))``: after capping, nobody is above ``s``.
    """
    most = int(counts.max(initial=1))
    cap = most if max_documents is None else min(max_documents, most)
    if max_share is None or not len(counts):
        return cap
    if max_share * len(counts) < 1:
        raise ValueError(
            f"max_provider_share {max_share} cannot be kept by {len(counts)} providers; "
            f"raise it to at least {1 / len(counts):.3g}, or add sources"
        )
    low, high = 1, cap  # what holds for a cap holds for all smaller ones
    while low < high:
        middle = (low + high + 1) // 2
        low, high = (middle, high) if middle <= max_share * np.minimum(counts, middle).sum() + 1e-9 else (low, middle - 1)
    return low


def _capped_rows(batch: pa.RecordBatch, seed: int) -> tuple[np.ndarray, np.ndarray]:
    """Return a seeded hash of each row's id, and its provider, empty where no cap applies."""
    ids = np.frombuffer(bytes.fromhex("".join(batch.column("id").to_pylist())), np.uint64).reshape(-1, 2)
    kinds, providers = (np.array(batch.column(name).to_pylist(), object) for name in ("kind", "provider"))
    mixed = ids[:, 0] ^ (np.uint64(seed * 0x9E3779B97F4A7C15 % 2**64))
    mixed = (mixed ^ (mixed >> np.uint64(31))) * np.uint64(0xBF58476D1CE4E5B9)
    return mixed ^ (mixed >> np.uint64(29)), np.where(kinds == KIND, providers, "").astype(str)
