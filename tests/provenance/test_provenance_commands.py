"""`hephaestus trace`, `find` and `forget` as a person, or a script, uses them."""

import json
from pathlib import Path

import pytest
import yaml
from click.testing import CliRunner, Result
from provenance_store import GPL, id_of

from hephaestus_dag.cli.main import main
from hephaestus_dag.recipe_file import load_recipe


def call(store: Path, *words: str) -> Result:
    return CliRunner().invoke(main, [words[0], *words[1:], "--store", str(store)], env={"COLUMNS": "100"})


def test_a_score_a_step_and_an_item_are_traced(store: Path):
    shown = call(store, "trace", "bfcl:tiny")
    assert shown.exit_code == 0, shown.output
    for words in ("tiny/stage1_checkpoint@", "a published model", "50.0% agent", "Python-2.0", "manual==1/"):
        assert words in shown.output
    step = json.loads(call(store, "trace", "tiny/stage1_checkpoint", "--step", "2", "--row", "1", "--json").output)
    assert {each["row"] for each in step["documents"]} == {1}
    named = json.loads(call(store, "trace", "tiny/stage1_checkpoint@step=2", "--rank", "1/2", "--json").output)
    assert named == step
    assert "step 2 of 9" in call(store, "trace", "tiny/stage1_checkpoint@step=2").output
    item = call(store, "trace", "bfcl:tiny", "--item", "bfcl/simple_2").output
    assert "in the clean subset" in item
    assert "BM25" in item


def test_documents_are_found(store: Path):
    shown = call(store, "find", "GPL-3.0-only")
    assert shown.exit_code == 0, shown.output
    assert "license GPL-3.0-only" in shown.output
    assert "tokenized_seed@" in shown.output
    found = json.loads(call(store, "find", "--document", id_of(GPL), "--json").output)
    assert found["present"]
    assert found["documents"] == 1
    assert "near-duplicates" in call(store, "find", id_of("word0")).output


def test_a_text_is_read_from_a_file(store: Path, tmp_path: Path):
    (tmp_path / "letter.txt").write_text(GPL)
    found = json.loads(call(store, "find", "--text", f"@{tmp_path / 'letter.txt'}", "--json").output)
    assert found["examples"][0]["id"] == id_of(GPL)


def test_forgetting_writes_a_recipe_that_can_be_used(store: Path, tmp_path: Path):
    out = tmp_path / "without.yaml"
    assert call(store, "forget", id_of("word0"), "--out", str(out)).exit_code == 0
    exclude = load_recipe(out).seed_corpus.curation.exclude
    assert exclude is not None
    assert len(exclude.documents) == 2
    assert yaml.safe_load(out.read_text())["extends"] == "laptop"
    more = tmp_path / "more.yaml"
    told = json.loads(call(store, "forget", "notes", "--recipe", str(out), "--out", str(more), "--json").output)
    assert told["exclude"] == {"sources": ["notes"]}
    assert [model.partition("@")[0] for model in told["models"]] == ["tiny/stage1_checkpoint", "tiny/stage2_checkpoint"]
    both = load_recipe(more).seed_corpus.curation.exclude
    assert both is not None
    assert (len(both.documents), both.sources) == (2, ("notes",))
    again = call(store, "forget", "notes", "--recipe", str(more), "--out", str(tmp_path / "again.yaml"))
    assert (again.exit_code, "excludes all of that already" in again.output) == (2, True)
    assert sorted(path.name for path in tmp_path.iterdir()) == ["more.yaml", "without.yaml"]
    exact = tmp_path / "exact.yaml"
    call(store, "forget", id_of("word0"), "--exact", "--out", str(exact))
    assert yaml.safe_load(exact.read_text())["seed_corpus"]["curation"]["exclude"] == {"documents": [id_of("word0")]}


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (["trace"], "name a score or a checkpoint"),
        (["trace", "seed_corpus"], "neither a score nor a checkpoint"),
        (["trace", "tiny/stage1_checkpoint", "--row", "1"], "give --step"),
        (["trace", "tiny/stage1_checkpoint@step=1", "--rank", "2/2"], "write 0/4"),
        (["trace", "tiny/stage1_checkpoint@step=1", "--item", "bfcl/simple_1"], "not both"),
        (["find"], "say one thing"),
        (["find", "MIT", "--source", "notes"], "say one thing"),
        (["find", "--text", "@/nowhere"], "cannot be read"),
        (["find", "ISC"], "no document here names the licence"),
        (["forget", "MIT", "--out", "nowhere/without.yaml"], "a folder that is there"),
        (["forget", "MIT", "--recipe", "nothing"], "no recipe 'nothing'"),
    ],
)
def test_wrong_words_are_answered_with_what_to_do(store: Path, words: list[str], message: str):
    result = call(store, *words)
    assert result.exit_code == 2
    assert message in " ".join(result.output.split())
    assert result.exception is None or isinstance(result.exception, SystemExit)


def test_a_folder_without_artifacts_is_said(tmp_path: Path):
    for command in ("find", "trace"):
        result = call(tmp_path, command, "MIT")
        assert (result.exit_code, "holds no finished artifact" in result.output) == (2, True)
