"""The formats in which a reader meets a trajectory.

``chat_json`` and ``chat_python`` are transcripts with the tools' schemas and calls in the two common notations, ``react``
is the text of an agent loop (Thought, Action, Action Input, Observation), ``transcript`` leaves the schemas out.
"""

import hashlib
import json
import keyword
from typing import TYPE_CHECKING, Literal

if TYPE_CHECKING:
    from hephaestus_dag.trajectories import Message, Trajectory

Format = Literal["chat_json", "chat_python", "react", "transcript"]
FORMATS: tuple[Format, ...] = ("chat_json", "chat_python", "react", "transcript")

_LABELS = {"system": "System", "user": "User", "assistant": "Assistant", "tool": "Result"}


def choose_format(trajectory: "Trajectory", seed: int = 0) -> Format:
    """Draw a format from the origin and a seed, so that it never depends on order.

    An agent loop answers one question by calls, so other trajectories are never ``react``. Tools whose names are none of
    Python (``Get User/Info``) are never called in its notation.
    """
    roles = [message.role for message in trajectory.messages]
    calls = [call for message in trajectory.messages for call in message.calls]
    loops = roles.count("user") == 1 and bool(calls)
    python = all(_speakable(call.name) for call in calls)
    choices: list[Format] = [
        form for form in FORMATS if (loops or form != "react") and (python or form not in ("chat_python", "transcript"))
    ]
    key = f"{seed}:{trajectory.source}:{trajectory.origin}".encode(errors="replace")
    return choices[hashlib.blake2b(key, digest_size=4).digest()[0] % len(choices)]


def render(trajectory: "Trajectory") -> str:
    """Return the text of a trajectory in its format.

    Raises KeyError for a format that is not in ``FORMATS``.
    """
    write = {"chat_json": _chat, "chat_python": _chat, "react": _react, "transcript": _transcript}[trajectory.format]
    return write(trajectory)


def _speakable(name: str) -> bool:
    """Return whether a name can stand before a parenthesis in Python: ``orders.create``."""
    return all(part.isidentifier() and not keyword.iskeyword(part) for part in name.split("."))


def _said(label: str, text: str) -> str:
    """Return what somebody said behind who it was, without a blank at the end of a line."""
    return f"{label}:{text}" if text[:1] in ("", "\n") else f"{label}: {text}"


def _chat(trajectory: "Trajectory") -> str:
    parts: list[str] = []
    if trajectory.tools:
        parts.append("Tools:\n" + "\n".join(json.dumps(tool, ensure_ascii=False) for tool in trajectory.tools))
    for message in trajectory.messages:
        body = [text for text in (message.thought, message.content) if text]
        if message.calls and trajectory.format == "chat_python":
            body.append(f"[{', '.join(call.as_python() for call in message.calls)}]")
        else:
            body += [f"<tool_call>{call.as_json()}</tool_call>" for call in message.calls]
        parts.append(_said(_LABELS[message.role], "\n".join(body)))
    return "\n\n".join(parts)


def _react(trajectory: "Trajectory") -> str:
    parts: list[str] = []
    if trajectory.tools:
        tools = (
            f"{_said(tool['name'], _sentence(tool['description']))} Input: {json.dumps(tool['parameters'], ensure_ascii=False)}"
            for tool in trajectory.tools
        )
        parts.append("Tools:\n" + "\n".join(tools))
    for message in trajectory.messages:
        if message.role == "assistant":
            parts += react_turn(message)
        else:
            label = {"system": "Instructions", "user": "Question", "tool": "Observation"}[message.role]
            parts.append(_said(label, message.content))
    return "\n".join(parts)


def _sentence(text: str) -> str:
    text = text.strip()
    return text if not text or text.endswith((".", "!", "?", ":", ";")) else f"{text}."


def react_turn(message: "Message") -> list[str]:
    """Return the lines of an assistant's turn in an agent loop."""
    spoken = [message.thought, message.content] if message.calls else [message.thought]
    lines = [f"Thought: {text}" for text in spoken if text]
    for call in message.calls:
        lines += [f"Action: {call.name}", f"Action Input: {json.dumps(call.arguments, ensure_ascii=False)}"]
    if message.content and not message.calls:
        lines.append(f"Final Answer: {message.content}")
    return lines


def _transcript(trajectory: "Trajectory") -> str:
    lines: list[str] = []
    for message in trajectory.messages:
        said = [text for text in (message.thought, message.content) if text]
        said += [call.as_python() for call in message.calls]
        lines.append(_said(message.role, "\n".join(said)))
    return "\n".join(lines)
