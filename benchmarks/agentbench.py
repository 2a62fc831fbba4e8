"""Measure AgentBench's DB task without a model: gold actions, attacks, and the time of its environments.

    git clone --depth 1 https://github.com/THUDM/AgentBench
    .venv/bin/python benchmarks/agentbench.py gold --data AgentBench/data
    .venv/bin/python benchmarks/agentbench.py attacks
    .venv/bin/python benchmarks/agentbench.py time --data AgentBench/data

`gold` runs the published statement of every INSERT and UPDATE item and compares the table's hash with the published one;
`attacks` tries SQL that wants more than its own table; `time` plays all items, one operation and an answer each.
Each prints a table for MariaDB (started privately) and for SQLite, or why one of them was not run.
"""

import argparse
import tempfile
import time
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

from agentbench_attacks import TABLE, attacks, attempt, harm, make_victim

from hephaestus_dag.evaluation.agentbench.config import AgentBenchConfig
from hephaestus_dag.evaluation.agentbench.database import CHANGES, DatabaseTask, Engine, operation
from hephaestus_dag.evaluation.agentbench.mariadb import ServerEngine
from hephaestus_dag.evaluation.agentbench.play import Played, play
from hephaestus_dag.evaluation.agentbench.sqlite import SQLiteEngine
from hephaestus_dag.evaluation.agentbench.task import TaskItem
from hephaestus_dag.evaluation.model import CannotScoreError, Likelihood, Prompt, Reply
from hephaestus_dag.evaluation.streaming import StreamingModel

ANSWER = "Action: Answer\nFinal Answer: []"


class GoldModel(StreamingModel):
    """Says an item's gold action, then an answer."""

    def __init__(self, items: Sequence[TaskItem], first: str | None = None) -> None:
        self.gold = {item.opening[-1]["content"]: first or item.target for item in items}

    @property
    def identity(self) -> Mapping[str, Any]:
        return {"model": "gold"}

    def replies(
        self, prompts: Sequence[Prompt], max_new_tokens: int, max_prompt_tokens: int | None = None, stop: Sequence[str] = ()
    ) -> Iterator[tuple[int, Reply]]:
        for number, prompt in enumerate(prompts):
            text = self.gold[prompt[2]["content"]] if len(prompt) == 3 else ANSWER  # type: ignore[index]
            yield number, Reply(text=text, num_prompt_tokens=0, num_new_tokens=0, seconds=0)

    def likelihoods(
        self, pairs: Sequence[tuple[Prompt, str]], max_tokens: int | None = None
    ) -> Iterator[tuple[int, Likelihood]]:
        raise CannotScoreError("gold actions have no likelihood")


def engines(config: AgentBenchConfig) -> list[Engine]:
    return [ServerEngine(config.statement_seconds), SQLiteEngine(config.statement_seconds)]


def run_items(engine: Engine, items: Sequence[TaskItem], config: AgentBenchConfig, first: str | None = None) -> list[Played]:
    with DatabaseTask(engine) as task:
        print(f"\n{task.title}: {task.identity()}")
        return play({"DB": task}, items, GoldModel(items, first), config)


def gold(data: Path, config: AgentBenchConfig) -> None:
    """Print how many gold statements give the published hash."""
    for engine in engines(config):
        if reason := engine.unavailable():
            print(f"not run: {reason}")
            continue
        items = [i for i in DatabaseTask(engine).read_items(data, config.split) if i.category in CHANGES]
        played = run_items(engine, items, config)
        total = Counter(one.item.category for one in played)
        right = Counter(one.item.category for one in played if one.outcome.score == 1)
        print("| kind | items | right |\n|---|---|---|")
        for kind in CHANGES:
            print(f"| {kind} | {total[kind]} | {right[kind]} |")
        for one in played:
            if one.outcome.score < 1:
                print(f"{one.item.item_id}: {one.messages[4]['content']} {one.outcome.reason}; {one.item.reference}")


def seconds(data: Path, config: AgentBenchConfig) -> None:
    """Print the time that the environments of all items take."""
    for engine in engines(config):
        if reason := engine.unavailable():
            print(f"not run: {reason}")
            continue
        items = DatabaseTask(engine).read_items(data, config.split)
        began = time.perf_counter()
        with DatabaseTask(engine) as task:
            ready = time.perf_counter()
            first = operation("SELECT COUNT(*) FROM information_schema.tables")
            played = play({"DB": task}, items, GoldModel(items, first), config)
            ended = time.perf_counter()
        busy = sum(one.environment_seconds for one in played)
        print(
            f"{task.title}: start {ready - began:.1f} s; {len(items)} items in {ended - ready:.1f} s with {config.threads} "
            f"threads ({1000 * (ended - ready) / len(items):.0f} ms an item, {busy:.1f} s summed over threads); "
            f"stop {time.perf_counter() - ended:.1f} s; {sum(bool(one.broken) for one in played)} environment failures"
        )


def attack(config: AgentBenchConfig) -> None:
    """Print what each attack's item sees, how long it takes, and what it changed outside: nothing."""
    for engine in engines(config):
        if reason := engine.unavailable():
            print(f"not run: {reason}")
            continue
        with engine, tempfile.TemporaryDirectory() as name:
            print(f"\n{engine.identity()}\n| attack | s | the model sees | outside |\n|---|---|---|---|")
            Path(name).chmod(0o777)
            secret, target = Path(name) / "secret", Path(name) / "target"
            secret.write_text("xyzzy")
            address = engine.address if isinstance(engine, ServerEngine) else None
            if address:
                make_victim(address)
            bystander = engine.create(TABLE)
            before = bystander.digest()
            for title, sql in attacks(target, secret):
                database = engine.create(TABLE)
                began = time.perf_counter()
                seen = attempt(database, sql)
                spent = time.perf_counter() - began
                problems = harm(address, target, seen) + (["bystander changed"] * (bystander.digest() != before))
                print(f"| {title} | {spent:.2f} | {seen[:90]!r} | {', '.join(problems) or 'nothing'} |")
            bystander.close()


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("what", choices=("gold", "attacks", "time"))
    parser.add_argument("--data", type=Path, help="the `data` folder of AgentBench's public repository")
    parser.add_argument("--split", choices=("dev", "test"), default="test")
    parser.add_argument("--threads", type=int, default=4, help="environments that work at the same time")
    parser.add_argument("--statement-seconds", type=float, default=3, help="most seconds of one statement")
    options = parser.parse_args()
    config = AgentBenchConfig(split=options.split, threads=options.threads, statement_seconds=options.statement_seconds)
    if options.what == "attacks":
        attack(config)
    elif options.data is None:
        parser.error(f"{options.what} needs --data")
    else:
        (gold if options.what == "gold" else seconds)(options.data, config)


if __name__ == "__main__":
    main()
