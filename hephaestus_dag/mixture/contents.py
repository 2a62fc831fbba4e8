"""Read a mixture back as text, to check what a model is really shown."""

from collections.abc import Iterator
from pathlib import Path

import numpy as np

from hephaestus_dag.mixture.store import TokenStore
from hephaestus_dag.mixture.tokenizer import load_tokenizer

DOCUMENTS_AT_ONCE = 1_000


def decoded_documents(stores: list[Path], tokenizer_folder: Path) -> Iterator[tuple[list[str], list[str]]]:
    """Yield ids and texts, decoded from tokens, of every training document of some token stores, in batches."""
    tokenizer = load_tokenizer(tokenizer_folder)
    for folder in stores:
        store = TokenStore(folder)
        for name, stream in store.streams.items():
            if stream.split != "train":
                continue
            tokens, ledger = store.tokens(name), store.stream_ledger(name, ["document_id", "offset", "length"])
            identities = ledger["document_id"].to_pylist()
            starts = ledger["offset"].to_numpy()
            ends = starts + ledger["length"].to_numpy()
            for first in range(0, len(identities), DOCUMENTS_AT_ONCE):
                rows = range(first, min(first + DOCUMENTS_AT_ONCE, len(identities)))
                spans = [np.asarray(tokens[starts[row] : ends[row]]).tolist() for row in rows]
                yield [identities[row] for row in rows], tokenizer.batch_decode(spans, skip_special_tokens=True)
