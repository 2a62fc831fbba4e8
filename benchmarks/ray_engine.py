"""Two Ray nodes beside the local pool: the same bytes, what Ray costs in CPU time, and a node killed in each step.

    python benchmarks/ray_engine.py --documents 100000 --encode 2000

Documents are pieces of the standard library's sources, some of them near-copies. Three processes do the same steps: with the
local pool of two workers, on a Ray cluster of two nodes with one worker each, and on such a cluster whose second node is
killed (kill -9, with all that runs on it) in the middle of each step, and replaced after it. CPU time is that of all
processes, Ray's own included, read four times a second.
"""

import argparse
import ctypes
import hashlib
import json
import os
import random
import signal
import subprocess
import sys
import sysconfig
import tempfile
import threading
import time
from collections.abc import Callable, Iterator
from itertools import pairwise
from pathlib import Path
from typing import Any

import psutil

QUESTION = "A farmer has seventeen sheep and all but nine run away how many sheep are then left on the farm"
LINES = 40
FILES = 40
ADOPT_ORPHANS = 36  # PR_SET_CHILD_SUBREAPER: what Ray's daemons leave behind still counts


def write_source(folder: Path, documents: int) -> None:
    """Write documents as JSON lines: pieces of source code, each twentieth with a word changed."""
    folder.mkdir(parents=True)
    library = sorted(Path(sysconfig.get_paths()["stdlib"]).rglob("*.py"))
    lines = [line for path in library[:1_500] for line in path.read_text(errors="ignore").splitlines()]
    choose, text = random.Random(0), ""
    for number in range(FILES):
        with (folder / f"{number:03d}.jsonl").open("w") as file:
            for row in range(documents // FILES):
                start = choose.randrange(len(lines) - LINES)
                copied = row % 20 == 19
                text = f"{text} once more" if copied else "\n".join(lines[start : start + LINES]) + f"\n{number} {row}"
                file.write(json.dumps({"text": f"{text} {QUESTION}" if row % 997 == 5 else text}) + "\n")


def steps(folder: Path, scratch: Path, encode: int) -> Iterator[tuple[str, Callable[[Callable[..., Any]], Any]]]:
    """Yield the name of each step, and what does it with a map."""
    from hephaestus_dag.curation.config import CurationConfig
    from hephaestus_dag.curation.decontamination import BenchmarkIndex
    from hephaestus_dag.curation.pipeline import curate
    from hephaestus_dag.evaluation.overlap import ItemIndex, scan_documents
    from hephaestus_dag.evaluation.overlap_config import OverlapConfig
    from hephaestus_dag.mixture.config import TokenStoreConfig
    from hephaestus_dag.mixture.tokenise import tokenise_documents
    from hephaestus_dag.quality.scoring import score_documents
    from hephaestus_dag.retrieval.config import EncoderConfig
    from hephaestus_dag.retrieval.embeddings import embed_documents
    from hephaestus_dag.retrieval.encoder import Encoder
    from hephaestus_dag.sources.collect import collect_documents
    from hephaestus_dag.sources.config import SourceConfig

    values = {"name": "web", "kind": "records", "location": str(folder / "source"), "domain": "text", "license": "MIT"}
    source = SourceConfig.model_validate(values)
    yield "parse", lambda over: collect_documents([source], scratch / "raw", scratch / "work", over)
    index = scratch / "index"
    index.mkdir()
    BenchmarkIndex.build([("riddles/1", QUESTION)]).save(index)
    rules = CurationConfig(licenses=("MIT",), min_characters=10, max_characters=100_000)
    raw, seed = resharded(scratch / "raw", scratch / "shards"), scratch / "seed"
    yield "curate", lambda over: curate([raw], seed, scratch / "work", rules, index, over)
    seed = resharded(scratch / "seed", scratch / "kept")
    items = ItemIndex([("riddles/1", QUESTION)], [], OverlapConfig())
    yield "scan for benchmark items", lambda over: scan_documents(items, seed, scratch / "scan", over)
    store, tokenizer = TokenStoreConfig(heldout_share=0.01), folder / "tokenizer"
    work = scratch / "units"
    yield "tokenise", lambda over: tokenise_documents(seed, tokenizer, scratch / "tokens", store, work=work, map=over)
    yield "score", lambda over: score_documents(seed, folder / "classifier", scratch / "scores", map_over=over)
    if encode:
        few = resharded(seed, scratch / "few", encode // 8, 8)
        encoder = Encoder(EncoderConfig(), folder / "encoder")
        work = scratch / "vectors-work"
        yield "encode", lambda over: embed_documents(few, encoder, scratch / "vectors", work, map_over=over)


def resharded(documents: Path, folder: Path, rows: int = 2_500, most: int | None = None) -> Path:
    """Write documents in smaller shards, so that there is something to spread."""
    from hephaestus_dag.documents import DocumentWriter, read_documents

    with DocumentWriter(folder, rows) as writer:
        for batch in read_documents(documents, batch_size=rows):
            if most is None or writer.num_documents < most * rows:
                writer.write_batch(batch)
    return folder


def prepare(folder: Path, encode: int) -> None:
    """Make what the steps use: a tokenizer, a classifier, the encoder's model."""
    from hephaestus_dag.mixture.config import TrainTokenizerConfig
    from hephaestus_dag.mixture.tokenizer import train_tokenizer
    from hephaestus_dag.models import resolve_model
    from hephaestus_dag.quality.config import ClassifierConfig
    from hephaestus_dag.quality.fasttext_model import NEGATIVE, POSITIVE, fold, train
    from hephaestus_dag.retrieval.config import EncoderConfig

    first = (folder / "source/000.jsonl").read_text().splitlines()[:2_000]
    texts = [json.loads(line)["text"] for line in first]
    train_tokenizer(texts, TrainTokenizerConfig(vocab_size=4_000), folder / "tokenizer")
    (folder / "classifier").mkdir()
    lines = [f"{POSITIVE if 'def ' in text else NEGATIVE} {' '.join(text.split())}\n" for text in texts]
    (folder / "labelled.txt").write_text("".join(lines))
    config = ClassifierConfig()
    model = train(folder / "labelled.txt", config)
    fold(model)
    model.save_model(str(folder / "classifier/quality.bin"))
    (folder / "classifier/classifier.json").write_text(json.dumps({"max_characters": 4_000}))
    if encode:
        (folder / "encoder").symlink_to(resolve_model(EncoderConfig().model, folder / "cache"))


def run(how: str, folder: Path, scratch: Path, encode: int) -> None:
    """Do all steps in one way, and say where they are and what came out."""
    from resources.compute import ComputePool, LocalPool
    from resources.ray_compute import RayPool

    say("start")
    cluster: Any = None
    pool: ComputePool = LocalPool(num_workers=2, num_model_workers=2)
    if how != "local":
        from ray.cluster_utils import Cluster

        cluster = Cluster(initialize_head=True, head_node_args={"num_cpus": 1, "include_dashboard": False})
        cluster.add_node(num_cpus=1)
        pool = RayPool(address=cluster.address, num_model_workers=2)
        pool.connect()

    def over(function: Callable[..., Any], items: Any, progress: Any = None, **options: Any) -> Iterator[Any]:
        for done, result in enumerate(pool.map(function, items, progress, **options)):
            if how == "kill" and done == 0 and cluster.worker_nodes:
                kill(cluster)
            yield result

    before: set[Path] = set()
    for name, do in steps(folder, scratch, encode):
        say(name)
        do(over)
        made = {path for path in scratch.rglob("*") if path.is_file() and not {"work", "units"} & set(path.parts)}
        say(name, content(sorted(made - before), scratch))
        before = made
        if how == "kill" and not cluster.worker_nodes:
            cluster.add_node(num_cpus=1)
    say("end")
    if cluster:
        pool.close()  # type: ignore[attr-defined]
        cluster.shutdown()


def kill(cluster: Any) -> None:
    """End the second node of a cluster with all its processes, and no warning."""
    (node,) = cluster.worker_nodes
    raylet = psutil.Process(node.all_processes["raylet"][0].process.pid)
    for process in [raylet, *raylet.children(recursive=True)]:
        os.kill(process.pid, signal.SIGKILL)
    cluster.worker_nodes.clear()


def content(files: list[Path], scratch: Path) -> str:
    """Return one digest of files and their names."""
    digest = hashlib.sha256()
    for path in files:
        digest.update(str(path.relative_to(scratch)).encode() + hashlib.sha256(path.read_bytes()).digest())
    return digest.hexdigest()[:16]


def say(step: str, found: str = "") -> None:
    print("STEP", json.dumps([step, found]), flush=True)


def measured(how: str, folder: Path, encode: int) -> dict[str, tuple[float, float, str]]:
    """Run in a process of its own; return CPU seconds, seconds and what came out of each step."""
    with tempfile.TemporaryDirectory(prefix="ray-engine-") as scratch:
        command = [sys.executable, __file__, "--run", how, str(folder), scratch, "--encode", str(encode)]
        environment = {**os.environ, "OMP_NUM_THREADS": "1", "PYTHONPATH": str(Path(__file__).parents[1])}
        environment["RAY_DATA_DISABLE_PROGRESS_BARS"] = "1"
        process = subprocess.Popen(command, env=environment, stdout=subprocess.PIPE, text=True)
        used: dict[tuple[int, float], float] = {}
        over = threading.Event()

        def watch() -> None:
            while not over.wait(0.25):
                for each in psutil.Process().children(recursive=True):
                    try:
                        times = each.cpu_times()
                        used[each.pid, each.create_time()] = times.user + times.system
                    except psutil.Error:
                        continue

        watcher = threading.Thread(target=watch)
        watcher.start()
        marks: list[tuple[str, str, float, float]] = []
        assert process.stdout
        try:
            for line in process.stdout:
                if line.startswith("STEP "):
                    name, found = json.loads(line[5:])
                    time.sleep(0.3)  # until the watcher has looked
                    marks.append((name, found, sum(used.values()), time.monotonic()))
        finally:
            over.set()
            watcher.join()
        if process.wait():
            raise SystemExit(f"{how} failed")
    result = {"start": (marks[1][2] - marks[0][2], marks[1][3] - marks[0][3], "")}
    for (_, _, cpu, at), (name, found, later, then) in pairwise(marks):
        if found:
            result[name] = later - cpu, then - at, found
    result["all"] = (sum(used.values()), marks[-1][3] - marks[0][3], "")
    return result


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--documents", type=int, default=100_000)
    parser.add_argument("--encode", type=int, default=0, help="documents that are encoded; 0: none")
    parser.add_argument("--ways", nargs="+", default=["local", "ray", "kill"], choices=["local", "ray", "kill"])
    parser.add_argument("--run", nargs=3, help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.run:
        how, folder, scratch = options.run
        run(how, Path(folder), Path(scratch), options.encode)
        return
    ctypes.CDLL(None).prctl(ADOPT_ORPHANS, 1, 0, 0, 0)
    with tempfile.TemporaryDirectory(prefix="ray-engine-") as made:
        folder = Path(made)
        write_source(folder / "source", options.documents)
        prepare(folder, options.encode)
        found = {}
        for how in options.ways:
            found[how] = measured(how, folder, options.encode)
            print(how, {name: round(cpu, 1) for name, (cpu, _, _) in found[how].items()}, flush=True)
    first = found[options.ways[0]]
    print(f"{options.documents:,} documents; CPU seconds (seconds)")
    print(f"{'':26}" + "".join(f"{how:>18}" for how in found) + "   same bytes")
    for name in first:
        cells = "".join(f"{result[name][0]:>9.1f} ({result[name][1]:>5.0f})" for result in found.values())
        print(f"{name:26}{cells}   {len({result[name][2] for result in found.values()}) == 1}")


if __name__ == "__main__":
    main()
