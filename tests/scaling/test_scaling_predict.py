"""Losses of runs at unseen mixtures and sizes, predicted from other runs."""

import json
from dataclasses import replace

import numpy as np
import pytest
from scaling_sweeps import scaling

from hephaestus_dag.scaling.predict import predict, scores
from hephaestus_dag.scaling.runs import Run, write_runs

DOMAINS = ("web", "code", "books", "maths")
TEACHES = np.array([[1.0, 0.05, 0.4, 0.02], [0.1, 1.0, 0.02, 0.2], [0.5, 0.02, 1.0, 0.02]])


def mixtures(params: float, tokens: float, count: int, seed: int, noise: float = 0.003) -> list[Run]:
    """Runs over four domains, three of which have a loss; the last mixtures lack a domain altogether."""
    rng = np.random.default_rng(seed)
    shares = rng.dirichlet(np.ones(4), size=count)
    shares[-count // 4 :, 3] = 0
    shares /= shares.sum(1, keepdims=True)
    reach = (shares**0.7) @ TEACHES.T + 0.02
    losses = 1.2 + 0.4 * (params / 1e8) ** -0.3 + 0.8 * (tokens / 1e10) ** -0.3 * reach**-0.25
    losses += noise * rng.standard_normal(losses.shape)
    return [
        Run(
            cell=f"{params:g}-{i}",
            params=params,
            tokens=tokens,
            flops=6 * params * tokens,
            shares=dict(zip(DOMAINS, map(float, x), strict=True)),
            losses=dict(zip(DOMAINS, map(float, loss), strict=False)),
        )
        for i, (x, loss) in enumerate(zip(shares, losses, strict=True))
    ]


SMALL = [*mixtures(1e7, 1e9, 24, 0), *mixtures(4e7, 4e9, 24, 1)]
LARGE = mixtures(1.6e8, 1.6e10, 30, 2)


def test_a_larger_size_and_unseen_mixtures_are_predicted_with_honest_intervals():
    found = predict(SMALL, LARGE)
    result = scores(found)
    assert found.note is None
    assert found.names == ("web", "code", "books")
    assert result["mean"]["rank_correlation"] > 0.95
    assert result["mean"]["mean_absolute_error"] < 0.05
    assert result["mean"]["regret"] < 0.01
    measured = np.array([list(run.losses.values()) for run in LARGE])
    assert ((found.low <= measured) & (measured <= found.high)).mean() > 0.85


def test_one_size_predicts_the_order_and_says_that_levels_do_not_extrapolate():
    found = predict(mixtures(1e7, 1e9, 48, 0), LARGE, draws=20)
    assert found.note is not None
    assert "one scale (1e+07 parameters)" in found.note
    assert "do not extrapolate" in found.note
    result = scores(found)
    assert result["mean"]["mean_absolute_error"] is None
    assert result["mean"]["rank_correlation"] > 0.95
    longer = predict(mixtures(1e7, 1e9, 48, 0), mixtures(1e7, 5e10, 10, 5), draws=0)
    assert longer.note is not None
    assert "add runs at a second token budget" in longer.note
    same = predict(mixtures(1e7, 1e9, 48, 0), mixtures(1e7, 1e9, 10, 5), draws=20)
    assert same.note is None
    assert scores(same)["mean"]["mean_absolute_error"] < 0.01


def test_rows_of_several_scales_are_ranked_apart_and_the_output_says_so(tmp_path, capsys, monkeypatch):
    monkeypatch.delenv("COLUMNS", raising=False)
    longer = mixtures(1.6e8, 3.2e10, 10, 5)
    found = predict(SMALL, [*LARGE, *longer], draws=0)
    assert sorted(found.ranks[:30]) == list(range(1, 31))
    assert sorted(found.ranks[30:]) == list(range(1, 11))
    assert len(set(predict(SMALL, [replace(LARGE[0], tokens=1.6e10 + 1e6), *LARGE[1:]], draws=0).scales)) == 1
    upside_down = [replace(run, losses={k: 10 - loss for k, loss in run.losses.items()}) for run in longer]
    mean = scores(predict(SMALL, [*longer, *(replace(r, tokens=1e9) for r in upside_down)], draws=0))["mean"]
    assert mean["rank_correlation"] > 0.4
    assert mean["rank_correlation_within_scales"] == pytest.approx(0, abs=0.1)
    write_runs(tmp_path / "small.parquet", SMALL)
    write_runs(tmp_path / "large.parquet", [*LARGE[:4], *longer])
    assert scaling("predict", str(tmp_path / "small.parquet"), str(tmp_path / "large.parquet"), "--draws", "0") == 0
    printed = capsys.readouterr().out
    assert "the rows have 2 scales (size and token budget): each is ranked among those of its own" in printed
    assert "4 of 4" in printed
    assert "10 of 10" in printed


def test_rows_of_the_size_that_was_trained_keep_their_levels():
    found = predict(mixtures(1e7, 1e9, 48, 0), [*mixtures(1e7, 1e9, 3, 5), *LARGE[:2]], draws=0)
    assert found.levels.tolist() == [True] * 3 + [False] * 2
    assert "where 2 of 5 rows lie" in (found.note or "")
    assert scores(found)["mean"]["mean_absolute_error"] < 0.01


def test_levels_off_the_path_of_sizes_that_have_one_budget_each_are_marked():
    assert predict(SMALL, LARGE, draws=0).caution is None
    longer = predict(SMALL, [*LARGE, *mixtures(1.6e8, 3.2e10, 3, 5)], draws=0)
    assert longer.note is None
    assert "tokens grow in step with size" in (longer.caution or "")
    assert "the levels of 3 of 33 rows lean on it" in (longer.caution or "")
    flat = [replace(run, tokens=1e9) for run in SMALL]
    assert "all have one token budget (1e+09)" in (predict(flat, LARGE, draws=0).caution or "")
    two = [*SMALL, *mixtures(1e7, 4e9, 4, 6)]
    assert predict(two, mixtures(1.6e8, 3.2e10, 3, 5), draws=0).caution is None


def test_losses_that_are_not_known_are_predicted_and_not_scored():
    unknown = [replace(run, losses={}) for run in LARGE]
    assert scores(predict(SMALL, unknown, draws=0)) == {}
    partly = [replace(run, losses={"code": run.losses["code"]}) for run in LARGE]
    result = scores(predict(SMALL, partly, draws=0))
    assert list(result["by_loss"]) == ["code"]
    assert result["mean"]["rank_correlation"] == result["by_loss"]["code"]["rank_correlation"]


def test_cells_without_a_loss_are_left_out_of_its_fit_only():
    gaps = [replace(run, losses={k: v for k, v in run.losses.items() if k != "web" or i % 3}) for i, run in enumerate(SMALL)]
    assert scores(predict(gaps, LARGE, draws=0))["mean"]["rank_correlation"] > 0.95


def test_a_domain_that_no_training_run_had_is_refused():
    new = [replace(run, shares={"speech": 0.5, **{d: s / 2 for d, s in run.shares.items()}}) for run in LARGE]
    with pytest.raises(ValueError, match="share of speech, which no training run has"):
        predict(SMALL, new)


def test_the_command_predicts_row_by_row(tmp_path, capsys):
    write_runs(tmp_path / "small.parquet", SMALL)
    write_runs(tmp_path / "large.parquet", LARGE)
    arguments = ["predict", str(tmp_path / "small.parquet"), str(tmp_path / "large.parquet"), "--draws", "20"]
    assert scaling(*arguments, "--json", str(tmp_path / "out.json"), "--objective", "code=2", "--objective", "web=2") == 0
    record = json.loads((tmp_path / "out.json").read_text())
    assert record["weights"] == {"web": 0.5, "code": 0.5, "books": 0.0}
    assert [row["row"] for row in record["rows"]] == list(range(1, 31))
    row = record["rows"][0]
    low, high = row["interval"]["code"]
    assert low < row["predicted"]["code"] < high
    assert sorted(r["rank"] for r in record["rows"]) == list(range(1, 31))
    assert "rank correlation" in capsys.readouterr().out


def test_the_command_answers_each_row_also_without_draws_and_names_losses_it_cannot_predict(tmp_path, capsys):
    write_runs(tmp_path / "small.parquet", SMALL)
    head = "params,tokens,share_web,share_code,share_books,share_maths,loss_[/bold]\n"
    (tmp_path / "large.csv").write_text(head + "1e8,1e10,0.25,0.25,0.25,0.25,2\n" * 2)
    arguments = ["predict", str(tmp_path / "small.parquet"), str(tmp_path / "large.csv"), "--json", str(tmp_path / "out.json")]
    assert scaling(*arguments, "--draws", "0") == 0
    assert len(json.loads((tmp_path / "out.json").read_text())["rows"]) == 2
    assert "not predicted, as small.parquet has no such loss: [/bold]" in capsys.readouterr().err
    assert scaling(*arguments, "--draws", "-1") == 2
    assert "-1 is not in the range x>=0" in capsys.readouterr().err
