"""The log of what was tried: kept, compared item by item, and written as a page."""

import json
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
sys.path.insert(0, str(ROOT / "benchmarks"))

from trials import PLACE, TrialError, add, main, read_trials, trials_table  # noqa: E402

KINDS = ("simple", "multiple", "parallel", "parallel_multiple", "irrelevance")


def scores(path: Path, right: int, models: int = 1) -> Path:
    """What development.py writes about models that get so many of ten items of each kind right, and none of irrelevance."""
    items = [
        {"id": f"{kind}_{n}", "category": f"written_{kind}", "valid": n < right and kind != "irrelevance", "reply": "long"}
        for kind in KINDS
        for n in range(10)
    ]
    shares = {"ast": {"score": right / 10, "low": 0.1, "high": 0.9, "items": 40}, "written_simple": {"score": 1}}
    path.write_text(json.dumps({f"model {n}": {"shares": shares, "items": items} for n in range(models)}))
    return path


def cells(line: str) -> list[str]:
    return [cell.strip() for cell in line.strip("|").split("|")]


def test_a_trial_is_told_beside_the_one_it_is_compared_with(tmp_path: Path) -> None:
    (tmp_path / "summary.json").write_text(
        json.dumps({"steps": 40, "tokens": 123_456, "heldout": {"text": {"bits_per_byte": 0.98765}}})
    )
    folder = tmp_path / "trials"
    first = add(folder, "as it was", development=scores(tmp_path / "a.json", 2), training=tmp_path)
    add(folder, "rate 5e-4 | x", against="as it was", taken="yes", development=scores(tmp_path / "b.json", 8))
    add(folder, "masking", against="rate 5e-4 | x", taken="no", development=scores(tmp_path / "c.json", 8), note="slower")
    assert first.name == "001-as-it-was.json"
    assert "reply" not in first.read_text()
    head, _, *lines = trials_table(read_trials(folder)).splitlines()
    found = [dict(zip(cells(head), cells(line), strict=True)) for line in lines]
    assert (found[0]["tokens"], found[0]["held-out text"], found[0]["calls"]) == ("123,456", "0.988", "20.0 [10.0, 90.0]")
    assert found[1]["change"] == "rate 5e-4 / x"
    assert found[1]["calls, difference"].startswith("+60.0 ± ")
    assert found[1]["irrelevance, difference"].startswith("no difference seen (0.0 ± ")
    assert found[2]["calls, difference"].startswith("no difference seen (0.0 ± ")
    assert (found[2]["taken"], found[2]["note"], found[2]["steps"]) == ("no", "slower", "")


def test_what_cannot_be_compared_is_refused(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    folder = tmp_path / "trials"
    with pytest.raises(TrialError, match="no trial is kept"):
        trials_table(read_trials(folder))
    add(folder, "as it was")
    with pytest.raises(TrialError, match="is there already"):
        add(folder, "as it was")
    with pytest.raises(TrialError, match="'nothing' was not tried; there are: as it was"):
        add(folder, "more", against="nothing")
    assert main(["--folder", str(folder), "add", "two", "--development", str(scores(tmp_path / "s.json", 1, 2))]) == 1
    assert "is about 2 models" in capsys.readouterr().err
    assert len(read_trials(folder)) == 1


def test_the_command_writes_the_page(tmp_path: Path) -> None:
    folder, page = tmp_path / "trials", tmp_path / "page.md"
    assert main(["--folder", str(folder), "add", "as it was", "--taken", "yes"]) == 0
    assert main(["--folder", str(folder), "write", "--page", str(page)]) == 0
    assert page.read_text() == (ROOT / "results" / "trials.md").read_text().replace(PLACE, trials_table(read_trials(folder)))


@pytest.mark.skipif(not (ROOT / "docs" / "what-helped.md").exists(), reason="no trials are kept yet")
def test_the_published_log_is_what_the_kept_trials_give() -> None:
    template, page = ((ROOT / place).read_text() for place in ("results/trials.md", "docs/what-helped.md"))
    assert page == template.replace(PLACE, trials_table(read_trials(ROOT / "results" / "trials")))
