import os
import sys
import tempfile
from collections.abc import Iterator
from pathlib import Path

import pytest

from hephaestus_dag.evaluation.bfcl.checker import Checker
from hephaestus_dag.evaluation.bfcl.environment import ensure_environment
from hephaestus_dag.evaluation.bfcl.items import export_bfcl
from hephaestus_dag.evaluation.config import BfclConfig

TEMPLATE = (
    "{% for m in messages %}<|im_start|>{{ m['role'] }}\n{{ m['content'] }}<|im_end|>\n{% endfor %}"
    "{% if add_generation_prompt %}<|im_start|>assistant\n{% endif %}"
)


@pytest.fixture
def open_folder() -> Iterator[Path]:
    """A folder that every user of the machine may write into."""
    with tempfile.TemporaryDirectory() as name:
        Path(name).chmod(0o777)
        yield Path(name)


@pytest.fixture
def vllm(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A program of that name on PATH; returns a model folder whose chat template writes the last message and the year."""
    from tokenizers import Tokenizer, models
    from transformers import PreTrainedTokenizerFast

    program = tmp_path / "bin" / "vllm"
    program.parent.mkdir()
    server = Path(__file__).with_name("model_server.py")
    root = Path(__file__).parents[2]
    program.write_text(f'#!/bin/sh\necho $$ > "$2/pid"\nPYTHONPATH={root} exec {sys.executable} {server} "$@"\n')
    program.chmod(0o755)
    monkeypatch.setenv("PATH", f"{program.parent}{os.pathsep}{os.environ['PATH']}")
    folder = tmp_path / "model"
    folder.mkdir()
    words = Tokenizer(models.WordLevel({"?": 0}, unk_token="?"))
    PreTrainedTokenizerFast(tokenizer_object=words, eos_token="?").save_pretrained(folder)
    (folder / "chat_template.jinja").write_text("{{ messages[-1]['content'] }} in {{ strftime_now('%Y') }}")
    return folder


@pytest.fixture(scope="session")
def bfcl_python(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return ensure_environment(tmp_path_factory.mktemp("bfcl"))


@pytest.fixture(scope="session")
def bfcl_checker(bfcl_python: Path) -> Iterator[Checker]:
    with Checker(bfcl_python) as checker:
        yield checker


@pytest.fixture(scope="session")
def bfcl_items(bfcl_python: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("items")
    export_bfcl(BfclConfig(items_per_category=3, multi_turn_items_per_category=1), folder, bfcl_python)
    return folder


@pytest.fixture(scope="session")
def tiny_model(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A random two-layer Llama of 4,096 positions with a byte-level tokenizer of 300 words."""
    import torch
    from tokenizers import Tokenizer, decoders, models, pre_tokenizers, trainers
    from transformers import LlamaConfig, LlamaForCausalLM, PreTrainedTokenizerFast

    torch.set_num_threads(1)
    folder = tmp_path_factory.mktemp("model")
    core = Tokenizer(models.BPE())
    core.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    core.decoder = decoders.ByteLevel()
    trainer = trainers.BpeTrainer(
        vocab_size=300,
        special_tokens=["<|endoftext|>", "<|im_start|>", "<|im_end|>"],
        initial_alphabet=pre_tokenizers.ByteLevel.alphabet(),
        show_progress=False,
    )
    core.train_from_iterator(["calls a function with its arguments", "the weather in Oslo"], trainer)
    tokenizer = PreTrainedTokenizerFast(tokenizer_object=core, eos_token="<|endoftext|>", pad_token="<|endoftext|>")
    tokenizer.chat_template = TEMPLATE
    tokenizer.save_pretrained(folder)
    torch.manual_seed(0)
    config = LlamaConfig(
        vocab_size=len(tokenizer),
        hidden_size=32,
        intermediate_size=64,
        num_hidden_layers=2,
        num_attention_heads=4,
        max_position_embeddings=4096,
        initializer_range=0.5,
        eos_token_id=tokenizer.eos_token_id,
        bos_token_id=None,
    )
    LlamaForCausalLM(config).save_pretrained(folder)
    return folder
