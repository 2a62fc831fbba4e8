from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from mixture_corpus import STORE, write_documents

from hephaestus_dag.documents import read_document_table
from hephaestus_dag.mixture.config import Component, MixtureConfig
from hephaestus_dag.mixture.loader import MixtureLoader
from hephaestus_dag.mixture.plan import plan_mixture
from hephaestus_dag.mixture.store import MixtureError, TokenStore
from hephaestus_dag.mixture.tokenise import tokenise_documents
from hephaestus_dag.mixture.tokenizer import load_tokenizer

LENGTH, SEQUENCES = 16, 64
CONFIG = MixtureConfig(
    tokens=LENGTH * SEQUENCES,
    sequence_length=LENGTH,
    components=(
        Component(domain="agent", share=0.36),
        Component(domain="text", share=0.34),
        Component(domain="code", share=0.3),
    ),
    max_epochs=4,
)


@pytest.fixture(scope="module")
def planned(store: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("mixture")
    plan_mixture(CONFIG, [store], folder)
    return folder


@pytest.fixture(scope="module")
def loader(planned: Path, store: Path) -> MixtureLoader:
    return MixtureLoader(planned, [store])


def test_a_batch_holds_the_windows_that_the_plan_names(loader: MixtureLoader, planned: Path, store: Path) -> None:
    rows, opened = np.load(planned / "sequences.npy"), TokenStore(store)
    batch = loader.batch(5, 20)
    assert batch.tokens.dtype == np.int64
    assert batch.mask is None
    for tokens, row in zip(batch.tokens, rows[5:25], strict=True):
        stream = opened.tokens(loader.streams[row["stream"]]["name"])
        assert tokens.tolist() == stream[row["offset"] : row["offset"] + LENGTH + 1].tolist()


@pytest.mark.parametrize("world_size", [1, 2, 4, 8])
def test_the_ranks_together_read_the_same_stream_for_every_world_size(loader: MixtureLoader, world_size: int) -> None:
    read = [
        loader.batch(*loader.rank_slice(start, 8, rank, world_size)).tokens
        for start in range(0, SEQUENCES, 8)
        for rank in range(world_size)
    ]
    assert np.array_equal(np.concatenate(read), loader.batch(0, SEQUENCES).tokens)


@given(start=st.integers(0, SEQUENCES - 1), data=st.data())
@settings(deadline=None)
def test_reading_resumes_at_any_sequence(loader: MixtureLoader, start: int, data: st.DataObject) -> None:
    count = data.draw(st.integers(1, SEQUENCES - start))
    assert np.array_equal(loader.batch(start, count).tokens, loader.batch(0, SEQUENCES).tokens[start : start + count])


def test_a_new_loader_reads_the_same_and_has_the_same_fingerprint(loader: MixtureLoader, planned: Path, store: Path) -> None:
    again = MixtureLoader(planned, [store])
    assert again.fingerprint == loader.fingerprint
    assert np.array_equal(again.batch(7, 9).tokens, loader.batch(7, 9).tokens)


@pytest.mark.parametrize(("start", "count"), [(SEQUENCES, 1), (SEQUENCES - 1, 2), (-1, 1), (0, 0)])
def test_reading_outside_of_the_mixture_raises(loader: MixtureLoader, start: int, count: int) -> None:
    with pytest.raises(IndexError, match=f"a mixture that has {SEQUENCES}"):
        loader.batch(start, count)


def test_a_global_batch_that_the_ranks_cannot_share_is_refused(loader: MixtureLoader) -> None:
    with pytest.raises(ValueError, match="cannot be divided among 3 ranks"):
        loader.rank_slice(0, 8, 0, 3)


def test_every_row_resolves_to_the_documents_whose_words_it_shows(
    loader: MixtureLoader, documents: Path, tokenizer_folder: Path, store: Path
) -> None:
    tokenizer = load_tokenizer(tokenizer_folder)
    table = read_document_table(documents)
    texts = dict(zip(table["id"].to_pylist(), table["text"].to_pylist(), strict=True))
    whole = {key: [*tokenizer.encode(text, add_special_tokens=False), tokenizer.eos_token_id] for key, text in texts.items()}
    heldout = {row["document_id"] for row in TokenStore(store).ledger.to_pylist() if row["split"] == "heldout"}
    for row, tokens in enumerate(loader.batch(0, SEQUENCES).tokens):
        spans = loader.documents_of(row)
        assert sum(span.length for span in spans) == LENGTH + 1
        for span in spans:
            shown = tokens[span.position : span.position + span.length].tolist()
            assert shown == whole[span.document_id][span.offset : span.offset + span.length]
            assert span.document_id not in heldout


def test_a_document_resolves_to_the_rows_that_show_it(loader: MixtureLoader) -> None:
    shown: dict[str, list[int]] = {}
    for row in range(SEQUENCES):
        for span in loader.documents_of(row):
            shown.setdefault(span.document_id, []).append(row)
    assert {identity: loader.rows_of(identity) for identity in shown} == shown
    assert loader.rows_of("0" * 32) == []


def test_stores_are_found_in_any_order_and_a_missing_one_is_named(
    planned: Path, store: Path, loader: MixtureLoader, tokenizer_folder: Path, tmp_path: Path
) -> None:
    write_documents(tmp_path / "documents", seed=9)
    tokenise_documents(tmp_path / "documents", tokenizer_folder, tmp_path / "store", STORE)
    with pytest.raises(MixtureError, match=r"planned over the token store .* is none of .*/store \([0-9a-f]{12}\); give that"):
        MixtureLoader(planned, [tmp_path / "store"])
    again = MixtureLoader(planned, [tmp_path / "store", store, store])
    assert np.array_equal(again.batch(7, 9).tokens, loader.batch(7, 9).tokens)


def test_a_step_s_mix_is_told(loader: MixtureLoader) -> None:
    assert loader.component_names == ["agent", "code", "text"]
    assert loader.mix(0, 50) == {"agent": 18, "code": 15, "text": 17}
    assert sum(loader.mix(3, 8).values()) == 8
    with pytest.raises(IndexError):
        loader.mix(SEQUENCES - 1, 2)


def test_positions_restart_at_each_document(loader: MixtureLoader, tokenizer_folder: Path) -> None:
    end = load_tokenizer(tokenizer_folder).eos_token_id
    batch = loader.batch(0, SEQUENCES, positions=True)
    assert batch.positions is not None
    assert batch.positions.dtype == np.int64
    for tokens, positions in zip(batch.tokens[:, :-1], batch.positions, strict=True):
        expected = 0
        for token, position in zip(tokens, positions, strict=True):
            assert position == expected
            expected = 0 if token == end else expected + 1
    assert loader.batch(0, 2).positions is None
