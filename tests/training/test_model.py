from pathlib import Path
from typing import Any

import pytest
import torch
from transformers import AutoModelForCausalLM, AutoTokenizer

from hephaestus_dag.training.model import TokenizerFolder, build_model, count_parameters, export_model, open_model
from tests.training.conftest import SHAPE, Corpus


@pytest.fixture
def tokenizer(corpus: Corpus) -> TokenizerFolder:
    return TokenizerFolder(corpus.tokenizer)


def same_weights(first: Any, second: Any) -> bool:
    pairs = zip(first.state_dict().values(), second.state_dict().values(), strict=True)
    return all(torch.equal(a, b) for a, b in pairs)


def test_the_seed_decides_the_weights(tokenizer: TokenizerFolder) -> None:
    assert same_weights(build_model(SHAPE, tokenizer, 3), build_model(SHAPE, tokenizer, 3))
    assert not same_weights(build_model(SHAPE, tokenizer, 3), build_model(SHAPE, tokenizer, 4))


@pytest.mark.parametrize("tied", [True, False])
def test_an_exported_model_opens_everywhere_with_the_same_logits(
    tokenizer: TokenizerFolder, tmp_path: Path, tied: bool
) -> None:
    model = build_model(SHAPE.model_copy(update={"tie_embeddings": tied}), tokenizer, 0).eval()
    export_model(model, dict(model.named_parameters()), tokenizer, tmp_path)
    reopened = AutoModelForCausalLM.from_pretrained(tmp_path).eval()
    shown = torch.arange(24).view(2, 12)
    with torch.no_grad():
        assert torch.equal(reopened(shown).logits, model(shown).logits)
    assert same_weights(open_model(tmp_path, tokenizer), model)
    assert (
        AutoTokenizer.from_pretrained(tmp_path).eos_token_id
        == reopened.generation_config.eos_token_id
        == tokenizer.special_id("eos")
    )
    assert not any(str(tmp_path) in path.read_text() for path in tmp_path.glob("*.json"))


def test_a_token_that_also_pads_is_learnt(tokenizer: TokenizerFolder, tmp_path: Path) -> None:
    model = build_model(SHAPE.model_copy(update={"tie_embeddings": False}), tokenizer, 0)
    model.config.pad_token_id = 5
    export_model(model, dict(model.named_parameters()), tokenizer, tmp_path)
    for opened in (model, open_model(tmp_path, tokenizer)):
        opened(torch.full((1, 4), 5)).logits.square().sum().backward()
        assert opened.get_input_embeddings().weight.grad[5].abs().sum() > 0


def test_parameters_are_counted_without_embeddings(tokenizer: TokenizerFolder) -> None:
    block = 32 * 32 * 2 + 32 * 16 * 2 + 3 * 32 * 64 + 2 * 32
    for tied, tables in ((True, 1), (False, 2)):
        count = count_parameters(build_model(SHAPE.model_copy(update={"tie_embeddings": tied}), tokenizer, 0))
        assert count.non_embedding == 2 * block + 32
        assert count.total == count.non_embedding + tables * 260 * 32


def test_folders_that_cannot_be_used_are_named(tokenizer: TokenizerFolder, tmp_path: Path) -> None:
    with pytest.raises(FileNotFoundError, match=r"tokenizer\.json"):
        TokenizerFolder(tmp_path)
    with pytest.raises(FileNotFoundError, match=r"config\.json"):
        open_model(tmp_path, tokenizer)
    (tmp_path / "config.json").write_text("{}")
    (tmp_path / "pytorch_model.bin").write_bytes(b"")
    with pytest.raises(FileNotFoundError, match="safetensors"):
        open_model(tmp_path, tokenizer)


def test_a_larger_tokenizer_than_the_model_is_refused(tokenizer: TokenizerFolder, tmp_path: Path) -> None:
    model = build_model(SHAPE, tokenizer, 0)
    export_model(model, dict(model.named_parameters()), tokenizer, tmp_path)
    tokenizer.tokenizer.add_special_tokens(["<|more|>"])
    del tokenizer.vocab_size
    with pytest.raises(ValueError, match="knows 260 tokens, the tokenizer has 261"):
        open_model(tmp_path, tokenizer)
