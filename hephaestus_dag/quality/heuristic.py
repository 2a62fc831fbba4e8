"""A filter without training: how many signs of tool documentation a text has per hundred words.

It is what somebody would write in an afternoon, and what the classifier has to beat.
"""

import re
from collections.abc import Iterable

import numpy as np

SIGNS = {
    "signatures": re.compile(r"\b\w+\((?:\w+\s*[,=:)]|\))"),
    "parameters and returns": re.compile(r"\b(?:param(?:eter)?s?|arguments?|returns?|raises|required|optional)\b", re.I),
    "code": re.compile(r"^\s*(?:```|>>> |\$ |\{)", re.M),
    "requests": re.compile(r"\b(?:GET|POST|PUT|PATCH|DELETE)\s+(?:https?://|/)"),
    "options": re.compile(r"(?<![\w-])--[a-z][\w-]+"),
}


def heuristic_scores(texts: Iterable[str]) -> np.ndarray:
    """Return one number per text, float32 from 0 up: over all signs, the sum of log(1 + occurrences per hundred words)."""
    found = [[len(sign.findall(text)) for sign in SIGNS.values()] + [len(text.split())] for text in texts]
    counts = np.array(found, dtype=float).reshape(-1, len(SIGNS) + 1)
    return np.log1p(100 * counts[:, :-1] / np.maximum(counts[:, -1:], 1)).sum(axis=1).astype(np.float32)
