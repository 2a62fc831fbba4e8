"""Many conversations at once: in every round the model replies to all that wait, then all environments answer.

What a conversation says follows from its item and the replies alone, so a run that starts again with recorded replies comes
to the same point. History is cut as in AgentBench v0.2 (``src/server/task.py``).
"""

import time
from collections import deque
from collections.abc import Callable, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field

from hephaestus_dag.evaluation.agentbench.config import AgentBenchConfig
from hephaestus_dag.evaluation.agentbench.task import Conversation, Outcome, Task, TaskItem, TaskLostError
from hephaestus_dag.evaluation.model import Model, Progress, Reply
from hephaestus_dag.evaluation.prompts import ChatMessage, prompt_sha

HISTORY_SEGMENTS = 3500
"""Words and signs of history that a prompt holds; older messages are left out."""


@dataclass(slots=True, kw_only=True)
class Played:
    """An item's conversation, and what came of it."""

    item: TaskItem
    messages: list[ChatMessage] = field(default_factory=list)
    prompt_sha: str = ""
    """Of the first prompt."""
    outcome: Outcome = field(default=Outcome(0.0))
    turns: int = 0
    prompt_tokens: int = 0
    """Of the longest prompt."""
    new_tokens: int = 0
    seconds: float = 0.0
    """Of generation."""
    environment_seconds: float = 0.0
    failed: str = ""
    """Why the model gave no reply."""
    broken: str = ""
    """Why the environment could not go on."""
    conversation: Conversation | None = None
    over: bool = False


def play(
    tasks: Mapping[str, Task],
    items: Sequence[TaskItem],
    model: Model,
    config: AgentBenchConfig,
    progress: Progress | None = None,
) -> list[Played]:
    """Play every item to its end, in order of ``items``; ``tasks`` (entered already) are found by an item's ``task``.

    At most ``config.conversations`` environments are open. An environment's error fails its item; `TaskLostError` is raised.
    """
    played = [Played(item=item) for item in items]
    waiting, going = deque(played), list[Played]()
    try:
        with ThreadPoolExecutor(config.threads) as pool:
            while waiting or going:
                fresh = [waiting.popleft() for _ in range(min(len(waiting), config.conversations - len(going)))]
                going += fresh
                list(pool.map(lambda one: _start(one, tasks[one.item.task], config), fresh))
                asked = [one for one in going if not one.over]
                prompts = [window(one.messages) for one in asked]
                replies = model.generate(prompts, config.max_new_tokens, config.max_prompt_tokens) if asked else []
                list(pool.map(lambda one, reply: _step(one, reply, tasks[one.item.task], config), asked, replies))
                list(pool.map(lambda one: _end(one, config), [one for one in going if one.over]))
                going = [one for one in going if not one.over]
                if progress:
                    progress(len(played) - len(waiting) - len(going), len(played))
    finally:
        for one in going:  # after an error: whatever it was, no environment stays
            if one.conversation:
                one.conversation.close()
    return played


def window(messages: Sequence[ChatMessage]) -> list[ChatMessage]:
    """Return the first message and the latest others that fit into `HISTORY_SEGMENTS`; a notice says how many are left out."""
    size = segments(messages[0]["content"])
    kept: list[ChatMessage] = []
    for message in messages[:0:-1]:
        size += segments(message["content"])
        if size >= HISTORY_SEGMENTS:
            break
        kept.append(message)
    if kept and kept[-1]["role"] == "user":
        kept.pop()
    omitted = len(messages) - len(kept) - 1
    notice = f"\n\n[NOTICE] {omitted} messages are omitted." if omitted else ""
    return [{"role": "user", "content": messages[0]["content"] + notice}, *reversed(kept)]


def segments(text: str) -> int:
    """Return AgentBench's measure of length: runs of letters, cut at seven, and other signs that are no white space."""
    count, letters = 0, 0
    for sign in text:
        if sign.isalpha():
            letters += 1
            if letters == 7:
                count, letters = count + 1, 0
        else:
            count += (letters > 0) + (sign not in " \n")
            letters = 0
    return count + (letters > 0)


def _start(one: Played, task: Task, config: AgentBenchConfig) -> None:
    def start() -> None:
        one.conversation = task.start(one.item)
        one.messages = one.conversation.messages()
        one.prompt_sha = prompt_sha(window(one.messages))

    _guarded(one, config, start)


def _step(one: Played, reply: Reply, task: Task, config: AgentBenchConfig) -> None:
    """Hand a reply to its environment, and what that answers to the conversation."""
    one.prompt_tokens = max(one.prompt_tokens, reply.num_prompt_tokens)
    one.new_tokens += reply.num_new_tokens
    one.seconds += reply.seconds
    if reply.failure:
        one.failed, one.over = reply.failure, True
        return

    def observe() -> None:
        assert one.conversation
        answer = one.conversation.observe(reply.text)
        if answer is None:
            one.over = True
        elif one.turns >= task.turn_limit:
            raise RuntimeError(f"the conversation went on after its {task.turn_limit} replies")
        elif isinstance(answer, str):
            one.messages.append({"role": "user", "content": answer})
        else:
            one.messages = answer

    one.turns += 1
    one.messages.append({"role": "assistant", "content": reply.text})
    _guarded(one, config, observe)


def _end(one: Played, config: AgentBenchConfig) -> None:
    """Judge a conversation and close it. Where the model failed to reply, what it had done before counts, as upstream."""

    def judge() -> None:
        if one.conversation and one.turns:
            one.outcome = one.conversation.outcome()

    if not one.broken:
        _guarded(one, config, judge)
    if one.broken:
        one.outcome = Outcome(0.0, one.broken)
    elif one.failed and one.outcome.score < 1:
        one.outcome = Outcome(one.outcome.score, one.failed)
    if one.conversation:
        one.conversation.close()
        one.conversation = None


def _guarded(one: Played, config: AgentBenchConfig, work: Callable[[], None]) -> None:
    """Do an environment's work on an item, within its time; whatever it raises fails the item."""
    began = time.perf_counter()
    try:
        work()
    except TaskLostError:
        raise
    except Exception as error:  # a conversation may raise anything, see `Conversation`
        one.broken, one.over = f"environment failed: {type(error).__name__}: {error}"[:500], True
    one.environment_seconds += time.perf_counter() - began
    if one.environment_seconds > config.item_seconds and not one.broken:
        one.broken, one.over = f"environment failed: time limit of {config.item_seconds:g} s for one item", True
