"""Reads the text of agent loops: Thought, Action, Action Input, Observation, Final Answer, and their relatives.

An action is written as a name with an input below it (JSON, or text that becomes the argument ``input``), as
``name[text]``, ``name(a=1)``, as JSON, or as a name with a fenced block. MINT's ``<thought>``, ``<execute>`` and ``<solution>``
tags are read too. Numbered labels (``Thought 1:``) are read like plain ones.
"""

import re
from collections.abc import Iterable
from dataclasses import dataclass, field

from hephaestus_dag.sources.dialogues.tool_calls import MalformedError, arguments_of, call_of, parse_json, parse_python_calls
from hephaestus_dag.trajectories import Call, Message

_LABELS = {
    "question": "question",
    "thought": "thought",
    "think": "thought",
    "action input": "input",
    "action": "action",
    "act": "action",
    "observation": "observation",
    "final answer": "answer",
    "end action": "end",
}
_LABEL = re.compile(
    r"^[ \t]*(question|thought|think|action input|action|act|observation|final answer)(?:[ \t]+\d+)?[ \t]*:[ \t]*"
    r"|^[ \t]*(end action)[ \t]*$",
    re.IGNORECASE | re.MULTILINE,
)
_TAGS = re.compile(r"<(thought|execute|solution)>(.*?)(?:</\1>|\Z)", re.DOTALL)
_BRACKETS = re.compile(r"([\w.-]+)[ ]?\[(.*)\]\.?", re.DOTALL)
_PARENTHESES = re.compile(r"([\w.-]+)\((.*)\)\.?", re.DOTALL)
_FENCE = re.compile(r"([\w.-]+)\s*```[\w+-]*\n(.*?)\n?```", re.DOTALL)
_NOTATION = re.compile(r"\baction input\b|^[^\w\n]*(?:action|act)[^\w\n]*:|<execute>", re.IGNORECASE | re.MULTILINE)


def says_notation(messages: Iterable[Message]) -> bool:
    """Return whether a prompt asks for this notation, so that the trajectory reads true in no other."""
    return any(_NOTATION.search(message.content) for message in messages if message.role in ("system", "user"))


@dataclass(slots=True)
class _Turn:
    """What was read of an assistant's turn so far."""

    thoughts: list[str] = field(default_factory=list)
    words: list[str] = field(default_factory=list)
    calls: list[Call] = field(default_factory=list)
    action: str | None = None

    def call(self, given: str | None = None) -> None:
        """Close the action that waits for its input."""
        if self.action is not None and self.action.strip().lower() not in ("", "none", "n/a"):
            self.calls.append(call_of_action(self.action, given))
        self.action = None

    def message(self, loss: bool = True) -> Message | None:
        self.call()
        if not (self.thoughts or self.words or self.calls):
            return None
        return Message(
            role="assistant",
            content="\n".join(self.words),
            thought="\n".join(self.thoughts),
            calls=tuple(self.calls),
            loss=loss,
        )


def read_turn(text: str, loss: bool = True) -> Message:
    """Return one turn of an assistant. Raises MalformedError for an action that cannot be read as a call."""
    text = re.sub(r"^\s*Assistant:\s*", "", text)
    if "<execute>" in text or "<solution>" in text:
        return _tagged(text, loss)
    turn = _Turn()
    for label, body in _segments(text):
        if label in ("observation", "question"):
            raise MalformedError(f"turns: an assistant's turn holds its own {label}")
        _add(turn, label, body)
    return turn.message(loss) or Message(role="assistant", loss=loss)


def read_loop(text: str) -> list[Message]:
    """Return the turns of a whole loop written as one text. Raises MalformedError as `read_turn` does."""
    messages: list[Message] = []
    turn = _Turn()
    for label, body in _segments(text):
        if label in ("observation", "question") or (label == "" and not messages):
            messages += [said] if (said := turn.message()) else []
            turn = _Turn()
            messages.append(Message(role="tool" if label == "observation" else "user", content=body))
        else:
            _add(turn, label, body)
    return messages + ([said] if (said := turn.message()) else [])


def read_dialogue(turns: Iterable[tuple[str, str, bool]]) -> list[Message]:
    """Return the turns of a dialogue of ``(role, text, loss)``.

    What comes after an action is its result, also where a user says it. Raises MalformedError as `read_turn` does.
    """
    messages: list[Message] = []
    for role, text, loss in turns:
        if role == "assistant":
            messages.append(read_turn(text, loss))
        elif role == "tool" or (role == "user" and messages and messages[-1].calls):
            messages.append(Message(role="tool", content=re.sub(r"^\s*Observation(?:\s+\d+)?\s*:\s*", "", text)))
        else:
            messages.append(Message(role="system" if role == "system" else "user", content=text))
    return messages


def call_of_action(action: str, given: str | None = None) -> Call:
    """Return the call that an action and its input stand for. Raises MalformedError."""
    action = action.strip().strip("`").strip() if "```" not in action else action.strip()
    if given is not None:
        if not action or "\n" in action or len(action) > 200:
            raise MalformedError(f"action: not the name of a tool: {action[:80]!r}")
        given = given.strip()
        if given.startswith("{"):
            return Call(name=action, arguments=arguments_of(action, parse_json(given)))
        return Call(name=action, arguments={"input": given} if given and given.lower() != "none" else {})
    if action.startswith("{"):
        value = parse_json(action)
        if "action" in value and "name" not in value:
            value = {"name": value["action"], "arguments": value.get("action_input")}
            if isinstance(value["arguments"], str) and not value["arguments"].lstrip().startswith("{"):
                value["arguments"] = {"input": value["arguments"]}
        return call_of(value)
    if match := _FENCE.fullmatch(action):
        return Call(name=match[1], arguments={"input": match[2]})
    if match := _BRACKETS.fullmatch(action):
        return Call(name=match[1], arguments={"input": match[2]} if match[2].strip() else {})
    if match := _PARENTHESES.fullmatch(action):
        try:
            (call,) = parse_python_calls(action.removesuffix("."))
        except ValueError:  # arguments without names, or several calls
            return Call(name=match[1], arguments={"input": match[2]})
        return call
    if re.fullmatch(r"[\w.-]+", action):
        return Call(name=action, arguments={})
    raise MalformedError(f"action: cannot be read as a call: {action[:80]!r}")


def _segments(text: str) -> list[tuple[str, str]]:
    """Return ``(label, body)``; the label of what stands before the first one is empty."""
    found, label, start = [], "", 0
    for match in _LABEL.finditer(text):
        found.append((label, text[start : match.start()].strip()))
        label, start = _LABELS[(match[1] or match[2]).lower()], match.end()
    found.append((label, text[start:].strip()))
    return found if found[0][1] else found[1:]


def _add(turn: _Turn, label: str, body: str) -> None:
    if label == "input":
        if turn.action is None:
            raise MalformedError(f"action: an input without an action: {body[:80]!r}")
        turn.call(body)
        return
    turn.call()
    if label == "action":
        turn.action = body
    elif body and label == "thought":
        turn.thoughts.append(body)
    elif body and label != "end":
        turn.words.append(body)


def _tagged(text: str, loss: bool) -> Message:
    found = [(match[1], match[2].strip()) for match in _TAGS.finditer(text)]
    rest = _TAGS.sub(lambda match: match[0] if match[1] == "solution" else "", text)
    if re.search(r"^[ \t]*(?:Observation|Assistant)[ \t]*:", rest, re.MULTILINE):
        raise MalformedError("turns: an assistant's turn holds its own observation")
    words = re.sub(r"\n{3,}", "\n\n", re.sub(r"</?(?:thought|execute|solution)>", "", rest)).strip()
    return Message(
        role="assistant",
        content=words,
        thought="\n".join(body for tag, body in found if tag == "thought"),
        calls=tuple(Call(name="execute", arguments={"code": body}) for tag, body in found if tag == "execute"),
        loss=loss,
    )
