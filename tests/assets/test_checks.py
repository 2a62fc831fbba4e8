"""Every check that stops a run can fail: what it looks for is planted, and it is found."""

import json
import random
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from assets import mixture, seed_corpus, training
from assets.artifact import Build
from hephaestus_dag.artifacts import Artifact, Report
from hephaestus_dag.curation.decontamination import BenchmarkIndex
from hephaestus_dag.documents import Document, DocumentWriter, Domain, read_document_table
from hephaestus_dag.mixture.config import Component, MixtureConfig, TokenStoreConfig, TrainTokenizerConfig
from hephaestus_dag.mixture.plan import ROW
from hephaestus_dag.mixture.tokenise import sample_texts, tokenise_documents
from hephaestus_dag.mixture.tokenizer import train_tokenizer
from hephaestus_dag.recipe_file import load_recipe
from resources.compute import LocalPool

QUESTION = "Please find me the cheapest direct flight from Ljubljana to Reykjavik on the second Tuesday of November and book it"


def write_documents(folder: Path, planted: str = "", copies: int = 0) -> Path:
    domains: tuple[Domain, ...] = ("agent", "code", "text")
    texts = [f"number {i} calls the weather tool {i * i} and quickly returns a long list of names {i % 7}" for i in range(90)]
    if planted:
        texts[30] = " ".join(texts[:20]) + "\n" + planted.lower().replace(" ", "\n", 5) + "\n" + " ".join(texts[20:30])
    texts += [texts[0]] * copies
    with DocumentWriter(folder) as writer:
        writer.write(
            Document(text=text, domain=domains[i % 3], kind="made", source="test", origin=str(i), license="MIT")
            for i, text in enumerate(texts)
        )
    return folder


def made_build(tmp_path: Path, **inputs: Path) -> Build:
    (tmp_path / "out").mkdir(exist_ok=True)
    artifacts = {
        key: Artifact(key=key, fingerprint="", path=path, content="", num_bytes=0, seconds=0, report=Report(headline=""))
        for key, path in inputs.items()
    }
    return Build(
        key="test",
        recipe=load_recipe("laptop"),
        folder=tmp_path / "out",
        work=tmp_path / "work",
        inputs=artifacts,
        earlier=list,
        cache=tmp_path,
        log=lambda line: None,
        warn=lambda line: None,
        observe=lambda values, texts: None,
        resources=None,
    )


def failed(report: Report) -> list[str]:
    return [check.name for check in report.checks if not check.passed]


def corpus(tmp_path: Path, planted: str = "") -> Build:
    documents = write_documents(tmp_path / "documents", planted)
    tokenizer, store, index = (tmp_path / name for name in ("tokenizer", "store", "benchmark"))
    config = TrainTokenizerConfig(vocab_size=300, sample_characters=100_000)
    train_tokenizer(sample_texts([documents], config), config, tokenizer)
    tokenise_documents(documents, tokenizer, store, TokenStoreConfig(heldout_share=0))
    (index / "index").mkdir(parents=True)
    BenchmarkIndex.build([("bfcl/simple_1", QUESTION)]).save(index / "index")
    return made_build(tmp_path, tokenized_seed=store, tokenizer=tokenizer, benchmark_items=index)


MIXTURE = MixtureConfig(
    tokens=640,
    sequence_length=16,
    components=(Component(domain="agent", share=0.5), Component(domain="code", share=0.5)),
    max_epochs=4,
)


@pytest.mark.parametrize(("planted", "expected"), [("", []), (QUESTION, ["no_benchmark_text_in_training_data"])])
def test_planted_benchmark_text_fails_the_mixture(tmp_path: Path, planted: str, expected: list[str]) -> None:
    report = mixture.plan(corpus(tmp_path, planted), MIXTURE, ["tokenized_seed"], "test")
    assert failed(report) == expected
    if planted:
        assert "bfcl/simple_1" in report.checks[1].detail


def test_a_mixture_off_its_shares_fails(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    from hephaestus_dag.mixture import plan as planning

    def lopsided(places: np.ndarray, weights: list) -> list[np.ndarray]:
        return [places, *(places[:0] for _ in weights[1:])]

    build = corpus(tmp_path)
    monkeypatch.setattr(planning, "share_out", lopsided)
    assert failed(mixture.plan(build, MIXTURE, ["tokenized_seed"], "test")) == ["mixture_meets_its_budget"]
    assert len(np.load(build.folder / "sequences.npy")) == 40
    assert ROW.names == ("stream", "offset")


def prose(folder: Path, copies: int) -> Path:
    """Texts of drawn words, one of which holds a benchmark question, and copies of the first."""
    draw = random.Random(5)
    words = ["".join(draw.choices("abcdefghij", k=draw.randint(2, 8))) for _ in range(900)]
    texts = [" ".join(draw.choices(words, k=90)) for _ in range(60)]
    texts[7] += f" {QUESTION.lower()} {texts[8]}"
    with DocumentWriter(folder) as writer:
        writer.write(
            Document(text=text, domain="agent", kind="made", source="test", origin=str(i), license="MIT")
            for i, text in enumerate([*texts, *texts[:1] * copies])
        )
    return folder


def curation(tmp_path: Path) -> Build:
    benchmark = tmp_path / "benchmark"
    (benchmark / "index").mkdir(parents=True)
    BenchmarkIndex.build([("bfcl/simple_1", QUESTION)]).save(benchmark / "index")
    names = ("benchmark", "category", "item_id", "question", "functions", "reference")
    item = dict(zip(names, ("bfcl", "simple", "simple_1", QUESTION, "[]", ""), strict=True))
    for name, rows in (("items", [item]), ("multi_turn", [])):
        table = pa.Table.from_pylist(rows, pa.schema([(column, pa.string()) for column in names]))
        pq.write_table(table, benchmark / f"{name}.parquet")
    build = made_build(tmp_path, benchmark_items=benchmark)
    build.recipe = build.recipe.model_copy(update={"evaluation": build.recipe.evaluation.model_copy(update={"kept_out": ()})})
    build.resources = SimpleNamespace(compute=LocalPool(num_workers=1))
    return build


@pytest.mark.parametrize(("copies", "expected"), [(5, []), (200, ["removed_share_is_plausible"])])
def test_curation_that_removes_most_fails(tmp_path: Path, copies: int, expected: list[str]) -> None:
    build = curation(tmp_path)
    report = seed_corpus.curated(build, [prose(tmp_path / "more", copies)])
    assert failed(report) == expected
    assert report.figures["removed by decontamination"] == 1
    assert report.figures["removed by exact_duplicates"] == copies
    assert not any("ljubljana" in text for text in read_document_table(build.folder)["text"].to_pylist())


def test_an_index_that_misses_benchmark_items_fails(tmp_path: Path) -> None:
    build = curation(tmp_path)
    BenchmarkIndex.build([("bfcl/simple_2", QUESTION[::-1])]).save(build.input("benchmark_items") / "index")
    report = seed_corpus.curated(build, [prose(tmp_path / "more", 0)])
    assert failed(report) == ["what_is_planted_is_found"]
    assert "0 of 1 benchmark items found (embedded)" in report.checks[1].detail


def test_a_corpus_of_which_nothing_is_left_fails_its_checks_and_says_why(tmp_path: Path) -> None:
    build = curation(tmp_path)
    with DocumentWriter(tmp_path / "short") as writer:
        writer.write(
            Document(text=f"tiny {n}", domain="agent", kind="made", source="test", origin=str(n), license="MIT")
            for n in range(9)
        )
    report = seed_corpus.curated(build, [tmp_path / "short"])
    assert failed(report) == ["removed_share_is_plausible", "what_is_planted_is_found"]
    assert report.figures["removed by length"] == 9
    assert "nothing to plant" in report.checks[1].detail


def summary(loss: float | None = 2.0, text_after: float = 2.0) -> dict:
    before = {domain: {"loss": 2.0, "bits_per_byte": 2.0} for domain in ("agent", "code", "text")}
    after = {**before, "text": {"loss": text_after, "bits_per_byte": text_after}}
    clock = {"tokens_per_second": 1.0, "seconds": 48.0, "world_size": 2, "attempts": 1, "mfu": None, "device": "cuda"}
    counts = {"steps": 3, "tokens": 48, "parameters": {"total": 10, "non_embedding": 4}, "skipped_steps": 0, "rewinds": 0}
    flops = {"flops_per_token": 60.0, "peak_from": "no peak of this GPU is known here"}
    return {**clock, **counts, **flops, "loss": loss, "heldout_before": before, "heldout": after, "mix": {"agent": 48}}


@pytest.mark.parametrize(
    ("result", "expected"),
    [
        (summary(), []),
        (summary(loss=float("nan")), ["loss_is_finite"]),
        (summary(loss=None), ["loss_is_finite"]),
        (summary(text_after=float("inf")), ["loss_is_finite", "general_ability_kept"]),
        (summary(text_after=2.2), ["general_ability_kept"]),
        (summary(text_after=2.05), []),
    ],
)
def test_training_checks(tmp_path: Path, result: dict, expected: list[str]) -> None:
    shown = {"source": "aws", "domain": "agent", "tokens": 48, "unique_tokens": 24, "epochs": 2.0}
    (tmp_path / "mixture.json").write_text(json.dumps({"sources": [{**shown, "store": 0}]}))
    report = training.training_report(made_build(tmp_path), tmp_path, result)
    assert failed(report) == expected
    assert report.figures["MFU"] == "unknown: no peak of this GPU is known here"
    assert report.figures["GPU hours"] == pytest.approx(2 * 48 / 3600, rel=1e-3)
    assert report.tables["tokens by source"] == [shown]
