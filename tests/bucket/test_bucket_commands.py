"""The commands on a bucket, from a machine that built nothing: they say what they say of the same store on a disk."""

import json
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
from click.testing import CliRunner, Result

from hephaestus_dag.artifacts import ArtifactError, Identity
from hephaestus_dag.cli.main import main
from hephaestus_dag.store_location import mirror
from hephaestus_dag.upkeep import prune as pruning
from hephaestus_dag.upkeep.prune import reach, remove_unreached, unreached
from hephaestus_dag.upkeep.rebuild import rebuild
from tests.bucket.conftest import Machine
from tests.bucket.test_bucket_store import Names, writing
from tests.provenance.provenance_store import TinyRun

OLD = Identity(key="tiny/words", code="old")
NEW = Identity(key="tiny/words", code="new")
LINES = Identity(key="lines", code="c", inputs={"tiny/words": NEW.fingerprint})


def call(store: object, *words: str) -> Result:
    return CliRunner().invoke(main, [words[0], *words[1:], "--store", str(store)], env={"COLUMNS": "100"})


def in_any_order(found: dict[str, Any]) -> dict[str, Any]:
    """Artifacts come by age, of which a bucket tells whole seconds."""
    return {name: sorted(value, key=str) if isinstance(value, list) else value for name, value in found.items()}


@pytest.mark.slow
def test_find_trace_and_card_read_the_bucket(tmp_path: Path, machine: Machine, url: str) -> None:
    local = TinyRun(tmp_path / "disk").store.root
    TinyRun(machine("builder").root)
    reader = machine("reader")
    for words in (
        ("trace", "tiny/stage1_checkpoint", "--step", "2"),
        ("trace", "bfcl:tiny"),
        ("find", "GPL-3.0-only"),
        ("card", "tiny/stage2_checkpoint"),
    ):
        there, here = call(url, *words, "--json"), call(local, *words, "--json")
        assert there.exit_code == here.exit_code == 0, there.output
        if words[0] != "card":  # which says how long its own build took
            assert in_any_order(json.loads(there.output)) == in_any_order(json.loads(here.output))
        if "--step" in words:
            assert list(reader.root.glob("tokenized_seed/*/**/ledger.parquet"))
            assert not list(reader.root.glob("tiny/bfcl_scores/*/*.parquet"))  # nothing is fetched that nobody asked for


def test_verify_reads_the_objects(machine: Machine, url: str, names: Names, s3: Any) -> None:
    machine("builder").build(OLD, writing("steel"))
    machine("reader")
    sound = json.loads(call(url, "verify", "--json").output)
    assert (sound["sound"], sound["artifacts"], sound["num_bytes"]) == (True, 1, 5)
    bucket, prefix = url.removeprefix("s3://").split("/", 1)
    victim = next(name for name in names() if name.endswith(".txt"))
    s3.put_object(Bucket=bucket, Key=f"{prefix}/{victim}", Body=b"stone")
    said = call(url, "verify")
    assert said.exit_code == 1
    assert f"{url}/{victim} was changed" in said.output
    assert "hephaestus run, which makes tiny/words again" in said.output
    s3.delete_object(Bucket=bucket, Key=f"{prefix}/{victim}")
    assert "is missing" in call(url, "verify", "tiny/words").output
    s3.put_object(Bucket=bucket, Key=f"{prefix}/{OLD.key}/{OLD.fingerprint[:12]}/manifest.json", Body=b"stone")
    assert "manifest.json was changed" in call(url, "verify").output


def test_prune_removes_the_manifest_the_files_and_dead_uploads(machine: Machine, names: Names, s3: Any, url: str) -> None:
    builder = machine("builder")
    for identity in (OLD, NEW, LINES):
        builder.build(identity, writing("steel"))
    bucket, prefix = url.removeprefix("s3://").split("/", 1)
    dead = f"{NEW.key}/{NEW.fingerprint[:12]}/0123456789ab-01234567"
    s3.put_object(Bucket=bucket, Key=f"{prefix}/{dead}/half", Body=b"12345")
    before, pruner = names(), machine("pruner")
    mirror(pruner.root)
    given = reach(pruner.root, [], [LINES])
    assert all(each.fresh for each in unreached(given) if each.what != "lock")
    found = unreached(given, fresh=0)
    listed = {str(each.path.relative_to(pruner.root)): each for each in found if each.what != "lock"}
    gone = f"{OLD.key}/{OLD.fingerprint[:12]}"
    assert {name: (each.what, each.num_bytes) for name, each in listed.items()} == {
        gone: ("artifact", 5),
        dead: (pruning.UPLOAD, 5),
    }
    assert names() == before
    list(remove_unreached(given, found))
    assert names() == [name for name in before if not name.startswith((gone, dead))]
    mirror(builder.root)
    assert not builder.path(OLD).exists()  # the copy of what is gone goes too
    assert builder.open(NEW)


def test_a_plan_knows_what_is_there(machine: Machine, url: str) -> None:
    from hephaestus_dag.costs.standing import standings

    machine("builder").build(NEW, writing("steel"))
    reader = machine("reader").root
    asked = {identity.key: identity for identity in (NEW, LINES)}
    found = standings(reader, {NEW.key: (), LINES.key: (NEW.key,)}, asked.__getitem__, {}, False)
    assert {key: each.action for key, each in found.items()} == {NEW.key: "reuse", LINES.key: "build"}


@pytest.mark.slow
@pytest.mark.timeout(240)
def test_an_asset_made_once_more_is_compared_with_the_bucket(
    machine: Machine, url: str, names: Names, s3: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    machine("builder")
    monkeypatch.setenv("HEPHAESTUS_STORE", url)
    monkeypatch.setenv("DAGSTER_HOME", str(tmp_path))
    command = [sys.executable, "-m", "dagster", "asset", "materialize", "-m", "hephaestus_dag.definitions"]
    subprocess.run([*command, "--select", "text_documents"], check=True, capture_output=True)
    before = names()
    machine("reader")
    found = call(url, "rebuild", "--check", "text_documents", "--json")
    assert found.exit_code == 0, found.output
    told = json.loads(found.stdout)
    assert (told["same"], told["differences"]) == (True, [])
    assert told["files"] == len(before) - 1, "all but the manifest"
    bucket, prefix = url.removeprefix("s3://").split("/", 1)
    victim = next(name for name in before if not name.endswith("manifest.json"))
    s3.put_object(Bucket=bucket, Key=f"{prefix}/{victim}", Body=b"stone")
    machine("second reader")
    damaged = call(url, "rebuild", "--check", "text_documents")
    assert damaged.exit_code == 2
    assert f"{url}/{victim} is missing or of another size" in damaged.output
    assert names() == before


def test_what_cannot_be_done_there_is_said(url: str, monkeypatch: pytest.MonkeyPatch, machine: Machine) -> None:
    nothing: Any = None  # it is refused before anything is looked at
    with pytest.raises(ArtifactError, match=r"s3://.* is not made again in place"):
        rebuild(nothing, "laptop", "seed_corpus", machine("one").root, nothing)
    monkeypatch.setenv("AWS_ENDPOINT_URL", "http://127.0.0.1:9")
    monkeypatch.setattr("hephaestus_dag.bucket.RETRIES", 0)
    said = call(url, "find", "MIT")
    assert said.exit_code == 2
    assert "cannot be listed at http://127.0.0.1:9" in said.output


def test_messages_name_the_url_and_not_the_folder_that_caches_it(machine: Machine, url: str) -> None:
    reader = machine("reader")
    for words in (("find", "MIT"), ("prune", "laptop"), ("trace", "tiny/stage1_checkpoint")):
        said = call(url, *words)
        assert said.exit_code == 2
        assert f"{url} holds no finished artifact" in said.output
    reader.build(OLD, writing("steel"))
    for words in (("verify", "tiny/swords"), ("card", "tiny/swords"), ("find", "--text", "a sword of steel")):
        said = call(url, *words)
        assert said.exit_code == 2
        assert url in said.output
        assert str(reader.root) not in said.output
