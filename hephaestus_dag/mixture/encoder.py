"""Documents to tokens: what a tokenizer sets before and after a text, and how a text is encoded."""

import hashlib
import json
import multiprocessing
import os
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, Self

import numpy as np

from hephaestus_dag.mixture.store import MixtureError, token_dtype
from hephaestus_dag.mixture.tokenizer import load_tokenizer, vocabulary_size
from hephaestus_dag.whole_folder import whole_file


@dataclass(frozen=True, slots=True)
class Borders:
    """The tokens at the borders of a document."""

    start: int | None
    """Beginning-of-text, where the tokenizer sets one before a text by itself."""
    end: int
    """End-of-text; a model learns from it where documents end, so it stands whether the tokenizer sets it or not."""


def document_borders(tokenizer: Any) -> Borders:
    """Return what stands at the borders of a document, as a loaded tokenizer wants it."""
    start = tokenizer.bos_token_id
    wanted = start is not None and tokenizer("a").input_ids[0] == start
    return Borders(start if wanted else None, tokenizer.eos_token_id)


def tokenizer_digest(tokenizer: Any) -> str:
    """Return a hash of what decides the tokens of a text: the definition of a loaded tokenizer, and the borders."""
    borders, backend = document_borders(tokenizer), tokenizer.backend_tokenizer
    backend.no_truncation()
    backend.no_padding()
    return hashlib.sha256(json.dumps([backend.to_str(), borders.start, borders.end]).encode()).hexdigest()


@dataclass(frozen=True, slots=True)
class EncoderSpec:
    """What decides the tokens of a text. It travels to other processes, the tokenizer itself as a file."""

    file: str
    digest: str
    """Of the tokenizer's definition and the borders; the same digest, the same tokens."""
    vocab_size: int
    borders: Borders
    patterns: tuple[str, str] | None = None
    """Of `piece_patterns`; None when `tokenizers` encodes."""

    @classmethod
    def of(cls, tokenizer_folder: Path, work: Path, sample: Sequence[str] = ()) -> Self:
        """Return the fastest way to encode with a tokenizer that gives what `tokenizers` gives, on a sample of texts too."""
        from hephaestus_dag.mixture.pieces import piece_patterns

        tokenizer = load_tokenizer(tokenizer_folder)
        backend, borders, digest = tokenizer.backend_tokenizer, document_borders(tokenizer), tokenizer_digest(tokenizer)
        file = work / f"{digest[:16]}.tokenizer.json"
        work.mkdir(parents=True, exist_ok=True)
        with whole_file(file) as staging:
            staging.write_text(backend.to_str())
        plain = cls(str(file), digest, vocabulary_size(tokenizer), borders)
        fast = replace(plain, patterns=piece_patterns(backend))
        same = zip(Encoder(plain)(sample), Encoder(fast)(sample), strict=True)
        return fast if fast.patterns and all(np.array_equal(one, other) for one, other in same) else plain

    @property
    def name(self) -> str:
        """Who encodes: ``pieces`` (see `hephaestus_dag.mixture.pieces`) or ``tokenizers``."""
        return "pieces" if self.patterns else "tokenizers"


class Encoder:
    """Encodes documents for a token store. Text that spells a special token is encoded as plain text."""

    def __init__(self, spec: EncoderSpec) -> None:
        from tokenizers import Tokenizer

        from hephaestus_dag.mixture.pieces import Pieces

        self.borders = spec.borders
        self.dtype = token_dtype(spec.vocab_size)
        self._backend = Tokenizer.from_file(spec.file)
        self._backend.encode_special_tokens = True
        self._pieces = Pieces(self._backend, spec.patterns, self.dtype) if spec.patterns else None
        first = [] if spec.borders.start is None else [spec.borders.start]
        self._start, self._end = (np.array(token, self.dtype).tobytes() for token in (first, spec.borders.end))
        if multiprocessing.parent_process():
            # One of several processes: each has its share of the cores already.
            os.environ.setdefault("TOKENIZERS_PARALLELISM", "false")

    def __call__(self, texts: Sequence[str]) -> list[np.ndarray]:
        """Return the tokens of each document, its borders included.

        Raises MixtureError when the end-of-text token stands inside a document.
        """
        pieces = self._pieces
        encoded = [pieces.encode(text) if pieces else None for text in texts]
        slow = [row for row, tokens in enumerate(encoded) if tokens is None]
        for row, encoding in zip(slow, self._batch(texts[row] for row in slow), strict=True):
            encoded[row] = np.array(encoding.ids, self.dtype).tobytes()
        documents = [np.frombuffer(self._start + (tokens or b"") + self._end, self.dtype) for tokens in encoded]
        inside = len(self._start) // self.dtype.itemsize
        for text, tokens in zip(texts, documents, strict=True):
            if np.count_nonzero(tokens[inside:] == self.borders.end) != 1:
                raise MixtureError(
                    f"the end-of-text token {self.borders.end} stands inside the document that begins {text[:60]!r}; "
                    "give the tokenizer an eos_token that is special, so that no text can spell it"
                )
        return documents

    def _batch(self, texts: Iterable[str]) -> list[Any]:
        batch = list(texts)
        return self._backend.encode_batch_fast(batch, add_special_tokens=False) if batch else []
