"""The same calls on Ray: real steps give the bytes of the local pool, and neither a worker nor a node that dies is noticed."""

import hashlib
import json
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
import shards_to_map as shards

from hephaestus_dag.curation.config import CurationConfig
from hephaestus_dag.curation.decontamination import BenchmarkIndex
from hephaestus_dag.curation.pipeline import curate
from hephaestus_dag.documents import count_documents
from hephaestus_dag.evaluation.overlap import ItemIndex, scan_documents
from hephaestus_dag.evaluation.overlap_config import OverlapConfig
from hephaestus_dag.map_over import in_order
from hephaestus_dag.mixture.config import TokenStoreConfig, TrainTokenizerConfig
from hephaestus_dag.mixture.tokenise import sample_texts, tokenise_documents
from hephaestus_dag.mixture.tokenizer import train_tokenizer
from hephaestus_dag.quality.config import AnnotatorConfig, ClassifierConfig
from hephaestus_dag.quality.fasttext_model import NEGATIVE, POSITIVE, fold, train
from hephaestus_dag.quality.local_annotator import TransformersAnnotator
from hephaestus_dag.quality.rubric import Rubric
from hephaestus_dag.quality.scoring import score_documents
from hephaestus_dag.quality.spread_annotator import SpreadAnnotator
from hephaestus_dag.retrieval.config import RetrievalConfig
from hephaestus_dag.retrieval.embeddings import embed_documents
from hephaestus_dag.retrieval.first_pass import score_pages
from hephaestus_dag.retrieval.lexical import LexicalScorer
from hephaestus_dag.retrieval.queries import write_queries
from hephaestus_dag.sources.collect import collect_documents
from hephaestus_dag.sources.config import SourceConfig
from resources.compute import LocalPool, WorkerDiedError
from resources.ray_compute import RayPool

ray = pytest.importorskip("ray", reason="Ray is not installed: pip install 'hephaestus-dag[ray]'")
pytestmark = [pytest.mark.slow, pytest.mark.timeout(600)]
QUESTION = "A farmer has seventeen sheep and all but nine run away how many sheep are then left on the farm"


def web_steps(folder: Path, map_over: Callable[..., Iterator[Any]]) -> tuple[str, ...]:
    """Score and encode what is in ``seed``; return the folders with what comes out."""
    (folder / "model").mkdir()
    lines = [f"{POSITIVE} tells how tool is called", f"{NEGATIVE} the same text in every file"] * 8
    (folder / "labelled.txt").write_text("\n".join(lines) + "\n")
    model = train(folder / "labelled.txt", ClassifierConfig(dim=4, epochs=5, bucket=1_000, min_count=1))
    fold(model)
    model.save_model(str(folder / "model/quality.bin"))
    (folder / "model/classifier.json").write_text(json.dumps({"max_characters": 1_000}))
    score_documents(folder / "seed", folder / "model", folder / "scores", map_over=map_over)
    encoder = shards.LetterEncoder()
    embed_documents(folder / "seed", encoder, folder / "vectors", folder / "vectors-work", map_over=map_over)
    config = RetrievalConfig(num_candidates=30, num_queries=6, num_general=10, query_domains=("text",))
    write_queries(folder / "seed", encoder, config, folder / "queries", folder / "queries-work", map_over=map_over)  # type: ignore[arg-type]
    (folder / "first").mkdir()
    scorer, pages = LexicalScorer([["how a tool is called"]], [["the same text"]], 2), count_documents(folder / "seed")
    score_pages(folder / "seed", scorer, 1_000, pages, folder / "first/scores.parquet", lambda done: None, map_over)
    return "scores", "vectors", "queries", "first"


@pytest.fixture(scope="module", autouse=True)
def workers_find_this_folder() -> Iterator[None]:
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("PYTHONPATH", str(Path(__file__).parent))
        patch.delenv("RAY_ADDRESS", raising=False)
        yield


@pytest.fixture(scope="module")
def pool() -> Iterator[RayPool]:
    """A pool on a cluster of its own."""
    pool = RayPool(num_workers=2, num_model_workers=2)
    yield pool
    pool.close()
    assert not ray.is_initialized()


def write_source(folder: Path, files: int = 6, documents: int = 40) -> SourceConfig:
    """Write pages, some of them copies, near-duplicates, and a benchmark item."""
    folder.mkdir()
    for number in range(files):
        texts = [
            f"page {number} {row} tells how tool {row % 7} is called with {' '.join(f'w{row * k}' for k in range(30))}"
            for row in range(documents)
        ]
        texts += [texts[0], f"{texts[1]} once more", "the same text in every file of all", f"Here: {QUESTION}!"]
        (folder / f"{number}.jsonl").write_text("".join(json.dumps({"text": text}) + "\n" for text in texts))
    values = {"name": "web", "kind": "records", "location": str(folder), "domain": "text", "license": "MIT"}
    return SourceConfig.model_validate(values)


def seed_steps(
    source: SourceConfig,
    folder: Path,
    map_over: Callable[..., Iterator[Any]],
    more: Callable[[Path, Callable[..., Iterator[Any]]], tuple[str, ...]] = web_steps,
) -> dict[str, str]:
    """Parse, curate, scan and tokenise a source, and do more; return a digest of every file that comes out."""
    collect_documents([source], folder / "raw", folder / "work", map_over)
    (folder / "index").mkdir()
    BenchmarkIndex.build([("riddles/1", QUESTION)]).save(folder / "index")
    config = CurationConfig(licenses=("MIT",), min_characters=10, max_characters=4_000)
    curate([folder / "raw"], folder / "seed", folder / "work", config, folder / "index", map_over)
    items = ItemIndex([("riddles/1", "tells how tool 3 is called with w0 w3 w6 w9")], [], OverlapConfig())
    scan_documents(items, folder / "seed", folder / "scan", map_over)
    texts = sample_texts([folder / "seed"], wanted := TrainTokenizerConfig(vocab_size=300))
    train_tokenizer(texts, wanted, folder / "tokenizer")
    limits = TokenStoreConfig(heldout_share=0.1)
    tokenise_documents(folder / "seed", folder / "tokenizer", folder / "tokens", limits, work=folder / "units", map=map_over)
    made = (
        path
        for name in ("raw", "seed", "scan", "tokens", *more(folder, map_over))
        for path in (folder / name).rglob("*")
        if path.is_file()
    )
    return {str(path.relative_to(folder)): hashlib.sha256(path.read_bytes()).hexdigest() for path in sorted(made)}


def test_results_are_those_of_the_local_pool(pool: RayPool, tmp_path: Path) -> None:
    seen: list[tuple[int, int]] = []
    assert list(pool.map(shards.slow_first, range(4), lambda *at: seen.append(at))) == [0, 1, 2, 3]
    assert seen == [(1, 4), (2, 4), (3, 4), (4, 4)]
    assert list(pool.map(shards.squared, [])) == []
    found = list(pool.map(shards.with_model, range(8), setup=shards.Loaded(tmp_path)))
    assert [row[:2] for row in found] == [("model", number) for number in range(8)]
    assert len({process for *_, process in found}) == len(list(tmp_path.iterdir())) <= 2


def test_errors_arrive_as_they_are(pool: RayPool) -> None:
    results = pool.map(shards.fragile, range(5))
    assert [next(results), next(results)] == [0, 1]
    with pytest.raises(shards.BrokenShardError, match=r"^shard 2 holds no text$"):
        next(results)
    with pytest.raises(RuntimeError, match="TwoWordsError: too bad"):
        list(pool.map(shards.wordy, range(2)))
    with pytest.raises(shards.BrokenShardError, match="no model"):
        list(pool.map(shards.with_model, range(3), setup=shards.broken_setup))
    with pytest.raises(ValueError, match=r"the Ray cluster has none: check execution\.launcher\.num_gpus"):
        list(pool.map(shards.gpu, range(3), setup=shards.broken_setup, gpus=1))


def test_a_killed_worker_costs_its_shard_only_on_ray(pool: RayPool, tmp_path: Path) -> None:
    assert list(pool.map(shards.Noted(tmp_path, kills=2), range(6))) == [0, 10, 20, 30, 40, 50]
    assert sorted(path.name for path in tmp_path.iterdir()) == ["0-0", "1-0", "2-0", "2-1", "3-0", "4-0", "5-0"]


def test_a_killed_worker_with_a_model_loads_it_again_and_goes_on(pool: RayPool, tmp_path: Path) -> None:
    (tmp_path / "begun").mkdir()
    (tmp_path / "loaded").mkdir()
    run = shards.NotedWithModel(tmp_path / "begun", kills=2)
    found = list(pool.map(run, range(6), setup=shards.Loaded(tmp_path / "loaded")))
    assert found == [0, 10, 20, 30, 40, 50]
    assert sorted(path.name for path in (tmp_path / "begun").glob("2-*")) == ["2-0", "2-1"]


@pytest.mark.parametrize(
    ("address", "said"),
    [
        ("127.0.0.1:9", "Connection refused"),
        ("http://head:8265", "Ray's job server; run on a node of the cluster, and name host:6379"),
        ("ray://head:10001", "Ray's client, which Ray Data cannot use"),
        ("head", "write host:6379"),
    ],
)
def test_a_cluster_that_is_not_there_is_said_at_once(monkeypatch: pytest.MonkeyPatch, address: str, said: str) -> None:
    monkeypatch.setenv("RAY_ADDRESS", address)
    with pytest.raises(ConnectionError, match=f"at {address} .*{said}.*: check execution.compute.address and RAY_ADDRESS"):
        RayPool().connect()


def test_a_shard_that_kills_every_worker_is_an_error_on_ray(pool: RayPool) -> None:
    with pytest.raises(WorkerDiedError, match=r"4 workers ended at shard \d of 5 or one after it"):
        list(pool.map(shards.deadly, range(5)))


def test_a_local_annotator_gives_the_same_verdicts_on_both_engines(pool: RayPool, tiny_llama: Path) -> None:
    config = AnnotatorConfig.model_validate({"model": str(tiny_llama), "dtype": "float32", "max_tokens": 64, "batch_size": 2})
    rubric, texts = Rubric("test", "Is this a tool? {document} Answer Yes or No."), ["word " * (n % 7) for n in range(40)]
    found = [
        list(SpreadAnnotator(TransformersAnnotator(config, tiny_llama), map_over).annotate(rubric, texts))
        for map_over in (in_order, LocalPool(num_model_workers=2).map, pool.map)
    ]
    assert found[0] == found[1] == found[2]
    assert len(found[0]) == 40


def test_every_step_over_documents_writes_the_same_bytes_on_both_engines(pool: RayPool, tmp_path: Path) -> None:
    source = write_source(tmp_path / "source")
    found = []
    for name, engine in (("local", LocalPool(num_workers=2)), ("ray", pool)):
        (tmp_path / name).mkdir()
        found.append(seed_steps(source, tmp_path / name, engine.map))
    assert found[0] == found[1]
    assert {name.split("/")[0] for name in found[0]} == {
        "raw",
        "seed",
        "scan",
        "tokens",
        "scores",
        "vectors",
        "queries",
        "first",
    }


def test_a_corpus_that_is_shuffled_gives_the_same_bytes_on_both_engines(
    pool: RayPool, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    source = write_source(tmp_path / "source")
    folders = [tmp_path / name for name in ("memory", "local", "ray")]
    found = []
    for folder, map_over in zip(folders, (in_order, LocalPool(num_workers=2).map, pool.map), strict=True):
        folder.mkdir()
        found.append(seed_steps(source, folder, map_over, lambda *_: ()))
        monkeypatch.setattr("hephaestus_dag.shuffle.DOCUMENTS_IN_MEMORY", 0)
        monkeypatch.setattr("hephaestus_dag.shuffle.GROUP_ROWS", 40)
        monkeypatch.setattr("hephaestus_dag.curation.bundles.TEXT_BYTES", 10_000)
    assert found[0] == found[1] == found[2]
    assert len(list((folders[2] / "work/near-duplicates/settled").iterdir())) > 1
    assert (folders[2] / "units/catalogue/rows.npy").exists()
