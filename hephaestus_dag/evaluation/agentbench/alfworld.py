"""AgentBench's HH task: household tasks in the text worlds of ALFWorld; needs the package ``alfworld`` and its games.

Prompts, the reading of actions, and the rules of the end are those of AgentBench v0.2 (``src/server/tasks/alfworld``,
Apache-2.0; the instruction is quoted, the worked examples are read from its prompt file). Games run in an interpreter of their
own, because the package's dependencies would clash with this project's.
"""

import hashlib
import json
import re
import selectors
import subprocess
from collections import Counter
from collections.abc import Mapping, Sequence
from functools import cache
from math import exp, log
from pathlib import Path
from types import TracebackType
from typing import Any, Self

from hephaestus_dag.evaluation.agentbench.plug_in_config import AlfWorldConfig
from hephaestus_dag.evaluation.agentbench.task import Outcome, TaskItem, pooled, split_file
from hephaestus_dag.evaluation.installed import release
from hephaestus_dag.evaluation.prompts import ChatMessage

TURN_LIMIT = 35
FILES = {"dev": "alfworld/dev.json", "test": "alfworld/standard.json"}
GAMES = Path(__file__).with_name("alfworld_games.py")
PROMPT = "alfworld_multiturn_plan_first.json"
PACKAGE = (
    "needs the package alfworld in an environment of its own: python3.9 -m venv VENV && VENV/bin/pip install "
    "alfworld==0.4.2; name VENV/bin/python as agentbench.hh.python"
)
EXAMPLES = {
    "pick_and_place": "put",
    "pick_clean_then_place": "clean",
    "pick_heat_then_place": "heat",
    "pick_cool_then_place": "cool",
    "look_at_obj": "examine",
    "pick_two_obj": "puttwo",
}
"""Worked example of each kind of game."""

INSTRUCTION = (
    "Interact with a household to solve a task. Imagine you are an intelligent agent in a household environment "
    "and your target is to perform actions to complete the task goal. At the beginning of your interactions, you "
    "will be given the detailed description of the current environment and your goal to accomplish. For each of "
    "your turn, you will be given a list of actions which you can choose one to perform in this turn. You should "
    'choose from two actions: "THOUGHT" or "ACTION". If you choose "THOUGHT", you should first think about the '
    "current condition and plan for your future actions, and then output your action in this turn. Your output "
    'must strictly follow this format:"THOUGHT: your thoughts.\n ACTION: your next action\n"; If you choose '
    '"ACTION", you should directly output the action in this turn. Your output must strictly follow this '
    'format:"ACTION: your next action\n". After your each turn, the environment will give you immediate feedback '
    'based on which you plan your next few steps. if the environment output "Nothing happened", that means the '
    "previous action is invalid and you should try more options.\n Reminder: \n1. the action must be chosen from "
    "the given available actions. Any actions except provided available actions will be regarded as illegal. \n"
    "2. Think when necessary, try to act directly more in the process.\n\n"
)


class AlfWorldTask:
    """The HH task, with a game's process for each item."""

    name = "HH"
    title = "AgentBench HH"
    turn_limit = TURN_LIMIT

    def __init__(self, config: AlfWorldConfig) -> None:
        self.config = config

    def missing(self) -> str:
        """Say whether the interpreter, the games or the examples are missing."""
        python, games, prompts = self.config.python, self.config.games, self.config.prompts
        if python is None or not python.is_file():
            return PACKAGE
        if games is None or not (games / "json_2.1.1").is_dir():
            return "needs ALFWorld's games: ALFWORLD_DATA=FOLDER VENV/bin/alfworld-download; name FOLDER as agentbench.hh.games"
        if prompts is None or not (prompts / PROMPT).is_file():
            return (
                "needs the worked examples of https://github.com/THUDM/AgentBench at tag v0.2, folder "
                "src/server/tasks/alfworld/prompts; name it as agentbench.hh.prompts"
            )
        return ""

    def unavailable(self) -> str:
        """Say what is missing, or why no game can be played."""
        if missing := self.missing():
            return missing
        assert self.config.python
        assert self.config.games
        if not imports(self.config.python):
            return PACKAGE
        return try_game(self.config.python, self.config.games, self.config.step_seconds)

    def identity(self) -> Mapping[str, Any]:
        """Return the package's release, digests of the worked examples and of the games' names and sizes, and the limit."""
        assert self.config.python
        assert self.config.games
        assert self.config.prompts
        return {
            "alfworld": release("alfworld", self.config.python.parent.parent),
            "games": games_digest(self.config.games),
            "prompts": hashlib.sha256((self.config.prompts / PROMPT).read_bytes()).hexdigest()[:16],
            "step_seconds": self.config.step_seconds,
        }

    def read_items(self, data: Path, split: str) -> list[TaskItem]:
        """Return the games of a split. What one asks lies in its own files, so only its name is kept out of training data."""
        (path,) = split_file(data, FILES, split)
        return [
            TaskItem(
                task=self.name,
                category=kind,
                item_id=f"hh-{split}-{kind}-{number}",
                question=Path(game).parent.parent.name,
                reference="",
                content={"game": game},
            )
            for kind, games in json.loads(path.read_text()).items()
            for number, game in enumerate(games)
        ]

    def start(self, item: TaskItem) -> "AlfWorldConversation":
        """Start a game."""
        assert self.config.python
        assert self.config.games
        assert self.config.prompts
        examples = json.loads((self.config.prompts / PROMPT).read_text())
        kind = next((kind for kind in EXAMPLES if Path(item.question).name.startswith(kind)), None)
        if kind is None:
            raise ValueError(f"{item.item_id}: no worked example for {item.question}")
        game = Game(self.config.python, self.config.games, item.content["game"], self.config.step_seconds)
        return AlfWorldConversation(game, examples[EXAMPLES[kind]])

    def weights(self, items: Mapping[str, int]) -> dict[str, float]:
        """Return the weights of the success rate over all items."""
        return pooled(items)

    def __enter__(self) -> Self:
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None) -> None:
        return None


class Game:
    """A game in a process of its own: JSON lines out, actions in."""

    def __init__(self, python: Path, games: Path, name: str, seconds: float) -> None:
        self.seconds = seconds
        command = [str(python), str(GAMES), str(games), name]
        self.process = subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, bufsize=0)
        self.selector = selectors.DefaultSelector()
        assert self.process.stdout
        self.selector.register(self.process.stdout, selectors.EVENT_READ)
        try:
            self.state = self.read()
        except BaseException:
            self.close()
            raise

    def act(self, action: str) -> Mapping[str, Any]:
        """Take an action; return the new state: observation, commands, done, won."""
        assert self.process.stdin
        self.process.stdin.write(json.dumps(action).encode() + b"\n")
        self.state = self.read()
        return self.state

    def read(self) -> Mapping[str, Any]:
        """Return the next state."""
        assert self.process.stdout
        if not self.selector.select(self.seconds):
            raise TimeoutError(f"a step took more than {self.seconds:g} s")
        line = self.process.stdout.readline()
        if not line:
            raise RuntimeError(f"the game's process ended with status {self.process.wait()}")
        return json.loads(line)

    def close(self) -> None:
        """End the process."""
        self.process.kill()
        self.process.communicate()
        self.selector.close()


class AlfWorldConversation:
    """A game under way; ``game`` has ``state``, ``act`` and ``close`` as `Game` does."""

    def __init__(self, game: Game, example: Sequence[str]) -> None:
        self.game, self.example = game, example
        self.history: list[ChatMessage] = []
        self.replies: list[str] = []
        self.wrong = f"not done within {TURN_LIMIT} turns"

    def messages(self) -> list[ChatMessage]:
        """Return the instruction, a worked example of the same kind, and the scene."""
        scene = "\n".join(self.game.state["observation"].split("\n\n")[1:])
        task = f"Here is your task. {scene}{offer(self.game.state['commands'])}"
        example = ["Here is one example.\n" + self.example[0], *self.example[1:]]
        texts = [INSTRUCTION, "OK. I'll follow your instructions and try my best to solve the task."]
        texts += example
        self.history = [{"role": "assistant" if turn % 2 else "user", "content": text} for turn, text in enumerate(texts)]
        self.history.append({"role": "user", "content": task})
        return list(self.history)

    def observe(self, reply: str) -> list[ChatMessage] | None:
        """Take the action that a reply names. Commands that were offered before are dropped from the history."""
        action = choose(reply, self.game.state["commands"])
        if not action:
            self.wrong = "the reply names no action"
            return None
        self.replies.append(reply)
        state = self.game.act(action)
        if len(self.replies) > 3 and len(set(self.replies[-3:])) == 1:
            self.wrong = "the same reply three times"
            return None
        if state["done"]:
            self.wrong = "" if state["won"] else "the game ended unsolved"
            return None
        if len(self.replies) == TURN_LIMIT:
            return None
        last = self.history[-1]["content"].split("AVAILABLE ACTIONS")[0]
        answer = arrived(state["observation"]) + offer(state["commands"])
        self.history[-1] = {"role": "user", "content": last}
        self.history += [{"role": "assistant", "content": reply}, {"role": "user", "content": answer}]
        return list(self.history)

    def outcome(self) -> Outcome:
        """Say whether the game was won."""
        return Outcome(0.0, self.wrong) if self.wrong else Outcome(1.0)

    def close(self) -> None:
        """End the game."""
        self.game.close()


def offer(commands: Sequence[str]) -> str:
    """Return the list of commands as the model sees it."""
    return " AVAILABLE ACTIONS: " + "\n".join(commands) + "\n"


def arrived(observation: str) -> str:
    """Return an observation without the place's number, which the model cannot use."""
    return observation[observation.find(". ") + 2 :] if observation.startswith("You arrive at loc ") else observation


def choose(reply: str, commands: Sequence[str]) -> str:
    """Return the command that a reply names: itself, or the one offered that is most like it; empty without an action."""
    match = re.search("ACTION:(.*)", reply)
    if not match:
        return ""
    action = match.group(1).strip().lower().split("\n")[0]
    if not commands or action in commands:
        return action
    likeness = [bleu(command.split(), action.split()) for command in commands]
    best = max(range(len(commands)), key=likeness.__getitem__)
    return commands[best] if likeness[best] > 0.01 else action


def bleu(reference: Sequence[str], candidate: Sequence[str]) -> float:
    """Return BLEU-4 of two word lists, with Chen and Cherry's fourth smoothing as NLTK has it (length cannot raise it)."""
    if not set(reference) & set(candidate):
        return 0.0
    logs, misses = 0.0, 0
    for size in range(1, 5):
        grams, others = _grams(candidate, size), _grams(reference, size)
        matches, total = sum((grams & others).values()), max(1, sum(grams.values()))
        if matches:
            logs += log(matches / total) / 4
        elif len(candidate) > 1:
            misses += 1
            logs += log(log(len(candidate)) / (2**misses * 5) / total) / 4
    penalty = 1.0 if len(candidate) > len(reference) else exp(1 - len(reference) / len(candidate))
    return penalty * exp(logs)


def games_digest(games: Path) -> str:
    """Return a digest of the names and sizes of the games, of which there are thousands: nothing is read."""
    splits = games / "json_2.1.1"
    return _digest(splits, tuple(path.stat().st_mtime_ns for path in [splits, *sorted(splits.iterdir())]))


@cache
def _digest(splits: Path, modified: tuple[int, ...]) -> str:
    """Look through the games once, unless some come or go."""
    sizes = sorted((str(path.relative_to(splits)), path.stat().st_size) for path in splits.glob("*/*/*/game.tw-pddl"))
    return hashlib.sha256(json.dumps(sizes).encode()).hexdigest()[:16]


def imports(python: Path) -> bool:
    """Whether an interpreter can import alfworld."""
    try:
        return subprocess.run([python, "-c", "import alfworld"], capture_output=True, timeout=60, check=False).returncode == 0
    except (OSError, subprocess.TimeoutExpired):
        return False


def try_game(python: Path, games: Path, seconds: float) -> str:
    """Start a game and take a step in it; return why that does not work."""
    path = next(iter(sorted((games / "json_2.1.1").glob("valid_*/*/*/game.tw-pddl"))), None)
    if path is None:
        return f"needs ALFWorld's games: {games.name}/json_2.1.1 has no valid_*/*/*/game.tw-pddl; run alfworld-download anew"
    try:
        game = Game(python, games, str(path.relative_to(games)), seconds)
    except (OSError, RuntimeError, ValueError) as error:
        return f"needs a game that starts: {error}"
    try:
        ready = bool(game.state["commands"]) and "observation" in game.act("look")
        return "" if ready else "needs a game that offers commands: is alfworld 0.4.2 installed?"
    except (OSError, RuntimeError, ValueError, KeyError) as error:
        return f"needs a game that takes a step: {error}"
    finally:
        game.close()


def _grams(words: Sequence[str], size: int) -> Counter[tuple[str, ...]]:
    return Counter(tuple(words[start : start + size]) for start in range(len(words) - size + 1))
