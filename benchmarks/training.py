"""Tokens per second of training, beside the usual loops on the same model, batches, threads and number format.

    .venv/bin/python benchmarks/training.py                                  # 5M 15M 45M, sequences of 256, batches of 8
    .venv/bin/python benchmarks/training.py 15M --dtypes bfloat16 --repeats 5 --json speed.json
    .venv/bin/python benchmarks/training.py --device cuda --models 135M 0.65B 8B --json gpu.json

Peers come with the package's own dependencies. All sides have fresh weights in float32 (bfloat16: autocast over them; the
8B model: bfloat16 weights and float32 master weights under ZeRO 1), fused AdamW, and gradients clipped to a norm of 1:

    ours          on a CPU the real loop, hephaestus_dag.training.loop.train, data, metrics and guards included; on a GPU its
                  engine and loss, driven as the loop does, compiled
    plain         a torch loop: model, autocast, cross-entropy over all logits
    compiled      the same through torch.compile
    trainer       transformers.Trainer
    deepspeed     deepspeed.initialize at ZeRO stage 0, ``engine(**batch).loss``

Each side holds its model in a process of its own, and they take turns of ``--steps`` steps, the first of which counts for
nothing. `tok/s` is the median over all steps by the clock, `best` the best step, `tok/CPU-s` tokens by user and system time
(sum over the steps; on a machine that others use, compare these). `is` divides ours by the row's tok/s, or tok/CPU-s.
`of GEMM` (on a GPU: MFU) is tok/s x FLOP per token / the peak, both by hephaestus_dag/training/flops.py, where a CPU's peak is
the best square product of 512 or 1,024 rows in the same format and threads, probed between the turns. `start-up` is the time
from the start of the process to the end of its first step; ours is the worker's, as a launcher starts it. `loader` is the
share of a step that reading its batch takes. `GB` is the peak memory of a GPU.
"""

import argparse
import json
import os
import shutil
import statistics
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

from training_sides import GPU_CASES, MODELS, TAKES, case, llama_config, prepare, training_job


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("named", nargs="*", metavar="MODEL", help=f"of {', '.join(MODELS)}")
    parser.add_argument("--models", nargs="+", default=[], help="the same")
    parser.add_argument("--device", default="cpu", choices=["cpu", "cuda"])
    parser.add_argument("--dtypes", nargs="+", help="default: float32 and bfloat16 on a CPU, bfloat16 on a GPU")
    parser.add_argument("--sides", nargs="+", default=list(TAKES), choices=list(TAKES))
    parser.add_argument("--threads", type=int, default=os.cpu_count())
    parser.add_argument("--steps", type=int, help="of a turn; default 5 on a CPU, 20 on a GPU")
    parser.add_argument("--repeats", type=int, default=3)
    parser.add_argument("--json", type=Path, help="write all figures here")
    parser.add_argument("--serve", nargs=4, metavar=("SIDE", "MODEL", "DTYPE", "FOLDER"), help=argparse.SUPPRESS)
    options = parser.parse_args()
    gpu = options.device == "cuda"
    options.models = options.named + options.models or (list(GPU_CASES) if gpu else ["5M", "15M", "45M"])
    options.dtypes = options.dtypes or (["bfloat16"] if gpu else ["float32", "bfloat16"])
    options.steps = options.steps or (20 if gpu else 5)
    if unknown := set(options.models) - set(GPU_CASES if gpu else MODELS):
        parser.error(f"no shape is known for {', '.join(sorted(unknown))} on {options.device}")
    if options.serve:
        serve(options, *options.serve)
    else:
        with tempfile.TemporaryDirectory() as folder:
            figures = table(options, Path(folder))
        if options.json:
            options.json.write_text(json.dumps(figures, indent=2) + "\n")


def table(options: argparse.Namespace, folder: Path) -> list[dict[str, Any]]:
    print(f"{options.device}, {options.threads} threads")
    head = f"{'model':6} {'dtype':9} {'by':10} {'tok/s':>9} {'best':>9} {'is':>7} {'tok/CPU-s':>10} {'is':>7}"
    print(f"{head} {'MFU' if options.device == 'cuda' else 'of GEMM':>8} {'GB':>6} {'loader':>7} {'start-up':>9}")
    if options.device == "cpu":
        prepare(folder, options.steps)
    figures = []
    for dtype in options.dtypes:
        for model in options.models:
            found = compare(options, model, dtype, folder)
            show(found)
            figures += found
    return figures


def compare(options: argparse.Namespace, model: str, dtype: str, folder: Path) -> list[dict[str, Any]]:
    """Return a row of figures for each side."""
    length, batch, _ = case(options, model)
    begun: dict[str, float] = {}
    sides: dict[str, subprocess.Popen[str]] = {}
    runs: dict[str, list[dict[str, Any]]] = {}
    # One model of 8 billion weights fills a GPU: there only ours runs.
    for side in options.sides if model != "8B" else ("ours",):
        began = time.perf_counter()
        sides[side] = start(options, side, model, dtype, folder)
        runs[side] = []
        ask(sides[side], 1)
        begun[side] = time.perf_counter() - began
    if options.device == "cpu" and "ours" in sides:
        begun["ours"] = start_up(options, model, dtype, folder)
    for _ in range(options.repeats):
        for side, process in sides.items():
            runs[side].append(ask(process, options.steps))
    for process in sides.values():
        process.communicate()

    peak = max((run["peak"] or 0 for done in runs.values() for run in done), default=0)
    rows = []
    for side, done in runs.items():
        clock, cpu = zip(*(step for run in done for step in run["steps"]), strict=True)
        median = length * batch / statistics.median(clock)
        rows.append(
            {
                "model": model,
                "dtype": dtype,
                "side": side,
                "sequence_length": length,
                "sequences": batch,
                "tokens_per_second": median,
                "best_tokens_per_second": length * batch / min(clock),
                "tokens_per_cpu_second": length * batch * len(cpu) / sum(cpu),
                "flops_per_token": done[0]["flops_per_token"],
                "peak_flops": peak,
                "share_of_peak": median * done[0]["flops_per_token"] / peak if peak else None,
                "best_share_of_peak": length * batch / min(clock) * done[0]["flops_per_token"] / peak if peak else None,
                "memory_gb": max(run["memory"] for run in done) / 1e9,
                "loader_share": sum(run["loader"] for run in done) / sum(clock),
                "start_up_seconds": begun[side],
            }
        )
    return rows


def show(rows: list[dict[str, Any]]) -> None:
    ours = next((row for row in rows if row["side"] == "ours"), rows[0])
    for row in rows:
        line = f"{row['model']:6} {row['dtype']:9} {row['side']:10}"
        for name, value in (("tokens_per_second", f"{row['best_tokens_per_second']:9.0f} "), ("tokens_per_cpu_second", "")):
            ratio = "" if row is ours else f"{ours[name] / row[name]:.2f} x"
            line += f" {row[name]:{9 if value else 10}.0f} {value}{ratio:>7}"
        share = "" if row["share_of_peak"] is None else f"{row['share_of_peak']:.1%}"
        memory = f"{row['memory_gb']:.1f}" if row["memory_gb"] else ""
        loader = f"{row['loader_share']:.2%}" if row["loader_share"] else ""
        print(f"{line} {share:>8} {memory:>6} {loader:>7} {row['start_up_seconds']:7.1f} s", flush=True)
    if ours["peak_flops"]:
        print(f"{'':27} peak: {ours['peak_flops'] / 1e9:,.0f} GFLOP/s; FLOP per token: {ours['flops_per_token'] / 1e6:,.1f} M")


def start(options: argparse.Namespace, side: str, model: str, dtype: str, folder: Path) -> "subprocess.Popen[str]":
    command = [sys.executable, __file__, *sys.argv[1:], "--serve", side, model, dtype, str(folder)]
    with (folder / f"{side}.log").open("w") as log:
        env = os.environ | environment(options, ours=side == "ours")
        return subprocess.Popen(command, env=env, stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=log, text=True)


def environment(options: argparse.Namespace, ours: bool) -> dict[str, str]:
    """Return the variables of a side; ours has those that the launcher sets."""
    env = {"OMP_NUM_THREADS": str(options.threads), "DS_ACCELERATOR": options.device, "TOKENIZERS_PARALLELISM": "false"}
    if ours and options.device == "cpu":
        from hephaestus_dag.training.launch_plan import KEEP_MEMORY

        env["GLIBC_TUNABLES"] = KEEP_MEMORY
    return env


def ask(process: "subprocess.Popen[str]", steps: int) -> dict[str, Any]:
    """Let a side do a turn."""
    assert process.stdin
    assert process.stdout
    process.stdin.write(f"{steps}\n")
    process.stdin.flush()
    for line in process.stdout:
        if line.startswith("RESULT "):
            return json.loads(line.removeprefix("RESULT "))
    side, *_, folder = list(process.args)[-4:]  # pyright: ignore
    sys.exit(f"{side} failed:\n{(Path(str(folder)) / f'{side}.log').read_text()[-3000:]}")


def start_up(options: argparse.Namespace, model: str, dtype: str, folder: Path) -> float:
    """Return the seconds from the start of the worker's process to the end of its first step."""
    from hephaestus_dag.training.metrics import read_metrics

    job = training_job(folder, folder / "start", model, dtype)
    job.write(folder / "job.json")
    env = os.environ | environment(options, ours=True) | {"PYTHONPATH": str(Path(__file__).parents[1])}
    began = time.perf_counter()
    process = subprocess.Popen([sys.executable, "-m", "hephaestus_dag.training.worker", str(folder / "job.json")], env=env)
    while process.poll() is None and not any("lr" in line for line in read_metrics(job.metrics)):
        time.sleep(0.02)
    seconds = time.perf_counter() - began
    process.kill()
    process.wait()
    shutil.rmtree(folder / "start")
    return seconds


def serve(options: argparse.Namespace, side: str, model: str, dtype: str, folder: str) -> None:
    """Hold a model, and do as many steps as each line of standard input says."""
    import torch

    from hephaestus_dag.training.flops import flops_per_token, peak_flops

    torch.set_num_threads(options.threads)
    length = case(options, model)[0]
    config = llama_config(model, case(options, model))
    take = TAKES[side](options, side, model, dtype, Path(folder))
    for line in sys.stdin:
        steps, loader = take(int(line))
        memory = torch.cuda.max_memory_allocated() if options.device == "cuda" else 0
        found = {"steps": steps[1:], "loader": loader, "memory": memory, "flops_per_token": flops_per_token(config, length)}
        print("RESULT", json.dumps(found | {"peak": peak_flops(options.device, dtype)[0]}), flush=True)
    os._exit(0)  # Thread pools take seconds to wind down.


if __name__ == "__main__":
    main()
