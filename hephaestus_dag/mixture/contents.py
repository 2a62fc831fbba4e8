"""Read a mixture back as text, to check what a model is really shown."""

from collections.abc import Iterator
from pathlib import Path

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
            starts = ledger["offset"].to_numpy()
            ends = starts + ledger["length"].to_numpy()
            for first in range(0, len(starts), DOCUMENTS_AT_ONCE):
                some = slice(first, first + DOCUMENTS_AT_ONCE)
                spans = [tokens[start:end].tolist() for start, end in zip(starts[some], ends[some], strict=True)]
                yield ledger["document_id"][some].to_pylist(), tokenizer.batch_decode(spans, skip_special_tokens=True)
