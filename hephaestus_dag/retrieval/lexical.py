"""Score pages by their words: does the seed corpus use them more often than the web does?

Words and runs of words are hashed into buckets, and a bucket weighs the logarithm of its share of the seed corpus over its
share of the web (the importance weights of DSIR, Xie et al. 2023, arXiv 2302.03169). A page scores the mean weight of what it
holds, so its length does not matter. Shares are smoothed towards their common mean: a word met once or twice weighs little.
"""

from collections.abc import Iterable, Sequence

import numpy as np

from hephaestus_dag.curation.ngrams import Words

BITS = 18
BUCKETS = 1 << BITS
SMOOTHING = 100_000  # Words by which the common mean counts on either side; from 3,000 to a million, recall hardly changes.
TEXTS_AT_ONCE = 256  # Their arrays stay in the processor's cache.


class LexicalScorer:
    """Scores texts by the words that the seed corpus prefers."""

    def __init__(self, seed_texts: Iterable[Sequence[str]], web_texts: Iterable[Sequence[str]], longest_run: int) -> None:
        """Count runs of 1 to ``longest_run`` words in blocks of texts of both sides.

        Raises ValueError when one side has no words.
        """
        self.longest_run = longest_run
        seed, web = self._count(seed_texts), self._count(web_texts)
        if not seed.sum() or not web.sum():
            raise ValueError(
                f"the {'web' if seed.sum() else 'seed'} corpus has no words: a lexical first pass cannot compare it"
            )
        prior = SMOOTHING * (seed / seed.sum() + web / web.sum()) / 2
        met = prior > 0
        self.weights = np.zeros(BUCKETS, dtype=np.float32)
        """Logarithm of the ratio of smoothed shares; 0 for what neither side holds."""
        of_seed, of_web = ((counts + prior)[met] / (counts.sum() + SMOOTHING) for counts in (seed, web))
        self.weights[met] = np.log(of_seed / of_web)

    def __call__(self, texts: Sequence[str]) -> np.ndarray:
        """Return a float32 score for each text; minus infinity for one without words."""
        scores = np.full(len(texts), -np.inf, dtype=np.float32)
        for start in range(0, len(texts), TEXTS_AT_ONCE):
            chunk = texts[start : start + TEXTS_AT_ONCE]
            buckets, owners = self._buckets(chunk)
            number = np.bincount(owners, minlength=len(chunk))
            total = np.bincount(owners, weights=self.weights[buckets], minlength=len(chunk))
            np.divide(total, number, out=scores[start : start + len(chunk)], where=number > 0, casting="same_kind")
        return scores

    def _count(self, blocks: Iterable[Sequence[str]]) -> np.ndarray:
        counts = np.zeros(BUCKETS)
        for texts in blocks:
            for start in range(0, len(texts), TEXTS_AT_ONCE):
                buckets, _ = self._buckets(texts[start : start + TEXTS_AT_ONCE])
                counts += np.bincount(buckets, minlength=BUCKETS)
        return counts

    def _buckets(self, texts: Sequence[str]) -> tuple[np.ndarray, np.ndarray]:
        """Return the bucket of every run of words, and which text it stands in."""
        words = Words.of(texts)
        runs = [words.n_grams(length) for length in range(1, self.longest_run + 1)]
        buckets = np.concatenate([hashes for _, hashes in runs]) >> np.uint64(64 - BITS)
        return buckets.astype(np.int64), np.concatenate([words.owner[at] for at, _ in runs])
