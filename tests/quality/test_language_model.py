"""Greedy text from a local model; the server is tested where annotators and documentation ask it."""

from pathlib import Path

import pytest

from hephaestus_dag.chat_server import ChatServer
from hephaestus_dag.documents import Reject
from hephaestus_dag.language_model import LocalModel, Tokens, make_language_model
from hephaestus_dag.quality.config import AnnotatorConfig
from hephaestus_dag.sources.synthesis.config import SyntheticDocumentationConfig
from hephaestus_dag.sources.synthesis.documentation import write_documentation
from hephaestus_dag.sources.synthesis.undocumented import Undocumented

PROMPTS = ["Write", "Write about boxes", "Write about boxes and lids " * 9]


def annotator(folder: Path, **settings: object) -> AnnotatorConfig:
    return AnnotatorConfig.model_validate({"model": str(folder), "dtype": "float32", "batch_size": 2, **settings})


def test_a_local_model_answers_the_same_again_and_alone(tiny_llama: Path, tmp_path: Path):
    model = make_language_model(annotator(tiny_llama), tmp_path)
    assert isinstance(model, LocalModel)
    replies = model.generate(PROMPTS, 16)
    assert replies == model.generate(PROMPTS, 16)
    assert replies == [reply for prompt in PROMPTS for reply in model.generate([prompt], 16)]
    assert len({reply.text for reply in replies}) == 3


def test_answers_go_on_as_the_plain_forward_pass_does(tiny_llama: Path, tmp_path: Path):
    import torch
    from transformers import AutoModelForCausalLM, AutoTokenizer

    tokenizer, plain = AutoTokenizer.from_pretrained(tiny_llama), AutoModelForCausalLM.from_pretrained(tiny_llama).eval()
    tokens = tokenizer.encode("<|user|>Write about boxes<|assistant|>", add_special_tokens=False)
    for _ in range(8):
        with torch.no_grad():
            tokens.append(int(plain(torch.tensor([tokens])).logits[0, -1].argmax()))
    (reply,) = make_language_model(annotator(tiny_llama), tmp_path).generate(["Write about boxes"], 8)
    assert not reply.finished
    assert reply.tokens == Tokens(len(tokens) - 8, 8)
    assert reply.text == tokenizer.decode(tokens[-8:], skip_special_tokens=True)


def test_identity_follows_the_model_and_not_the_batch(tiny_llama: Path, tmp_path: Path):
    one, other = (make_language_model(annotator(tiny_llama, batch_size=size), tmp_path) for size in (1, 2))
    assert one.identity == other.identity


def test_what_random_weights_write_is_set_aside(tiny_llama: Path, tmp_path: Path):
    config = SyntheticDocumentationConfig(count=1, annotator=annotator(tiny_llama), max_tokens=32)
    function = Undocumented(
        name="boxes.open", thing="function", signature="open(lid)", parameters=("lid",), code="def open(lid): ...",
        source="code", origin="boxes.py/boxes.open", license="MIT", provider="boxes",
    )  # fmt: skip
    model = make_language_model(config.annotator, tmp_path)
    (made,) = write_documentation([function], model, config, tmp_path / "journal.jsonl")
    assert isinstance(made, Reject)
    assert (made.source, made.position) == ("code", "function boxes.open")
    assert made.reason


def test_a_missing_key_is_named_before_any_request(monkeypatch: pytest.MonkeyPatch):
    monkeypatch.delenv("WRITER_KEY", raising=False)
    with pytest.raises(ValueError, match="WRITER_KEY"):
        ChatServer(AnnotatorConfig(kind="openai", model="m", endpoint="http://127.0.0.1:9/v1", api_key_env="WRITER_KEY"))
