import json
from pathlib import Path

import pyarrow.parquet as pq
import pytest
from pydantic import ValidationError

from hephaestus_dag.evaluation.bfcl.config import BFCL_CATEGORIES, BfclConfig
from hephaestus_dag.evaluation.bfcl.environment import ensure_environment
from hephaestus_dag.evaluation.bfcl.reference import render_answer
from hephaestus_dag.evaluation.bfcl.score import ItemReply, bfcl_benchmark, draw, evaluate_bfcl, export_items, score_replies
from hephaestus_dag.evaluation.config import EvaluationConfig

# Items that no reply, or none of our rendering, satisfies: answers outside the schema, and Java arrays and maps whose quoted
# strings the official converter does not unquote.
UNSATISFIABLE = {
    *(f"simple_java_{n}" for n in (1, 35, 36, 65, 67, 68, 78, 83, 85, 86, 89, 90, 91)),
    *("live_simple_106-63-0", "live_simple_112-68-0", "live_multiple_862-181-3", "live_multiple_964-207-0"),
}


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
    assert sum(item["sampled"] for item in items) == 3 * len(BFCL_CATEGORIES)


def test_export_is_deterministic(bfcl_python: Path, bfcl_items: Path, tmp_path: Path):
    export_items(bfcl_python, tmp_path, BfclConfig(items_per_category=3))
    assert (tmp_path / "items.parquet").read_bytes() == (bfcl_items / "items.parquet").read_bytes()


def test_a_larger_draw_contains_the_smaller():
    items = [("a", f"a{n}") for n in range(20)] + [("b", "b0")]
    assert draw(items, 3, 0) < draw(items, 9, 0)
    assert len(draw(items, 9, 0)) == 10
    assert draw(items, 3, 0) != draw(items, 3, 1)


def test_reference_replies_are_right(bfcl_python: Path, bfcl_items: Path):
    items = all_items(bfcl_items)
    replies = [
        ItemReply(
            item_id=item["item_id"],
            category=item["category"],
            text=item["reference"] or ("[f(x=1)]" if item["category"] == "live_relevance" else "No function fits."),
        )
        for item in items
    ]
    verdicts, protections = score_replies(bfcl_python, replies)
    assert {verdict.item_id for verdict in verdicts if not verdict.valid} == UNSATISFIABLE
    assert "audit hook" in protections


def test_attacks_fail_their_items_and_nothing_else(bfcl_python: Path, open_folder: Path):
    target = open_folder / "created"
    good = "[calculate_triangle_area(base=10, height=5)]"
    attacks = [
        f"[f(a=1 + open('{target}', mode='w').write('x'))]",
        f"[f(a=1 + __import__('os').system('touch {target}'))]",
        "[f(a=[0]*10**10)]",
        "[f(a=1 + exit(0))]",
    ]
    nonsense = [
        "I cannot do that.",
        '[{"name": "f", "arguments": {"a": [1, 2',
        "[" * 5000,
        "-" * 20_000,
        "",
        "\ud800",
        "[f(a='\\d')]",
    ]
    replies = [ItemReply(item_id="simple_python_0", category="simple_python", text=good)]
    for text in [*attacks, *nonsense]:
        replies.append(ItemReply(item_id="simple_python_0", category="simple_python", text=text))
        replies.append(ItemReply(item_id="irrelevance_0", category="irrelevance", text=text))
        replies.append(ItemReply(item_id="simple_python_0", category="simple_python", text=good))
    verdicts, _ = score_replies(bfcl_python, replies)
    assert all(verdict.valid for verdict in verdicts[::3])
    assert not any(verdict.valid for verdict in verdicts[1::3])
    irrelevance = verdicts[2::3]
    assert all(verdict.reason.startswith("stopped") and not verdict.valid for verdict in irrelevance[: len(attacks)])
    assert [verdict.valid for verdict in irrelevance[len(attacks) :]] == [True] * 6 + [False]
    assert not target.exists()


def test_relevance_wants_a_call_and_irrelevance_none(bfcl_python: Path):
    texts = ["[f(a=1)]", "[]", "no"]
    replies = [
        ItemReply(item_id=item, category=category, text=text)
        for item, category in (("live_relevance_0-0-0", "live_relevance"), ("irrelevance_0", "irrelevance"))
        for text in texts
    ]
    verdicts, _ = score_replies(bfcl_python, replies)
    assert [verdict.valid for verdict in verdicts] == [True, False, False, False, True, True]


def test_an_unknown_item_is_an_error(bfcl_python: Path):
    with pytest.raises(RuntimeError, match="nonsense_7 is no item of simple_python"):
        score_replies(bfcl_python, [ItemReply(item_id="nonsense_7", category="simple_python", text="")])


def test_answers_render_as_literals_of_their_language():
    schema = {"type": "dict", "required": ["n"], "properties": {"n": {"type": "long"}, "s": {"type": "String"}}}
    truth = [{"A.f": {"n": [5], "s": ["", "x"], "unknown": [1]}}]
    assert render_answer(truth, [{"name": "A.f", "parameters": schema}], "java") == '[A.f(n=5L, s="x")]'
    truth = [{"A.f": {"n": [5], "s": [""]}}]
    assert render_answer(truth, [{"name": "A.f", "parameters": schema}], "java") == "[A.f(n=5L);]"
    truth = [{"g": {"n": [{"a": [1, 2], "b": ["", 3], "c": [""]}]}}]
    assert render_answer(truth, [{"name": "g", "parameters": schema}], "python") == "[g(n={'a': 1, 'b': 3})]"


def test_group_weights_are_those_of_the_leaderboard():
    counts = {"live_simple": 258, "live_multiple": 1053, "live_parallel": 16, "live_parallel_multiple": 24}
    counts |= {"live_irrelevance": 884, "live_relevance": 16}
    groups = {group.name: group.weights for group in bfcl_benchmark(counts).groups}
    assert all(sum(weights.values()) == pytest.approx(1) for weights in groups.values())
    assert groups["BFCL v3 live"]["live_multiple"] == pytest.approx(1053 / 2251)
    assert groups["BFCL v3-noexec non-live"]["simple_java"] == pytest.approx(1 / 15)
    assert groups["BFCL v2-noexec"]["simple_java"] == pytest.approx(1 / 36)
    assert groups["BFCL v2-noexec"]["live_relevance"] == pytest.approx(1 / 6)


def test_a_model_is_scored_from_prompt_to_summary(tiny_model: Path, bfcl_python: Path, bfcl_items: Path, tmp_path: Path):
    from hephaestus_dag.evaluation.huggingface import Generator

    config = EvaluationConfig(bfcl=BfclConfig(items_per_category=3, max_new_tokens=4, max_prompt_tokens=1_500))
    generator = Generator(tiny_model)
    summary = evaluate_bfcl(generator, bfcl_python, bfcl_items, config, tmp_path / "a")
    evaluate_bfcl(generator, bfcl_python, bfcl_items, config, tmp_path / "b")
    rows = pq.read_table(tmp_path / "a" / "rows.parquet").to_pylist()
    assert len(rows) == 39
    assert summary["too_long"] == sum(row["reason"].startswith("prompt too long") for row in rows) > 0
    assert all(not row["verdict"] for row in rows if row["reason"])
    assert summary["groups"]["BFCL irrelevance"]["n"] == 6
    assert "BFCL v3 multi-turn" in summary["not_run"]
    for name in ("rows.parquet", "summary.json"):
        assert (tmp_path / "a" / name).read_bytes() == (tmp_path / "b" / name).read_bytes()


def test_configuration_names_the_field_and_the_remedy():
    with pytest.raises(ValidationError, match=r"categories: \['sql'\].*choose from"):
        BfclConfig(categories=("sql",))
    with pytest.raises(ValidationError, match=r"bootstrap_samples: .*raise it to at least 2000"):
        EvaluationConfig(confidence=0.99, bootstrap_samples=100)
