from pathlib import Path

import pyarrow.parquet as pq
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from hephaestus_dag.documents import (
    SCHEMA,
    Document,
    DocumentWriter,
    Reject,
    document_id,
    read_document_table,
    read_documents,
)

texts = st.text(st.characters(exclude_categories=["Cs"]))


def document(text: str, **changes: str) -> Document:
    fields = {"domain": "text", "kind": "prose", "source": "s", "origin": "o", "license": "MIT"} | changes
    return Document(text=text, **fields)  # pyright: ignore[reportArgumentType]


@settings(deadline=None)  # writes up to twelve files
@given(st.lists(texts, max_size=12), st.integers(1, 5))
def test_documents_come_back_in_order_over_shards(
    tmp_path_factory: pytest.TempPathFactory, words: list[str], size: int
) -> None:
    folder = tmp_path_factory.mktemp("documents")
    with DocumentWriter(folder, documents_per_shard=size) as writer:
        for word in words:
            writer.write([document(word)])
    table = read_document_table(folder)
    assert table.schema == SCHEMA
    assert table.column("text").to_pylist() == words
    assert table.column("id").to_pylist() == [document_id(word) for word in words]
    assert writer.num_documents == len(words)
    assert writer.num_characters == sum(map(len, words))
    assert [row for batch in read_documents(folder, ["text"]) for row in batch.column("text").to_pylist()] == words


def test_rejects_are_kept_with_place_and_reason(tmp_path: Path) -> None:
    reject = Reject(source="s", origin="pkg==1/a.json", position="line 3", reason="not JSON: unexpected end")
    with DocumentWriter(tmp_path) as writer:
        writer.write([document("kept"), reject])
    assert pq.read_table(tmp_path / "rejects.parquet").to_pylist() == [
        {"source": "s", "origin": "pkg==1/a.json", "position": "line 3", "reason": "not JSON: unexpected end"}
    ]
    assert writer.by_kind == {"prose": 1}


def test_the_same_documents_give_the_same_bytes(tmp_path: Path) -> None:
    for name in ("a", "b"):
        with DocumentWriter(tmp_path / name) as writer:
            writer.write(document(f"text {i}") for i in range(100))
    one, two = (sorted((tmp_path / name).rglob("*.parquet")) for name in ("a", "b"))
    assert [path.read_bytes() for path in one] == [path.read_bytes() for path in two]


def test_reading_a_folder_without_documents_says_so(tmp_path: Path) -> None:
    with pytest.raises(FileNotFoundError, match="holds no document shards"):
        read_document_table(tmp_path)
