"""Artifacts on a real S3 server: what one machine builds another reads, one of two builds wins, and nothing is half there."""

import json
import multiprocessing
import os
import signal
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import boto3
import httpx
import pytest

from hephaestus_dag import bucket as bucket_module
from hephaestus_dag.artifacts import (
    ArtifactError,
    DamagedArtifactError,
    Identity,
    MissingArtifactError,
    Report,
    Store,
    Workspace,
)
from hephaestus_dag.bucket import Bucket
from hephaestus_dag.store_location import store_folder
from tests.bucket.conftest import KEYS, Machine
from tests.full_disk import no_file_above

SWORD = Identity(key="smithy/sword", code="c1", values={"smithy.heat": 900})
Names = Callable[[], list[str]]


def writing(text: str) -> Callable[[Workspace], Report]:
    def write(workspace: Workspace) -> Report:
        (workspace.folder / "part").mkdir()
        (workspace.folder / "part" / "a blade, #1 (ü).txt").write_text(text)
        (workspace.folder / "empty").touch()
        (workspace.work / "anvil").touch()
        return Report(headline=text)

    return write


def unused(_: Workspace) -> Report:
    raise AssertionError("built twice")


def blade(artifact: Any) -> str:
    return (artifact.path / "part" / "a blade, #1 (ü).txt").read_text()


def test_what_one_machine_builds_another_opens(machine: Machine, names: Names) -> None:
    first, second = machine("one"), machine("two")
    built = first.build(SWORD, writing("steel"))
    assert (built.reused, built.reasons) == (False, ["first build"])
    folder = f"{SWORD.key}/{SWORD.fingerprint[:12]}"
    assert len(names()) == 3
    assert f"{folder}/manifest.json" in names()
    opened = second.open(SWORD)
    assert blade(opened) == "steel"
    assert (opened.content, opened.report) == (built.artifact.content, built.artifact.report)
    assert first.root != second.root
    assert second.build(SWORD, unused).reused
    for store in (first, second):
        assert [path.name for path in store.path(SWORD).parent.iterdir()] == [SWORD.fingerprint[:12]]


def test_the_bucket_is_the_truth_and_not_the_cache(machine: Machine, names: Names, s3: Any, url: str) -> None:
    first, second = machine("one"), machine("two")
    path = first.build(SWORD, writing("steel")).artifact.path
    (path / "part" / "a blade, #1 (ü).txt").write_text("stone")
    assert blade(first.open(SWORD)) == "steel"  # a copy that was changed is fetched again
    second.open(SWORD)
    assert second.bucket
    second.bucket.remove(second.path(SWORD))
    assert names() == []
    with pytest.raises(MissingArtifactError):
        first.open(SWORD)
    assert second.build(SWORD, writing("bronze")).reasons == ["first build"]
    assert blade(first.open(SWORD)) == "bronze"


def test_of_two_builds_the_first_to_finish_counts_for_both(machine: Machine, names: Names) -> None:
    first, second = machine("one"), machine("two")

    def overtaken(workspace: Workspace) -> Report:
        second.build(SWORD, writing("bronze"))
        return writing("steel")(workspace)

    built = first.build(SWORD, overtaken)
    assert (built.reused, blade(built.artifact)) == (True, "bronze")
    assert len(names()) == 3  # what the loser had uploaded is gone
    assert blade(second.open(SWORD)) == "bronze"
    assert [path.name for path in first.path(SWORD).parent.iterdir()] == [SWORD.fingerprint[:12]]


def _race(url: str, cache: Path, text: str, start: Any, told: Any) -> None:
    os.environ["HEPHAESTUS_CACHE"] = str(cache)
    store = Store(store_folder(url))
    start.wait()
    built = store.build(SWORD, writing(text))
    told.put((text, built.reused, blade(built.artifact)))


@pytest.mark.slow
def test_processes_of_two_machines_race(url: str, tmp_path: Path, names: Names) -> None:
    spawn = multiprocessing.get_context("spawn")
    start, told = spawn.Barrier(3), spawn.Queue()
    texts = ["steel", "bronze", "copper"]
    racers = [spawn.Process(target=_race, args=(url, tmp_path / text, text, start, told)) for text in texts]
    for racer in racers:
        racer.start()
    results = [told.get(timeout=60) for _ in racers]
    for racer in racers:
        racer.join()
    assert len({read for _, _, read in results}) == 1
    assert [text == read for text, _, read in results] == [not reused for _, reused, _ in results]
    assert len(names()) == 3


def _build_large(url: str, cache: Path) -> None:
    os.environ["HEPHAESTUS_CACHE"] = str(cache)

    def write(workspace: Workspace) -> Report:
        (cache / "began").open("a").write("x")
        for number in range(40):
            (workspace.folder / f"{number}").write_bytes(os.urandom(1 << 18))
        return Report(headline="forty")

    Store(store_folder(url)).build(SWORD, write)


@pytest.mark.slow
def test_a_build_killed_in_its_upload_goes_on_with_the_upload(url: str, machine: Machine, names: Names, tmp_path: Path) -> None:
    store = machine("one")
    killed = multiprocessing.get_context("spawn").Process(target=_build_large, args=(url, tmp_path / "one"))
    killed.start()
    while not names():
        time.sleep(0.01)
    assert killed.pid
    os.kill(killed.pid, signal.SIGKILL)
    killed.join()
    assert 0 < len(names()) < 40
    with pytest.raises(MissingArtifactError):
        machine("two").open(SWORD)
    built = store.build(SWORD, unused)
    assert not built.reused
    assert (tmp_path / "one" / "began").read_text() == "x"
    assert len(names()) == 41  # nothing is left of the first upload
    assert machine("two").open(SWORD).content == built.artifact.content


@pytest.mark.parametrize("loss", ["changed", "missing", "manifest"])
def test_damage_in_the_bucket_is_said_and_repaired_by_a_build(
    machine: Machine, names: Names, s3: Any, url: str, loss: str
) -> None:
    machine("one").build(SWORD, writing("steel"))
    bucket, prefix = url.removeprefix("s3://").split("/", 1)
    victim = next(name for name in names() if name.endswith("manifest.json" if loss == "manifest" else ".txt"))
    if loss == "missing":
        s3.delete_object(Bucket=bucket, Key=f"{prefix}/{victim}")
    else:
        s3.put_object(Bucket=bucket, Key=f"{prefix}/{victim}", Body=b"stone")
    second = machine("two")
    with pytest.raises(DamagedArtifactError, match=r"s3://.*(changed|missing).*materialise smithy/sword again"):
        second.open(SWORD)
    built = second.build(SWORD, writing("bronze"))
    assert not built.reused
    assert "s3://" in built.reasons[0]
    assert blade(machine("three").open(SWORD)) == "bronze"
    assert blade(machine("one").open(SWORD)) == "bronze"
    assert len(names()) == (5 if loss == "manifest" else 3)  # which files a spoilt manifest named is not known: for `prune`


def test_earlier_artifacts_come_from_the_bucket(machine: Machine) -> None:
    machine("one").build(SWORD, writing("steel"))
    second = machine("two")
    hotter = Identity(key=SWORD.key, code="c1", values={"smithy.heat": 1000})
    assert second.explain(hotter) == ["smithy.heat: 900 → 1000"]
    (earlier,) = second.earlier(hotter)
    assert (earlier / "part" / "a blade, #1 (ü).txt").read_text() == "steel"
    assert second.earlier(SWORD) == [], "the only one in the bucket is the asked one itself"


def test_a_cache_without_room_is_said(machine: Machine) -> None:
    machine("one").build(SWORD, writing("steel" * 40_000))
    second = machine("two")
    with no_file_above(100_000), pytest.raises(ArtifactError, match=r"the cache .* no room left .* HEPHAESTUS_CACHE.*is kept"):
        second.build(SWORD, unused)
    assert second.build(SWORD, unused).reused


@pytest.mark.slow
def test_a_large_file_goes_in_parts(machine: Machine, names: Names, s3: Any, url: str) -> None:
    content = os.urandom(2 * bucket_module.PART + 12_345)

    def write(workspace: Workspace) -> Report:
        (workspace.folder / "large").write_bytes(content)
        return Report(headline="large")

    machine("one").build(SWORD, write)
    bucket, prefix = url.removeprefix("s3://").split("/", 1)
    stored = s3.head_object(Bucket=bucket, Key=f"{prefix}/{next(name for name in names() if name.endswith('large'))}")
    assert stored["ETag"].strip('"').endswith("-3")  # as S3 marks what came in three parts
    assert (machine("two").open(SWORD).path / "large").read_bytes() == content


def test_a_server_that_ignores_the_condition_is_refused(machine: Machine, monkeypatch: pytest.MonkeyPatch) -> None:
    import obstore

    put = obstore.put
    monkeypatch.setattr(obstore, "put", lambda *args, mode=None, **named: put(*args, **named))
    with pytest.raises(ArtifactError, match="creates an object that is there already"):
        machine("one").build(SWORD, unused)


def test_the_server_refuses_a_second_creation(url: str) -> None:
    bucket = Bucket(url)
    assert bucket.put("a", b"1")
    assert not bucket.put("a", b"2")
    found = bucket.read("a")
    assert found
    assert bucket.put("a", b"3", found.version)
    assert not bucket.put("a", b"4", found.version)
    assert (bucket.read("a") or found).data == b"3"


def test_a_missing_bucket_is_named(machine: Machine, url: str, s3: Any) -> None:
    s3.delete_bucket(Bucket=url.split("/")[2])
    store = machine("one")
    for call in (store.open, store.earlier, lambda identity: store.build(identity, unused)):
        with pytest.raises(ArtifactError, match=r"there is no bucket forge-.* create it") as error:
            call(SWORD)
        assert type(error.value) is ArtifactError


@pytest.fixture
def reader(endpoint: str, monkeypatch: pytest.MonkeyPatch) -> Iterator[Callable[[], None]]:
    """Return what turns the process into a user who may read and nothing else."""
    iam = boto3.client("iam", endpoint_url=endpoint, **KEYS)
    allowed = {"Effect": "Allow", "Action": ["s3:GetObject", "s3:ListBucket"], "Resource": "*"}
    iam.create_user(UserName="reader")
    iam.put_user_policy(
        UserName="reader", PolicyName="read", PolicyDocument=json.dumps({"Version": "2012-10-17", "Statement": [allowed]})
    )
    key = iam.create_access_key(UserName="reader")["AccessKey"]

    def become() -> None:
        httpx.post(f"{endpoint}/moto-api/reset-auth", content="0")
        monkeypatch.setenv("AWS_ACCESS_KEY_ID", key["AccessKeyId"])
        monkeypatch.setenv("AWS_SECRET_ACCESS_KEY", key["SecretAccessKey"])

    yield become
    httpx.post(f"{endpoint}/moto-api/reset-auth", content="inf")


def test_who_may_only_read_opens_and_is_refused_before_any_work(
    machine: Machine, reader: Callable[[], None], monkeypatch: pytest.MonkeyPatch
) -> None:
    machine("one").build(SWORD, writing("steel"))
    reader()
    second = machine("two")
    assert second.build(SWORD, unused).reused
    with pytest.raises(ArtifactError, match=r"refuses to write in s3://.*\(AccessDenied\).*AWS_SECRET_ACCESS_KEY"):
        second.build(Identity(key="shield", code="c1"), unused)
    assert not list(second.root.glob("shield/*"))
    monkeypatch.setenv("AWS_ACCESS_KEY_ID", "nobody")
    with pytest.raises(ArtifactError, match=r"refuses to read in s3://.*check AWS_ACCESS_KEY_ID"):
        machine("three").open(SWORD)


@pytest.mark.parametrize("address", ["", "127.0.0.1:9000"])
def test_an_address_that_is_none_is_named(machine: Machine, monkeypatch: pytest.MonkeyPatch, address: str) -> None:
    monkeypatch.setenv("AWS_ENDPOINT_URL", address)
    with pytest.raises(ArtifactError, match=f"AWS_ENDPOINT_URL='{address}' is no address"):
        machine("one").open(SWORD)


def test_a_server_that_cannot_be_reached_is_named(machine: Machine, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(bucket_module, "RETRIES", 1)
    monkeypatch.setenv("AWS_ENDPOINT_URL", "http://127.0.0.1:9")
    with pytest.raises(ArtifactError, match=r"cannot be read at http://127\.0\.0\.1:9: .*check the network"):
        machine("one").open(SWORD)
