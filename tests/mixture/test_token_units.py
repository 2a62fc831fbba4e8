"""How a token store comes to be: in units, by processes, after a stop, and beside earlier stores."""

import hashlib
import json
import multiprocessing
import resource
import shutil
from collections.abc import Callable, Iterator
from concurrent.futures import ProcessPoolExecutor
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from mixture_corpus import STORE, TOKENIZER, write_documents

from hephaestus_dag.documents import Document, DocumentWriter, read_document_table
from hephaestus_dag.mixture.config import TokenStoreConfig
from hephaestus_dag.mixture.store import StreamWriter, TokenStore, write_store
from hephaestus_dag.mixture.tokenise import sample_texts, tokenise_documents
from hephaestus_dag.mixture.tokenizer import train_tokenizer

FROM = ("encoded", "taken_over", "resumed")


def digests(folder: Path) -> dict[str, str]:
    files = sorted(path for path in folder.rglob("*") if path.is_file())
    return {str(path.relative_to(folder)): hashlib.sha256(path.read_bytes()).hexdigest() for path in files}


def came_from(figures: dict[str, Any]) -> tuple[int, ...]:
    return tuple(figures[how] for how in FROM)


def in_two_processes(function: Callable[[Any], Any], items: list[Any]) -> Iterator[Any]:
    with ProcessPoolExecutor(2, mp_context=multiprocessing.get_context("spawn")) as pool:
        yield from pool.map(function, items)


def stopped_after_one(function: Callable[[Any], Any], items: list[Any]) -> Iterator[Any]:
    yield function(items[0])
    raise KeyboardInterrupt


def test_two_processes_write_the_same_bytes_as_one(
    documents: Path, tokenizer_folder: Path, store: Path, tmp_path: Path
) -> None:
    tokenise_documents(documents, tokenizer_folder, tmp_path / "store", STORE, work=tmp_path / "work", map=in_two_processes)
    assert digests(tmp_path / "store") == digests(store)
    assert len(list((tmp_path / "work").glob("*.npy"))) == 3


def test_smaller_units_write_the_same_bytes(
    documents: Path, tokenizer_folder: Path, store: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("hephaestus_dag.mixture.tokenise.UNIT_BYTES", 500)
    monkeypatch.setattr("hephaestus_dag.mixture.tokenise.BATCH_DOCUMENTS", 4)
    tokenise_documents(documents, tokenizer_folder, tmp_path / "store", STORE, work=tmp_path / "work")
    assert digests(tmp_path / "store") == digests(store)
    assert len(list((tmp_path / "work").glob("*.npy"))) > 10


@settings(max_examples=10, deadline=None)
@given(st.integers(1, 80), st.integers(1, 40), st.integers(1, 3), st.none() | st.integers(20, 2_000))
def test_a_catalogue_that_does_not_fit_into_memory_gives_the_same_bytes(
    tokenizer_folder: Path,
    tmp_path_factory: pytest.TempPathFactory,
    count: int,
    group: int,
    sources: int,
    limit: int | None,
) -> None:
    folder = tmp_path_factory.mktemp("corpus")
    names = tuple(f"source {number}" for number in range(sources))
    write_documents(folder / "in", count=count, sources=names, documents_per_shard=9)
    write_documents(folder / "again", seed=0, count=count // 2, sources=names)  # copies of the first half
    config = STORE.model_copy(update={"max_tokens_per_domain": limit})
    inputs = [folder / "in", folder / "again"] if count > 1 else [folder / "in"]
    at_once = tokenise_documents(inputs, tokenizer_folder, folder / "at-once", config)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("hephaestus_dag.shuffle.DOCUMENTS_IN_MEMORY", 0)
        patch.setattr("hephaestus_dag.shuffle.GROUP_ROWS", group)
        shuffled = tokenise_documents(inputs, tokenizer_folder, folder / "shuffled", config, work=folder / "work")
        assert (folder / "work/catalogue/rows.npy").exists()
        resumed = tokenise_documents(inputs, tokenizer_folder, folder / "resumed", config, work=folder / "work")
    assert shuffled == at_once
    assert resumed["encoded"] == 0
    assert digests(folder / "shuffled") == digests(folder / "resumed") == digests(folder / "at-once")


def test_a_stop_costs_one_unit(documents: Path, tokenizer_folder: Path, store: Path, tmp_path: Path) -> None:
    with pytest.raises(KeyboardInterrupt):
        tokenise_documents(documents, tokenizer_folder, tmp_path / "one", STORE, work=tmp_path / "work", map=stopped_after_one)
    assert not (tmp_path / "one" / "store.json").exists()
    figures = tokenise_documents(documents, tokenizer_folder, tmp_path / "two", STORE, work=tmp_path / "work")
    assert came_from(figures) == (35, 0, 25)
    assert digests(tmp_path / "two") == digests(store)


def test_a_damaged_tokenizer_in_the_work_folder_is_written_again(
    documents: Path, tokenizer_folder: Path, store: Path, tmp_path: Path
) -> None:
    tokenise_documents(documents, tokenizer_folder, tmp_path / "one", STORE, work=tmp_path / "work")
    (file,) = (tmp_path / "work").glob("*.tokenizer.json")
    file.write_bytes(file.read_bytes()[:100])
    for unit in (tmp_path / "work").glob("*.npy"):
        unit.unlink()
    tokenise_documents(documents, tokenizer_folder, tmp_path / "two", STORE, work=tmp_path / "work")
    assert digests(tmp_path / "two") == digests(store)


def test_there_may_be_more_units_than_open_files(
    tokenizer_folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    write_documents(tmp_path / "in", count=400)
    monkeypatch.setattr("hephaestus_dag.mixture.tokenise.UNIT_BYTES", 50)
    monkeypatch.setattr("hephaestus_dag.mixture.tokenise.OPEN_FILES", 20)
    monkeypatch.setattr("hephaestus_dag.mixture.tokenise.BATCH_DOCUMENTS", 20)
    limits = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (200, limits[1]))
    try:
        figures = tokenise_documents(tmp_path / "in", tokenizer_folder, tmp_path / "out", STORE, work=tmp_path / "work")
    finally:
        resource.setrlimit(resource.RLIMIT_NOFILE, limits)
    assert figures["encoded"] == 400
    assert len(list((tmp_path / "work").glob("*.npy"))) > 200


def test_a_damaged_unit_is_encoded_again(documents: Path, tokenizer_folder: Path, store: Path, tmp_path: Path) -> None:
    tokenise_documents(documents, tokenizer_folder, tmp_path / "one", STORE, work=tmp_path / "work")
    unit = max((tmp_path / "work").glob("*.npy"), key=lambda path: path.stat().st_size)
    content = bytearray(unit.read_bytes())
    content[-7] ^= 1
    unit.write_bytes(content)
    figures = tokenise_documents(documents, tokenizer_folder, tmp_path / "two", STORE, work=tmp_path / "work")
    assert came_from(figures) == (25, 0, 35)
    assert digests(tmp_path / "two") == digests(store)


def test_what_earlier_stores_hold_is_taken_over(documents: Path, tokenizer_folder: Path, store: Path, tmp_path: Path) -> None:
    texts = read_document_table(documents).to_pylist()
    with DocumentWriter(tmp_path / "in") as writer:
        fields = ("text", "kind", "origin", "license")
        writer.write(Document(domain="agent", source="moved", **{f: row[f] for f in fields}) for row in texts[::3])
    config = TokenStoreConfig(heldout_share=0.5, seed=9)
    tokenise_documents(tmp_path / "in", tokenizer_folder, tmp_path / "earlier", config)
    for earlier in ([tmp_path / "earlier"], [tmp_path / "earlier", store]):
        target = tmp_path / f"after{len(earlier)}"
        figures = tokenise_documents(documents, tokenizer_folder, target, STORE, earlier=earlier)
        assert came_from(figures) == ((40, 20, 0) if len(earlier) == 1 else (0, 60, 0))
        assert digests(target) == digests(store)


def flip_a_token(store: Path) -> None:
    path = store / "streams" / "text.train.test.bin"
    content = bytearray(path.read_bytes())
    content[10] ^= 1
    path.write_bytes(content)


def cut_a_stream(store: Path) -> None:
    path = store / "streams" / "text.train.test.bin"
    path.write_bytes(path.read_bytes()[:-2])


def write_the_head_of_an_older_format(store: Path) -> None:
    head = json.loads((store / "store.json").read_text())
    del head["tokenizer"]
    (store / "store.json").write_text(json.dumps(head))


def move_the_ledger(store: Path) -> None:
    ledger = pq.read_table(store / "ledger.parquet")
    moved = pa.array([offset + 1 for offset in ledger["offset"].to_pylist()])
    pq.write_table(ledger.set_column(ledger.schema.get_field_index("offset"), "offset", moved), store / "ledger.parquet")


def lose_the_ledger(store: Path) -> None:
    (store / "ledger.parquet").write_bytes(b"PAR1 and then nothing")


def give_two_documents_each_other_s_id(store: Path) -> None:
    ledger = pq.read_table(store / "ledger.parquet")
    first, second, *others = ledger["document_id"].to_pylist()
    ids = pa.array([second, first, *others])
    pq.write_table(
        ledger.set_column(ledger.schema.get_field_index("document_id"), "document_id", ids), store / "ledger.parquet"
    )


DAMAGES = [
    give_two_documents_each_other_s_id,
    flip_a_token,
    cut_a_stream,
    write_the_head_of_an_older_format,
    move_the_ledger,
    lose_the_ledger,
    shutil.rmtree,
]


@pytest.mark.parametrize("damage", DAMAGES, ids=lambda damage: damage.__name__)
def test_a_damaged_store_is_passed_over(
    documents: Path, tokenizer_folder: Path, store: Path, tmp_path: Path, damage: Callable[[Path], None]
) -> None:
    shutil.copytree(store, tmp_path / "earlier")
    damage(tmp_path / "earlier")
    figures = tokenise_documents(documents, tokenizer_folder, tmp_path / "new", STORE, earlier=[tmp_path / "earlier"])
    assert came_from(figures) == (60, 0, 0)
    assert digests(tmp_path / "new") == digests(store)


def test_a_store_of_another_tokenizer_is_passed_over(documents: Path, store: Path, tmp_path: Path) -> None:
    config = TOKENIZER.model_copy(update={"vocab_size": TOKENIZER.vocab_size - 1})
    train_tokenizer(sample_texts([documents], config), config, tmp_path / "tokenizer")
    figures = tokenise_documents(documents, tmp_path / "tokenizer", tmp_path / "new", STORE, earlier=[store])
    assert came_from(figures) == (60, 0, 0)


def test_conversations_of_the_same_id_are_no_documents(
    documents: Path, tokenizer_folder: Path, store: Path, tmp_path: Path
) -> None:
    opened = TokenStore(store)
    rows = opened.stream_ledger("agent.train.test").to_pylist()
    writer = StreamWriter(tmp_path / "earlier", "instruction", "train", opened.dtype, masked=True)
    for row in rows:
        writer.record(row["document_id"], row["offset"], row["length"], 1)
    tokens = opened.tokens("agent.train.test")
    writer.append(tokens, np.ones(len(tokens)))
    write_store(tmp_path / "earlier", opened.vocab_size, [writer], tokenizer=opened.tokenizer)
    figures = tokenise_documents(documents, tokenizer_folder, tmp_path / "new", STORE, earlier=[tmp_path / "earlier"])
    assert came_from(figures) == (60, 0, 0)


def test_a_document_that_comes_twice_is_written_twice(tokenizer_folder: Path, store: Path, tmp_path: Path) -> None:
    for name in ("one", "two"):
        write_documents(tmp_path / name)
    folders = [tmp_path / "one", tmp_path / "two"]
    figures = tokenise_documents(folders, tokenizer_folder, tmp_path / "new", STORE, earlier=[store])
    assert figures["documents"] == sum(came_from(figures)) == 120
    ids = TokenStore(tmp_path / "new").ledger["document_id"].to_pylist()
    assert len(ids) == 120
    assert len(set(ids)) == 60
    tokenise_documents(folders[::-1], tokenizer_folder, tmp_path / "again", STORE)
    assert digests(tmp_path / "again") == digests(tmp_path / "new")


def test_progress_ends_at_the_number_of_documents(documents: Path, tokenizer_folder: Path, tmp_path: Path) -> None:
    seen: list[tuple[int, int]] = []
    config = STORE.model_copy(update={"max_heldout_documents": 1})
    tokenise_documents(documents, tokenizer_folder, tmp_path, config, lambda *step: seen.append(step))
    assert seen == sorted(seen)
    assert seen[-1] == (60, 60)


def test_training_streams_are_by_source_and_heldout_streams_by_domain(tokenizer_folder: Path, tmp_path: Path) -> None:
    write_documents(tmp_path / "in", count=90, domains=("agent", "text"), sources=("docs", "a/b c", "web.2024"))
    figures = tokenise_documents(tmp_path / "in", tokenizer_folder, tmp_path / "out", STORE)
    opened = TokenStore(tmp_path / "out")
    names = {f"{d}.train.{s}" for d in ("agent", "text") for s in ("docs", "a%2Fb%20c", "web.2024")}
    assert set(opened.streams) == set(figures["streams"]) == names | {"agent.heldout", "text.heldout"}
    assert opened.streams["agent.train.a%2Fb%20c"].source == "a/b c"
    assert opened.streams["agent.heldout"].source is None
    source_of = dict(zip(*(read_document_table(tmp_path / "in")[name].to_pylist() for name in ("id", "source")), strict=True))
    for row in opened.ledger.to_pylist():
        assert row["source"] == source_of[row["document_id"]]
        assert opened.streams[row["stream"]].source in (None, row["source"])
    assert len(set(opened.stream_ledger("agent.heldout")["source"].to_pylist())) > 1


def seeded(identity: str) -> str:
    return hashlib.md5(f"{STORE.seed}:{identity}".encode()).hexdigest()


def test_documents_stand_in_the_order_of_a_seeded_hash(store: Path) -> None:
    opened = TokenStore(store)
    for name in opened.streams:
        ids = opened.stream_ledger(name)["document_id"].to_pylist()
        assert ids == sorted(ids, key=seeded)


@pytest.mark.parametrize("cap", [1, 500, "the first ten documents", 5_000, 10**9])
def test_a_cap_takes_the_first_documents_of_all_sources_and_encodes_few_others(
    tokenizer_folder: Path, tmp_path: Path, cap: int | str
) -> None:
    write_documents(tmp_path / "in", count=800, domains=("agent",), sources=("docs", "web"), documents_per_shard=100)
    tokenise_documents(tmp_path / "in", tokenizer_folder, tmp_path / "all", STORE)
    everything = in_training(tmp_path / "all")
    limit = cap if isinstance(cap, int) else sum(row["length"] for row in everything[:10])
    config = STORE.model_copy(update={"max_tokens_per_domain": limit, "max_heldout_documents": 3})
    figures = tokenise_documents(tmp_path / "in", tokenizer_folder, tmp_path / "capped", config)
    taken, tokens = [], 0
    for row in everything:
        if tokens < limit:
            taken.append(row["document_id"])
            tokens += row["length"]
    assert [row["document_id"] for row in in_training(tmp_path / "capped")] == taken
    assert isinstance(cap, int) or len(taken) == 10
    assert figures["left_out"]["token_limit"] == len(everything) - len(taken)
    assert figures["encoded"] <= 1.5 * len(taken) + 5


def in_training(store: Path) -> list[dict[str, Any]]:
    rows = [row for row in TokenStore(store).ledger.to_pylist() if row["split"] == "train"]
    return sorted(rows, key=lambda row: seeded(row["document_id"]))


def test_an_id_that_is_no_hash_is_refused(tokenizer_folder: Path, tmp_path: Path) -> None:
    write_documents(tmp_path / "in", count=3)
    path = tmp_path / "in" / "documents" / "part-00000.parquet"
    rows = pq.read_table(path).to_pylist()
    rows[1]["id"] = "document one"
    pq.write_table(pa.Table.from_pylist(rows), path)
    with pytest.raises(ValueError, match=r"part-00000\.parquet cannot be read .*'document one' is not 32 hexadecimal digits"):
        tokenise_documents(tmp_path / "in", tokenizer_folder, tmp_path / "out", STORE)
