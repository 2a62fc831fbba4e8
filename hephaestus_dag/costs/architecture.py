"""Shapes of models, and what follows from them: parameters and FLOP per token.

A transformer is read from a ``config.json`` (a folder, a packaged model), from a shape in the recipe, or from the table of
published models below, since a hub model need not be here.
"""

import json
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Self

from hephaestus_dag.models import HUB_NAME, PACKAGED, is_folder, packaged_path
from hephaestus_dag.scaling.sweep_config import LadderRung
from hephaestus_dag.training.config import ModelShape
from hephaestus_dag.training.flops import flops_per_token


@dataclass(frozen=True, slots=True, kw_only=True)
class Architecture:
    """A transformer's shape, under the names of its ``config.json``."""

    hidden_size: int
    num_hidden_layers: int
    num_attention_heads: int
    num_key_value_heads: int
    intermediate_size: int
    vocab_size: int
    tie_word_embeddings: bool = True
    head_dim: int | None = None
    decoder: bool = True
    """A LLaMA-like decoder: gated feed-forward, output head. Otherwise an encoder like BERT, with neither."""

    @property
    def query_width(self) -> int:
        """Width of all heads' queries."""
        return self.num_attention_heads * (self.head_dim or self.hidden_size // self.num_attention_heads)

    @property
    def key_width(self) -> int:
        """Width of all heads' keys, or values."""
        return self.num_key_value_heads * (self.head_dim or self.hidden_size // self.num_attention_heads)

    @property
    def layer_matrices(self) -> int:
        """Entries of the matrices of one layer."""
        attention = 2 * self.hidden_size * (self.query_width + self.key_width)
        return attention + (3 if self.decoder else 2) * self.hidden_size * self.intermediate_size

    @property
    def parameters(self) -> int:
        """All weights of a decoder: matrices, norms, embedding, and the head where it is not tied.

        LLaMA-3-8B: 8,030,261,248. An encoder's biases and positions are left out.
        """
        tables = 1 if self.tie_word_embeddings or not self.decoder else 2
        body = self.num_hidden_layers * (self.layer_matrices + 2 * self.hidden_size) + self.hidden_size
        return body + tables * self.vocab_size * self.hidden_size

    def training_flops(self, sequence_length: int) -> float:
        """Return FLOP per token of a forward and backward pass, 6 N + 12 L d T: see `training.flops.flops_per_token`."""
        return flops_per_token(self, sequence_length)

    def forward_flops(self, sequence_length: int) -> float:
        """Return FLOP per token of a forward pass, 2 N + 4 L d T: a third of training (PaLM, arXiv 2204.02311, appendix B).

        N are the matrices that a token passes through, for an encoder without a head.
        """
        if self.decoder:
            return self.training_flops(sequence_length) / 3
        matrices = self.num_hidden_layers * self.layer_matrices
        return 2.0 * matrices + 4.0 * self.num_hidden_layers * self.query_width * sequence_length

    @classmethod
    def of_shape(cls, shape: ModelShape | LadderRung, vocab_size: int) -> Self:
        """Return the architecture of a model that the recipe describes."""
        return cls(
            hidden_size=shape.hidden_size,
            num_hidden_layers=shape.layers,
            num_attention_heads=shape.heads,
            num_key_value_heads=shape.kv_heads,
            intermediate_size=shape.intermediate_size,
            vocab_size=vocab_size,
            tie_word_embeddings=shape.tie_embeddings if isinstance(shape, ModelShape) else True,
        )

    @classmethod
    def of_config(cls, config: dict[str, Any]) -> Self:
        """Return the architecture that a ``config.json`` describes. Raises KeyError when it is no such transformer."""
        return cls(
            hidden_size=config["hidden_size"],
            num_hidden_layers=config["num_hidden_layers"],
            num_attention_heads=config["num_attention_heads"],
            num_key_value_heads=config.get("num_key_value_heads") or config["num_attention_heads"],
            intermediate_size=config["intermediate_size"],
            vocab_size=config["vocab_size"],
            tie_word_embeddings=config.get("tie_word_embeddings", False),
            head_dim=config.get("head_dim"),
            decoder=any("CausalLM" in name for name in config.get("architectures") or ()),
        )


def _decoder(hidden: int, layers: int, heads: int, kv_heads: int, inner: int, vocabulary: int, tied: bool) -> Architecture:
    return Architecture(
        hidden_size=hidden,
        num_hidden_layers=layers,
        num_attention_heads=heads,
        num_key_value_heads=kv_heads,
        intermediate_size=inner,
        vocab_size=vocabulary,
        tie_word_embeddings=tied,
    )


_LLAMA_3_8B = _decoder(4_096, 32, 32, 8, 14_336, 128_256, tied=False)
_SMOLLM2_135M = _decoder(576, 30, 9, 3, 1_536, 49_152, tied=True)
_BERT_BASE = Architecture(
    hidden_size=768,
    num_hidden_layers=12,
    num_attention_heads=12,
    num_key_value_heads=12,
    intermediate_size=3_072,
    vocab_size=30_522,
    decoder=False,
)
PUBLISHED = {
    "meta-llama/Meta-Llama-3-8B": _LLAMA_3_8B,
    "meta-llama/Meta-Llama-3-8B-Instruct": _LLAMA_3_8B,
    "mistralai/Mistral-7B-v0.3": _decoder(4_096, 32, 32, 8, 14_336, 32_768, tied=False),
    "HuggingFaceTB/SmolLM2-135M": _SMOLLM2_135M,
    "HuggingFaceTB/SmolLM2-135M-Instruct": _SMOLLM2_135M,
    "smollm2-135m": _SMOLLM2_135M,
    "OpenMatch/cocodr-base-msmarco": _BERT_BASE,
}
"""What the ``config.json`` of published models says; of smollm2-135m it is inside of a GGUF file."""


def find_architecture(name: str) -> Architecture | None:
    """Return the shape of a model by its name in a recipe; None when it is neither here nor in the table."""
    match = HUB_NAME.fullmatch(name)
    known = PUBLISHED.get(name) or PUBLISHED.get(match["repository"] if match else "")
    if known and not is_folder(name):
        return known
    try:
        folder = packaged_path(name) if name in PACKAGED else Path(name)
        return Architecture.of_config(json.loads((folder / "config.json").read_text()))
    except (ModuleNotFoundError, OSError, ValueError, KeyError):
        return None
