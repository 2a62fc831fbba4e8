"""Text to tokens where some stretches are plain text whatever they spell, and some are targets of the loss."""

import json
import re
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

MARKS = "\ufdd0\ufdd1\ufdd2"
"""Characters that Unicode keeps for use inside of a program; a text that holds one is shown with U+FFFD in its place."""


def without_marks(text: str) -> str:
    """Return a text that holds none of the characters that stand for borders here."""
    return text.translate(dict.fromkeys(map(ord, MARKS), "\ufffd"))


@dataclass(frozen=True, slots=True)
class Chunk:
    """A stretch of text."""

    text: str
    plain: bool
    """Whether special tokens that it spells are text and nothing else."""
    target: bool


BORDER = Chunk(MARKS[2], plain=True, target=False)
"""No text, but no token lies across it."""


class MarkedText:
    """Encodes chunks as the one text that they are, so that tokens are those the tokenizer gives that text.

    Special tokens, and added ones that the chat template writes, get names that no plain chunk can spell; a token counts as
    target where any character of it is one.
    """

    def __init__(self, tokenizer: Any) -> None:
        from tokenizers import Tokenizer

        description = json.loads(tokenizer.backend_tokenizer.to_str())
        description |= {"truncation": None, "padding": None, "post_processor": None}
        ids: dict[str, int] = {}
        self._names: dict[str, str] = {}
        for token in description["added_tokens"]:
            written = token["content"].strip() and token["content"] in tokenizer.chat_template
            if token["special"] or written:
                self._names[token["content"]] = token["content"] = f"{MARKS[0]}{token['id']}{MARKS[1]}"
            ids[token["content"]] = token["id"]
        self._tokenizer = Tokenizer.from_str(json.dumps(description, ensure_ascii=False))
        self._tokenizer.add_special_tokens([BORDER.text])
        self._border = int(self._tokenizer.token_to_id(BORDER.text) or 0)
        self._special = re.compile("|".join(map(re.escape, sorted(self._names, key=len, reverse=True))) or r"(?!)")
        # A token that has another name may have got another id.
        self._ids = np.arange(self._border + 1)
        for content, identity in ids.items():
            if (own := self._tokenizer.token_to_id(content)) is not None:
                self._ids[own] = identity

    def encode(self, chunks: Sequence[Chunk]) -> tuple[np.ndarray, np.ndarray]:
        """Return ``(token_ids, mask)``, int64 and uint8 of shape [tokens]. Plain chunks but `BORDER` hold none of ``MARKS``."""
        texts = [chunk.text if chunk.plain else self._named(chunk.text) for chunk in chunks]
        encoding = self._tokenizer.encode("".join(texts), add_special_tokens=False)
        targets = np.repeat([chunk.target for chunk in chunks], [len(text) for text in texts])
        before = np.append(0, np.cumsum(targets))
        begins, ends = np.array(encoding.offsets, np.int64).reshape(-1, 2).T
        ids = np.array(encoding.ids, np.int64)
        shown = ids != self._border
        return self._ids[ids[shown]], (before[ends] > before[begins]).astype(np.uint8)[shown]

    def _named(self, text: str) -> str:
        return self._special.sub(lambda found: self._names[found.group()], text)
