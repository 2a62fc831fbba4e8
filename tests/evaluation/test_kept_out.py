"""What must not be in training data: all of BFCL as it is installed, and benchmarks whose files a recipe names."""

import json
import textwrap
from pathlib import Path
from typing import Any

import pytest
from pydantic import ValidationError

from hephaestus_dag.curation.decontamination import BenchmarkIndex
from hephaestus_dag.documents import Document, document_batch
from hephaestus_dag.evaluation.bfcl.items import benchmark_functions, benchmark_texts, json_calls
from hephaestus_dag.evaluation.kept_out import KeptOutConfig, check_kept_out, kept_out_texts

FILLER = "some words that have nothing to do with any of it and are only here to be many " * 160


def test_every_item_and_function_of_bfcl_is_kept_out(bfcl_items: Path):
    texts, functions = list(benchmark_texts(bfcl_items)), list(benchmark_functions(bfcl_items))
    names = {name for name, _ in texts} | {function.item_id for function in functions}
    assert len({name for name in names if "(" not in name}) == 4_441
    assert {
        "bfcl/multi_turn_long_context_199 (answer)",
        "bfcl/simple_java_99 (answer)",
        "bfcl/gorilla_file_system (function cd)",
        "bfcl/live_simple_0-0-0 (function get_user_info)",
    } <= names
    index = BenchmarkIndex.build(texts, functions=functions)
    assert index.num_unmatched < 400  # three words are no evidence
    assert len(index.functions) > 2_300


@pytest.mark.slow
def test_all_of_bfcl_is_found_in_every_shape(bfcl_items: Path):
    functions = list(benchmark_functions(bfcl_items))
    index = BenchmarkIndex.build(benchmark_texts(bfcl_items), functions=functions)
    texts = [*benchmark_texts(bfcl_items), *((f.item_id, f.text) for f in functions)]
    unmatched = set(index.item_ids) - {
        name for (name, _), hit in zip(texts, index.hits([text for _, text in texts]), strict=True) if hit
    }
    assert len(unmatched) == index.num_unmatched
    for shape in (
        lambda text: "\n".join(textwrap.wrap(text, 50, break_long_words=False)),
        lambda text: "\n".join(" ".join(text.split()[at : at + 8]) for at in range(0, len(text.split()), 8)),
        str.lower,
        lambda text: f"{FILLER} {text} {FILLER}",
    ):
        sample = texts if shape is str.lower else texts[::7]
        found = {name for (name, _), hit in zip(sample, index.hits([shape(text) for _, text in sample]), strict=True) if hit}
        plain = {name for (name, _), hit in zip(sample, index.hits([text for _, text in sample]), strict=True) if hit}
        assert found == plain


def test_a_trajectory_with_a_function_of_bfcl_goes(bfcl_items: Path):
    index = BenchmarkIndex.build(benchmark_texts(bfcl_items), functions=benchmark_functions(bfcl_items))
    signatures = ["calculate_triangle_area(base,height,unit)", "area_of_triangle(base,height,unit)", "logout()"]
    documents = [
        Document(text=f"own words {s}", domain="agent", kind="k", source="s", origin=s, license="MIT", signatures=s)
        for s in signatures
    ]
    stays, gone = index.filter(document_batch(documents))
    assert stays.column("origin").to_pylist() == signatures[1:]
    assert gone.column("reason").to_pylist() == [
        "has the function of benchmark item bfcl/simple_python_0 (function calculate_triangle_area)"
    ]


@pytest.mark.parametrize(
    ("reference", "expected"),
    [
        (
            "[math.hypot(x=4, y=[5, 'a'])]",
            [{"name": "math.hypot", "arguments": {"x": 4, "y": [5, "a"]}}],
        ),
        ("[f(), g(a=None)]", [{"name": "f", "arguments": {}}, {"name": "g", "arguments": {"a": None}}]),
        ("cd(folder='x')\nls()", [{"name": "cd", "arguments": {"folder": "x"}}, {"name": "ls", "arguments": {}}]),
        ("[f(a=new HashMap<>())]", None),
        ("[f(a=b)]", None),
        ("", None),
    ],
)
def test_answers_are_kept_out_as_json_too(reference: str, expected: list[dict[str, Any]] | None):
    assert (json.loads(json_calls(reference)) if json_calls(reference) else None) == expected


def config(folder: Path, **values: Any) -> KeptOutConfig:
    return KeptOutConfig(**{"name": "exam", "location": str(folder), "files": "*.jsonl", "texts": ("question",), **values})


def write(folder: Path, records: list[dict[str, Any]]) -> None:
    (folder / "items.jsonl").write_text("\n".join(map(json.dumps, records)) + "\n")


LONG = "Which of the two machines that stand in the old hall was built before the war was over?"


def test_short_questions_are_found_with_their_choices_plain_or_lettered(tmp_path: Path):
    write(
        tmp_path,
        [
            {"question": "Who was it?", "a": "the king of Spain", "b": "nobody at all", "key": "A"},
            {"question": LONG, "a": "this", "b": "that", "key": "B"},
            {"question": "question", "a": "a", "b": "b", "key": "key"},
        ],
    )
    texts = list(kept_out_texts(config(tmp_path, choices=("a", "b"), drop={"key": "key"})))
    assert {name for name, _ in texts} == {"exam/items/0", "exam/items/1"}
    index = BenchmarkIndex.build(texts)
    asked = [
        "Who was it?\n(A) The king of Spain\n(B) Nobody at all",
        "Who was it? the king of Spain, nobody at all",
        f"Exam: {LONG.lower()}",
        "Who was it?",
        "It was the king of Spain, nobody at all doubted it.",
    ]
    found = [hit and hit.item_id for hit in index.hits(asked)]
    assert found == ["exam/items/0", "exam/items/0", "exam/items/1", None, None]


def test_fields_inside_records_ids_and_formats(tmp_path: Path):
    (tmp_path / "a.json").write_text(json.dumps([{"id": 7, "task": {"text": LONG, "steps": ["one", "two"]}}]))
    (tmp_path / "b.csv").write_text(f'"{LONG}",4\n', encoding="utf-8-sig")
    inside = config(tmp_path, files="a.json", texts=("task.text", "task.steps"), id="id")
    assert list(kept_out_texts(inside)) == [("exam/7", LONG), ("exam/7", "one\ntwo")]
    assert list(kept_out_texts(config(tmp_path, files="*.csv", columns=("question", "answer")))) == [("exam/b/0", LONG)]


@pytest.mark.parametrize(
    ("values", "message"),
    [
        ({"location": "package:no-such-benchmark==1.0"}, "pip install --no-deps no-such-benchmark==1.0"),
        ({"files": "none.jsonl"}, "no file none.jsonl in .*; correct location or files"),
    ],
)
def test_a_missing_benchmark_is_an_error_that_says_how_to_get_it(tmp_path: Path, values: dict[str, str], message: str):
    missing = config(tmp_path, **values)
    with pytest.raises((ModuleNotFoundError, FileNotFoundError), match=message):
        list(kept_out_texts(missing))
    assert len(check_kept_out(missing)) == 1
    assert check_kept_out(missing)[0].startswith("benchmark exam")


def test_a_line_of_json_may_hold_what_else_ends_a_line(tmp_path: Path):
    question = "How many\u2028lines\x85does this question have when it is written down in a file"
    (tmp_path / "items.jsonl").write_text(json.dumps({"question": question}, ensure_ascii=False) + "\n", encoding="utf-8")
    assert [text for _, text in kept_out_texts(config(tmp_path, files="*.jsonl"))] == [question]


def test_a_field_that_no_record_has_and_a_broken_file_are_errors(tmp_path: Path):
    write(tmp_path, [{"question": LONG}])
    with pytest.raises(ValueError, match="no record has the field 'answer'"):
        list(kept_out_texts(config(tmp_path, texts=("question", "answer"))))
    (tmp_path / "items.jsonl").write_text("{")
    with pytest.raises(ValueError, match=r"items\.jsonl cannot be read"):
        list(kept_out_texts(config(tmp_path)))
    (tmp_path / "items.jsonl").write_text("[1]")
    with pytest.raises(ValueError, match="no list of records"):
        list(kept_out_texts(config(tmp_path)))


def test_the_identity_is_content_and_fields_and_not_the_place(tmp_path: Path):
    for name in ("one", "two"):
        (tmp_path / name).mkdir()
        write(tmp_path / name, [{"question": LONG}])
    first = config(tmp_path / "one")
    assert first.identity() == config(tmp_path / "two").identity()
    assert first.identity() != config(tmp_path / "one", id="question").identity()
    write(tmp_path / "one", [{"question": LONG + "!"}])
    assert first.identity() != config(tmp_path / "two").identity()


@pytest.mark.parametrize("values", [{"location": "package:"}, {"files": "items.xlsx"}, {"texts": ()}])
def test_settings_without_a_meaning_are_refused(tmp_path: Path, values: dict[str, Any]):
    with pytest.raises(ValidationError):
        config(tmp_path, **values)
