"""How many floating-point operations training takes, and how many a device can do: the two sides of MFU.

MFU = tokens per second x :func:`flops_per_token` / :func:`peak_flops`.
"""

import time
from typing import Any

GPU_PEAKS = {
    "GB200": 2_500e12,
    "B200": 2_250e12,
    "GH200": 989.4e12,
    "H200": 989.4e12,
    "H100 PCIe": 756e12,
    "H100 NVL": 835e12,
    "H100": 989.4e12,
    "H800": 989.4e12,
    "H20": 148e12,
    "A100": 312e12,
    "A800": 312e12,
    "L40S": 362e12,
    "L40": 181e12,
    "L4": 121e12,
    "A40": 149.7e12,
    "A10": 125e12,
    "RTX 4090": 165.2e12,
    "RTX 3090": 71e12,
}
"""FLOP/s of dense bfloat16 products by the maker's data sheets; the first name that is part of the device's counts."""


def flops_per_token(model_or_config: Any, sequence_length: int) -> float:
    """Return the FLOP of the forward and backward pass per token: 6 N + 12 L d T.

    N are the entries of all matrices that a token is multiplied with: everything but the input embedding, a lookup; the
    output head counts once, tied or not (LLaMA-3-8B: 7.50e9 of 8.03e9). L layers, d = heads x head size, T the sequence
    length: the attention products as if they were not causal, as in PaLM (arXiv 2204.02311, appendix B). What gradient
    checkpointing computes again does not count.

    Takes a transformers model, or anything with the attributes of a LLaMA-like configuration.
    """
    config = getattr(model_or_config, "config", model_or_config)
    size = getattr(config, "head_dim", None) or config.hidden_size // config.num_attention_heads
    width = config.num_attention_heads * size
    if config is model_or_config:
        attention = 2 * config.hidden_size * (width + config.num_key_value_heads * size)
        layer = attention + 3 * config.hidden_size * config.intermediate_size
        matrices = config.num_hidden_layers * layer + config.hidden_size * config.vocab_size
    else:
        matrices = count_matrices(model_or_config)
    return 6.0 * matrices + 12.0 * config.num_hidden_layers * width * sequence_length


def count_matrices(model: Any) -> int:
    """Return the N of :func:`flops_per_token`, counted in the weights of a transformers model."""
    entries = {
        id(weight): getattr(weight, "ds_numel", weight.numel())
        for weight in model.parameters()
        if len(getattr(weight, "ds_shape", weight.shape)) > 1
    }
    embedding, head = model.get_input_embeddings().weight, model.get_output_embeddings().weight
    return sum(entries.values()) - (0 if embedding is head else entries[id(embedding)])


def peak_flops(device: Any, dtype: str) -> tuple[float | None, str]:
    """Return the FLOP/s that matrix products of a number format reach at most on a device, and where that is from.

    ``dtype`` is "float32" or "bfloat16". A GPU's peak is its maker's, of bfloat16 only; None for one that is not in the
    table. A CPU's is the best of some products, tried for a quarter of a second with the threads that torch has.
    """
    import torch

    device = torch.device(device)
    if device.type == "cpu":
        return _probe(dtype), f"the best {dtype} product of 512 or 1,024 rows, {torch.get_num_threads()} threads"
    name = torch.cuda.get_device_name(device)
    if dtype != "bfloat16":
        return None, f"no peak of {name} in {dtype} is known here"
    for known, peak in GPU_PEAKS.items():
        if known in name:
            return peak, f"data sheet of {known}, dense bfloat16"
    return None, f"{name} is not among the known GPUs"


def _probe(dtype: str, seconds: float = 0.25) -> float:
    """Return the FLOP/s of the fastest square product, by torch's own choice or by a oneDNN linear layer."""
    import torch

    products: dict[str, Any] = {"matmul": torch.matmul}
    if torch.backends.mkldnn.is_available():
        products["onednn"] = lambda a, b: torch.ops.mkldnn._linear_pointwise(a, b, None, "none", [], "")
    cases = [
        (size, product, *(torch.randn(size, size).to(getattr(torch, dtype)) for _ in range(2)))
        for size in (512, 1_024)
        for product in products.values()
    ]
    best, end = 0.0, time.perf_counter() + seconds
    while time.perf_counter() < end:
        for size, product, left, right in cases:
            began = time.perf_counter()
            product(left, right)
            best = max(best, 2 * size**3 / (time.perf_counter() - began))
    return best
