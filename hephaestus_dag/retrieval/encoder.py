"""Turn texts into vectors with a transformer encoder.

Time goes into matrix products, so the rest is about giving them nothing but text: texts run together with others of their
length, in batches that fit into a CPU's cache, without an attention mask where nothing is padded; the tokenizer reads no
more of a page than the model will, and works while the model does.
"""

from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np

from hephaestus_dag.models import model_identity
from hephaestus_dag.retrieval.config import EncoderConfig

CHUNK_TOKENS = 2**18  # Tokenised and sorted together; at about 150 bytes a token in the tokenizer, 40 MB.
CPU_TOKENS = 1_024  # Padded tokens of a forward pass on a CPU: states of more leave its cache, and products slow down.
CHARACTERS_PER_TOKEN = 8  # Of running text twice what a token holds; a page that needs more is read as a whole.
METHOD = 1  # Raise it when a text would get another vector than before, so that kept vectors are not taken over.
VECTOR_FIELDS = {"pooling", "normalize", "max_tokens", "document_prefix", "query_prefix", "dtype"}


class Encoder:
    """A transformer from a Hugging Face folder, with pooling. Documents and queries may differ in prefix and length.

    Of an encoder-decoder model the encoder is used. Padding stands right of the text, so ``last`` is its last token also
    in decoder models. Weights and states have ``config.dtype``; pooling and normalisation are float32.

    The weights are loaded when the first text is encoded, and are left behind when an encoder is pickled.

    Raises ValueError, naming the field, for more tokens than the model has positions, and for float16 on a CPU.
    """

    def __init__(self, config: EncoderConfig, model_path: Path, device: str = "cpu") -> None:
        import torch
        from transformers import AutoConfig, AutoModel

        self.config, self.model_path, self.device = config, model_path, torch.device(device)
        if config.dtype == "float16" and self.device.type == "cpu":
            raise ValueError("encoder.dtype float16 is for GPUs: on a CPU use bfloat16, or float32 for exact vectors")
        self.identity = vector_identity(config)
        with torch.device("meta"):  # the layers without weights
            layers = encoder_of(AutoModel.from_config(AutoConfig.from_pretrained(model_path)))
        self.dimension: int = layers.config.hidden_size
        """Length of a vector."""
        check_limits(config, layers)

    @cached_property
    def tokenizer(self) -> Any:
        """The model's tokenizer."""
        from transformers import AutoTokenizer

        return AutoTokenizer.from_pretrained(self.model_path, truncation_side="right")

    @cached_property
    def model(self) -> Any:
        """The model itself."""
        import torch
        from transformers import AutoModel

        loaded = AutoModel.from_pretrained(self.model_path, dtype=getattr(torch, self.config.dtype))
        model = encoder_of(loaded).to(self.device).eval()
        model.config.use_cache = False
        if self.device.type == "cpu" and self.config.dtype == "float32" and torch.backends.mkldnn.is_available():
            use_onednn(model)
        return model

    def __getstate__(self) -> dict[str, Any]:
        return {name: value for name, value in self.__dict__.items() if name not in ("tokenizer", "model")}

    def encode(
        self, texts: Sequence[str], progress: Callable[[int, int], None] | None = None, query: bool = False
    ) -> np.ndarray:
        """Return float32 vectors in the order of the texts, shape (number of texts, dimension).

        ``query`` takes the prefix and the token limit of queries. Longest texts go first, so ``progress`` (done, total)
        speeds up towards the end. Raises ValueError when a vector is not finite.
        """
        prefix = self.config.query_prefix if query else self.config.document_prefix
        limit = (query and self.config.max_query_tokens) or self.config.max_tokens
        vectors = np.empty((len(texts), self.dimension), dtype=np.float32)
        order = sorted(range(len(texts)), key=lambda row: -len(texts[row]))
        size = max(self.config.batch_size, CHUNK_TOKENS // limit)
        chunks = [order[start : start + size] for start in range(0, len(order), size)]

        def tokenise(chunk: list[int]) -> list[list[int]]:
            return self.tokenise([prefix + texts[row] for row in chunk], limit)

        done = 0
        for chunk, tokens in ahead(tokenise, chunks):
            vectors[chunk] = found = self.encode_tokens(tokens)
            if not np.isfinite(found).all():
                row = chunk[int(np.flatnonzero(~np.isfinite(found).all(axis=1))[0])]
                raise ValueError(
                    f"encoder {self.config.model!r} gives a vector that is not finite in {self.config.dtype}, of text {row} "
                    f"({texts[row][:60]!r}): set encoder.dtype to float32, or check the weights"
                )
            done += len(chunk)
            if progress:
                progress(done, len(texts))
        return vectors

    def tokenise(self, texts: Sequence[str], limit: int) -> list[list[int]]:
        """Return the first ``limit`` tokens of each text, special ones included; at least one, also of an empty text."""
        heads = [head(text, limit * CHARACTERS_PER_TOKEN) for text in texts]
        tokens = self.token_ids(heads, limit)
        short = [row for row, ids in enumerate(tokens) if len(ids) < limit and len(heads[row]) < len(texts[row])]
        for row, ids in zip(short, self.token_ids([texts[row] for row in short], limit), strict=True):
            tokens[row] = ids
        return [ids or [self.padding_token] for ids in tokens]

    def token_ids(self, texts: list[str], limit: int) -> list[list[int]]:
        """Return what the tokenizer makes of texts, cut at ``limit`` tokens."""
        if not texts:
            return []
        wanted = {"return_attention_mask": False, "return_token_type_ids": False}
        return self.tokenizer(texts, truncation=True, max_length=limit, **wanted)["input_ids"]

    @property
    def padding_token(self) -> int:
        """Id of the token that fills up a batch; 0 for a tokenizer without one, where the mask alone hides it."""
        return self.tokenizer.pad_token_id or 0

    def encode_tokens(self, tokens: list[list[int]]) -> np.ndarray:
        """Return the vectors of token lists; they leave the device once, together."""
        import torch

        order = sorted(range(len(tokens)), key=lambda row: -len(tokens[row]))
        limit = CPU_TOKENS if self.device.type == "cpu" else None
        batches = batch_rows([len(tokens[row]) for row in order], self.config.batch_size, limit)
        with torch.inference_mode():
            pooled = [self.forward([tokens[row] for row in order[batch]]) for batch in batches]
            vectors = np.empty((len(tokens), self.dimension), dtype=np.float32)
            vectors[order] = torch.cat(pooled).cpu().numpy()
        return vectors

    def forward(self, tokens: list[list[int]]) -> Any:
        """Run one batch, longest text first, and return its pooled float32 states, on the device."""
        import torch

        lengths = torch.tensor([len(ids) for ids in tokens])
        padded = np.full((len(tokens), len(tokens[0])), self.padding_token, dtype=np.int64)
        for row, ids in enumerate(tokens):
            padded[row, : len(ids)] = ids
        token_ids, ends, mask = self.to_device(torch.from_numpy(padded)), self.to_device(lengths), None
        if len(tokens[-1]) < len(tokens[0]):
            mask = torch.arange(padded.shape[1], device=self.device) < ends[:, None]
        states = self.model(input_ids=token_ids, attention_mask=None if mask is None else mask.long()).last_hidden_state
        if self.config.pooling == "cls":
            pooled = states[:, 0].float()
        elif self.config.pooling == "last":
            pooled = states[torch.arange(len(tokens), device=self.device), ends - 1].float()
        else:
            kept = states.float() if mask is None else states.float() * mask[:, :, None]
            pooled = kept.sum(1) / ends[:, None]
        return torch.nn.functional.normalize(pooled, dim=-1) if self.config.normalize else pooled

    def to_device(self, tensor: Any) -> Any:
        """Return a tensor on the device; a copy to a GPU does not wait for the work that goes on there."""
        return tensor.pin_memory().to(self.device, non_blocking=True) if self.device.type == "cuda" else tensor.to(self.device)


def encoder_of(model: Any) -> Any:
    """Return the part of a model that encodes."""
    return model.get_encoder() if model.config.is_encoder_decoder else model


def vector_identity(config: EncoderConfig) -> dict[str, Any]:
    """Return all that decides a vector, up to float rounding: the batch and the device are left out."""
    return {
        "model": model_identity(config.model),
        "method": METHOD,
        **config.model_dump(mode="json", include=VECTOR_FIELDS),
        "max_query_tokens": config.max_query_tokens or config.max_tokens,
    }


def head(text: str, characters: int) -> str:
    """Return the whole words within a number of characters, or the text, where it is shorter or holds no end of a word.

    Tokenizers split at white space first, so the tokens of whole words begin the tokens of the text.
    """
    if len(text) <= characters:
        return text
    end = max(text.rfind(" ", 0, characters), text.rfind("\n", 0, characters))
    return text[: max(end, 0)].rstrip() or text


def batch_rows(lengths: Sequence[int], rows: int, tokens: int | None) -> Iterator[slice]:
    """Split falling lengths into batches of at most ``rows`` texts and ``tokens`` tokens with padding; one text always fits."""
    start = 0
    while start < len(lengths):
        size = min(rows, max(1, tokens // lengths[start])) if tokens else rows
        yield slice(start, start + size)
        start += size


def ahead(
    tokenise: Callable[[list[int]], list[list[int]]], chunks: Sequence[list[int]]
) -> Iterator[tuple[list[int], list[list[int]]]]:
    """Yield each chunk of rows with its tokens, which a thread prepares one chunk ahead."""
    with ThreadPoolExecutor(1) as pool:
        waiting = [pool.submit(tokenise, chunk) for chunk in chunks[:1]]
        for number, chunk in enumerate(chunks):
            waiting += [pool.submit(tokenise, following) for following in chunks[number + 1 : number + 2]]
            yield chunk, waiting.pop(0).result()


def check_limits(config: EncoderConfig, model: Any) -> None:
    """Raise ValueError when documents or queries may have more tokens than a model has positions."""
    longest = getattr(model.config, "max_position_embeddings", None)
    for name, module in model.named_modules():
        # RoBERTa and its kin count positions from behind the padding token.
        if name.endswith("position_embeddings") and getattr(module, "padding_idx", None) is not None:
            longest = module.num_embeddings - module.padding_idx - 1
    for field in ("max_tokens", "max_query_tokens"):
        if longest and (getattr(config, field) or 0) > longest:
            raise ValueError(f"encoder.{field} is {getattr(config, field)}, but {config.model!r} reads at most {longest}")


def use_onednn(model: Any) -> None:
    """Let oneDNN multiply the float32 linear layers of a model on a CPU, as torch does for bfloat16 and in compiled models.

    By itself torch takes MKL, which has half the rate on AMD processors with AVX-512. Results differ by rounding.
    """
    import torch

    product = torch.ops.mkldnn._linear_pointwise
    for layer in model.modules():
        if type(layer) is torch.nn.Linear:
            layer.forward = lambda input, layer=layer: product(input, layer.weight, layer.bias, "none", [], "")
