"""Megabytes per CPU-second of scoring texts with the quality classifier, beside fastText's own batch prediction and datatrove.

    .venv/bin/python benchmarks/quality_scoring.py
    .venv/bin/python benchmarks/quality_scoring.py --peers .venv-peers/bin/python
    .venv/bin/python benchmarks/quality_scoring.py --documents 3000 --repeats 3

datatrove lives in an environment of its own: ``python -m venv .venv-peers && .venv-peers/bin/pip install
'datatrove[processing]==0.10.1' fasttext-numpy2-wheel==0.9.2``; without it, its rows are left out.

There are two corpora of what is installed: the documentation that the laptop recipe has for its web and its tools, and files
of source code. All read the same texts, cut to the characters that the classifier reads, and the same two models: that of the
default settings and one of 100 dimensions, both with bigrams. Ours prepares the texts and uses the folded model, inside the
clock. The library uses the model as trained, and gets texts that were made one line before: as they are, and also as ours
prepares them. datatrove's filter is called on texts in memory with its model loaded before; its pipeline reads JSON lines and
loads the model inside the clock, as it runs in practice. CPU-seconds are user and system time in a fresh process,
single-threaded, the best of three passes (one of the pipeline); the table has the median of the processes.
"""

import argparse
import json
import os
import random
import statistics
import subprocess
import sys
import tempfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

from curation import ONE_THREAD, installed
from curation_cases import cpu_seconds

MODELS = {"16-d (default)": {}, "100-d": {"dim": 100, "bucket": 500_000}}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--documents", type=int, default=6_000, help="texts to draw from each corpus")
    parser.add_argument("--repeats", type=int, default=5)
    parser.add_argument("--peers", type=Path, help="python of an environment that has datatrove")
    parser.add_argument("--run", nargs=2, metavar=("WHO", "DATA"), help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.run:
        who, data = options.run
        print("RESULT", CASES[who](Path(data)))
        return
    print(f"{'corpus':14} {'MB':>5}  {'model':15} {'by':36} {'MB/CPU-s':>9} {'ours is':>8}")
    for corpus, collect in CORPORA.items():
        with tempfile.TemporaryDirectory() as folder:
            data = Path(folder)
            megabytes = write_texts(data, collect(), options.documents)
            for model, settings in MODELS.items():
                prepare_model(data, settings)
                table(options, data, f"{corpus:14} {megabytes:5.1f}  {model:15}", megabytes)


def table(options: argparse.Namespace, data: Path, name: str, megabytes: float) -> None:
    runs: dict[str, list[float]] = {who: [] for who in CASES}
    for _ in range(options.repeats):  # In turn, so that a busy moment of the machine hits all.
        for who in CASES:
            peer = who.startswith("datatrove")
            if not peer or options.peers:
                runs[who].append(run_apart(who, data, options.peers if peer else sys.executable))
    rates = {who: megabytes / statistics.median(found) for who, found in runs.items() if found}
    for who, rate in rates.items():
        times = "" if who == "ours" else f"{rates['ours'] / rate:.2f} x"
        print(f"{name} {who:36} {rate:9.1f} {times:>8}", flush=True)


def run_apart(who: str, data: Path, python: Path | str) -> float:
    command = [str(python), __file__, "--run", who, str(data)]
    done = subprocess.run(command, env=os.environ | ONE_THREAD, capture_output=True, text=True)
    results = [line for line in done.stdout.splitlines() if line.startswith("RESULT ")]
    if done.returncode or not results:
        sys.exit(f"{who}: failed\n{done.stderr[-2000:]}")
    return float(results[-1].removeprefix("RESULT "))


def documentation() -> list[str]:
    """Return the documentation that the laptop recipe has for its web and its tools."""
    from hephaestus_dag.documents import Document
    from hephaestus_dag.recipe_file import load_recipe
    from hephaestus_dag.sources import list_items, read_items

    recipe = load_recipe("laptop")
    sources = [*recipe.web_retrieval.web_corpus, *recipe.seed_corpus.tool_documentation]
    found = [item for source in sources for item in read_items(source, list_items(source))]
    return [item.text for item in found if isinstance(item, Document)]


def source_files() -> list[str]:
    return [row["text"] for row in installed(40)]


def write_texts(data: Path, found: list[str], documents: int) -> float:
    """Write a drawn number of texts as JSON lines, and return their size in megabytes."""
    from hephaestus_dag.quality.config import ClassifierConfig

    drawn = random.Random(0).sample(sorted(found), min(documents, len(found)))
    cut = [text[: ClassifierConfig().max_characters] for text in drawn]
    (data / "texts").mkdir()
    with (data / "texts" / "texts.jsonl").open("w", encoding="utf-8") as file:
        file.writelines(json.dumps({"id": str(n), "text": text}, ensure_ascii=False) + "\n" for n, text in enumerate(cut))
    return sum(len(text.encode()) for text in cut) / 1e6


def prepare_model(data: Path, settings: dict[str, int]) -> None:
    """Train on every third text to tell long ones from short ones, and write the model as trained and folded."""
    from hephaestus_dag.quality.config import ClassifierConfig
    from hephaestus_dag.quality.examples import Example
    from hephaestus_dag.quality.fasttext_model import fold, train, write_training_file

    config = ClassifierConfig.model_validate({**settings, "epochs": 2})
    middle = statistics.median(map(len, texts(data)))
    examples = [Example("", text, "seed" if len(text) > middle else "random") for text in texts(data)[::3]]
    write_training_file(examples, config, data / "train.txt")
    model = train(data / "train.txt", config)
    model.save_model(str(data / "trained.bin"))
    fold(model)
    model.save_model(str(data / "quality.bin"))
    (data / "classifier.json").write_text(json.dumps(config.model_dump(mode="json")))


def texts(data: Path) -> list[str]:
    return [json.loads(line)["text"] for line in (data / "texts" / "texts.jsonl").open(encoding="utf-8")]


def seconds_of(work: Callable[[], Any]) -> float:
    """Return the least CPU-seconds of three passes, the others being more disturbed."""
    seconds: list[float] = []
    for _ in range(3):
        before = cpu_seconds()
        work()
        seconds.append(cpu_seconds() - before)
    return min(seconds)


def ours(data: Path) -> float:
    from hephaestus_dag.quality.scoring import open_classifier, score_texts

    read = texts(data)
    open_classifier(data)
    return seconds_of(lambda: score_texts(data, read))


def library(data: Path) -> float:
    import fasttext

    lines = [text.replace("\n", " ") for text in texts(data)]
    model = fasttext.load_model(str(data / "trained.bin"))
    return seconds_of(lambda: model.predict(lines))


def library_prepared(data: Path) -> float:
    import fasttext

    from hephaestus_dag.quality.fasttext_model import prepare

    lines = [prepare(text).decode() for text in texts(data)]
    model = fasttext.load_model(str(data / "trained.bin"))
    return seconds_of(lambda: model.predict(lines))


def datatrove_step(data: Path) -> Any:
    from datatrove.pipeline.filters import FastTextClassifierFilter  # pyright: ignore[reportMissingImports]

    keep = [("positive", 0.5)]
    return FastTextClassifierFilter(model_url=str(data / "trained.bin"), keep_labels=keep, newline_replacement=" ")


def datatrove_filter(data: Path) -> float:
    from datatrove.data import Document  # pyright: ignore[reportMissingImports]

    step = datatrove_step(data)
    read = texts(data)
    step.filter(Document(text="loads the model", id=""))
    return seconds_of(lambda: [step.filter(Document(text=text, id="")) for text in read])


def datatrove_pipeline(data: Path) -> float:
    from datatrove.executor import LocalPipelineExecutor  # pyright: ignore[reportMissingImports]
    from datatrove.pipeline.readers import JsonlReader  # pyright: ignore[reportMissingImports]

    with tempfile.TemporaryDirectory() as logs:
        pipeline = [JsonlReader(str(data / "texts")), datatrove_step(data)]
        executor = LocalPipelineExecutor(pipeline=pipeline, tasks=1, workers=1, logging_dir=logs)
        before = cpu_seconds()
        executor.run()
        return cpu_seconds() - before


CORPORA: dict[str, Callable[[], list[str]]] = {"documentation": documentation, "source files": source_files}
CASES: dict[str, Callable[[Path], float]] = {
    "ours": ours,
    "fastText batch prediction": library,
    "fastText on texts that ours prepared": library_prepared,
    "datatrove, filter alone": datatrove_filter,
    "datatrove, pipeline": datatrove_pipeline,
}


if __name__ == "__main__":
    main()
