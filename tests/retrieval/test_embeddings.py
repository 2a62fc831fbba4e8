import hashlib
import itertools
import os
import signal
import subprocess
import sys
from collections.abc import Callable, Sequence
from pathlib import Path
from tempfile import TemporaryDirectory

import numpy as np
import pyarrow.parquet as pq
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from hephaestus_dag.documents import Document, DocumentWriter, document_files, document_id
from hephaestus_dag.retrieval.embeddings import SHARD_ROWS, embed_documents
from hephaestus_dag.retrieval.encoder import Encoder
from hephaestus_dag.retrieval.vectors import open_vectors
from resources.compute import LocalPool

TEXTS = [f"page {number} about subject {number % 7}" for number in range(60)]


class HashEncoder:
    """Vectors that depend on the text alone, unless ``jitter`` adds a last bit for the number of texts beside it."""

    def __init__(self, dimension: int = 6, name: str = "hash", jitter: float = 0.0) -> None:
        self.identity, self.dimension, self.jitter = {"model": name, "max_tokens": 128}, dimension, jitter
        self.calls: list[list[str]] = []

    def encode(self, texts: Sequence[str], progress: Callable[[int, int], None] | None = None) -> np.ndarray:
        self.calls.append(list(texts))
        seeds = [int.from_bytes(hashlib.blake2b(text.encode(), digest_size=8).digest()) for text in texts]
        vectors = np.stack([np.random.default_rng(seed).normal(size=self.dimension) for seed in seeds]).astype(np.float32)
        if progress:
            progress(len(texts), len(texts))
        return vectors + np.float32(self.jitter * len(texts))


class BreakingEncoder(HashEncoder):
    """Does something terrible when it is called for the n-th time."""

    def __init__(self, call: int, terrible: Callable[[], None]) -> None:
        super().__init__()
        self.call, self.terrible = call, terrible

    def encode(self, texts: Sequence[str], progress: Callable[[int, int], None] | None = None) -> np.ndarray:
        if len(self.calls) + 1 == self.call:
            self.terrible()
        return super().encode(texts, progress)


def write_corpus(folder: Path, shards: Sequence[Sequence[str]]) -> Path:
    """Write a documents folder with a Parquet file for each list of texts."""
    for number, texts in enumerate(shards):
        with DocumentWriter(folder / f"shard-{number}", max(1, len(texts))) as writer:
            writer.write(Document(text=t, domain="text", kind="page", source="s", origin="o", license="MIT") for t in texts)
        (folder / "documents").mkdir(exist_ok=True)
        written = folder / f"shard-{number}" / "documents" / "part-00000.parquet"
        written.rename(folder / "documents" / f"part-{number:05d}.parquet")
    return folder


def contents(folder: Path) -> dict[str, bytes]:
    return {str(path.relative_to(folder)): path.read_bytes() for path in sorted(folder.rglob("*")) if path.is_file()}


def expected(texts: Sequence[str]) -> np.ndarray:
    return HashEncoder().encode(texts)


def stored(folder: Path) -> tuple[list[str], np.ndarray]:
    vectors = open_vectors(folder)
    return vectors.ids.to_pylist(), np.concatenate([block for _, block in vectors.blocks()])


@pytest.fixture
def corpus(tmp_path: Path) -> Path:
    """Six shards of ten documents."""
    return write_corpus(tmp_path / "web", [TEXTS[start : start + 10] for start in range(0, 60, 10)])


def embed(corpus: Path, tmp_path: Path, name: str, encoder: HashEncoder | None = None, **options):
    return embed_documents(corpus, encoder or HashEncoder(), tmp_path / name, tmp_path / f"{name}-work", **options)


@given(cuts=st.sets(st.integers(1, 59), max_size=8))
@settings(max_examples=10, deadline=None)
def test_any_split_into_shards_gives_the_same_rows(cuts: set[int]):
    bounds = [0, *sorted(cuts), 60]
    with TemporaryDirectory() as scratch:
        corpus = write_corpus(Path(scratch) / "web", [TEXTS[a:b] for a, b in itertools.pairwise(bounds)])
        counts = embed(corpus, Path(scratch), "v")
        ids, vectors = stored(Path(scratch) / "v")
    assert ids == [document_id(text) for text in TEXTS]
    np.testing.assert_array_equal(vectors, expected(TEXTS))
    assert counts == {"documents": 60, "dimension": 6, "encoded": 60, "copied": 0, "resumed": 0, "shards": len(cuts) + 1}


def test_a_large_document_shard_becomes_several_shards(tmp_path: Path):
    texts = [f"t{number}" for number in range(SHARD_ROWS + 5)]
    counts = embed(write_corpus(tmp_path / "web", [texts]), tmp_path, "v")
    assert (counts["shards"], counts["documents"]) == (2, SHARD_ROWS + 5)
    np.testing.assert_array_equal(open_vectors(tmp_path / "v").take(np.array([SHARD_ROWS + 4])), expected(texts[-1:]))


@given(old=st.sets(st.integers(0, 59)), older=st.sets(st.integers(0, 59)), seed=st.integers(0, 99))
@settings(max_examples=12, deadline=None)
def test_only_what_no_earlier_folder_holds_is_encoded(old: set[int], older: set[int], seed: int):
    """Wherever a document lay before, and whatever came or went around it."""
    with TemporaryDirectory() as scratch:
        root = Path(scratch)
        earlier = []
        for name, chosen in (("older", older), ("old", old)):
            if chosen:
                texts = [TEXTS[number] for number in np.random.default_rng(seed).permutation(sorted(chosen))]
                earlier.append(root / name)
                embed(write_corpus(root / f"{name}-web", [texts[:7], texts[7:]] if texts[7:] else [texts]), root, name)
        encoder, calls = HashEncoder(), []
        corpus = write_corpus(root / "web", [TEXTS[40:], TEXTS[20:40]])  # The first twenty are gone.
        counts = embed(corpus, root, "v", encoder, earlier=earlier, progress=lambda *call: calls.append(call))
        ids, vectors = stored(root / "v")
    present = [*range(40, 60), *range(20, 40)]
    new = [TEXTS[number] for number in present if number not in old | older]
    assert (counts["copied"], counts["encoded"]) == (40 - len(new), len(new))
    assert [text for call in encoder.calls for text in call] == new
    np.testing.assert_array_equal(vectors, expected([TEXTS[number] for number in present]))
    assert ids == [document_id(TEXTS[number]) for number in present]
    assert calls == sorted(calls)
    assert calls[-1] == (40, 40)


def test_copied_vectors_are_the_earlier_bytes_even_where_encoding_again_would_round_otherwise(tmp_path: Path):
    first = write_corpus(tmp_path / "first", [TEXTS[:20]])
    grown = write_corpus(tmp_path / "grown", [[TEXTS[30], *TEXTS[:20], *TEXTS[31:40]]])
    embed(first, tmp_path, "old", HashEncoder(jitter=1e-6))
    embed(grown, tmp_path, "new", HashEncoder(jitter=1e-6), earlier=[tmp_path / "old"])
    embed(grown, tmp_path, "scratch", HashEncoder(jitter=1e-6))
    old, new, scratch = (stored(tmp_path / name)[1] for name in ("old", "new", "scratch"))
    assert new[1:21].tobytes() == old.tobytes()
    assert scratch[1:21].tobytes() != old.tobytes()


def test_two_workers_write_the_bytes_of_one(corpus: Path, tmp_path: Path):
    """Also where some vectors are there already, and where an earlier run left some."""
    first = write_corpus(tmp_path / "first", [TEXTS[5:25]])
    embed(first, tmp_path, "old", HashEncoder(jitter=1e-6))
    embed(write_corpus(tmp_path / "half", [TEXTS[40:50]]), tmp_path, "two", HashEncoder(jitter=1e-6))
    embed(corpus, tmp_path, "one", HashEncoder(jitter=1e-6), earlier=[tmp_path / "old"])
    map_over = LocalPool(num_model_workers=2).map
    counts = embed(corpus, tmp_path, "two", HashEncoder(jitter=1e-6), earlier=[tmp_path / "old"], map_over=map_over)
    assert contents(tmp_path / "one") == contents(tmp_path / "two")
    assert (counts["resumed"], counts["copied"], counts["encoded"]) == (10, 20, 30)


def test_a_real_encoder_reads_only_the_new_page(encoder: Encoder, tmp_path: Path):
    pages = ["GET /users lists users.", "The harbour sleeps under snow.", "send_email(to, body) sends an email."]
    work = tmp_path / "work"
    embed_documents(write_corpus(tmp_path / "a", [pages[:2]]), encoder, tmp_path / "old", work)
    grown = write_corpus(tmp_path / "b", [[pages[2], *pages[:2]]])
    counts = embed_documents(grown, encoder, tmp_path / "new", work, earlier=[tmp_path / "old"])
    assert (counts["encoded"], counts["copied"], counts["dimension"]) == (1, 2, 384)
    assert stored(tmp_path / "new")[1][1:].tobytes() == stored(tmp_path / "old")[1].tobytes()
    np.testing.assert_allclose(stored(tmp_path / "new")[1], encoder.encode([pages[2], *pages[:2]]), atol=1e-5)


@pytest.mark.parametrize("other", [HashEncoder(name="other"), HashEncoder(dimension=5)])
def test_vectors_of_another_encoder_are_not_copied(corpus: Path, tmp_path: Path, other: HashEncoder):
    embed(corpus, tmp_path, "old", other)
    assert embed(corpus, tmp_path, "new", earlier=[tmp_path / "old"])["encoded"] == 60
    np.testing.assert_array_equal(stored(tmp_path / "new")[1], expected(TEXTS))


@pytest.mark.parametrize("name", ["vectors/part-00002.npy", "ids.parquet", "vectors.json"])
def test_a_damaged_earlier_folder_is_passed_over(corpus: Path, tmp_path: Path, name: str):
    embed(corpus, tmp_path, "old")
    path = tmp_path / "old" / name
    content = path.read_bytes()
    path.unlink()  # The file may have a second name in the work folder.
    path.write_bytes(content[:40] + bytes(40) + content[80:] if name == "ids.parquet" else content[:-5])
    counts = embed(corpus, tmp_path, "new", earlier=[tmp_path / "missing", tmp_path / "old"])
    assert (counts["encoded"], counts["copied"]) == (60, 0)
    np.testing.assert_array_equal(stored(tmp_path / "new")[1], expected(TEXTS))


def test_a_stop_loses_one_shard_and_the_next_run_gives_the_bytes_of_an_undisturbed_one(corpus: Path, tmp_path: Path):
    embed(corpus, tmp_path, "whole")

    def stop() -> None:
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        embed(corpus, tmp_path, "v", BreakingEncoder(4, stop))
    assert contents(tmp_path / "v") == {}
    counts = embed(corpus, tmp_path, "v")
    assert (counts["resumed"], counts["encoded"], counts["documents"]) == (30, 30, 60)
    assert contents(tmp_path / "v") == contents(tmp_path / "whole")


def run_in_a_process(corpus: Path, tmp_path: Path, lines: str) -> subprocess.CompletedProcess[str]:
    names = f"corpus, tmp_path = Path({str(corpus)!r}), Path({str(tmp_path)!r})"
    script = f"import resource\nfrom test_embeddings import *\n{names}\n{lines}"
    paths = [str(Path(__file__).parent), *sys.path]
    environment = {**os.environ, "PYTHONPATH": os.pathsep.join(path for path in paths if path)}
    return subprocess.run([sys.executable, "-c", script], env=environment, capture_output=True, text=True, check=False)


def test_a_kill_loses_one_shard(corpus: Path, tmp_path: Path):
    embed(corpus, tmp_path, "whole")
    lines = "embed(corpus, tmp_path, 'v', BreakingEncoder(3, lambda: os.kill(os.getpid(), signal.SIGKILL)))"
    assert run_in_a_process(corpus, tmp_path, lines).returncode == -signal.SIGKILL
    with pytest.raises(FileNotFoundError, match=r"vectors\.json"):
        open_vectors(tmp_path / "v")
    assert embed(corpus, tmp_path, "v")["resumed"] == 20
    assert contents(tmp_path / "v") == contents(tmp_path / "whole")


def test_a_full_disk_leaves_nothing_half_written_and_the_next_run_goes_on(tmp_path: Path):
    corpus = write_corpus(tmp_path / "web", [TEXTS[:5], TEXTS[5:]])
    largest = 8_000  # Bytes of a file: enough for the first shard, too few for the second.
    lines = f"resource.setrlimit(resource.RLIMIT_FSIZE, ({largest}, {largest}))\nembed(corpus, tmp_path, 'v', HashEncoder(60))"
    failed = run_in_a_process(corpus, tmp_path, lines)
    assert failed.returncode == 1
    assert "OSError" in failed.stderr
    assert f"while writing {tmp_path / 'v-work'}" in failed.stderr
    assert contents(tmp_path / "v") == {}
    assert [path.stat().st_size for path in (tmp_path / "v-work").iterdir()] == [128 + 5 * 60 * 4]
    assert embed(corpus, tmp_path, "v", HashEncoder(60))["resumed"] == 5
    np.testing.assert_array_equal(stored(tmp_path / "v")[1], HashEncoder(60).encode(TEXTS))


@pytest.mark.parametrize("damage", [lambda b: b[:-7], lambda b: b"", lambda b: b[:-1] + bytes([b[-1] ^ 1]), lambda b: b * 2])
def test_a_damaged_shard_of_an_interrupted_run_is_done_again(corpus: Path, tmp_path: Path, damage: Callable[[bytes], bytes]):
    embed(corpus, tmp_path, "v")
    victim = sorted((tmp_path / "v-work").iterdir())[2]
    content = victim.read_bytes()
    victim.unlink()
    victim.write_bytes(damage(content))
    counts = embed(corpus, tmp_path, "v")
    assert (counts["resumed"], counts["encoded"]) == (50, 10)
    np.testing.assert_array_equal(stored(tmp_path / "v")[1], expected(TEXTS))


def test_work_of_another_encoder_is_not_taken(corpus: Path, tmp_path: Path):
    embed(corpus, tmp_path, "v", HashEncoder(name="other"))
    assert embed(corpus, tmp_path, "v")["resumed"] == 0


def test_a_document_shard_that_cannot_be_read_is_named_with_the_remedy(corpus: Path, tmp_path: Path):
    file = Path(document_files(corpus)[1])
    content = file.read_bytes()
    for broken in (content[:100], b"", content[:60] + bytes(200) + content[260:]):
        file.write_bytes(broken)
        with pytest.raises(ValueError, match=r"part-00001\.parquet cannot be read .* materialise"):
            embed(corpus, tmp_path, "v")


def test_two_documents_of_one_id_and_an_empty_corpus_are_refused(tmp_path: Path):
    encoder = HashEncoder()
    with pytest.raises(ValueError, match=document_id(TEXTS[1])):
        embed(write_corpus(tmp_path / "twice", [TEXTS[:5], TEXTS[1:2]]), tmp_path, "v", encoder)
    with pytest.raises(ValueError, match="holds no documents"):
        embed(write_corpus(tmp_path / "none", [[]]), tmp_path, "v", encoder)
    assert encoder.calls == []


def test_an_encoder_that_breaks_its_word_is_refused(corpus: Path, tmp_path: Path):
    encoder = HashEncoder()
    encoder.encode = lambda texts, progress=None: np.zeros((len(texts), 5), dtype=np.float32)
    with pytest.raises(ValueError, match="dimension 6"):
        embed(corpus, tmp_path, "v", encoder)
    encoder.encode = lambda texts, progress=None: np.full((len(texts), 6), np.nan, dtype=np.float32)
    with pytest.raises(ValueError, match=rf"{document_id(TEXTS[0])} is not finite"):
        embed(corpus, tmp_path, "v", encoder)
    assert contents(tmp_path / "v") == {}


def test_ids_are_stored_beside_the_vectors(corpus: Path, tmp_path: Path):
    embed(corpus, tmp_path, "v")
    table = pq.read_table(tmp_path / "v" / "ids.parquet")
    assert table.column_names == ["document_id"]
