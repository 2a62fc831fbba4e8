import json
from pathlib import Path

import numpy as np
import pyarrow as pa
import pytest

from hephaestus_dag.evaluation.report import write_report
from hephaestus_dag.evaluation.scores import Benchmark, Group, read_scores, write_scores

ACCURACY = Benchmark(
    name="Calls",
    metric="accuracy",
    higher_is_better=True,
    numerator="verdict",
    groups=(
        Group(name="simple", definition="one category", weights={"a": 1.0}),
        Group(name="both", definition="mean of a and b", weights={"a": 0.5, "b": 0.5}),
        Group(name="all", definition="needs c", weights={"a": 0.5, "c": 0.5}),
    ),
    not_run={"multi-turn": "not run"},
)
LOSS = Benchmark(
    name="Loss",
    metric="bits per byte",
    higher_is_better=False,
    numerator="bits",
    denominator="bytes",
    groups=(Group(name="loss", definition="all", weights={"a": 1.0}),),
)


def verdicts(folder: Path, right_of_a: int, right_of_b: int) -> Path:
    rows = [{"item_id": f"a{i:02}", "category": "a", "verdict": i < right_of_a} for i in range(10)]
    rows += [{"item_id": f"b{i:02}", "category": "b", "verdict": i < right_of_b} for i in range(20)]
    write_scores(folder, pa.Table.from_pylist(rows), ACCURACY)
    return folder


def losses(folder: Path, factor: float) -> Path:
    sizes = np.arange(10, 40)
    rows = [{"item_id": f"i{i}", "category": "a", "bits": factor * float(n), "bytes": int(n)} for i, n in enumerate(sizes)]
    rows.append({"item_id": "long", "category": "a", "bits": None, "bytes": 5})
    write_scores(folder, pa.Table.from_pylist(rows), LOSS)
    return folder


@pytest.fixture
def variants(tmp_path: Path) -> dict[str, list[Path]]:
    return {
        "hephaestus": [verdicts(tmp_path / "h1", 8, 4), losses(tmp_path / "h2", 2.0)],
        "without_<stage2>": [verdicts(tmp_path / "w1", 2, 4), losses(tmp_path / "w2", 2.5)],
        "only_calls": [verdicts(tmp_path / "o1", 8, 4)],
    }


def test_scores_and_groups(variants: dict[str, list[Path]]):
    summary = read_scores(variants["hephaestus"][0]).summary
    assert summary["categories"]["a"]["score"] == 0.8
    assert summary["categories"]["a"]["low"] == pytest.approx(0.490162, abs=1e-6)
    assert summary["groups"]["both"]["score"] == pytest.approx(0.5)
    assert "all" not in summary["groups"]
    assert summary["not_run"]["all"] == "no scored items of c"
    loss = read_scores(variants["hephaestus"][1]).summary
    assert loss["groups"]["loss"]["score"] == 2.0
    assert (loss["num_items"], loss["num_scored"]) == (31, 30)


def test_the_report_compares_item_by_item(variants: dict[str, list[Path]], tmp_path: Path):
    report = write_report(variants, tmp_path / "report", notice="only a test & nothing else")
    found = {(row["variant"], row["group"]): row for row in report["differences"]}
    simple = found["without_<stage2>", "simple"]
    assert simple["difference"] == pytest.approx(-0.6)
    assert simple["differing_items"] == 6
    assert simple["mcnemar_p"] == pytest.approx(2 / 2**6)
    assert simple["high"] < 0
    assert found["without_<stage2>", "both"]["difference"] == pytest.approx(-0.3)
    assert found["without_<stage2>", "loss"]["difference"] == pytest.approx(0.5)
    assert found["only_calls", "simple"]["difference"] == 0
    assert ("only_calls", "loss") not in found


def test_the_report_can_be_read_alone(variants: dict[str, list[Path]], tmp_path: Path):
    write_report(variants, tmp_path / "report", notice="only a test & nothing else")
    page = (tmp_path / "report" / "report.html").read_text()
    assert "only a test &amp; nothing else" in page
    assert "without_&lt;stage2&gt;" in page
    assert "http" not in page.replace("data:image/png", "")
    text = (tmp_path / "report" / "report.md").read_text()
    assert "| hephaestus | 80.0 [49.0, 94.3] n=10 |" in text
    assert "multi-turn: not run" in text
    assert "| only_calls | not run |" in text
    assert (tmp_path / "report" / "scores.png").read_bytes().startswith(b"\x89PNG")
    json.loads((tmp_path / "report" / "report.json").read_text())


def test_the_report_is_deterministic(variants: dict[str, list[Path]], tmp_path: Path):
    for name in ("one", "two"):
        write_report(variants, tmp_path / name)
    for file in ("report.json", "report.md", "report.html", "scores.png"):
        assert (tmp_path / "one" / file).read_bytes() == (tmp_path / "two" / file).read_bytes()


def test_mistakes_are_named(variants: dict[str, list[Path]], tmp_path: Path):
    with pytest.raises(ValueError, match="reference: 'nobody' is none of"):
        write_report(variants, tmp_path, reference="nobody")
    with pytest.raises(FileNotFoundError, match="no score folder"):
        write_report({"v": [tmp_path / "missing"]}, tmp_path)
