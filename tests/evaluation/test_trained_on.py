from collections import Counter
from pathlib import Path

import numpy as np
import pytest

from hephaestus_dag.evaluation.trained_on import sources_of, trained_documents
from hephaestus_dag.mixture.config import Component, MixtureConfig
from hephaestus_dag.mixture.loader import MixtureLoader
from hephaestus_dag.mixture.plan import plan_mixture
from hephaestus_dag.mixture.store import MixtureError, StreamWriter, write_store

LENGTH = 8


@pytest.fixture
def store(tmp_path: Path) -> Path:
    """A token store of two sources, with documents of 1 to 20 tokens."""
    rng, writers = np.random.default_rng(3), []
    for domain, source in (("agent", "docs"), ("text", "pages")):
        writer = StreamWriter(tmp_path / "store", domain, "train", np.dtype("<u2"), source=source)
        offset = 0
        for number in range(12):
            length = int(rng.integers(1, 20))
            writer.append(np.full(length, 5))
            writer.record(f"{domain}{number}", offset, length, length)
            offset += length
        writers.append(writer)
    write_store(tmp_path / "store", 300, writers)
    return tmp_path / "store"


def planned(store: Path, folder: Path, tokens: int, share: float) -> Path:
    components = (Component(domain="agent", share=share), Component(domain="text", share=1 - share))
    config = MixtureConfig(tokens=tokens, sequence_length=LENGTH, components=components, max_epochs=4, seed=1)
    plan_mixture(config, [store], folder)
    return folder


def test_documents_are_those_that_sequences_show(store: Path, tmp_path: Path) -> None:
    mixtures = [planned(store, tmp_path / "one", 80, 0.6), planned(store, tmp_path / "two", 160, 0.25)]
    shown = Counter[str]()
    for mixture in mixtures:
        loader = MixtureLoader(mixture, [store])
        for row in range(loader.num_sequences):
            for span in loader.documents_of(row):
                inputs = min(span.position + span.length, LENGTH) - span.position  # the last target is no input
                shown[span.document_id] += max(inputs, 0)
    found = trained_documents(mixtures, [store])
    assert dict(zip(found["document_id"].to_pylist(), found["tokens"].to_pylist(), strict=True)) == {
        k: v for k, v in shown.items() if v
    }
    assert sum(found["tokens"].to_pylist()) == 240
    rows = sources_of(found)
    assert {row["source"] for row in rows} == {"docs", "pages"}
    assert sum(row["tokens"] for row in rows) == 240
    assert rows[0]["tokens"] >= rows[1]["tokens"]
    assert sum(row["documents"] for row in rows) == found.num_rows < 24


def test_no_mixture_no_documents_and_a_missing_store_is_named(store: Path, tmp_path: Path) -> None:
    assert trained_documents([], [store]).num_rows == 0
    with pytest.raises(MixtureError, match="give that store"):
        trained_documents([planned(store, tmp_path / "one", 80, 0.5)], [])
