"""AgentBench's OS task: the model works in a shell, until it has done what was asked or knows the answer.

Prompts, action grammar and judging are those of AgentBench v0.2 (``src/server/tasks/os_interaction/task.py``,
Apache-2.0). Two things differ, so that an item's course does not hang on timing: a command that takes
too long fails its item, where v0.2 shows what was printed until then; and commands find an empty input, where v0.2 would hand
them the model's next command.
"""

import json
import re
from collections.abc import Mapping
from pathlib import Path
from types import TracebackType
from typing import Any, Literal, Self

from hephaestus_dag.evaluation.agentbench.os_config import OsConfig
from hephaestus_dag.evaluation.agentbench.os_prompt import opening
from hephaestus_dag.evaluation.agentbench.os_sandbox import Finished, Sandbox, cannot_run, missing_parts
from hephaestus_dag.evaluation.agentbench.task import Outcome, TaskItem, pooled, split_file
from hephaestus_dag.evaluation.prompts import ChatMessage

Script = tuple[str, str]
"""Language, ``bash`` or ``python``, and text."""

TURN_LIMIT = 8
LONGEST_OUTPUT, SHOWN_OUTPUT = 800, 780
FOLDER = "os_interaction"
FILES = {
    "dev": ("dev.json",),
    "test": (
        *("1/stock.json", "2/environment.json", "3/ac.json"),
        *(f"4/{name}.json" for name in ("N11", "N225", "N37", "N4", "N41", "Q09", "Q19", "Q30", "Q47", "Q49")),
        *("5/new.json", "6/new.json", "7/bootstrap.json"),
    ),
}
"""Problem files of each split, below ``os_interaction/data``."""


class OsTask:
    """The OS task, with a sandbox for each item."""

    name = "OS"
    turn_limit = TURN_LIMIT

    def __init__(self, config: OsConfig) -> None:
        self.config = config

    @property
    def title(self) -> str:
        """Name of the score; says on which system, where it is not AgentBench's."""
        system = self._root().get("system", "")
        return "AgentBench OS" if not system or "Ubuntu" in system else f"AgentBench OS (on {system})"

    def missing(self) -> str:
        """Say what a sandbox lacks."""
        return missing_parts(self.config)

    def unavailable(self) -> str:
        """Say why no sandbox can run here."""
        return cannot_run(self.config)

    def identity(self) -> Mapping[str, Any]:
        """Return the root file system's description and the limits."""
        return {"root": self._root(), **self.config.model_dump(exclude={"root"})}

    def read_items(self, data: Path, split: str) -> list[TaskItem]:
        """Return the items of a split, in the order of their files."""
        names = {each: [f"{FOLDER}/data/{name}" for name in files] for each, files in FILES.items()}
        items = []
        for path in split_file(data, names, split):
            number = "dev" if split == "dev" else path.parent.name
            records = json.loads(path.read_text())
            for row, record in enumerate(records if isinstance(records, list) else [records]):
                where = f"{path}, row {row}"
                content = _content(record, data / FOLDER / "scripts" / number, where)
                reference = _reference(content, record)
                code = f"bash\n\n```bash\n{reference}\n```"
                items.append(
                    TaskItem(
                        task=self.name,
                        category="dev" if split == "dev" else f"set {number}",
                        item_id=f"os-{split}-{number}-{path.stem}-{row}",
                        question=record["description"],
                        reference=reference,
                        content=content,
                        opening=opening(record["description"]),
                        target=f"Act: {f'answer({reference})' if content['match'] else code}" if reference else "",
                    )
                )
        return items

    def start(self, item: TaskItem) -> "OsConversation":
        """Boot a machine and set it up as the item says."""
        assert self.config.root
        sandbox = Sandbox(self.config.root / "root", self.config)
        try:
            for script in item.content["init"]:
                ended = run_script(sandbox, script)
                if ended.status:
                    raise RuntimeError(
                        f"the item's set-up failed ({ended.status}): {ended.output[-200:].decode(errors='replace')}"
                    )
            if item.content["start"]:
                sandbox.shell(item.content["start"])
        except BaseException:
            sandbox.close()
            raise
        return OsConversation(item, sandbox)

    def weights(self, items: Mapping[str, int]) -> dict[str, float]:
        """Return the weights of the success rate over all items."""
        return pooled(items)

    def __enter__(self) -> Self:
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None) -> None:
        return None

    def _root(self) -> dict[str, str]:
        path = self.config.root / "root.json" if self.config.root else None
        return json.loads(path.read_text()) if path and path.is_file() else {}


class OsConversation:
    """An item under way."""

    def __init__(self, item: TaskItem, sandbox: Sandbox) -> None:
        self.item, self.sandbox = item, sandbox
        self.turns = 0
        self.committed = False
        self.answer: str | None = None
        self.wrong = "no answer was committed"

    def messages(self) -> list[ChatMessage]:
        """Return the instruction, the example, and the problem."""
        return opening(self.item.question)

    def observe(self, reply: str) -> str | None:
        """Do what a reply says; return what it printed, or None when the conversation is over."""
        self.turns += 1
        action, content = parse_action(reply)
        if action == "commit":
            self.committed, self.answer = True, content
            return None
        if action != "bash":
            self.wrong = "the reply holds none of the actions bash, finish, answer"
            return None
        output = self.sandbox.shell(content or "").decode(errors="replace")
        if self.turns == TURN_LIMIT:
            self.wrong = f"no answer within {TURN_LIMIT} turns"
            return None
        if len(output) > LONGEST_OUTPUT:
            output = output[:SHOWN_OUTPUT] + "\n[truncated because the output is too long]"
        return f"The output of the OS:\n\n{output}" if output else "The output of the OS is empty."

    def outcome(self) -> Outcome:
        """Judge the answer, or the machine's state, by the item's rule."""
        if not self.committed:
            return Outcome(0.0, self.wrong)
        content = self.item.content
        if content["match"]:
            return judge_match(content["match"], self.answer)
        parameters = [str(self.answer)]
        for number, script in enumerate(content["check"], 1):
            # An empty slot stands for the item's own solution, whose output the next script compares.
            ended = run_script(self.sandbox, script or content["example"], *parameters)
            if ended.status:
                return Outcome(0.0, f"not accepted by check {number} of {len(content['check'])}: answer {self.answer!r}"[:300])
            parameters.append(ended.output.decode(errors="replace"))
        return Outcome(1.0)

    def close(self) -> None:
        """End the machine."""
        self.sandbox.close()


def parse_action(reply: str) -> tuple[Literal["bash", "commit"] | None, str | None]:
    """Return the last valid action of a reply, and its code or answer; finish is a commit without an answer."""
    for action in re.findall(r"Act:\s*(.+)", reply)[::-1]:
        kind = action.lower()
        if kind.startswith("bash"):
            return "bash", "\n\n".join(re.findall(r"```bash\n(.*?)\n```", reply, re.DOTALL))
        if kind.startswith("finish"):
            return "commit", None
        if kind.startswith("answer"):
            text = action[6:].strip()
            left, right = text.find("("), text.rfind(")")
            if left != -1 and right != -1:
                return "commit", text[left + 1 : right]
    return None, None


def judge_match(rule: Mapping[str, Any], answer: str | None) -> Outcome:
    """Compare an answer with the expected one, or search it for a pattern."""
    if answer is not None and rule.get("strip"):
        answer = answer.strip()
    if "answer" in rule:
        right = answer == rule["answer"]
    else:
        right = answer is not None and re.search(rule["regex"], answer) is not None
    return Outcome(1.0) if right else Outcome(0.0, f"the answer {answer!r} does not match {rule!r}"[:300])


def run_script(sandbox: Sandbox, script: Script, *parameters: str) -> Finished:
    """Run a script of the data, which finds the parameters from its first argument on."""
    language, text = script
    if language == "bash":
        return sandbox.run(["bash", "-c", text, *(("--", *parameters) if parameters else ())])
    return sandbox.run(["python3", "-c", text, *parameters])


def _content(record: Mapping[str, Any], scripts: Path, where: str) -> dict[str, Any]:
    """Resolve a record of the data: its scripts are read, and its rule is put into one form."""
    if not {"description", "evaluation"} <= record.keys():
        raise ValueError(f"{where}: needs `description` and `evaluation`")
    # Two rows hold a list there by mistake; AgentBench ignores it.
    create = record.get("create")
    steps = (create.get("init") if isinstance(create, dict) else None) or []
    start = _script(record.get("start"), scripts, where)
    evaluation = record["evaluation"]
    match, check = evaluation.get("match"), evaluation.get("check")
    if match is None and check is None:
        raise ValueError(f"{where}: `evaluation` has neither `match` nor `check`")
    if match is not None:
        match, check = {"answer": match, "strip": True} if isinstance(match, str) else match, []
    checks = [_script(step, scripts, where) for step in (check if isinstance(check, list) else [check])]
    example = _script(evaluation.get("example"), scripts, where) if check else None
    if None in checks and example is None:
        raise ValueError(f"{where}: `check` refers to an `example` that is missing")
    return {
        "init": [_script(step, scripts, where) for step in (steps if isinstance(steps, list) else [steps])],
        "start": start[1] if start else None,
        "match": match,
        "check": checks,
        "example": example,
    }


def _script(value: Any, scripts: Path, where: str) -> Script | None:
    """Return a script of the data, which is a text, or an object with its code or its file's name."""
    if value is None or isinstance(value, str):
        return None if value is None else ("bash", value)
    language = value.get("language", "bash")
    if language not in ("bash", "python") or not {"file", "code"} & value.keys():
        raise ValueError(f"{where}: {value!r} is no bash or python script with `file` or `code`")
    if "code" in value and "file" not in value:
        return language, value["code"]
    path = scripts / value["file"]
    if not path.is_file():
        raise FileNotFoundError(
            f"{where}: {path} is missing: name the whole `data` folder of AgentBench's public repository at tag v0.2 "
            "(git clone --depth 1 --branch v0.2 https://github.com/THUDM/AgentBench, then AgentBench/data)"
        )
    return language, path.read_text()


def _reference(content: Mapping[str, Any], record: Mapping[str, Any]) -> str:
    """Return the item's own solution: a script's text, or the answer."""
    if content["example"]:
        return content["example"][1]
    if content["match"]:
        return content["match"].get("answer", "")
    example = record.get("example")
    return example if isinstance(example, str) else ""
