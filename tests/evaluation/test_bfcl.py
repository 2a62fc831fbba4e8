import json
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from pydantic import ValidationError

from hephaestus_dag.evaluation.bfcl.checker import Checker
from hephaestus_dag.evaluation.bfcl.config import MULTI_TURN, SINGLE_TURN, BfclConfig
from hephaestus_dag.evaluation.bfcl.environment import ensure_environment
from hephaestus_dag.evaluation.bfcl.formulas import PAPER_COLUMNS, bfcl_benchmark
from hephaestus_dag.evaluation.bfcl.items import draw, export_bfcl
from hephaestus_dag.evaluation.bfcl.known import KNOWN_BROKEN
from hephaestus_dag.evaluation.bfcl.reference import render_answer
from hephaestus_dag.evaluation.bfcl.score import ItemReply, evaluate_bfcl, score_replies
from hephaestus_dag.evaluation.config import EvaluationConfig

RECORDED = Path(__file__).with_name("recorded_bfcl.jsonl.zst")


def all_items(folder: Path) -> list[dict]:
    return pq.read_table(folder / "items.parquet").to_pylist()


def test_the_environment_is_reused(bfcl_python: Path):
    again = ensure_environment(bfcl_python.parents[2])
    assert again == bfcl_python
    assert (bfcl_python.parents[1] / "manifest.json").exists()


@pytest.mark.slow
def test_without_an_index_the_error_names_the_remedy(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setenv("PIP_NO_INDEX", "1")
    monkeypatch.setenv("PIP_FIND_LINKS", str(tmp_path))
    with pytest.raises(RuntimeError, match="PIP_FIND_LINKS"):
        ensure_environment(tmp_path / "environment")
    assert [path.name for path in (tmp_path / "environment").iterdir()] == [".lock"]


def test_items_are_the_official_ones(bfcl_items: Path):
    items = all_items(bfcl_items)
    assert len(items) == 3641
    first = next(item for item in items if item["item_id"] == "simple_python_0")
    system, user = json.loads(first["prompt"])
    assert system["role"] == "system"
    assert system["content"].startswith("You are an expert in composing functions.")
    assert "Python 3 syntax" in system["content"]
    assert user["content"] == first["question"]
    assert first["reference"] == "[calculate_triangle_area(base=10, height=5, unit='units')]"
    assert sum(item["sampled"] for item in items) == 3 * len(SINGLE_TURN)
    conversations = pq.read_table(bfcl_items / "multi_turn.parquet").to_pylist()
    assert sum(row["category"] in MULTI_TURN for row in conversations) == 800
    assert sum(row["sampled"] for row in conversations) == len(MULTI_TURN)


@pytest.mark.slow
def test_export_is_deterministic(bfcl_python: Path, bfcl_items: Path, tmp_path: Path):
    export_bfcl(BfclConfig(items_per_category=3, multi_turn_items_per_category=1), tmp_path, bfcl_python)
    for name in ("items.parquet", "multi_turn.parquet"):
        assert (tmp_path / name).read_bytes() == (bfcl_items / name).read_bytes()


def test_a_larger_draw_contains_the_smaller():
    items = [("a", f"a{n}") for n in range(20)] + [("b", "b0")]
    assert draw(items, 3, 0) < draw(items, 9, 0)
    assert len(draw(items, 9, 0)) == 10
    assert draw(items, 3, 0) != draw(items, 3, 1)


def test_reference_replies_are_right_but_for_the_known_items(bfcl_checker: Checker, bfcl_items: Path):
    items = all_items(bfcl_items)
    replies = [
        ItemReply(
            item_id=item["item_id"],
            category=item["category"],
            text=item["reference"] or ("[f(x=1)]" if item["category"] == "live_relevance" else "No function fits."),
        )
        for item in items
    ]
    verdicts, protections = score_replies(bfcl_checker, replies)
    assert {verdict.item_id for verdict in verdicts if not verdict.valid} == set(KNOWN_BROKEN)
    assert "audit hook" in protections


def test_attacks_fail_their_items_and_nothing_else(bfcl_checker: Checker, open_folder: Path):
    target = open_folder / "created"
    good = "[calculate_triangle_area(base=10, height=5)]"
    attacks = [
        f"[f(a=1 + open('{target}', mode='w').write('x'))]",
        f"[f(a=1 + __import__('os').system('touch {target}'))]",
        "[f(a=[0]*10**10)]",
        "[f(a=1 + exit(0))]",
        "[f(a=1 + __import__('os').write(3, b'{}'))]",
        "[f(a=1 + __import__('os')._exit(0))]",
        "[f(a=1 + len(open('/etc/shadow').read()))]",
        "[f(a=1 + __import__('os').fork())]",
        "[f(a=1 + __import__('socket').socket())]",
    ]
    nonsense = [
        "I cannot do that.",
        '[{"name": "f", "arguments": {"a": [1, 2',
        "[" * 5000,
        "-" * 20_000,
        "",
        "\ud800",
        "x" * 1_000_000,
        "new HashMap<String, Object>() {{ put(1, 2); }}",
        "[f(a='\\d')]",
    ]
    replies = [ItemReply(item_id="simple_python_0", category="simple_python", text=good)]
    for text in [*attacks, *nonsense]:
        replies.append(ItemReply(item_id="simple_python_0", category="simple_python", text=text))
        replies.append(ItemReply(item_id="irrelevance_0", category="irrelevance", text=text))
        replies.append(ItemReply(item_id="simple_python_0", category="simple_python", text=good))
    verdicts, _ = score_replies(bfcl_checker, replies)
    assert all(verdict.valid for verdict in verdicts[::3])
    assert not any(verdict.valid for verdict in verdicts[1::3])
    irrelevance = verdicts[2::3]
    assert all(verdict.reason.startswith("stopped") and not verdict.valid for verdict in irrelevance[: len(attacks)])
    assert [verdict.valid for verdict in irrelevance[len(attacks) :]] == [*[True] * 6, False, True, False]
    assert not target.exists()


def test_relevance_wants_a_call_and_irrelevance_none(bfcl_checker: Checker):
    texts = ["[f(a=1)]", "[]", "no"]
    replies = [
        ItemReply(item_id=item, category=category, text=text)
        for item, category in (("live_relevance_0-0-0", "live_relevance"), ("irrelevance_0", "irrelevance"))
        for text in texts
    ]
    verdicts, _ = score_replies(bfcl_checker, replies)
    assert [verdict.valid for verdict in verdicts] == [True, False, False, False, True, True]


def test_an_unknown_item_is_an_error(bfcl_python: Path):
    for category in ("simple_python", "multi_turn_base"):
        reply = ItemReply(item_id="nonsense_7", category=category, turns=[[""]] if category in MULTI_TURN else None)
        with Checker(bfcl_python) as checker, pytest.raises(RuntimeError, match=f"nonsense_7 is no item of {category}"):
            score_replies(checker, [reply])


def test_answers_render_as_literals_of_their_language():
    schema = {"type": "dict", "required": ["n"], "properties": {"n": {"type": "long"}, "s": {"type": "String"}}}
    truth = [{"A.f": {"n": [5], "s": ["", "x"], "unknown": [1]}}]
    assert render_answer(truth, [{"name": "A.f", "parameters": schema}], "java") == '[A.f(n=5L, s="x")]'
    truth = [{"A.f": {"n": [5], "s": [""]}}]
    assert render_answer(truth, [{"name": "A.f", "parameters": schema}], "java") == "[A.f(n=5L);]"
    truth = [{"g": {"n": [{"a": [1, 2], "b": ["", 3], "c": [""]}]}}]
    assert render_answer(truth, [{"name": "g", "parameters": schema}], "python") == "[g(n={'a': 1, 'b': 3})]"


SIZES = {"live_simple": 258, "live_multiple": 1053, "live_parallel": 16, "live_parallel_multiple": 24}
SIZES |= {"live_irrelevance": 884, "live_relevance": 16}
SCORES = {
    "simple_python": 0.9,
    "simple_java": 0.6,
    "simple_javascript": 0.3,
    "multiple": 0.8,
    "parallel": 0.7,
    "parallel_multiple": 0.5,
    "irrelevance": 0.4,
    "live_simple": 0.5,
    "live_multiple": 0.4,
    "live_parallel": 0.25,
    "live_parallel_multiple": 0.5,
    "live_irrelevance": 0.75,
    "live_relevance": 1.0,
    "multi_turn_base": 0.2,
    "multi_turn_miss_func": 0.1,
    "multi_turn_miss_param": 0.06,
    "multi_turn_long_context": 0.04,
}
# Worked out by hand: live AST is (129 + 421.2 + 4 + 12) / 1351, live (566.2 + 663 + 16) / 2251; simple is 0.6.
BY_HAND = {
    "BFCL AST non-live": 0.65,
    "BFCL AST live": 566.2 / 1351,
    "BFCL irrelevance": 0.575,
    "BFCL relevance": 1.0,
    "BFCL multi-turn": 0.1,
    "BFCL v3-noexec non-live": 0.6,
    "BFCL v3 live": 1245.2 / 2251,
    "BFCL v2-noexec": (0.55 + 0.6 + 0.475 + 0.5 + 0.575 + 1.0) / 6,
    "BFCL v3-noexec overall": (0.6 + 1245.2 / 2251 + 0.1) / 3,
}


def test_scores_are_those_of_the_leaderboard_worked_out_by_hand():
    benchmark = bfcl_benchmark(SIZES)
    found = {group.name: sum(w * SCORES[c] for c, w in group.weights.items()) for group in benchmark.groups}
    assert found == pytest.approx(BY_HAND)
    assert all("without the executable" in group.definition for group in benchmark.groups if "noexec" in group.name)
    assert {name for column, name in PAPER_COLUMNS.items() if column != "Exec"} <= found.keys()
    assert PAPER_COLUMNS["Exec"] in benchmark.not_run


def test_verdicts_are_those_of_the_official_runner(bfcl_checker: Checker):
    """Outputs of real models, with what the official runner said of them (``benchmarks/bfcl.py parity --record``)."""
    with pa.input_stream(RECORDED, compression="zstd") as stream:
        recorded = [json.loads(line) for line in stream.read().splitlines()]
    replies = [
        ItemReply(item_id=each["id"], category=each["category"], text=each.get("reply", ""), turns=each.get("turns"))
        for each in recorded
    ]
    verdicts, _ = score_replies(bfcl_checker, replies)
    differ = [each["id"] for each, verdict in zip(recorded, verdicts, strict=True) if each["valid"] != verdict.valid]
    assert differ == []
    assert len(recorded) >= 300
    assert {each["valid"] for each in recorded} == {True, False}


def test_a_model_is_scored_from_prompt_to_summary(tiny_model: Path, bfcl_python: Path, bfcl_items: Path, tmp_path: Path):
    from hephaestus_dag.evaluation.huggingface import HuggingFaceModel

    limits = BfclConfig(items_per_category=3, multi_turn_items_per_category=1, max_new_tokens=4, max_prompt_tokens=1_500)
    model, config = HuggingFaceModel(tiny_model), EvaluationConfig(bfcl=limits)
    summary = evaluate_bfcl(model, bfcl_python, bfcl_items, config, tmp_path / "a")
    evaluate_bfcl(model, bfcl_python, bfcl_items, config, tmp_path / "b")
    table = pq.read_table(tmp_path / "a" / "rows.parquet")
    rows = table.to_pylist()
    assert len(rows) == 39 + 4
    assert summary["too_long"] == sum(row["reason"].startswith("prompt too long") for row in rows) > 0
    assert all(not row["verdict"] for row in rows if row["reason"])
    assert all(row["prompt_tokens"] > 0 for row in rows if not row["reason"].startswith("prompt too long"))
    assert {"BFCL irrelevance", "BFCL multi-turn", "BFCL v3-noexec overall"} <= summary["groups"].keys()
    assert summary["groups"]["BFCL multi-turn"]["n"] == 4
    assert "results of calls back in messages of role user" in summary["note"]
    for row in rows[-4:]:
        assert json.loads(row["transcript"])[0]["role"] == "user"
        assert json.loads(row["reply"])
    again = pq.read_table(tmp_path / "b" / "rows.parquet")
    assert again.drop_columns("seconds").equals(table.drop_columns("seconds"))
    assert (tmp_path / "a" / "summary.json").read_bytes() == (tmp_path / "b" / "summary.json").read_bytes()


def test_configuration_names_the_field_and_the_remedy():
    with pytest.raises(ValidationError, match=r"categories: \['sql'\] are not BFCL categories; choose from"):
        BfclConfig(categories=("sql",))
    with pytest.raises(ValidationError, match=r"bootstrap_samples: .*raise it to at least 2000"):
        EvaluationConfig(confidence=0.99, bootstrap_samples=100)
