"""The first pass keeps the best share of the pages by cheap scores, and says what the encoder would have wanted of the rest."""

import importlib.util
import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow.parquet as pq
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra import numpy as arrays
from retrieval_pages import AGENT_PAGES, JUNK_PAGES, SEED_PAGES

from hephaestus_dag.documents import document_id, read_document_table
from hephaestus_dag.models import resolve_model
from hephaestus_dag.retrieval.config import RetrievalConfig
from hephaestus_dag.retrieval.encoder import Encoder
from hephaestus_dag.retrieval.first_pass import best, draw_pages, first_pass
from hephaestus_dag.retrieval.lexical import LexicalScorer
from hephaestus_dag.retrieval.queries import write_queries
from hephaestus_dag.retrieval.static_vectors import StaticScorer, StaticVectors

# Each page in a few wordings, so that there is something to rank.
WEB = [page if n == 0 else f"{page} Part {n}." for n in range(6) for page in [*JUNK_PAGES, *AGENT_PAGES]]
AGENT = {text for text in WEB if text.startswith(tuple(AGENT_PAGES))}


@pytest.fixture(scope="session")
def wordllama(tmp_path_factory: pytest.TempPathFactory) -> Path:
    if importlib.util.find_spec("wordllama") is None:
        pytest.skip("wordllama is not installed")
    return resolve_model("wordllama", tmp_path_factory.mktemp("cache"))


@pytest.fixture
def passed(corpus: Callable[..., Path], encoder: Encoder, tmp_path: Path) -> Callable[..., tuple[Path, dict[str, Any]]]:
    """Run the first pass over pages, and return its folder and what it reports."""
    seed = corpus("seed", SEED_PAGES)

    def run(
        name: str = "out", pages: list[str] = WEB, kind: str = "lexical", model: Path | None = None, **settings: Any
    ) -> tuple[Path, dict[str, Any]]:
        web = tmp_path / f"{name}-web"
        corpus(web.name, pages, documents_per_shard=30)
        first = {"kind": kind, "keep_share": 0.5, "recall_sample": 60, **settings}
        config = RetrievalConfig.model_validate({"first_pass": first, "encoder": encoder.config, "random_pair_quantile": 0.85})
        if not (tmp_path / "queries").exists():
            (tmp_path / "queries").mkdir()
            write_queries(seed, encoder, config, tmp_path / "queries", tmp_path / "work")
        return tmp_path / name, first_pass(seed, web, tmp_path / "queries", encoder, config, tmp_path / name, model)

    return run


@pytest.mark.parametrize("kind", ["lexical", "static"])
def test_what_goes_on_and_what_does_not_are_the_whole_corpus(kind: str, passed: Callable[..., Any], wordllama: Path) -> None:
    folder, found = passed(kind=kind, model=wordllama)
    kept = read_document_table(folder, ["id", "text"])
    scores = dict(zip(*pq.read_table(folder / "scores.parquet").to_pydict().values(), strict=True))
    removed = pq.read_table(folder / "removed.parquet").to_pylist()
    assert kept["text"].to_pylist() == [text for text in WEB if document_id(text) in set(kept["id"].to_pylist())]
    assert sorted([*kept["id"].to_pylist(), *(row["document_id"] for row in removed)]) == sorted(map(document_id, WEB))
    assert found["kept"] == len(kept) == len(WEB) // 2
    assert min(scores[i] for i in kept["id"].to_pylist()) >= max(scores[row["document_id"]] for row in removed)
    assert set(kept["text"].to_pylist()) >= AGENT
    assert {row["reason"] for row in removed} == {"not among the best 50%"}
    assert found["by_source"] == [{"source": "out-web", "pages": len(WEB), "kept": len(kept)}]


@pytest.mark.parametrize("kind", ["lexical", "static"])
def test_loss_is_measured_against_the_encoder(kind: str, passed: Callable[..., Any], wordllama: Path) -> None:
    _, found = passed(kind=kind, model=wordllama, keep_share=0.45)
    assert found["sample"] == 60
    assert 15 <= found["wanted"] <= 35  # 36 of 84 pages are about tools
    assert found["recall"] >= 0.9
    assert found["recall_low"] < found["recall"] <= found["recall_high"]
    table = found["by_keep_share"]
    assert [row["keep_share"] for row in table] == [0.1, 0.25, 0.45, 0.5]
    recalls = [row["recall"] for row in table]
    assert recalls == sorted(recalls)
    assert recalls[0] < 0.4 < recalls[2] == found["recall"]
    assert table[0]["best_possible_recall"] == pytest.approx(0.1 * 60 / found["wanted"])


def test_a_pass_that_loses_what_is_wanted_says_so(passed: Callable[..., Any]) -> None:
    # Read up to their 100th character, all these pages begin alike, and nothing tells them apart.
    same = [f"{'Home. About us. Contact. Imprint. All rights reserved. ' * 2}{text}" for text in WEB]
    _, found = passed(pages=same, characters=100, recall_sample=84)
    assert found["recall"] < 0.75
    assert found["recall_high"] < 0.9


def test_the_same_inputs_give_the_same_bytes(passed: Callable[..., Any], wordllama: Path) -> None:
    for kind in ("lexical", "static"):
        folders = [passed(f"{kind}{turn}", kind=kind, model=wordllama) for turn in range(2)]
        (one, first), (other, second) = folders
        names = sorted(str(path.relative_to(one)) for path in one.rglob("*") if path.is_file())
        assert {"documents/part-00000.parquet", "removed.parquet", "scores.parquet"} <= set(names)
        for name in names:
            if name.endswith(".parquet") and ("documents" in name):
                columns = ["id", "text"]  # the source's name differs between the two corpora
                assert pq.read_table(one / name, columns=columns) == pq.read_table(other / name, columns=columns)
            else:
                assert (one / name).read_bytes() == (other / name).read_bytes()
        assert first["recall"] == second["recall"]


def test_pages_without_words_never_go_on(passed: Callable[..., Any]) -> None:
    folder, found = passed(pages=[*WEB, "...", "——— ***", "!?"], keep_share=0.99)
    assert found["without_words"] == 3
    removed = pq.read_table(folder / "removed.parquet").to_pylist()
    assert [row["reason"] for row in removed if row["document_id"] in {document_id("..."), document_id("!?")}] == [
        "no words"
    ] * 2
    scores = pq.read_table(folder / "scores.parquet").to_pylist()
    assert [row["first_pass_score"] for row in scores[-3:]] == [None] * 3


def test_mistakes_are_named(passed: Callable[..., Any], corpus: Callable[..., Path], encoder: Encoder, tmp_path: Path) -> None:
    with pytest.raises(ValueError, match=r"first_pass\.model"):
        passed(kind="static")
    with pytest.raises(ValueError, match="web corpus has no pages"):
        passed("empty", pages=[])
    with pytest.raises(ValueError, match="no words"):
        passed("wordless", pages=["...", "!!!"])
    config = RetrievalConfig(encoder=encoder.config)
    with pytest.raises(ValueError, match="first_pass is null"):
        first_pass(tmp_path / "seed", tmp_path / "out-web", tmp_path / "queries", encoder, config, tmp_path / "none")
    with pytest.raises(ValueError, match="exactly one"):
        StaticVectors(tmp_path)


@given(arrays.arrays(np.float32, st.integers(1, 60), elements=st.sampled_from([0.0, 0.5, 1.0, 2.0])), st.floats(0.01, 0.99))
def test_the_best_share_has_its_size_and_holds_the_best(scores: np.ndarray, share: float) -> None:
    kept = best(scores, share)
    assert kept.sum() == max(1, round(share * len(scores)))
    assert kept.all() or scores[kept].min() >= scores[~kept].max()
    tied = np.flatnonzero(scores == scores[kept].min())
    assert kept[tied].tolist() == sorted(kept[tied].tolist(), reverse=True)  # of equal ones the first


def test_samples_come_from_the_whole_corpus_and_overlap_only_when_it_is_small(
    corpus: Callable[..., Path], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("hephaestus_dag.retrieval.first_pass.COUNTED_PAGES", 40)
    web = corpus("web", [f"page {n}" for n in range(400)], documents_per_shard=50)
    measured, counted = draw_pages(web, 60, seed=0)
    assert (len(measured), len(counted)) == (60, 40)
    assert not set(measured["id"].to_pylist()) & set(counted["id"].to_pylist())
    assert [f"page {row}" for row in measured["row"].to_pylist()] == measured["text"].to_pylist()
    assert len({row // 50 for row in measured["row"].to_pylist()}) == 8  # every shard
    assert draw_pages(web, 60, seed=1)[0]["row"] != measured["row"]
    small = draw_pages(corpus("small", ["one", "two"]), 60, seed=0)
    assert [len(table) for table in small] == [2, 2]


def test_a_word_weighs_what_the_seed_prefers_it_by() -> None:
    seed, web = ["alpha beta common"] * 50_000, ["gamma delta common"] * 50_000
    scorer = LexicalScorer([seed], [web], longest_run=2)
    alpha, gamma, common, alphas, pair, none, unmet = scorer(
        ["Alpha!", "gamma", "common", "alpha alpha alpha", "alpha beta", "", "zeta"]
    )
    assert alpha > 0.3
    assert alpha == pytest.approx(-gamma, rel=1e-5)
    assert common == pytest.approx(0, abs=1e-6)
    assert (none, unmet) == (-np.inf, 0)
    assert pair == pytest.approx(alpha, rel=1e-5)
    assert 0 < alphas < alpha  # "alpha alpha" is a run that nobody writes


def test_averaged_vectors_are_those_of_the_tokens(wordllama: Path) -> None:
    from tokenizers import Tokenizer

    vectors = StaticVectors(wordllama)
    tokenizer = Tokenizer.from_file(str(next(wordllama.rglob("*tokenizer*.json"))))
    texts = ["send an SMS message", "", "snow over the harbour town"]
    found = vectors.of(texts)
    for text, vector in zip(texts, found, strict=True):
        ids = tokenizer.encode(text, add_special_tokens=False).ids
        mean = vectors.table[ids].mean(0) if ids else np.zeros(256)
        np.testing.assert_allclose(vector, mean / max(float(np.linalg.norm(mean)), 1e-9), atol=1e-5)
    near, far = StaticScorer(wordllama, [["POST /messages sends an SMS message"], ["unrelated"]])([texts[0], texts[2]])
    assert near > far + 0.2


def test_a_folder_with_rows_and_weights_of_tokens(tmp_path: Path) -> None:
    from safetensors.numpy import save_file

    vocabulary = {"<unk>": 0, "red": 1, "blue": 2}
    tokenizer = {
        "version": "1.0",
        "pre_tokenizer": {"type": "Whitespace"},
        "model": {"type": "WordLevel", "vocab": vocabulary, "unk_token": "<unk>"},
    }
    (tmp_path / "tokenizer.json").write_text(json.dumps(tokenizer))
    (tmp_path / "tokenizer_config.json").write_text("{}")
    rows = {"embeddings": np.eye(2, dtype=np.float16), "mapping": np.array([0, 0, 1]), "weights": np.array([0.0, 3.0, 4.0])}
    save_file(rows, tmp_path / "model.safetensors")
    np.testing.assert_allclose(StaticVectors(tmp_path).of(["red blue", "red", "?"]), [[0.6, 0.8], [1, 0], [0, 0]], atol=1e-6)
    save_file({"embeddings": np.eye(2, dtype=np.float32)}, tmp_path / "model.safetensors")
    with pytest.raises(ValueError, match="2 vectors for the 3 tokens"):
        StaticVectors(tmp_path)
    save_file({"one": np.eye(3), "two": np.eye(3)}, tmp_path / "model.safetensors")
    with pytest.raises(ValueError, match="one table of word vectors"):
        StaticVectors(tmp_path)
