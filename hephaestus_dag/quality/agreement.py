"""How far two scorings of the same pages agree."""

from typing import Any

import numpy as np


def agreement(first: np.ndarray, second: np.ndarray, cuts: tuple[float, float]) -> dict[str, Any]:
    """Compare two scorings of the same pages, each with its own cut above which a page is good.

    Returns counts of the four pairs of verdicts, the share of pages with the same verdict, Cohen's kappa (what lies above
    the agreement of two scorers who draw lots with the same shares of good pages; None when that would agree always) and
    Spearman's rank correlation of the scores (None when one of the scorings is constant or there are fewer than 2 pages).
    """
    good, also = first > cuts[0], second > cuts[1]
    counts = {
        "both_good": int((good & also).sum()),
        "only_first_good": int((good & ~also).sum()),
        "only_second_good": int((~good & also).sum()),
        "neither_good": int((~good & ~also).sum()),
    }
    if not len(first):
        return {"pages": 0, **counts, "same_verdict": None, "kappa": None, "spearman": None}
    same = float((good == also).mean())
    by_chance = float(good.mean() * also.mean() + (1 - good.mean()) * (1 - also.mean()))
    return {
        "pages": len(first),
        **counts,
        "same_verdict": same,
        "kappa": (same - by_chance) / (1 - by_chance) if by_chance < 1 else None,
        "spearman": rank_correlation(first, second),
    }


def rank_correlation(first: np.ndarray, second: np.ndarray) -> float | None:
    """Return Spearman's correlation, ties sharing their mean rank; None where it is not defined."""
    from scipy.stats import rankdata

    if len(first) < 2 or np.ptp(first) == 0 or np.ptp(second) == 0:
        return None
    return float(np.corrcoef(rankdata(first), rankdata(second))[0, 1])
