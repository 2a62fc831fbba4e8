"""Near-duplicates: what is found, what is never merged, and that neither order nor batches change it."""

import random
from collections.abc import Sequence
from concurrent.futures import ProcessPoolExecutor
from functools import partial

import numpy as np
import pyarrow as pa
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from pydantic import ValidationError

from hephaestus_dag.curation.config import NearDuplicateConfig
from hephaestus_dag.curation.near_duplicates import CLUSTER_SCHEMA, NearDuplicates, find_near_duplicates, signatures
from hephaestus_dag.curation.planted import edit, similarity
from hephaestus_dag.curation.removed import REMOVED_SCHEMA
from hephaestus_dag.curation.shingles import Shingles, jaccard
from hephaestus_dag.documents import Document, document_batch, document_id

CONFIG = NearDuplicateConfig()
VOCABULARY = [f"{verb}{number}" for verb in ("get", "put", "list", "run") for number in range(100)]


def prose(seed: int, num_words: int) -> str:
    return " ".join(random.Random(seed).choices(VOCABULARY, k=num_words))


def batches(texts: Sequence[str], size: int = 50) -> list[pa.RecordBatch]:
    documents = [Document(text=t, domain="text", kind="k", source="s", origin="o", license="MIT") for t in texts]
    return [document_batch(documents[at : at + size]) for at in range(0, len(documents), size)]


def find(texts: Sequence[str], config: NearDuplicateConfig = CONFIG, size: int = 50) -> NearDuplicates:
    read = partial(batches, texts, size)
    return find_near_duplicates((signatures(batch, config) for batch in read()), read, config)


def edited(text: str, share: float, seed: int) -> str:
    return edit(text, share, VOCABULARY, random.Random(seed))


def test_three_percent_edits_are_found_and_the_longest_stays():
    texts = [prose(n, 40 + n) for n in range(300)]
    plants = [edited(text, 0.03, n) for n, text in enumerate(texts)]
    found = find([*texts, *plants])
    by_id = {document_id(text): text for text in [*texts, *plants]}
    assert len(found.removed) >= 0.95 * len(texts)
    partner = dict(zip(texts, plants, strict=True)) | dict(zip(plants, texts, strict=True))
    for removed, (kept, value) in found.removed.items():
        gone, stays = by_id[removed], by_id[kept]
        assert partner[gone] == stays
        assert value == pytest.approx(similarity(gone, stays, 5))
        assert (-len(stays), kept) < (-len(gone), removed)


def test_what_differs_in_case_punctuation_and_wrapping_alone_is_found_whole():
    text = prose(1, 60)
    other = text.upper().replace(" ", ",\n")
    ((removed, (kept, value)),) = find([text, other, prose(2, 60)]).removed.items()
    assert {removed, kept} == {document_id(text), document_id(other)}
    assert value == 1


def test_similar_texts_below_the_threshold_stay_and_the_threshold_is_what_the_recipe_says():
    texts = [prose(n, 300) for n in range(60)]
    plants = [edited(text, 0.12, n) for n, text in enumerate(texts)]
    values = [similarity(*pair, 5) for pair in zip(texts, plants, strict=True)]
    assert 0.3 < float(np.median(values)) < 0.5
    assert not find([*texts, *plants]).removed
    plants = [edited(text, 0.035, n) for n, text in enumerate(texts)]
    values = [similarity(*pair, 5) for pair in zip(texts, plants, strict=True)]
    threshold = float(np.median(values))
    found = find([*texts, *plants], NearDuplicateConfig(num_bands=60, rows_per_band=2, min_jaccard=threshold))
    assert len(found.removed) == sum(value >= threshold for value in values)


def test_a_chain_of_edits_never_merges_what_is_unlike_the_representative():
    chain = [prose(5, 400)]
    for step in range(12):
        chain.append(edited(chain[-1], 0.02, step))
    assert similarity(chain[0], chain[-1], 5) < 0.4
    found = find(chain)
    by_id = {document_id(text): text for text in chain}
    kept = {representative for representative, _ in found.removed.values()}
    assert len(kept) >= 2
    assert kept.isdisjoint(found.removed)
    for removed, (representative, value) in found.removed.items():
        assert similarity(by_id[removed], by_id[representative], 5) == pytest.approx(value)
        assert value >= 0.65


def test_the_cluster_table_holds_every_member_with_its_representative_first():
    text = prose(9, 200)
    found = find([edited(text, 0.01, n) for n in range(4)] + [prose(10, 200)])
    assert found.clusters.schema.equals(CLUSTER_SCHEMA)
    rows = found.clusters.to_pylist()
    assert len(rows) == 4
    assert {row["cluster"] for row in rows} == {rows[0]["document_id"]}
    assert rows[0]["jaccard"] == 1
    assert set(found.removed) == {row["document_id"] for row in rows[1:]}


def test_as_a_step_it_keeps_the_reason_and_the_evidence():
    text = prose(11, 100)
    texts = [text, prose(12, 100), text + " more"]
    found = find(texts)
    (batch,) = batches(texts)
    stays, removed = found.filter(batch)
    assert stays.column("text").to_pylist() == texts[1:]
    assert removed.schema.equals(REMOVED_SCHEMA)
    assert removed.to_pylist() == [
        {
            "document_id": document_id(text),
            "step": "near_duplicates",
            "reason": "near duplicate",
            "evidence": f"{document_id(texts[2])} (Jaccard {96 / 97:.3f})",
        }
    ]


def test_short_texts_are_left_to_the_exact_step_and_copies_count_once():
    short = "only four words here"
    text = prose(13, 30)
    found = find([short, short + "!", "", "?", text, text])
    assert not found.removed
    assert (found.num_documents, found.num_candidates) == (2, 1)
    assert find([]).clusters.num_rows == find([short]).clusters.num_rows == 0


@settings(max_examples=25, deadline=None)
@given(st.randoms(use_true_random=False), st.integers(1, 40))
def test_order_and_batches_do_not_matter(draw: random.Random, size: int):
    texts = [edited(prose(n % 9, 60), 0.03, n) for n in range(40)]
    shuffled = draw.sample(texts, len(texts))
    assert find(shuffled, size=size).clusters.equals(find(texts).clusters)


def test_known_documents_stay_whatever_they_resemble_and_represent_what_resembles_them():
    text = prose(21, 100)
    known = [edited(text, 0.01, 1), edited(text, 0.01, 2)]
    read = partial(batches, [text + " and more", *known, prose(22, 100)])
    made = [signatures(batch, CONFIG) for batch in read()]
    found = find_near_duplicates(made, read, CONFIG, known=[document_id(each) for each in known])
    ((removed, (kept, _)),) = found.removed.items()
    assert removed == document_id(text + " and more")
    assert kept in {document_id(each) for each in known}


def test_signatures_made_by_other_processes_are_the_same():
    parts = batches([prose(n, 50) for n in range(40)], 10)
    with ProcessPoolExecutor(2) as pool:
        assert list(pool.map(partial(signatures, config=CONFIG), parts)) == [signatures(part, CONFIG) for part in parts]
    (whole,) = pa.Table.from_batches([signatures(part, CONFIG) for part in parts]).combine_chunks().to_batches()
    assert whole.equals(signatures(pa.Table.from_batches(parts).combine_chunks().to_batches()[0], CONFIG))
    assert whole.nbytes <= 130 * whole.num_rows


def test_thousands_that_share_boilerplate_are_compared_a_bounded_number_of_times():
    boilerplate = prose(100, 60)
    texts = [f"{boilerplate} {prose(1_000 + n, 40)}" for n in range(600)]
    assert 0.35 < similarity(texts[0], texts[1], 5) < 0.5
    plants = [edited(text, 0.03, n) for n, text in enumerate(texts[:100])]
    config = NearDuplicateConfig(most_compared=8)
    found = find([*texts, *plants], config)
    assert found.num_candidates > 500
    assert found.num_compared <= 8 * 700
    assert find([*texts, *plants], NearDuplicateConfig(most_compared=1_000)).num_compared > 3 * 8 * 700
    pairs = zip(texts, plants, strict=False)
    alike = [(document_id(a), document_id(b)) for a, b in pairs if similarity(a, b, 5) >= config.min_jaccard]
    assert len(alike) > 90
    assert sum(a in found.removed or b in found.removed for a, b in alike) >= 0.95 * len(alike)


def test_a_document_that_does_not_come_again_is_an_error():
    text = prose(1, 60)
    made = [signatures(batch, CONFIG) for batch in batches([text, text + " more"])]
    with pytest.raises(ValueError, match="1 documents with signatures were not read again"):
        find_near_duplicates(made, lambda: batches([text]), CONFIG)
    with pytest.raises(ValidationError, match="min_jaccard"):
        NearDuplicateConfig(min_jaccard=0.4)


def test_bands_agree_as_often_as_theory_says():
    draw = np.random.default_rng(3)
    common, own = draw.integers(0, 2**64, (2, 300, 700), np.uint64), draw.integers(0, 2**64, (2, 300, 300), np.uint64)
    first, second = np.hstack([common[0], own[0]]), np.hstack([common[0], own[1]])
    hashes = np.stack([first, second], axis=1).reshape(-1)
    bands = Shingles(hashes, np.arange(0, len(hashes) + 1, 1_000).astype(np.uint64)).bands(25, 5)
    agree = (bands[::2] == bands[1::2]).mean()
    assert agree == pytest.approx((700 / 1_300) ** 5, rel=0.15)
    assert jaccard(np.sort(first[0]), np.sort(second[0])) == 700 / 1_300


@settings(deadline=None)  # the first example loads the library of signatures
@given(st.lists(st.text("ab \n.é", max_size=60), max_size=5), st.integers(1, 4))
def test_exact_similarity_is_that_of_the_words(texts: list[str], n: int):
    sets = list(Shingles.of(texts, n).sets())
    for text, one in zip(texts, sets, strict=True):
        for other_text, other in zip(texts, sets, strict=True):
            if len(one) and len(other):
                assert jaccard(one, other) == similarity(text, other_text, n)
