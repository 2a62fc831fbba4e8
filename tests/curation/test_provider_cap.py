"""No provider dominates: caps hold, the draw does not depend on order, and a larger cap keeps what a smaller one keeps."""

import random
from collections import Counter

import numpy as np
import pyarrow as pa
import pytest
from hypothesis import given
from hypothesis import strategies as st

from hephaestus_dag.curation.providers import ProviderCap, cap_of
from hephaestus_dag.documents import Document, document_batch


def corpus(counts: dict[str, int]) -> list[Document]:
    return [
        Document(
            text=f"{provider} {n}",
            domain="agent",
            kind="api_documentation" if provider != "trajectories" else "trajectory",
            source="s",
            origin="o",
            license="MIT",
            provider=provider,
        )
        for provider, count in counts.items()
        for n in range(count)
    ]


def batches(documents: list[Document], size: int = 7) -> list[pa.RecordBatch]:
    return [document_batch(documents[at : at + size]) for at in range(0, len(documents), size)]


def kept(documents: list[Document], seed: int = 0, **limits: float) -> list[str]:
    columns = [batch.select(["id", "kind", "provider"]) for batch in batches(documents)]
    cap = ProviderCap.plan(columns, seed=seed, **limits)  # type: ignore[arg-type]
    return [text for batch in batches(documents, 11) for text in cap.filter(batch)[0].column("text").to_pylist()]


COUNTS = {"amazon": 60, "google": 25, "tiny": 3, "": 40, "trajectories": 50}


def test_the_cap_holds_for_api_documentation_of_a_provider_and_nothing_else():
    found = Counter(text.split(" ")[0] for text in kept(corpus(COUNTS), max_documents=10))
    assert found == {"amazon": 10, "google": 10, "tiny": 3, "": 40, "trajectories": 50}
    assert len(kept(corpus(COUNTS), max_documents=60)) == len(corpus(COUNTS))
    assert len(kept(corpus(COUNTS))) == len(corpus(COUNTS))


def test_the_share_is_of_what_is_kept():
    found = Counter(text.split(" ")[0] for text in kept(corpus(COUNTS), max_share=0.6))
    assert found["amazon"] == 42
    assert found["google"] == 25
    assert found["amazon"] / (found["amazon"] + found["google"] + found["tiny"]) <= 0.6
    with pytest.raises(ValueError, match=r"max_provider_share 0\.3 cannot be kept by 3 providers; raise it to at least 0\.333"):
        kept(corpus(COUNTS), max_share=0.3)


def test_removed_rows_name_the_provider_and_its_cap():
    documents = corpus({"amazon": 5})
    cap = ProviderCap.plan(batches(documents), max_documents=2)
    rows = cap.filter(document_batch(documents))[1].to_pylist()
    assert [(row["step"], row["reason"], row["evidence"]) for row in rows] == [
        ("provider_cap", "provider is above its cap", "amazon: 2 of 5 kept")
    ] * 3


def test_copies_and_no_documents_count_for_nothing():
    documents = corpus({"amazon": 6})
    cap = ProviderCap.plan(batches([*documents, *documents]), max_documents=6)
    assert not cap.limits
    assert not ProviderCap.plan([], max_documents=6, max_share=0.1).limits


@given(st.randoms(use_true_random=False), st.integers(1, 70), st.integers(0, 3))
def test_the_draw_depends_on_seed_and_ids_only_and_caps_are_nested(rng: random.Random, most: int, seed: int):
    documents = corpus(COUNTS)
    shuffled = documents.copy()
    rng.shuffle(shuffled)
    found = set(kept(documents, seed, max_documents=most))
    assert found == set(kept(shuffled, seed, max_documents=most))
    assert found <= set(kept(documents, seed, max_documents=most + 5))


def test_another_seed_draws_others():
    assert set(kept(corpus(COUNTS), 0, max_documents=10)) != set(kept(corpus(COUNTS), 1, max_documents=10))


@given(st.lists(st.integers(1, 500), min_size=1, max_size=12), st.floats(0.05, 0.95))
def test_the_cap_is_the_largest_that_keeps_the_share(counts: list[int], share: float):
    numbers = np.array(counts)
    if share * len(counts) < 1:
        with pytest.raises(ValueError, match="cannot be kept"):
            cap_of(numbers, None, share)
        return
    cap = cap_of(numbers, None, share)
    held = [c <= share * np.minimum(numbers, c).sum() + 1e-9 for c in range(1, max(counts) + 1)]
    assert cap == max([c for c, fits in enumerate(held, 1) if fits], default=1)


def test_a_batch_of_which_nothing_is_left_is_no_end():
    documents = corpus({"amazon": 6})
    empty = document_batch(documents).slice(0, 0)
    cap = ProviderCap.plan([empty, document_batch(documents), empty], max_documents=2)
    assert cap.filter(document_batch(documents))[0].num_rows == 2
    assert cap.filter(empty)[1].num_rows == 0
