"""Score pages by averaged word vectors: how near is a page to the nearest query?

Each token has one vector whatever stands beside it, so a text costs a look-up per token and no forward pass. Read are the
packaged ``wordllama`` (its vectors are distilled from those of Llama 2 and other models) and folders like those of model2vec:
one file of safetensors and one tokenizer.
"""

from collections.abc import Iterable, Sequence
from pathlib import Path

import numpy as np

TEXTS_AT_ONCE = 1_024  # Bounds the block of their similarities to all queries.


class StaticVectors:
    """Vectors of texts as means of the vectors of their tokens, scaled to length 1."""

    def __init__(self, folder: Path) -> None:
        """Load vectors and tokenizer. Raises ValueError when the folder does not hold exactly one of each."""
        from tokenizers import Tokenizer

        self.table = token_table(only_file(folder, "*.safetensors"))
        """float32 (tokens, dimension)"""
        self.tokenizer = Tokenizer.from_file(str(only_file(folder, "tokenizer.json", "*tokenizer*.json")))
        self.tokenizer.no_padding()
        self.tokenizer.no_truncation()
        if len(self.table) < (tokens := self.tokenizer.get_vocab_size()):
            raise ValueError(f"{folder} holds {len(self.table)} vectors for the {tokens} tokens of its tokenizer")

    def of(self, texts: Sequence[str]) -> np.ndarray:
        """Return float32 vectors, shape (texts, dimension); zeros for a text without tokens."""
        from scipy.sparse import csr_array

        found = [encoding.ids for encoding in self.tokenizer.encode_batch_fast(list(texts), add_special_tokens=False)]
        ends = np.cumsum([0, *map(len, found)])
        tokens = np.fromiter((token for ids in found for token in ids), np.int32, ends[-1])
        ones = np.ones(len(tokens), dtype=np.float32)
        sums: np.ndarray = csr_array((ones, tokens, ends), shape=(len(found), len(self.table))) @ self.table
        return sums / np.maximum(np.linalg.norm(sums, axis=1, keepdims=True), np.float32(1e-9))


class StaticScorer:
    """Scores texts by their cosine with the nearest query."""

    def __init__(self, folder: Path, query_texts: Iterable[Sequence[str]]) -> None:
        self.vectors = StaticVectors(folder)
        self.queries = np.concatenate([self.vectors.of(texts) for texts in query_texts])

    def __call__(self, texts: Sequence[str]) -> np.ndarray:
        """Return a float32 score for each text; minus infinity for one without tokens."""
        scores = np.empty(len(texts), dtype=np.float32)
        for start in range(0, len(texts), TEXTS_AT_ONCE):
            vectors = self.vectors.of(texts[start : start + TEXTS_AT_ONCE])
            nearest = (vectors @ self.queries.T).max(axis=1)
            scores[start : start + len(vectors)] = np.where(vectors.any(axis=1), nearest, -np.inf)
        return scores


def token_table(path: Path) -> np.ndarray:
    """Return float32 vectors, one for each token.

    model2vec may store fewer vectors than tokens, with the row of each token (``mapping``) and its weight (``weights``).
    """
    from safetensors.numpy import load_file

    tensors = load_file(path)
    tables = [name for name, tensor in tensors.items() if tensor.ndim == 2]
    if len(tables) != 1 or not {*tensors} <= {*tables, "mapping", "weights"}:
        raise ValueError(f"{path} holds {', '.join(sorted(tensors))} in place of one table of word vectors")
    table = tensors[tables[0]].astype(np.float32)
    if "mapping" in tensors:
        table = table[tensors["mapping"]]
    return table * tensors["weights"].astype(np.float32)[:, None] if "weights" in tensors else table


def only_file(folder: Path, *patterns: str) -> Path:
    """Return the one file under a folder that the first pattern with a match fits."""
    found = next((files for pattern in patterns if (files := sorted(folder.rglob(pattern)))), [])
    if len(found) != 1:
        raise ValueError(f"{folder} holds {len(found)} files like {patterns[0]}; static vectors need exactly one")
    return found[0]
