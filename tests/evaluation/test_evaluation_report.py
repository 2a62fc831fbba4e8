import json
from collections.abc import Callable
from copy import deepcopy
from dataclasses import replace
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from hephaestus_dag.evaluation.card import card_with_scores
from hephaestus_dag.evaluation.overlap import MATCH_SCHEMA, overlap_of
from hephaestus_dag.evaluation.overlap_config import OverlapConfig
from hephaestus_dag.evaluation.report import Entrant, Link, Stage, write_report
from hephaestus_dag.evaluation.report.tables import tables
from hephaestus_dag.evaluation.scores import Benchmark, Group, write_scores
from tests.evaluation.verdicts import verdicts

Scored = Callable[..., Path]
BFCL = Benchmark(
    key="bfcl",
    name="BFCL",
    metric="accuracy",
    higher_is_better=True,
    numerator="verdict",
    groups=(
        Group(name="BFCL AST live", definition="one category", weights={"a": 1.0}),
        Group(name="BFCL v2-noexec", definition="mean of a and b", weights={"a": 0.5, "b": 0.5}),
        Group(name="BFCL v3-noexec overall", definition="needs c", weights={"a": 0.5, "c": 0.5}),
    ),
    not_run={"BFCL v3-noexec overall": "multi-turn needs a longer context"},
    note="7 of 30 replies hold a call",
)
MMLU = Benchmark(
    key="mmlu",
    name="MMLU",
    metric="accuracy",
    higher_is_better=True,
    numerator="verdict",
    groups=(Group(name="MMLU 5-shot", definition="all questions", weights={"law": 1.0}),),
)
LOSS = Benchmark(
    key="benchmark_loss",
    name="benchmark loss",
    metric="bits per byte",
    higher_is_better=False,
    numerator="bits",
    denominator="bytes",
    groups=(Group(name="loss on BFCL answers", definition="all", weights={"a": 1.0}),),
)


@pytest.fixture(scope="module")
def root(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("scores")


@pytest.fixture(scope="module")
def calls(root: Path) -> Scored:
    def write(name: str, right_of_a: int, right_of_b: int) -> Path:
        said = {"prompt_sha": "0123456789abcdef", "reply": f"<script>{'x' * 400}"}
        rows = [*verdicts("a", right_of_a, 10, **said), *verdicts("b", right_of_b, 20, **said)]
        write_scores(root / name / "bfcl", pa.Table.from_pylist(rows), BFCL)
        return root / name / "bfcl"

    return write


@pytest.fixture(scope="module")
def questions(root: Path) -> Scored:
    def write(name: str, right: int) -> Path:
        write_scores(root / name / "mmlu", pa.Table.from_pylist(verdicts("law", right, 20)), MMLU)
        return root / name / "mmlu"

    return write


@pytest.fixture(scope="module")
def losses(root: Path) -> Scored:
    def write(name: str, factor: float) -> Path:
        sizes = np.arange(10, 40)
        rows = [{"item_id": f"bfcl/{n}", "category": "a", "bits": factor * float(n), "bytes": int(n)} for n in sizes]
        write_scores(root / name / "loss", pa.Table.from_pylist(rows), LOSS)
        return root / name / "loss"

    return write


@pytest.fixture(scope="module")
def entrants(calls: Scored, questions: Scored, losses: Scored, root: Path) -> dict[str, Entrant]:
    """A base and a variant of one backbone, an ablation, another backbone, and an endpoint model without MMLU."""
    checkpoint = root / "stage1"
    checkpoint.mkdir()
    before, after = ({"text": {"bits_per_byte": value}} for value in (2.0, 2.5))
    (checkpoint / "summary.json").write_text(json.dumps({"tokens": 9, "heldout_before": before, "heldout": after}))
    scan = root / "scan"
    scan.mkdir()
    match = {"item": "bfcl/a0", "share": 0.9, "words": 12, "matched": "…", "signature": "", "document_id": "d"}
    pq.write_table(pa.Table.from_pylist([match], MATCH_SCHEMA), scan / "matches.parquet")
    (scan / "scan.json").write_text('{"items not judged": {}}')
    overlap_of([scan], pa.table({"document_id": ["d"]}), [], OverlapConfig(), root / "overlap")
    return {
        "base": Entrant(scores=[calls("base", 1, 1), questions("base", 5)], role="base", backbone="tiny"),
        "hephaestus": Entrant(
            scores=[calls("h", 8, 4), questions("h", 6), losses("h", 2.0)],
            backbone="tiny",
            overlap=root / "overlap",
            stages=[Stage(name="Stage I", checkpoint=checkpoint, scores=[questions("s1", 7)])],
            chain=[Link(what="checkpoint", asset="hephaestus/stage1_checkpoint", fingerprint="f" * 64)],
            sources=[{"source": "openapi", "domain": "agent", "documents": 1234, "tokens": 5_000_000}],
        ),
        "without_<stage2> & $x$": Entrant(scores=[calls("w", 2, 4), losses("w", 2.5)], backbone="tiny"),
        "other": Entrant(scores=[calls("o", 8, 4)], backbone="large"),
        "gpt|x": Entrant(
            scores=[calls("g", 10, 19)], role="endpoint", not_run={"mmlu": "the endpoint gives no log-likelihoods"}
        ),
    }


@pytest.fixture(scope="module")
def page(entrants: dict[str, Entrant], root: Path) -> tuple[dict, str, str]:
    report = write_report(entrants, root / "report", notice="only a test & no more", reference="hephaestus", num_samples=200)
    folder = root / "report"
    assert json.loads((folder / "report.json").read_text()) == report
    assert (folder / "scores.png").read_bytes().startswith(b"\x89PNG")
    return report, (folder / "report.md").read_text(), (folder / "report.html").read_text()


def row(text: str, table: str, first: str) -> str:
    section = text.split(f"## {table}")[1].split("\n## ")[0]
    return next(line for line in section.splitlines() if line.startswith(f"| {first}"))


def test_differences_are_item_by_item_and_say_what_can_be_said(page: tuple[dict, str, str]) -> None:
    report, markdown, _ = page
    found = {(each["variant"], each["reference"], each["group"]): each for each in report["differences"]}
    live = found["without_<stage2> & $x$", "hephaestus", "BFCL AST live"]
    assert live["difference"] == pytest.approx(-0.6)
    assert live["differing_items"] == 6
    assert live["mcnemar_p"] == pytest.approx(2 / 2**6)
    assert live["mcnemar_p"] < live["mcnemar_holm"] <= 1
    assert live["seen"]
    assert not live["better"]
    assert live["sentence"].startswith("−60.0 ± ")
    same = found["other", "hephaestus", "BFCL v2-noexec"]
    assert same["sentence"].startswith("no difference seen (0.0 ± ")
    loss = found["without_<stage2> & $x$", "hephaestus", "loss on BFCL answers"]
    assert loss["sentence"] == "+0.500 ± 0.000"
    assert not loss["better"]
    assert ("other", "hephaestus", "loss on BFCL answers") not in found
    assert found["hephaestus", "base", "MMLU 5-shot"]["difference"] == pytest.approx(0.05)
    assert "no difference seen (0.0 ±" in row(markdown, "Ablation", "other")


def test_the_papers_tables_hold_our_numbers_and_nothing_made_up(page: tuple[dict, str, str]) -> None:
    _, markdown, html = page
    main = row(markdown, "Main results", "hephaestus")
    assert "50.0 [" in main
    assert "30.0 [" in main
    notes = markdown.split("## Main results")[1].split("\n## ")[0]
    assert "AgentBench: not run: no scores of this benchmark were given." in notes
    assert "BFCL-v3: not run: multi-turn needs a longer context." in notes
    assert "no scores of this benchmark were given" in row(markdown, "Main results", "other")
    assert "The paper's own numbers are not shown" in markdown
    assert "no log-likelihoods" in row(markdown, "Commercial", "gpt/x")
    assert "+47.5 ±" in markdown.split("## Commercial")[1]
    assert "retired" not in row(markdown, "BFCL by the paper", "hephaestus")
    for backbone in ("tiny", "large"):
        assert row(markdown, "Across backbones", backbone)
    assert "Only one backbone" not in html


def test_forgetting_clean_items_lineage_and_examples_are_shown(page: tuple[dict, str, str]) -> None:
    report, markdown, _ = page
    forgetting = markdown.split("## Forgetting")[1].split("\n## ")[0]
    assert "| hephaestus | backbone | 2.000 | 25.0 [" in forgetting
    assert "general ability" in forgetting.splitlines()[0]
    assert "Stage I | 2.500 +25.0 % | 35.0 [" in forgetting
    clean = report["clean"]["hephaestus"]["bfcl"]["BFCL AST live"]
    assert (clean["n"], clean["overlapping"]) == (9, 1)
    assert clean["change"] == pytest.approx(7 / 9 - 0.8, abs=1e-6)
    assert "What a backbone was pre-trained on elsewhere is not known" in markdown
    assert "For hephaestus, 1 training documents were compared: 1 items seen of 1" in markdown
    assert "hephaestus/stage1_checkpoint | ffffffffffff |" in markdown
    assert "| hephaestus | openapi | agent | 1,234 | 5,000,000 |" in markdown
    shown = report["examples"]["bfcl"]
    assert [each["score"] for each in shown] == [0.0] * 5 + [1.0] * 5
    assert all(len(each["reply"]) == 300 for each in shown)
    assert "wrong value # (18)" in row(markdown, "Why items are wrong", "hephaestus")


def test_the_page_can_be_read_alone_and_names_are_harmless(page: tuple[dict, str, str]) -> None:
    _, _, html = page
    assert "only a test &amp; no more" in html
    assert "without_&lt;stage2&gt; &amp; $x$" in html
    assert "<script" not in html
    assert "http" not in html
    for anchor in html.split("href='#")[1:]:
        assert f"id='{anchor.split(chr(39))[0]}'" in html


def test_the_report_is_deterministic_and_plain_folders_will_do(calls: Scored, tmp_path: Path) -> None:
    folder = calls("alone", 3, 3)
    for name in ("one", "two"):
        report = write_report({"alone": [folder]}, tmp_path / name)
    for file in ("report.json", "report.md", "report.html", "scores.png"):
        assert (tmp_path / "one" / file).read_bytes() == (tmp_path / "two" / file).read_bytes()
    assert report["differences"] == []
    text = (tmp_path / "one" / "report.md").read_text()
    assert "There is no other variant" in text
    assert "Only one backbone" in text
    assert "No model behind an endpoint" in text
    assert not (tmp_path / "one" / "radar.png").exists()


def test_what_did_not_run_is_told_once_with_its_reason(calls: Scored, tmp_path: Path) -> None:
    nothing = replace(LOSS, key="agentbench", name="AgentBench", denominator=None, groups=(), not_run={"AgentBench": "no data"})
    none = pa.Table.from_pylist(verdicts("x", 0, 1)).slice(0, 0)
    write_scores(tmp_path / "agents", none, replace(nothing, numerator="verdict"))
    unasked = {"gsm8k": "needs its questions"}
    entrant = Entrant(scores=[calls("without_agents", 3, 3), tmp_path / "agents"], not_run=unasked)
    write_report({"one": entrant}, tmp_path / "report", num_samples=200)
    markdown = (tmp_path / "report" / "report.md").read_text()
    table = markdown.split("## AgentBench by task")[1].split("\n## ")[0]
    assert table.split("\n\n")[1].strip() == "OA, OS, DB, HH, KG, WB, WS: not run: no data."
    assert "AgentBench: not run: no data." in markdown.split("## Main results")[1].split("\n## ")[0]
    assert "GSM8K: not run: needs its questions." in markdown
    assert row(markdown, "What did not run", "GSM8K") == "| GSM8K | needs its questions | one |"
    assert "- GSM8K: not run (needs its questions)" in card_with_scores("# one", entrant.scores, not_run=unasked)


def test_a_score_of_other_items_is_not_compared(calls: Scored, tmp_path: Path) -> None:
    weights = {"a": 0.75, "b": 0.25}
    other = replace(BFCL, groups=(Group(name="BFCL v2-noexec", definition="other shares", weights=weights),))
    rows = [*verdicts("a", 2, 10), *verdicts("b", 2, 20)]
    write_scores(tmp_path / "other", pa.Table.from_pylist(rows), other)
    models = {"one": [calls("whole", 3, 3)], "two": [tmp_path / "other"]}
    assert write_report(models, tmp_path / "report", num_samples=200)["differences"] == []
    assert "scored on other items" in row((tmp_path / "report" / "report.md").read_text(), "Ablation", "two")
    write_report(models, tmp_path / "report", reference="two", num_samples=200)
    assert "no items in common" not in (tmp_path / "report" / "report.md").read_text()


def test_held_out_loss_alone_says_nothing_of_general_ability(entrants: dict[str, Entrant], tmp_path: Path) -> None:
    mine = entrants["hephaestus"]
    stages = [replace(stage, scores=()) for stage in mine.stages]
    write_report({"one": replace(mine, stages=stages)}, tmp_path, num_samples=200)
    assert "## Forgetting: what each stage did to held-out loss\n" in (tmp_path / "report.md").read_text()


def test_clean_scores_show_all_items_of_the_same_categories(page: tuple[dict, str, str]) -> None:
    report = deepcopy(page[0])
    report["clean"]["hephaestus"]["bfcl"]["BFCL AST live"]["all"] = {"score": 0.654}
    clean = next(table for table in tables(report) if table.anchor == "clean")
    (shown,) = [cells[2].small for cells in clean.rows if cells[1].text == "BFCL AST live"]
    assert shown.endswith("n=10; 65.4 without the categories left out")


def test_the_radar_says_whom_it_leaves_out(tmp_path: Path) -> None:
    groups = {title: Group(name=title, definition="", weights={title: 1.0}) for title in ("MMLU 5-shot", "MMLU 0-shot")}
    tasks = {name: Group(name=f"AgentBench {name}", definition="", weights={name: 1.0}) for name in ("OS", "DB", "HH")}

    def scores(model: str, benchmark: Benchmark, groups: dict[str, Group], right: int = 3) -> Path:
        rows = [row for each in groups for row in verdicts(each, right, 9)]
        folder = tmp_path / model / benchmark.key
        write_scores(folder, pa.Table.from_pylist(rows), replace(benchmark, groups=tuple(groups.values())))
        return folder

    agents = replace(MMLU, key="agentbench", name="AgentBench")
    models = {name: [scores(name, agents, tasks), scores(name, MMLU, groups)] for name in ("one", "two")}
    models["lame"] = [scores("lame", agents, {"OS": tasks["OS"], "DB": tasks["DB"]}), scores("lame", MMLU, groups)]
    write_report(models, tmp_path / "report")
    for name in ("report.md", "report.html"):
        assert "at a glance (lame is left out, for lack of HH)" in (tmp_path / "report" / name).read_text()
    zeros = [scores("zeros", agents, tasks, right=0), scores("zeros", MMLU, groups)]
    write_report({"zeros": zeros}, tmp_path / "zeros")
    assert not (tmp_path / "zeros" / "radar.png").exists()
    write_report({name: models[name] for name in ("one", "two")}, tmp_path / "report")
    assert "left out, for lack" not in (tmp_path / "report" / "report.md").read_text()


def test_mistakes_are_named(calls: Scored, tmp_path: Path) -> None:
    folder = calls("v", 1, 1)
    with pytest.raises(ValueError, match="reference: 'nobody' is none of"):
        write_report({"v": [folder]}, tmp_path, reference="nobody")
    with pytest.raises(ValueError, match="variants: name at least one"):
        write_report({}, tmp_path)
    with pytest.raises(FileNotFoundError, match="no score folder"):
        write_report({"v": [tmp_path / "missing"]}, tmp_path)
    with pytest.raises(ValueError, match="variant v: two score folders of BFCL"):
        write_report({"v": [folder, folder]}, tmp_path)


def test_a_card_tells_what_was_measured(entrants: dict[str, Entrant]) -> None:
    mine = entrants["hephaestus"]
    card = card_with_scores("# model\n\nwords\n", mine.scores, mine.overlap, num_samples=200)
    assert card.startswith("# model\n\nwords\n\n## Measured\n")
    assert "| BFCL | BFCL AST live | 80.0 % [49.0, 94.3] n=10 | 77.8 (−2.2) n=9 |" in card
    assert "| benchmark loss | loss on BFCL answers | 2.000 bits per byte [2.000, 2.000] n=30 |  |" in card
    assert "- BFCL v3-noexec overall: not run (multi-turn needs a longer context)" in card
    assert "pre-trained on elsewhere is not known" in card
    again = card_with_scores(card, mine.scores)
    assert again.count("## Measured") == 1
    assert "was not measured" in again
