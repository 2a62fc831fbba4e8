import pickle
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from hephaestus_dag.retrieval.config import EncoderConfig
from hephaestus_dag.retrieval.encoder import Encoder, batch_rows, head

TEXTS = [
    "short",
    "a somewhat longer text about web endpoints and their parameters " * 3,
    "",
    "middle sized text",
    "word " * 400,
    "x" * 3_000 + " behind a word that is one token, which the tokenizer must not be spared",
    " \n\t" * 900 + "behind blanks",
    ("y" * 150 + " ") * 12 + "behind long words that are one token each",
    "Größe, 東京 and \u0007 control",
]
WORDS = ["GET", "/users/{id}", "returns", "one", "user,", "naïve", "東京", "\n", "  ", "a" * 120, "[SEP]"]
DIMENSION = 48


@pytest.fixture(scope="module")
def tiny(tmp_path_factory: pytest.TempPathFactory, minilm: Path) -> Callable[..., Path]:
    """Save a small random model of some architecture, with MiniLM's tokenizer."""
    import torch
    from transformers import AutoConfig, AutoModel, AutoTokenizer

    sizes = {"hidden_size": DIMENSION, "num_hidden_layers": 2, "num_attention_heads": 4, "vocab_size": 30_522}
    t5 = {"d_model": DIMENSION, "num_layers": 2, "num_heads": 4, "d_kv": 12, "d_ff": 64, "vocab_size": 30_522}
    shapes: dict[str, dict[str, Any]] = {
        "bert": {**sizes, "intermediate_size": 96, "max_position_embeddings": 64},
        "roberta": {**sizes, "intermediate_size": 96, "max_position_embeddings": 66, "pad_token_id": 1},
        "qwen3": {**sizes, "intermediate_size": 96, "num_key_value_heads": 2, "head_dim": 12},
        "t5": {**t5, "decoder_start_token_id": 0},
    }
    made: dict[str, Path] = {}

    def save(kind: str) -> Path:
        if kind not in made:
            torch.manual_seed(0)
            made[kind] = tmp_path_factory.mktemp(kind)
            model: Any = AutoModel.from_config(AutoConfig.for_model(kind, **shapes[kind]))
            for weight in model.parameters():
                torch.nn.init.normal_(weight, std=0.2)
            model.save_pretrained(made[kind])
            pad = {"pad_token": "[unused0]"} if kind == "roberta" else {}  # RoBERTa's positions rely on id 1.
            AutoTokenizer.from_pretrained(minilm, **pad).save_pretrained(made[kind])
        return made[kind]

    return save


def plain(folder: Path, text: str, pooling: str, normalize: bool, max_tokens: int) -> np.ndarray:
    """The plain forward pass of one text, no batching."""
    import torch
    from transformers import AutoModel, AutoTokenizer

    tokenizer, model = AutoTokenizer.from_pretrained(folder), AutoModel.from_pretrained(folder).eval()
    model = model.get_encoder() if model.config.is_encoder_decoder else model
    tokens = tokenizer(text, truncation=True, max_length=max_tokens, return_tensors="pt", return_token_type_ids=False)
    with torch.no_grad():
        states = model(**tokens).last_hidden_state[0]
    vector = {"cls": states[0], "mean": states.mean(0), "last": states[-1]}[pooling].numpy()
    return vector / np.linalg.norm(vector) if normalize else vector


@pytest.mark.parametrize(("pooling", "normalize"), [("mean", True), ("cls", False), ("last", True)])
def test_vectors_equal_the_plain_forward_pass_in_the_order_given(minilm: Path, pooling: Any, normalize: bool):
    config = EncoderConfig(pooling=pooling, normalize=normalize, max_tokens=64, batch_size=3, dtype="float32")
    vectors = Encoder(config, minilm).encode(TEXTS)
    expected = np.stack([plain(minilm, text, pooling, normalize, 64) for text in TEXTS])
    np.testing.assert_allclose(vectors, expected, atol=1e-4)
    assert vectors.dtype == np.float32


@pytest.mark.parametrize(
    ("kind", "pooling", "normalize"),
    [
        ("bert", "cls", False),
        ("roberta", "mean", False),
        ("qwen3", "last", True),
        ("qwen3", "mean", True),
        ("t5", "mean", True),
    ],
)
def test_any_architecture_equals_its_plain_forward_pass(tiny: Callable[..., Path], kind: str, pooling: Any, normalize: bool):
    folder = tiny(kind)
    config = EncoderConfig(model=str(folder), pooling=pooling, normalize=normalize, max_tokens=64, dtype="float32")
    encoder = Encoder(config, folder)
    vectors = encoder.encode(TEXTS)
    expected = np.stack([plain(folder, text, pooling, normalize, 64) for text in TEXTS])
    assert vectors.shape == (len(TEXTS), encoder.dimension) == (len(TEXTS), DIMENSION)
    np.testing.assert_allclose(vectors, expected, atol=1e-4 * np.abs(expected).max())
    assert np.abs(expected - expected[0]).max() > 0.01  # the weights are such that texts differ


@settings(max_examples=15, deadline=None)
@given(texts=st.lists(st.lists(st.sampled_from(WORDS), max_size=60).map(" ".join), min_size=1, max_size=12), data=st.data())
def test_neither_order_nor_company_decides_a_vector(encoder: Encoder, texts: list[str], data: st.DataObject):
    order = data.draw(st.permutations(range(len(texts))))
    vectors = encoder.encode(texts)
    np.testing.assert_allclose(encoder.encode([texts[row] for row in order]), vectors[list(order)], atol=1e-4)
    alone = np.concatenate([encoder.encode([text]) for text in texts])
    np.testing.assert_allclose(vectors, alone, atol=1e-4)


def test_batch_sizes_agree_and_share_an_identity(minilm: Path, encoder: Encoder):
    one, many = (Encoder(EncoderConfig(dtype="float32", batch_size=size), minilm) for size in (1, 64))
    np.testing.assert_allclose(one.encode(TEXTS), many.encode(TEXTS), atol=1e-4)
    assert one.identity == many.identity == encoder.identity


@pytest.mark.parametrize(
    "change",
    [
        {"pooling": "cls"},
        {"normalize": False},
        {"max_tokens": 64},
        {"max_query_tokens": 64},
        {"document_prefix": "passage: "},
        {"query_prefix": "query: "},
        {"dtype": "bfloat16"},
    ],
)
def test_what_decides_a_vector_is_in_the_identity(minilm: Path, encoder: Encoder, change: dict[str, Any]):
    other = Encoder(encoder.config.model_copy(update=change), minilm)
    (field,) = change
    assert {name for name in encoder.identity if other.identity[name] != encoder.identity[name]} - {"max_query_tokens"} == (
        {field} - {"max_query_tokens"}
    )
    assert other.identity != encoder.identity


def test_vectors_of_another_method_are_another_encoder(minilm: Path, encoder: Encoder, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr("hephaestus_dag.retrieval.encoder.METHOD", 0)
    assert Encoder(encoder.config, minilm).identity != encoder.identity


def test_a_query_limit_that_says_the_same_is_the_same_identity(minilm: Path, encoder: Encoder):
    assert Encoder(encoder.config.model_copy(update={"max_query_tokens": 128}), minilm).identity == encoder.identity


@given(text=st.text(alphabet="ab \n\t東", max_size=60), characters=st.integers(1, 70))
def test_a_head_is_whole_words_of_the_text(text: str, characters: int):
    kept = head(text, characters)
    assert text.startswith(kept)
    assert kept == text or (len(kept) <= characters and text[len(kept)].isspace() and not kept[-1].isspace())


@given(
    lengths=st.lists(st.integers(1, 300), max_size=50).map(lambda found: sorted(found, reverse=True)),
    rows=st.integers(1, 40),
    tokens=st.none() | st.integers(1, 600),
)
def test_batches_hold_every_text_once_within_both_limits(lengths: list[int], rows: int, tokens: int | None):
    batches = [lengths[batch] for batch in batch_rows(lengths, rows, tokens)]
    assert [length for batch in batches for length in batch] == lengths
    assert all(0 < len(batch) <= rows for batch in batches)
    assert all(len(batch) == 1 or tokens is None or len(batch) * batch[0] <= tokens for batch in batches)


def test_reduced_precision_points_the_same_way(minilm: Path, encoder: Encoder):
    reduced = Encoder(EncoderConfig(dtype="bfloat16"), minilm).encode(TEXTS)
    assert (reduced * encoder.encode(TEXTS)).sum(1).min() > 0.995


def test_the_same_texts_give_the_same_bytes(encoder: Encoder):
    assert encoder.encode(TEXTS).tobytes() == encoder.encode(TEXTS).tobytes()


def test_a_pickled_encoder_is_light_and_gives_the_same_bytes(encoder: Encoder):
    there = encoder.encode(TEXTS)
    content = pickle.dumps(encoder)
    assert len(content) < 10_000
    assert pickle.loads(content).encode(TEXTS).tobytes() == there.tobytes()


def test_no_texts_give_no_vectors(encoder: Encoder):
    assert encoder.encode([]).shape == (0, encoder.dimension)


def test_a_text_without_any_token_has_a_finite_vector(tmp_path: Path, tiny: Callable[..., Path]):
    from tokenizers import Tokenizer, models, pre_tokenizers
    from transformers import AutoModel, PreTrainedTokenizerFast

    words = Tokenizer(models.WordLevel({"<unk>": 0, "user": 1}, unk_token="<unk>"))
    words.pre_tokenizer = pre_tokenizers.Whitespace()
    PreTrainedTokenizerFast(tokenizer_object=words, unk_token="<unk>").save_pretrained(tmp_path)
    AutoModel.from_pretrained(tiny("qwen3")).save_pretrained(tmp_path)
    encoder = Encoder(EncoderConfig(model=str(tmp_path), dtype="float32"), tmp_path)
    empty, other = encoder.encode(["", "user user"])
    assert np.isfinite(empty).all()
    assert np.abs(empty - other).max() > 0.01
    np.testing.assert_allclose(encoder.encode([""])[0], empty, atol=1e-4)


def test_prefixes_stand_before_the_text(minilm: Path, encoder: Encoder):
    config = encoder.config.model_copy(update={"document_prefix": "passage: ", "query_prefix": "query: "})
    prefixed = Encoder(config, minilm)
    documents, queries = prefixed.encode(TEXTS), prefixed.encode(TEXTS, query=True)
    np.testing.assert_allclose(documents, encoder.encode([f"passage: {text}" for text in TEXTS]), atol=1e-4)
    np.testing.assert_allclose(queries, encoder.encode([f"query: {text}" for text in TEXTS]), atol=1e-4)
    assert np.abs(documents - queries).max(axis=1).min() > 0.01


def test_documents_and_queries_are_cut_at_their_own_limits(minilm: Path):
    encoder = Encoder(EncoderConfig(max_tokens=8, max_query_tokens=16, dtype="float32"), minilm)
    texts = ["one two three four five six seven eight", "one two three four five six nothing alike"]
    one, other = encoder.encode(texts)
    np.testing.assert_allclose(one, other, atol=1e-5)
    one, other = encoder.encode(texts, query=True)
    assert np.abs(one - other).max() > 0.01


def test_progress_grows_and_ends_at_the_total(encoder: Encoder, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr("hephaestus_dag.retrieval.encoder.CHUNK_TOKENS", 3 * encoder.config.max_tokens)
    seen: list[tuple[int, int]] = []
    vectors = encoder.encode(TEXTS * 3, lambda done, total: seen.append((done, total)))
    assert len(seen) > 2
    assert [done for done, _ in seen] == sorted({done for done, _ in seen})
    assert seen[-1] == (len(TEXTS) * 3, len(TEXTS) * 3)
    np.testing.assert_allclose(vectors, np.tile(encoder.encode(TEXTS), (3, 1)), atol=1e-4)


@pytest.mark.parametrize(("kind", "longest"), [("bert", 64), ("roberta", 64)])
@pytest.mark.parametrize("field", ["max_tokens", "max_query_tokens"])
def test_more_tokens_than_the_model_reads_are_refused(tiny: Callable[..., Path], kind: str, longest: int, field: str):
    folder = tiny(kind)
    fits = {"model": str(folder), "max_tokens": longest, "max_query_tokens": longest, "dtype": "float32"}
    assert Encoder(EncoderConfig(**fits), folder).encode(["word " * 400]).shape == (1, DIMENSION)
    with pytest.raises(ValueError, match=rf"encoder\.{field} is {longest + 1}.*at most {longest}"):
        Encoder(EncoderConfig(**fits | {field: longest + 1}), folder)


def test_float16_on_a_cpu_is_refused(minilm: Path):
    with pytest.raises(ValueError, match=r"encoder\.dtype"):
        Encoder(EncoderConfig(dtype="float16"), minilm)


def test_a_vector_that_is_not_finite_is_refused(tmp_path: Path, tiny: Callable[..., Path]):
    import torch
    from transformers import AutoModel, AutoTokenizer

    model, tokenizer = AutoModel.from_pretrained(tiny("bert")), AutoTokenizer.from_pretrained(tiny("bert"))
    with torch.no_grad():
        model.embeddings.word_embeddings.weight[tokenizer.convert_tokens_to_ids("poison")] = torch.nan
    model.save_pretrained(tmp_path)
    tokenizer.save_pretrained(tmp_path)
    encoder = Encoder(EncoderConfig(model=str(tmp_path), max_tokens=64, dtype="float32"), tmp_path)
    assert np.isfinite(encoder.encode(["water"])).all()
    with pytest.raises(ValueError, match=r"not finite in float32, of text 1 \('the poison'\)") as refused:
        encoder.encode(["water", "the poison", "wine"])
    assert str(tmp_path) in str(refused.value)
