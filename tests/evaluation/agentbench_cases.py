"""AgentBench items of our own, and a model that says what a test wants it to."""

import json
from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

from hephaestus_dag.evaluation.model import CannotScoreError, Likelihood, Prompt, Reply
from hephaestus_dag.evaluation.streaming import StreamingModel

ROWS = [["Ann", "12"], ["Bob", "7"], ["Cy", "it's 5%"]]
ANSWER = 'I know it.\nAction: Answer\nFinal Answer: ["Ann"]'


def entry(kind: str, **fields: Any) -> dict[str, Any]:
    """Return a row in the shape of the public data."""
    return {
        "description": f"A question of kind {kind}",
        "add_description": "The name of this table is Best Scores, and the headers of this table are Name,Points (%).",
        "type": [kind],
        "label": ["Ann"],
        "table": {
            "table_name": "Best Scores",
            "table_info": {"columns": [{"name": "Name", "type": "TEXT"}, {"name": "Points (%)", "type": "INT"}], "rows": ROWS},
        },
    } | fields


def write_data(folder: Path) -> Path:
    """Write a data folder with five test items and one dev item."""
    insert = "INSERT INTO `Best Scores` VALUES ('Di', '3')"
    update = "UPDATE `Best Scores` SET `Points (%)` = '9' WHERE Name = 'Bob'"
    entries = [
        entry("other"),
        entry("counting", label=["3"]),
        entry("ranking", label=["Ann", "Bob"]),
        entry("INSERT", label=[insert], answer_md5="[('d45a6b256c0e032c2c792578d6add8af',)]"),
        entry("UPDATE", label=[update], answer_md5="[('4a43cb50db021493777fa6ae2d1838f7',)]"),
    ]
    (folder / "dbbench").mkdir(parents=True)
    (folder / "dbbench/standard.jsonl").write_text("".join(json.dumps(each) + "\n" for each in entries))
    (folder / "dbbench/dev.jsonl").write_text(json.dumps(entries[0]) + "\n")
    return folder


class Scripted(StreamingModel):
    """A model whose reply is a function of the prompt."""

    def __init__(self, say: Callable[[Prompt], str | Reply]) -> None:
        self.say = say
        self.prompts: list[Prompt] = []
        self.batches: list[int] = []

    @property
    def identity(self) -> Mapping[str, Any]:
        return {"model": "scripted"}

    def replies(
        self, prompts: Sequence[Prompt], max_new_tokens: int, max_prompt_tokens: int | None = None, stop: Sequence[str] = ()
    ) -> Iterator[tuple[int, Reply]]:
        self.prompts += prompts
        self.batches.append(len(prompts))
        for number, prompt in enumerate(prompts):
            said = self.say(prompt)
            new = Reply(text=said, num_prompt_tokens=9, num_new_tokens=3, seconds=0.5) if isinstance(said, str) else said
            yield number, new

    def likelihoods(
        self, pairs: Sequence[tuple[Prompt, str]], max_tokens: int | None = None
    ) -> Iterator[tuple[int, Likelihood]]:
        raise CannotScoreError("a scripted model has no likelihoods")
