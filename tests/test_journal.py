"""What a journal keeps, whatever has happened to its file."""

import json
import resource
import threading
import time
from dataclasses import dataclass
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Literal

import pytest
from hypothesis import given
from hypothesis import strategies as st

from hephaestus_dag.journal import open_journal, read_answers


@dataclass(frozen=True, slots=True)
class Word:
    score: float | None
    status: Literal["ok", "invalid"]
    raw: str
    cost: int = 0


LINES = {"field": "page", "who": {"rubric": "r", "annotator": 7}}
WORDS = st.builds(Word, st.none() | st.floats(0, 1), st.sampled_from(["ok", "invalid"]), st.text(), st.integers(0, 10**9))
ANSWERS = st.dictionaries(st.text(max_size=8), WORDS, min_size=1, max_size=6)


def write(path: Path, answers: dict[str, Word]) -> None:
    with open_journal(path, Word, **LINES) as journal:
        for name, answer in answers.items():
            journal.append(name, answer)


@given(first=ANSWERS, second=ANSWERS, cut=st.integers(0, 400))
def test_a_torn_file_keeps_its_whole_lines_and_takes_new_ones(first: dict[str, Word], second: dict[str, Word], cut: int):
    with TemporaryDirectory() as folder:
        path = Path(folder) / "journal.jsonl"
        write(path, first)
        whole = path.read_bytes()
        path.write_bytes(whole[: max(0, len(whole) - cut)])
        whole_lines = path.read_bytes().count(b"\n") + (cut == 1)  # an answer that lacks no more than its line's end is whole
        kept = dict(list(first.items())[:whole_lines])
        assert kept.items() <= read_answers(path, Word, **LINES).items()
        write(path, second)
        found = read_answers(path, Word, **LINES)
        assert {**second, **kept}.items() <= found.items()
        assert found.keys() <= {*first, *second}


@given(
    answers=ANSWERS,
    rubbish=st.lists(st.binary(max_size=40) | st.text().map(lambda text: json.dumps(text).encode()), max_size=5),
)
def test_lines_that_are_no_answers_are_passed_over(answers: dict[str, Word], rubbish: list[bytes]):
    with TemporaryDirectory() as folder:
        path = Path(folder) / "journal.jsonl"
        path.write_bytes(b"\n".join(rubbish))
        write(path, answers)
        with path.open("ab") as file:
            file.write(b"\n".join(rubbish) + b"\n[" * 100)
        assert read_answers(path, Word, **LINES) == answers


@pytest.mark.parametrize(
    "change",
    [
        {"rubric": "s"},
        {"annotator": 8},
        {"status": "error"},
        {"score": "1"},
        {"raw": None},
        {"page": 3},
        {"page": None},
    ],
)
def test_answers_of_others_or_of_another_shape_do_not_count(tmp_path: Path, change: dict[str, object]):
    row = {"page": "a", **LINES["who"], "score": 1.0, "status": "ok", "raw": ""}
    path = tmp_path / "journal.jsonl"
    path.write_text(json.dumps({**row, **change}) + "\n")
    assert read_answers(path, Word, **LINES) == {}
    path.write_text(json.dumps(row) + "\n")
    assert read_answers(path, Word, **LINES) == {"a": Word(1.0, "ok", "", 0)}


def test_the_first_answer_to_a_question_counts(tmp_path: Path):
    for score in (0.25, 0.75):
        write(tmp_path / "journal.jsonl", {"a": Word(score, "ok", "")})
    assert read_answers(tmp_path / "journal.jsonl", Word, **LINES)["a"].score == 0.25


def test_a_journal_that_is_not_there_is_empty(tmp_path: Path):
    assert read_answers(tmp_path / "journal.jsonl", Word, **LINES) == {}
    assert not (tmp_path / "journal.jsonl").exists()


def test_an_answer_can_be_read_as_soon_as_it_is_kept(tmp_path: Path):
    with open_journal(tmp_path / "journal.jsonl", Word, **LINES) as journal:
        journal.append("a", Word(None, "invalid", "x"))
        assert read_answers(tmp_path / "journal.jsonl", Word, **LINES) == journal.answers


def test_a_second_writer_waits_and_then_finds_the_answers(tmp_path: Path):
    path, found = tmp_path / "journal.jsonl", []

    def second():
        with open_journal(path, Word, **LINES) as journal:
            found.append(dict(journal.answers))

    with open_journal(path, Word, **LINES) as journal:
        waiting = threading.Thread(target=second)
        waiting.start()
        time.sleep(0.2)
        assert found == []
        journal.append("a", Word(1.0, "ok", ""))
    waiting.join(10)
    assert found == [{"a": Word(1.0, "ok", "")}]


def test_a_full_disk_names_the_file_and_loses_one_answer(tmp_path: Path):
    path, limits = tmp_path / "journal.jsonl", resource.getrlimit(resource.RLIMIT_FSIZE)
    write(path, {"a": Word(1.0, "ok", "")})
    resource.setrlimit(resource.RLIMIT_FSIZE, (path.stat().st_size + 20, limits[1]))
    try:
        with pytest.raises(OSError, match=r"the answer about b cannot be kept.*journal\.jsonl"):
            write(path, {"b": Word(1.0, "ok", ""), "c": Word(1.0, "ok", "")})
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, limits)
    write(path, {"d": Word(0.0, "ok", "")})
    assert list(read_answers(path, Word, **LINES)) == ["a", "d"]
