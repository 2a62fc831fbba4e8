from dataclasses import replace
from pathlib import Path

import pyarrow as pa
import pytest

from hephaestus_dag.evaluation.scores import Benchmark, Group, is_failure, item_name, read_scores, reason_kind, write_scores
from tests.evaluation.verdicts import verdicts

CALLS = Benchmark(
    key="bfcl",
    name="Calls",
    metric="accuracy",
    higher_is_better=True,
    numerator="verdict",
    groups=(
        Group(name="simple", definition="one category", weights={"a": 1.0}),
        Group(name="both", definition="mean of a and b", weights={"a": 0.5, "b": 0.5}),
        Group(name="all", definition="needs c", weights={"a": 0.5, "c": 0.5}),
    ),
    not_run={"multi-turn": "needs more tokens"},
)
TASKS = Benchmark(
    key="agentbench",
    name="AgentBench",
    metric="score",
    higher_is_better=True,
    numerator="score",
    groups=(
        Group(name="DB", definition="one task", weights={"db": 1.0}),
        Group(name="overall", definition="mean of score / weight", weights={"db": 4.0, "os": 5.0}, metric="weighted score"),
    ),
)


def calls(right: dict[str, int]) -> pa.Table:
    rows = [row for category, count in right.items() for row in verdicts(category, count, 10)]
    for row in rows:
        if row["reason"].endswith("9"):
            row["reason"] = "timed out after 3 s"
    return pa.Table.from_pylist(rows)


def test_categories_and_groups(tmp_path: Path) -> None:
    write_scores(tmp_path, calls({"a": 8, "b": 4}), CALLS)
    summary = read_scores(tmp_path).summary
    assert (summary["key"], summary["num_items"], summary["num_scored"]) == ("bfcl", 20, 20)
    a = summary["categories"]["a"]
    assert (a["score"], a["n"]) == (0.8, 10)
    assert (a["low"], a["high"]) == pytest.approx((0.490162, 0.943318), abs=2e-6)
    both = summary["groups"]["both"]
    assert (both["score"], both["n"], both["metric"]) == (0.6, 20, "accuracy")
    assert both["low"] < 0.6 < both["high"] < 0.8
    assert summary["not_run"] == {"multi-turn": "needs more tokens", "all": "no scored items of c"}


def test_failures_and_the_reasons_of_wrong_items_are_counted(tmp_path: Path) -> None:
    summary = write_scores(tmp_path, calls({"a": 5}), CALLS)
    assert summary["categories"]["a"]["failures"] == 1
    assert summary["categories"]["a"]["reasons"] == [
        {"reason": "wrong value #", "n": 4},
        {"reason": "timed out after # s", "n": 1},
    ]


def test_scores_between_0_and_1_and_sums_that_are_no_means(tmp_path: Path) -> None:
    rows = [{"item_id": f"db{i}", "category": "db", "score": i / 9} for i in range(10)]
    rows += [{"item_id": f"os{i}", "category": "os", "score": 0.0} for i in range(10)]
    groups = write_scores(tmp_path, pa.Table.from_pylist(rows), TASKS)["groups"]
    assert groups["DB"]["score"] == 0.5
    assert groups["overall"]["score"] == 2.0
    assert groups["overall"]["metric"] == "weighted score"
    assert groups["DB"]["low"] * 4 < 2 < groups["DB"]["high"] * 4 < groups["overall"]["high"] < 4.5


def test_rows_that_cannot_be_scored_are_refused(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match=r"item x has score 1\.5; it must be from 0 to 1"):
        write_scores(tmp_path, pa.Table.from_pylist([{"item_id": "x", "category": "db", "score": 1.5}]), TASKS)
    twice = pa.concat_tables([calls({"a": 1}), calls({"a": 2})])
    with pytest.raises(ValueError, match="item a0 of a has several rows"):
        write_scores(tmp_path, twice, CALLS)
    with pytest.raises(FileNotFoundError, match="no score folder"):
        read_scores(tmp_path / "missing")


def test_clean_scores_leave_out_what_was_seen(tmp_path: Path) -> None:
    write_scores(tmp_path, calls({"a": 8, "b": 4}), CALLS)
    clean = read_scores(tmp_path).clean({f"bfcl/a{at}" for at in range(4)} | {"mmlu/b1", "bfcl/other"})
    assert clean["simple"] == pytest.approx(
        {"score": 4 / 6, "n": 6, "overlapping": 4, "change": 4 / 6 - 0.8} | ends(clean["simple"]), abs=1e-6
    )
    assert clean["both"]["score"] == pytest.approx((4 / 6 + 0.4) / 2, abs=1e-6)
    assert clean["both"]["n"] == 16


def ends(entry: dict) -> dict:
    assert entry["low"] < entry["score"] < entry["high"]
    return {"low": entry["low"], "high": entry["high"]}


def test_without_any_overlap_the_clean_score_is_the_score(tmp_path: Path) -> None:
    summary = write_scores(tmp_path, calls({"a": 8, "b": 4}), replace(CALLS, not_run={}))
    clean = read_scores(tmp_path).clean(set())
    for name, entry in clean.items():
        assert (entry["score"], entry["low"], entry["high"]) == tuple(
            summary["groups"][name][k] for k in ("score", "low", "high")
        )
        assert (entry["change"], entry["overlapping"]) == (0, 0)


def test_a_group_with_a_category_that_was_seen_whole_has_no_clean_score(tmp_path: Path) -> None:
    write_scores(tmp_path, calls({"a": 8, "b": 4}), CALLS)
    clean = read_scores(tmp_path).clean({f"bfcl/b{at}" for at in range(10)})
    assert clean["both"] == {"overlapping": 10, "reason": "no item of b is without overlap"}
    assert clean["simple"]["change"] == 0


def test_a_small_category_without_a_clean_item_is_named_and_the_others_stand_for_it(tmp_path: Path) -> None:
    weights = {"a": 0.55, "b": 0.4, "c": 0.05}
    write_scores(
        tmp_path, calls({"a": 8, "b": 4, "c": 10}), replace(CALLS, groups=(Group(name="all", definition="", weights=weights),))
    )
    seen = {"bfcl/a0", *(f"bfcl/c{at}" for at in range(10))}
    (entry,) = read_scores(tmp_path).clean(seen).values()
    assert (entry["without"], entry["without_weight"], entry["n"], entry["overlapping"]) == (["c"], 0.05, 19, 11)
    assert entry["score"] == pytest.approx((0.55 * 7 / 9 + 0.4 * 0.4) / 0.95, abs=1e-6)
    assert entry["change"] == pytest.approx(0.55 * (7 / 9 - 0.8) / 0.95, abs=1e-6)  # without c on both sides
    assert entry["change"] == pytest.approx(entry["score"] - entry["all"]["score"], abs=1e-6)
    assert entry["all"]["n"] == 20


def by_task(folder: Path, weights: dict[str, float], seen: str) -> dict:
    right = {"OS/a": 8, "OS/b": 4, "DB/a": 2, "DB/b": 10}
    groups = (Group(name="overall", definition="", weights=weights),)
    write_scores(folder, calls({name: right[name] for name in weights}), replace(CALLS, groups=groups))
    return read_scores(folder).clean({f"{seen}{at}" for at in range(10)})["overall"]


def test_each_task_keeps_its_weight_in_the_clean_score(tmp_path: Path) -> None:
    entry = by_task(tmp_path, {"OS/a": 0.5, "OS/b": 0.05, "DB/a": 0.2, "DB/b": 0.25}, "OS/b")
    assert entry["score"] == entry["all"]["score"] == pytest.approx(0.55 * 0.8 + 0.2 * 0.2 + 0.25, abs=1e-6)
    assert entry["change"] == 0


def test_a_task_without_any_clean_item_leaves_no_clean_score(tmp_path: Path) -> None:
    entry = by_task(tmp_path, {"OS/b": 0.05, "DB/a": 0.45, "DB/b": 0.5}, "OS/b")
    assert entry == {"overlapping": 10, "reason": "no item of OS is without overlap"}


def test_names_and_reasons() -> None:
    assert item_name("bfcl", "simple_1") == "bfcl/simple_1"
    assert item_name("benchmark_loss", "bfcl/simple_1") == "bfcl/simple_1"
    assert reason_kind("wrong: {'a': 3}\nmore") == "wrong: …"
    assert reason_kind("wrong value 7 of 'city'") == "wrong value # of …"
    assert is_failure("stopped: 9 s of CPU time")
    assert is_failure("the prompt is too long")
    assert is_failure("error: HTTP 503: {}")
    assert is_failure("the prompt does not fit the model's context")
    assert not is_failure("wrong parameter 'city'")
    assert not is_failure("called a function that does not fit")
    assert not is_failure("answered 'Out of Memory, failed', expected ['Memory']")
    assert not is_failure("not accepted by check 1 of 2: answer 'killed'")
