"""Check what stands at the borders of documents in a token store."""

from pathlib import Path
from typing import NamedTuple

import numpy as np

from hephaestus_dag.mixture.encoder import document_borders
from hephaestus_dag.mixture.known import TOKENS_AT_ONCE
from hephaestus_dag.mixture.store import MixtureError, TokenStore
from hephaestus_dag.mixture.tokenizer import load_tokenizer


class BorderCheck(NamedTuple):
    """What `check_borders` finds."""

    documents: int
    begin_right: float
    """Share of documents that begin with beginning-of-text where the tokenizer sets one, and without it where it does not."""
    end_right: float
    """Share of documents whose last token is end-of-text."""
    ends_inside: int
    """End-of-text tokens anywhere else."""

    @property
    def sound(self) -> bool:
        """Whether nothing is wrong."""
        return self.begin_right == self.end_right == 1 and not self.ends_inside


def check_borders(store_folder: Path, tokenizer_folder: Path) -> BorderCheck:
    """Read a token store back through its ledger, streams of packed conversations left out.

    Raises MixtureError when a document of the ledger lies outside of its stream.
    """
    store, tokenizer = TokenStore(store_folder), load_tokenizer(tokenizer_folder)
    borders = document_borders(tokenizer)
    documents = begins = ends = inside = 0
    for name, stream in store.streams.items():
        if stream.masked:
            continue
        tokens, ledger = store.tokens(name), store.stream_ledger(name)
        first, length = ledger["offset"].to_numpy(), ledger["length"].to_numpy()
        if (wrong := (first < 0) | (length < 1) | (first + length > len(tokens))).any():
            identity = ledger["document_id"][int(np.argmax(wrong))]
            raise MixtureError(
                f"{store_folder}: ledger.parquet puts document {identity} outside of {name}; write the store again"
            )
        begun, ended = tokens[first] == tokenizer.bos_token_id, tokens[first + length - 1] == borders.end
        documents += len(first)
        begins += int(begun.sum() if borders.start is not None else (~begun).sum())
        ends += int(ended.sum())
        blocks = range(0, len(tokens), TOKENS_AT_ONCE)
        inside += sum(int(np.count_nonzero(tokens[at : at + TOKENS_AT_ONCE] == borders.end)) for at in blocks)
        inside -= int(ended.sum() + (begun.sum() if borders.start == borders.end else 0))
    begin_right, end_right = (count / documents if documents else 1.0 for count in (begins, ends))
    return BorderCheck(documents, begin_right, end_right, inside)
