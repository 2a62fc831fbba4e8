"""What benchmarks/training.py compares: the models, our job, and the sides, each a function that does some steps."""

import argparse
import itertools
import shutil
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

from curation_cases import cpu_seconds

CPU_VOCABULARY = 8_192
UNTIED = {"tie_embeddings": False}
LLAMA_3_8B = {"hidden_size": 4_096, "layers": 32, "heads": 32, "kv_heads": 8, "intermediate_size": 14_336, **UNTIED}
MODELS: dict[str, dict[str, Any]] = {
    "5M": {"hidden_size": 256, "layers": 4, "heads": 4, "kv_heads": 4, "intermediate_size": 688},
    "15M": {"hidden_size": 384, "layers": 7, "heads": 6, "kv_heads": 6, "intermediate_size": 1_024},
    "45M": {"hidden_size": 640, "layers": 8, "heads": 10, "kv_heads": 10, "intermediate_size": 1_728},
    "135M": {
        "hidden_size": 768,
        "layers": 12,
        "heads": 12,
        "kv_heads": 12,
        "intermediate_size": 2_048,
        "tie_embeddings": False,
    },
    "0.65B": {"hidden_size": 1_536, "layers": 24, "heads": 12, "kv_heads": 12, "intermediate_size": 3_456},
    "8B": {**LLAMA_3_8B, "rope_theta": 500_000.0},
}
"""Shapes of LLaMA models; tied embeddings where nothing else is said."""
GPU_CASES = {"135M": (2_048, 16, 32_768), "0.65B": (2_048, 8, 32_768), "8B": (8_192, 1, 128_256)}
"""Sequence length, sequences of a step, and vocabulary on a GPU."""


def case(options: argparse.Namespace, model: str) -> tuple[int, int, int]:
    """Return sequence length, sequences of a step, and entries of the vocabulary."""
    return GPU_CASES[model] if options.device == "cuda" else (256, 8, CPU_VOCABULARY)


Steps = list[tuple[float, float]]
"""Seconds by the clock and CPU-seconds of steps."""

Take = Callable[[int], tuple[Steps, float]]
"""Does a number of steps, and returns them with the seconds that reading their batches took, without the first's."""


def clocked(step: Callable[[], Any]) -> Take:
    """Return what does steps and clocks each; a step ends when its loss is known."""

    def take(count: int) -> tuple[Steps, float]:
        steps = []
        for _ in range(count):
            began, before = time.perf_counter(), cpu_seconds()
            float(step())
            steps.append((time.perf_counter() - began, cpu_seconds() - before))
        return steps, 0.0

    return take


def ours(options: argparse.Namespace, _side: str, model: str, dtype: str, folder: Path) -> Take:
    if options.device == "cuda":
        return our_engine(options, model, dtype)
    from hephaestus_dag.mixture.loader import MixtureLoader
    from hephaestus_dag.training.loop import train
    from hephaestus_dag.training.metrics import MetricsFile

    marks: list[tuple[float, float, float]] = []
    reading = [0.0]
    write, read = MetricsFile.write, MixtureLoader.batch

    def marked(self: Any, values: dict[str, Any]) -> None:
        write(self, values)
        marks.append((time.perf_counter(), cpu_seconds(), reading[0]))

    def timed(self: Any, *arguments: Any, **named: Any) -> Any:
        began = time.perf_counter()
        batch = read(self, *arguments, **named)
        reading[0] += time.perf_counter() - began
        return batch

    MetricsFile.write, MixtureLoader.batch = marked, timed

    def take(count: int) -> tuple[Steps, float]:
        marks.clear()
        train(training_job(folder, folder / "ours", model, dtype))
        shutil.rmtree(folder / "ours")
        # The first line is the held-out evaluation before the first step, the last the one behind the last.
        ends = marks[: count + 1]
        steps = [(end[0] - start[0], end[1] - start[1]) for start, end in itertools.pairwise(ends)]
        return steps, ends[-1][2] - ends[1][2]

    return take


def our_engine(options: argparse.Namespace, model: str, dtype: str) -> Take:
    import torch

    from hephaestus_dag.training import engine as deepspeed
    from hephaestus_dag.training.config import TrainingConfig

    length, batch, vocabulary = case(options, model)
    whole = model == "8B"
    config = TrainingConfig(  # pyright: ignore[reportCallIssue]
        global_batch_sequences=batch,
        micro_batch_sequences=batch,
        learning_rate=1e-4,
        dtype=dtype,  # pyright: ignore[reportArgumentType]
        zero_stage=int(whole),  # pyright: ignore[reportArgumentType]
        gradient_checkpointing=whole,
        compile=True,
    )
    device = deepspeed.start_processes()
    engine = deepspeed.start_engine(fresh(options, model, torch.bfloat16 if whole else torch.float32), config, 1)
    tokens = torch.randint(0, vocabulary, (batch, length + 1), device=device)
    weights = torch.full((batch, length), 1 / (batch * length), device=device)

    def step() -> Any:
        loss, nats = engine(tokens, weights)
        engine.backward(loss, scale_wrt_gas=False)
        deepspeed.update(engine, config, config.learning_rate, refuse=False)
        return nats

    return clocked(step)


def loop(options: argparse.Namespace, side: str, model: str, dtype: str, _folder: Path) -> Take:
    """Return the steps of a torch loop, compiled or not, or of a DeepSpeed engine."""
    import torch

    length, batch, vocabulary = case(options, model)
    half = dtype == "bfloat16"
    language_model = fresh(options, model, torch.float32)
    optimizer = torch.optim.AdamW(language_model.parameters(), lr=1e-4, weight_decay=0.1, betas=(0.9, 0.95), fused=True)
    tokens = torch.randint(0, vocabulary, (batch, length + 1), device=options.device)
    if side == "deepspeed":
        return naive(language_model, optimizer, tokens, batch, half)

    def loss_of() -> Any:
        with torch.autocast(options.device, torch.bfloat16, enabled=half):
            logits = language_model(input_ids=tokens[:, :-1], use_cache=False).logits
            return torch.nn.functional.cross_entropy(logits.float().flatten(0, 1), tokens[:, 1:].flatten())

    forward = torch.compile(loss_of) if side == "compiled" else loss_of

    def step() -> Any:
        loss = forward()
        loss.backward()
        torch.nn.utils.clip_grad_norm_(language_model.parameters(), 1.0)
        optimizer.step()
        optimizer.zero_grad()
        return loss.detach()

    return clocked(step)


def naive(language_model: Any, optimizer: Any, tokens: Any, batch: int, half: bool) -> Take:
    import deepspeed

    from hephaestus_dag.training.engine import start_processes

    start_processes()  # Without it a CPU would compile an operator first, for minutes.
    config = {
        "train_micro_batch_size_per_gpu": batch,
        "gradient_clipping": 1.0,
        "torch_autocast": {"enabled": half, "dtype": "bfloat16"},
        "steps_per_print": 1 << 62,
    }
    engine, *_ = deepspeed.initialize(model=language_model, optimizer=optimizer, config=config)

    def step() -> Any:
        loss = engine(input_ids=tokens[:, :-1], labels=tokens[:, :-1], use_cache=False).loss
        engine.backward(loss)
        engine.step()
        return loss.detach()

    return clocked(step)


def trainer(options: argparse.Namespace, _side: str, model: str, dtype: str, folder: Path) -> Take:
    import torch
    from transformers import Trainer, TrainerCallback, TrainingArguments

    length, batch, vocabulary = case(options, model)
    language_model = fresh(options, model, torch.float32)
    marks: list[tuple[float, float]] = []

    class Clock(TrainerCallback):
        def on_step_end(self, *_arguments: Any, **_named: Any) -> None:
            if options.device == "cuda":
                torch.cuda.synchronize()
            marks.append((time.perf_counter(), cpu_seconds()))

    def take(count: int) -> tuple[Steps, float]:
        rows = torch.randint(0, vocabulary, ((count + 1) * batch, length))
        arguments = TrainingArguments(
            output_dir=str(folder / "trainer"),
            max_steps=count + 1,
            per_device_train_batch_size=batch,
            learning_rate=1e-4,
            weight_decay=0.1,
            adam_beta2=0.95,
            max_grad_norm=1.0,
            lr_scheduler_type="constant",
            optim="adamw_torch_fused",
            bf16=dtype == "bfloat16",
            use_cpu=options.device == "cpu",
            torch_compile=options.device == "cuda",
            logging_strategy="no",
            save_strategy="no",
            report_to="none",
            disable_tqdm=True,
            dataloader_pin_memory=options.device == "cuda",
        )
        data: Any = [{"input_ids": row, "labels": row} for row in rows]
        marks.clear()
        Trainer(model=language_model, args=arguments, train_dataset=data, callbacks=[Clock()]).train()
        return [(after[0] - before[0], after[1] - before[1]) for before, after in itertools.pairwise(marks)], 0.0

    return take


def fresh(options: argparse.Namespace, model: str, dtype: Any) -> Any:
    import torch
    from transformers.models.llama.modeling_llama import LlamaForCausalLM

    torch.manual_seed(0)
    with torch.device(options.device):
        language_model = LlamaForCausalLM(llama_config(model, case(options, model))).to(dtype)
    language_model.set_attn_implementation("sdpa")
    return language_model


def llama_config(model: str, shown: tuple[int, int, int]) -> Any:
    from transformers.models.llama.configuration_llama import LlamaConfig

    shape, (length, _, vocabulary) = MODELS[model], shown
    return LlamaConfig(
        vocab_size=vocabulary,
        hidden_size=shape["hidden_size"],
        num_hidden_layers=shape["layers"],
        num_attention_heads=shape["heads"],
        num_key_value_heads=shape["kv_heads"],
        intermediate_size=shape["intermediate_size"],
        max_position_embeddings=length,
        tie_word_embeddings=shape.get("tie_embeddings", True),
    )


def training_job(folder: Path, place: Path, model: str, dtype: str) -> Any:
    """Return a job of as many steps as the prepared mixture has."""
    from hephaestus_dag.training.config import ModelShape, TrainingConfig
    from hephaestus_dag.training.job import TrainingJob

    return TrainingJob(
        title=model,
        model=ModelShape(**MODELS[model], max_position_embeddings=256),
        tokenizer=folder / "tokenizer",
        mixture=folder / "mixture",
        stores=(folder / "store",),
        heldout={"text": (folder / "store", "text.heldout")},
        config=TrainingConfig(  # pyright: ignore[reportCallIssue]
            global_batch_sequences=8,
            micro_batch_sequences=8,
            learning_rate=1e-4,
            dtype=dtype,  # pyright: ignore[reportArgumentType]
            checkpoint_every=1_000,
            evaluate_tokens=2_048,
        ),
        output=place / "output",
        work=place / "work",
    )


def prepare(folder: Path, steps: int) -> None:
    """Write a tokenizer of single words, a store of random tokens, and a mixture of a turn's steps."""
    import numpy as np
    from tokenizers import Tokenizer, models

    from hephaestus_dag.mixture.config import Component, MixtureConfig
    from hephaestus_dag.mixture.plan import plan_mixture
    from hephaestus_dag.mixture.store import StreamWriter, token_dtype, write_store

    (folder / "tokenizer").mkdir()
    words = {f"w{number}": number for number in range(CPU_VOCABULARY)}
    Tokenizer(models.WordLevel(words, unk_token="w0")).save(str(folder / "tokenizer" / "tokenizer.json"))
    writers, draw = [], np.random.default_rng(0)
    for split in ("train", "heldout"):
        writer = StreamWriter(folder / "store", "text", split, token_dtype(CPU_VOCABULARY))
        for document in range(1_000):
            tokens = draw.integers(0, CPU_VOCABULARY, 500)
            writer.record(f"{document:032x}", writer.tokens, len(tokens), 5 * len(tokens))
            writer.append(tokens)
        writers.append(writer)
    write_store(folder / "store", CPU_VOCABULARY, writers)
    config = MixtureConfig(
        tokens=(steps + 1) * 8 * 256, sequence_length=256, components=(Component(domain="text", share=1.0),), max_epochs=100
    )
    plan_mixture(config, [folder / "store"], folder / "mixture")


TAKES: dict[str, Callable[..., Take]] = {
    "ours": ours,
    "plain": loop,
    "compiled": loop,
    "trainer": trainer,
    "deepspeed": loop,
}
