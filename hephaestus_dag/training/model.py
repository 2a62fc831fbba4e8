"""Models: built fresh from a shape or opened from a Hugging Face folder, counted, and exported with their tokenizer."""

import json
import shutil
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

import torch
from tokenizers import Tokenizer
from torch import Tensor

from hephaestus_dag.models import drop_machine_paths
from hephaestus_dag.training.config import ModelShape

TOKENIZER_FILES = ("tokenizer*", "special_tokens_map.json", "added_tokens.json", "chat_template*", "vocab*", "merges.txt")


class TokenizerFolder:
    """The facts of a Hugging Face tokenizer folder that training needs; opens in milliseconds.

    Raises FileNotFoundError when the folder holds no fast tokenizer.
    """

    def __init__(self, folder: Path) -> None:
        if not (folder / "tokenizer.json").is_file():
            raise FileNotFoundError(f"tokenizer: {folder} holds no tokenizer.json; give the folder of a fast tokenizer")
        self.folder = folder
        self.tokenizer = Tokenizer.from_file(str(folder / "tokenizer.json"))
        path = folder / "tokenizer_config.json"
        self._config: dict[str, Any] = json.loads(path.read_text()) if path.is_file() else {}

    @cached_property
    def vocab_size(self) -> int:
        """One more than the largest token id."""
        return 1 + max(self.tokenizer.get_vocab(with_added_tokens=True).values())

    def special_id(self, name: str) -> int | None:
        """Return the id of the ``bos``, ``eos`` or ``pad`` token, or None where the tokenizer has none."""
        token = self._config.get(f"{name}_token")
        content = token["content"] if isinstance(token, dict) else token
        return None if content is None else self.tokenizer.token_to_id(content)

    def text_bytes(self, tokens: list[int]) -> int:
        """Return the UTF-8 bytes of the text that the tokens spell, special tokens left out."""
        return len(self.tokenizer.decode(tokens, skip_special_tokens=True).encode())


@dataclass(frozen=True, slots=True)
class ParameterCount:
    """How large a model is."""

    total: int
    non_embedding: int
    """Without the input embedding and the output head: the N of scaling laws."""


def build_model(shape: ModelShape, tokenizer: TokenizerFolder, seed: int) -> Any:
    """Return a fresh ``LlamaForCausalLM`` in float32; the same seed gives the same weights."""
    from transformers.models.llama.configuration_llama import LlamaConfig
    from transformers.models.llama.modeling_llama import LlamaForCausalLM

    config = LlamaConfig(
        vocab_size=tokenizer.vocab_size,
        hidden_size=shape.hidden_size,
        num_hidden_layers=shape.layers,
        num_attention_heads=shape.heads,
        num_key_value_heads=shape.kv_heads,
        intermediate_size=shape.intermediate_size,
        max_position_embeddings=shape.max_position_embeddings,
        tie_word_embeddings=shape.tie_embeddings,
        rope_parameters={"rope_type": "default", "rope_theta": shape.rope_theta},
        # The padding token stays out: an embedding learns nothing about it, and it may be the end-of-text token.
        bos_token_id=tokenizer.special_id("bos"),
        eos_token_id=tokenizer.special_id("eos"),
        pad_token_id=None,
    )
    torch.manual_seed(seed)
    model = LlamaForCausalLM(config)
    model.set_attn_implementation("sdpa")
    return model


def open_model(folder: Path, tokenizer: TokenizerFolder) -> Any:
    """Return the model of a Hugging Face folder in float32, whatever its weights are stored in. Only safetensors are read.

    Raises FileNotFoundError when it is not a model folder, ValueError when it does not fit the tokenizer or computes its
    logits in another way than ``head @ hidden``.
    """
    if not (folder / "config.json").is_file():
        raise FileNotFoundError(f"model: {folder} is not a Hugging Face folder, it holds no config.json")
    if not any(folder.glob("*.safetensors")):
        raise FileNotFoundError(f"model: {folder} holds no safetensors weights; save it with safe serialization first")
    described = json.loads((folder / "config.json").read_text())
    if described.get("model_type") == "llama":  # The automatic classes import far more.
        from transformers.models.llama.modeling_llama import LlamaForCausalLM as Opener
    else:
        from transformers import AutoModelForCausalLM as Opener

    model = Opener.from_pretrained(
        folder, dtype=torch.float32, attn_implementation="sdpa", use_safetensors=True, local_files_only=True
    )
    head = model.get_output_embeddings()
    if head is None or not _has_plain_head(model):
        raise ValueError(f"model: {folder} ({described.get('model_type')}) has no plain output head; choose a LLaMA-like model")
    if tokenizer.vocab_size > head.weight.shape[0]:
        raise ValueError(
            f"model: {folder} knows {head.weight.shape[0]} tokens, the tokenizer has {tokenizer.vocab_size}; "
            "give the model's own tokenizer"
        )
    embedding: Any = model.get_input_embeddings()
    embedding.padding_idx = None  # Otherwise a token that pads and ends texts gets no gradient.
    return model


def _has_plain_head(model: Any) -> bool:
    """Whether logits are products of output embeddings and last hidden states, without bias, cap or scale."""
    tokens = torch.zeros(1, 1, dtype=torch.long)
    with torch.no_grad():
        hidden = model.get_decoder()(input_ids=tokens, use_cache=False).last_hidden_state
        plain = hidden @ model.get_output_embeddings().weight.T
        return torch.allclose(model(input_ids=tokens, use_cache=False).logits, plain, rtol=1e-3, atol=1e-4, equal_nan=True)


def count_parameters(model: Any) -> ParameterCount:
    """Count weights; a shared embedding counts once."""
    size = {id(p): getattr(p, "ds_numel", p.numel()) for p in model.parameters()}
    embedding = {id(layer.weight) for layer in (model.get_input_embeddings(), model.get_output_embeddings())}
    total = sum(size.values())
    return ParameterCount(total, total - sum(size[key] for key in embedding))


def export_model(model: Any, weights: dict[str, Tensor], tokenizer: TokenizerFolder, folder: Path) -> None:
    """Write a Hugging Face folder: configuration, the given weights as safetensors, and the tokenizer's own files.

    Raises ValueError, before anything is written, when a weight is not finite.
    """
    spoilt = [name for name, weight in weights.items() if not weight.isfinite().all()]
    if spoilt:
        raise ValueError(f"{len(spoilt)} weights are not finite, {spoilt[0]} first; lower learning_rate, or train in float32")
    folder.mkdir(parents=True, exist_ok=True)
    model.save_pretrained(folder, state_dict=weights)
    # Completed as a file: transformers saves a published configuration that it calls invalid only while nothing changed it.
    path = folder / "generation_config.json"
    generation = json.loads(path.read_text())
    for name in ("bos", "eos", "pad"):
        if generation.get(f"{name}_token_id") is None and tokenizer.special_id(name) is not None:
            generation[f"{name}_token_id"] = tokenizer.special_id(name)
    path.write_text(json.dumps(generation, indent=2, sort_keys=True) + "\n")
    drop_machine_paths(folder)
    for path in sorted({path for pattern in TOKENIZER_FILES for path in tokenizer.folder.glob(pattern) if path.is_file()}):
        shutil.copyfile(path, folder / path.name)
