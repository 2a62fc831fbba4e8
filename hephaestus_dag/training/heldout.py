"""Loss on held-out streams, in nats per token and in bits per byte of text."""

import math
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
import torch
import torch.distributed as dist

from hephaestus_dag.mixture.loader import document_positions, stream_borders
from hephaestus_dag.mixture.store import TokenStore
from hephaestus_dag.training.model import TokenizerFolder


class HeldoutSet:
    """The beginning of each domain's held-out stream, as non-overlapping windows of the training length.

    A domain has at most ``max_tokens`` targets, a masked stream all of its own; one that is shorter than a window is one
    short window. With
    ``document_masking`` documents are scored apart from each other, as the model then learns them. Raises ValueError when a
    stream is missing or empty.
    """

    def __init__(
        self,
        streams: Mapping[str, tuple[Path, str]],
        sequence_length: int,
        max_tokens: int,
        tokenizer: TokenizerFolder,
        document_masking: bool = False,
    ) -> None:
        self.windows: dict[str, tuple[np.ndarray, np.ndarray, np.ndarray | None]] = {}
        self.targets: dict[str, int] = {}
        self.bytes: dict[str, int] = {}
        for domain, (folder, name) in sorted(streams.items()):
            store = TokenStore(folder)
            if name not in store.streams or store.streams[name].tokens < 2:
                raise ValueError(f"heldout.{domain}: {folder} has no tokens in a stream {name!r}; raise its held-out share")
            length = min(sequence_length, store.streams[name].tokens - 1)
            most = store.streams[name].tokens if store.streams[name].masked else max(1, max_tokens // length)
            tokens, mask = store.windows(name, length, most)
            weights = np.ones(tokens[:, 1:].shape, np.float32) if mask is None else mask.astype(np.float32)
            positions = None
            if document_masking:
                borders = stream_borders(store, name)
                positions = np.stack([document_positions(borders, at * length, length) for at in range(len(tokens))])
            self.windows[domain] = (tokens, weights, positions)
            self.targets[domain] = int(weights.sum())
            # Counted from the very targets that are scored, so that no average ratio enters.
            self.bytes[domain] = tokenizer.text_bytes(tokens[:, 1:][weights > 0].tolist())
            if not self.bytes[domain]:
                raise ValueError(f"heldout.{domain}: the first {tokens.size} tokens of {name!r} hold no target text")

    def evaluate(self, engine: Any, device: torch.device, batch: int) -> dict[str, dict[str, float]]:
        """Return ``{domain: {"loss": nats per token, "bits_per_byte"}}``; every process calls it and does its share."""
        rank, world_size = dist.get_rank(), dist.get_world_size()
        totals = torch.zeros(len(self.windows), dtype=torch.float64, device=device)
        engine.eval()
        with torch.no_grad():
            for index, (tokens, weights, positions) in enumerate(self.windows.values()):
                # All ranks take as many batches, because ZeRO-3 gathers weights together; past the end they weigh nothing.
                for start in range(0, len(tokens), batch * world_size):
                    rows = np.arange(start + rank * batch, start + (rank + 1) * batch)
                    rows = rows[rows < len(tokens)]
                    share = torch.from_numpy(weights[rows]) if len(rows) else torch.zeros(1, weights.shape[1])
                    rows = rows if len(rows) else np.zeros(1, int)
                    places = None if positions is None else torch.from_numpy(positions[rows]).to(device)
                    totals[index] += engine(torch.from_numpy(tokens[rows]).to(device), share.to(device), places)[1].double()
        engine.train()
        if world_size > 1:
            dist.all_reduce(totals)
        return {
            domain: {"loss": nats / self.targets[domain], "bits_per_byte": nats / math.log(2) / self.bytes[domain]}
            for domain, nats in zip(self.windows, totals.tolist(), strict=True)
        }
