"""The scores of BFCL: which categories a score is the mean of, and with which weights.

Scores are named after the leaderboard version whose formula they use (read in the history of ShishirPatil/gorilla). The
executable categories cannot run from the package: their checker is gone, and some call remote services. So the formulas are
those without them, ``noexec``; the paper's numbers include them, and are not comparable with ours.
"""

from collections.abc import Mapping, Sequence

from hephaestus_dag.evaluation.bfcl.config import MULTI_TURN, SINGLE_TURN
from hephaestus_dag.evaluation.scores import Benchmark, Group

Weights = Mapping[str, float]
EXECUTABLE = "BFCL executable categories"
PAPER_COLUMNS = {
    "OA": "BFCL v3-noexec overall",
    "NL-AST": "BFCL AST non-live",
    "Exec": EXECUTABLE,
    "L-AST": "BFCL AST live",
    "MT": "BFCL multi-turn",
}
"""The columns of the paper's BFCL-v3 table: the group of each, or the name under which it was not run."""
LIVE_AST = ("live_simple", "live_multiple", "live_parallel", "live_parallel_multiple")
LIVE = (*LIVE_AST, "live_irrelevance", "live_relevance")


def bfcl_benchmark(sizes: Mapping[str, int], note: str = "") -> Benchmark:
    """Return the scores of BFCL, given the number of items of each whole category (not of those that were drawn)."""
    one = {category: {category: 1.0} for category in SINGLE_TURN}
    simple = mean(one["simple_python"], one["simple_java"], one["simple_javascript"])
    calls = (simple, one["multiple"], one["parallel"], one["parallel_multiple"])
    irrelevance = mean(one["irrelevance"], one["live_irrelevance"])
    v2 = [mean(part, one[name]) for part, name in zip(calls, LIVE_AST, strict=True)]
    non_live = mean(*calls, one["irrelevance"])
    multi_turn = {category: 1 / len(MULTI_TURN) for category in MULTI_TURN}
    kinds, without = "simple, multiple, parallel, parallel multiple", "without the executable categories"
    by_size = "weighted by the size of the whole category"
    scores = {
        "BFCL AST non-live": (
            "mean of simple (mean of Python, Java, JavaScript), multiple, parallel and parallel multiple",
            mean(*calls),
        ),
        "BFCL AST live": (f"4 live AST categories, {by_size}", weighted(LIVE_AST, sizes)),
        "BFCL irrelevance": ("mean of non-live and live irrelevance", irrelevance),
        "BFCL relevance": ("live relevance", one["live_relevance"]),
        "BFCL multi-turn": ("mean of base, missing function, missing parameter and long context", multi_turn),
        "BFCL v3-noexec non-live": (
            f"mean of {kinds} and irrelevance; {without}",
            non_live,
        ),
        "BFCL v3 live": (f"6 live categories, {by_size}", weighted(LIVE, sizes)),
        "BFCL v2-noexec": (
            f"mean of AST {kinds} (each the mean of non-live and live), irrelevance and relevance; {without}",
            mean(*v2, irrelevance, one["live_relevance"]),
        ),
        "BFCL v3-noexec overall": (
            f"mean of non-live, live and multi-turn; {without}",
            mean(non_live, weighted(LIVE, sizes), multi_turn),
        ),
    }
    return Benchmark(
        key="bfcl",
        name="BFCL",
        metric="accuracy",
        higher_is_better=True,
        numerator="verdict",
        groups=tuple(Group(name=n, definition=words, weights=dict(weights)) for n, (words, weights) in scores.items()),
        not_run={EXECUTABLE: "retired: their checker is not in the official package, and some call remote services"},
        note=note,
    )


def mean(*parts: Weights) -> dict[str, float]:
    """Return the weights of the unweighted mean of scores."""
    weights: dict[str, float] = {}
    for part in parts:
        for category, weight in part.items():
            weights[category] = weights.get(category, 0.0) + weight / len(parts)
    return weights


def weighted(categories: Sequence[str], sizes: Mapping[str, int]) -> dict[str, float]:
    """Return weights in proportion to the sizes of categories."""
    total = sum(sizes.get(category, 0) for category in categories) or 1
    return {category: sizes.get(category, 0) / total for category in categories}
