from pathlib import Path

import numpy as np
import pytest

from hephaestus_dag.retrieval.config import EncoderConfig
from hephaestus_dag.retrieval.encoder import Encoder

TEXTS = [
    "short",
    "a somewhat longer text about web endpoints and their parameters " * 3,
    "",
    "middle sized text",
    "word " * 400,
]


def reference(minilm: Path, text: str, pooling: str, normalize: bool, max_tokens: int) -> np.ndarray:
    """The plain forward pass of one text, no batching."""
    import torch
    from transformers import AutoModel, AutoTokenizer

    tokenizer, model = AutoTokenizer.from_pretrained(minilm), AutoModel.from_pretrained(minilm).eval()
    with torch.no_grad():
        states = model(**tokenizer(text, truncation=True, max_length=max_tokens, return_tensors="pt")).last_hidden_state[0]
    vector = (states[0] if pooling == "cls" else states.mean(0)).numpy()
    return vector / np.linalg.norm(vector) if normalize else vector


@pytest.mark.parametrize(("pooling", "normalize"), [("mean", True), ("cls", False)])
def test_vectors_equal_the_plain_forward_pass_in_the_order_given(minilm: Path, pooling, normalize):
    config = EncoderConfig(pooling=pooling, normalize=normalize, max_tokens=64, batch_size=2, dtype="float32")
    vectors = Encoder(config, minilm).encode(TEXTS)
    expected = np.stack([reference(minilm, text, pooling, normalize, 64) for text in TEXTS])
    np.testing.assert_allclose(vectors, expected, atol=1e-3)
    assert vectors.dtype == np.float32


def test_reduced_precision_points_the_same_way(minilm: Path, encoder: Encoder):
    reduced = Encoder(EncoderConfig(dtype="bfloat16"), minilm).encode(TEXTS)
    assert (reduced * encoder.encode(TEXTS)).sum(1).min() > 0.995


def test_the_same_texts_give_the_same_bytes(encoder: Encoder):
    assert encoder.encode(TEXTS).tobytes() == encoder.encode(TEXTS).tobytes()


def test_no_texts_give_no_vectors(encoder: Encoder):
    assert encoder.encode([]).shape == (0, encoder.dimension)


def test_text_is_cut_at_max_tokens(minilm: Path):
    short = Encoder(EncoderConfig(max_tokens=8, dtype="float32"), minilm)
    one, other = short.encode(["one two three four five six seven eight", "one two three four five six nothing alike"])
    np.testing.assert_allclose(one, other, atol=1e-5)


def test_more_tokens_than_the_model_reads_are_refused(minilm: Path):
    with pytest.raises(ValueError, match="max_tokens"):
        Encoder(EncoderConfig(max_tokens=4096), minilm)
