from pathlib import Path
from typing import Any

import pytest
import torch
from transformers import (
    AutoModelForCausalLM,
    AutoTokenizer,
    GraniteConfig,
    GraniteForCausalLM,
    LlamaConfig,
    LlamaForCausalLM,
    MistralConfig,
    MistralForCausalLM,
    Qwen2Config,
    Qwen2ForCausalLM,
    Qwen3Config,
    Qwen3ForCausalLM,
)

from hephaestus_dag.training.loss import WeightedLoss
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


TINY: dict[str, Any] = {
    "vocab_size": 260,
    "hidden_size": 32,
    "num_hidden_layers": 2,
    "num_attention_heads": 4,
    "num_key_value_heads": 2,
    "intermediate_size": 48,
    "max_position_embeddings": 64,
    "bos_token_id": None,
    "eos_token_id": None,
}
BACKBONES = {
    "llama": lambda: LlamaForCausalLM(LlamaConfig(**TINY, attention_bias=True, mlp_bias=True)),
    "llama, tied": lambda: LlamaForCausalLM(LlamaConfig(**TINY, tie_word_embeddings=True, head_dim=16)),
    "mistral, sliding window": lambda: MistralForCausalLM(MistralConfig(**TINY, sliding_window=5)),
    "qwen2, tied": lambda: Qwen2ForCausalLM(
        Qwen2Config(**TINY, tie_word_embeddings=True, use_sliding_window=True, sliding_window=5, max_window_layers=1)
    ),
    "qwen3": lambda: Qwen3ForCausalLM(Qwen3Config(**TINY, head_dim=16)),
}


@pytest.mark.parametrize("stored", ["float32", "bfloat16"])
@pytest.mark.parametrize("name", BACKBONES)
def test_a_backbone_is_opened_trained_and_exported(name: str, stored: str, tokenizer: TokenizerFolder, tmp_path: Path) -> None:
    torch.manual_seed(1)
    source, target = tmp_path / "source", tmp_path / "target"
    given = BACKBONES[name]().to(getattr(torch, stored))
    given.save_pretrained(source)
    # Without do_sample, as some published folders have it.
    (source / "generation_config.json").write_text('{"temperature": 0.5, "eos_token_id": [257, 258]}')

    model = open_model(source, tokenizer)
    assert {p.dtype for p in model.parameters()} == {torch.float32}
    assert all(torch.equal(p, q.float()) for p, q in zip(model.parameters(), given.parameters(), strict=True))
    training = WeightedLoss(model, autocast=False)
    optimizer = torch.optim.AdamW(model.parameters(), lr=0.01)
    tokens, weights = torch.randint(0, 256, (4, 17)), torch.full((4, 16), 1 / 64)
    losses = []
    for _ in range(4):
        total, nats = training(tokens, weights)
        losses.append(float(nats))
        optimizer.zero_grad()
        total.backward()
        assert all(p.grad is not None for p in model.parameters())
        optimizer.step()
    assert losses[-1] < losses[0] - 0.1

    export_model(model, dict(model.named_parameters()), tokenizer, target)
    reopened = AutoModelForCausalLM.from_pretrained(target, dtype="auto")
    assert reopened.config.model_type == given.config.model_type
    with torch.no_grad():
        assert torch.equal(reopened.eval()(tokens).logits, model.eval()(tokens).logits)
    written = {path.name for path in target.iterdir()}
    assert written >= {"config.json", "generation_config.json", "model.safetensors", "tokenizer.json", "tokenizer_config.json"}
    assert reopened.generation_config.eos_token_id == [257, 258]


def test_weights_that_are_not_finite_are_not_exported(tokenizer: TokenizerFolder, tmp_path: Path) -> None:
    model = build_model(SHAPE, tokenizer, 0)
    weights = {name: weight.detach().clone() for name, weight in model.named_parameters()}
    weights["model.norm.weight"][3] = torch.inf
    with pytest.raises(ValueError, match=r"1 weights are not finite, model\.norm\.weight first"):
        export_model(model, weights, tokenizer, tmp_path / "model")
    assert not (tmp_path / "model").exists()


def test_a_head_that_scales_or_caps_its_logits_is_refused(tokenizer: TokenizerFolder, tmp_path: Path) -> None:
    granite = GraniteForCausalLM(GraniteConfig(**TINY, logits_scaling=8.0))
    granite.save_pretrained(tmp_path)
    with pytest.raises(ValueError, match=r"\(granite\) has no plain output head"):
        open_model(tmp_path, tokenizer)
