"""Trajectories from the worked examples of a command-line program: the request, the command, and what it printed.

The source is the AWS command line's ``examples/**/*.rst``. Commands and outputs are taken as written; the request is the
example's own heading and introduction, turned from a description ("The following example creates a user named Bob") into
a request ("Create a user named Bob"), followed by the values of options that it does not mention.
"""

import re
import shlex
from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import Any

from hephaestus_dag.documents import Reject
from hephaestus_dag.sources.config import SourceConfig
from hephaestus_dag.sources.phrasing import asked, capitalised, enumeration, first_sentence, imperative, in_words, plain
from hephaestus_dag.sources.reading.distributions import list_files, locate
from hephaestus_dag.sources.reading.files import read_text, reject
from hephaestus_dag.sources.rst_blocks import Block, read_blocks
from hephaestus_dag.trajectories import Call, Message, Trajectory

SHELL: dict[str, Any] = {
    "name": "shell",
    "description": "Run a command in a Bash shell and return what it prints.",
    "parameters": {
        "type": "object",
        "properties": {"command": {"type": "string", "description": "The command line to run."}},
        "required": ["command"],
    },
}

_COMMAND = re.compile(r"^(?:\$ |> |%> )?(?=aws )", re.MULTILINE)
_OUTPUT_LABEL = re.compile(r"(?:^|\W)(?:output|result|response|returns(?: the following)?)\W*$", re.IGNORECASE)
_NO_OUTPUT = re.compile(
    r"(?:command|example) (?:produces|returns|has|does not (?:produce|return)) (?:no|any) output", re.IGNORECASE
)
_SENTENCES = re.compile(r"(?<=[.:])\s+")
_ABOUT_THE_PAGE = re.compile(r"\b(?:examples?|following|preceding|above|below)\b", re.IGNORECASE)
"""A sentence that only the reader of the page understands; no assistant says it before it acts."""
_LABEL = re.compile(r"\W*(?:command|syntax|linux(?:/macos)?|example|input)\W*$", re.IGNORECASE)
_FILE_NAME = re.compile(r"[\w./-]+\.(?:json|txt|ya?ml|xml|pem|sh|sql|csv|py|rego|dot)\b")
_SKIPPED = re.compile(r"^(?:for (?:more|additional) information|see also|note:? the output)", re.IGNORECASE)


@dataclass(slots=True)
class _Example:
    """What was read of one example so far."""

    heading: str
    prose: list[str]
    command: str
    line: int
    output: str | None = None
    files: list[tuple[str, str]] = field(default_factory=list)


def list_items(config: SourceConfig) -> list[str]:
    """Return the example files, sorted: ``awscli==1.46.3/awscli/examples/iam/create-user.rst``."""
    files = list_files(config, (".rst",))
    # a distribution holds other pages too
    return [item for item in files if "/examples/" in item] if config.form == "packages" else files


def read_item(config: SourceConfig, item: str) -> Iterator[Trajectory | Reject]:
    """Yield one trajectory per example of a file, or a Reject that says which line could not be read and why."""
    text = read_text(config, item)
    if isinstance(text, Reject):
        yield text
        return
    examples = list(_examples(list(read_blocks(text))))
    if not examples:
        yield reject(config, item, "file", "no command block that starts with `aws`")
    for example in examples:
        if problem := _problem(example):
            yield reject(config, item, f"line {example.line}", problem)
            continue
        yield Trajectory(
            messages=_messages(example),
            tools=(SHELL,),
            source=config.name,
            origin=f"{item} line {example.line}",
            license=config.license or locate(config, item)[0].license,
        )


def _examples(blocks: list[Block]) -> Iterator[_Example]:
    heading, prose, current = "", [], None
    previous = ""
    for block in blocks:
        if block.kind == "heading":
            if current:
                yield current
            heading, prose, current, previous = re.sub(r"^Example\s*\d*\s*[:.-]?\s*", "", block.text), [], None, ""
        elif block.kind == "paragraph":
            previous = block.text
            if current and _NO_OUTPUT.search(block.text):
                current.output = ""
            elif len(block.text) >= 40 or not (_OUTPUT_LABEL.search(block.text) or _LABEL.fullmatch(block.text)):
                introduction = plain(block.text.rstrip().removesuffix("::"))
                prose += [introduction] if introduction and not _SKIPPED.match(introduction) else []
        elif _OUTPUT_LABEL.search(previous) and current:
            current.output = "\n".join(filter(None, [current.output, block.text]))
        elif _COMMAND.search(block.text):
            if not _for_other_shell(block.text):
                if current:
                    yield current
                command, output = _command_and_output(block.text)
                current, prose = _Example(heading, prose, command, block.line, output), []
        elif name := _FILE_NAME.search(previous):
            content = (name.group(), block.text)
            if current:
                current.files.append(content)
            elif prose:
                prose[-1] = f"{prose[-1].rstrip(': ')}:\n{block.text}\n"
        elif current and current.output is None and not prose:
            current.output = block.text
    if current:
        yield current


def _for_other_shell(text: str) -> bool:
    """Windows repeats of a command continue their lines with a caret or a backtick."""
    return bool(re.search(r"[\^`]\s*$", text, re.MULTILINE)) and "\\\n" not in text


def _command_and_output(text: str) -> tuple[str, str | None]:
    """Join continued lines, drop prompts, and part a command from output that stands in the same block."""
    joined = re.sub(r"\s*\\[ ]*\n\s*|\s*\n\s*(?=--[a-z]|\| )", " ", text)
    command, output = _COMMAND.sub("", joined).strip(), None
    start = re.search(r"\n\s*[\[{]\s*$", command, re.MULTILINE)
    if start and _closed(command[: start.start()]):
        command, output = command[: start.start()].strip(), command[start.start() :].strip("\n")
    return command, output


def _problem(example: _Example) -> str | None:
    if not (example.heading or example.prose):
        return "command without heading or introduction: nothing says what was asked"
    if example.command.endswith("\\"):
        return "command ends in a continuation"
    return None if _closed(example.command) else "command is not valid shell: a quotation is not closed"


def _messages(example: _Example) -> tuple[Message, ...]:
    request, thought = _request(example)
    messages = [
        Message(role="user", content=request),
        Message(role="assistant", content=thought, calls=(Call(name="shell", arguments={"command": example.command}),)),
    ]
    if example.output is not None:
        messages.append(Message(role="tool", content=example.output or "(no output)"))
    return tuple(messages)


def _request(example: _Example) -> tuple[str, str]:
    """Return what the user asks, and the rest of the introduction, which the assistant says."""
    what, rest = "", []
    for paragraph in example.prose:
        sentence = first_sentence(paragraph)
        if not what and (request := asked(sentence)):
            what = request
            paragraph = paragraph[len(sentence) :].lstrip(".: ")
        said = " ".join(sentence for sentence in _SENTENCES.split(paragraph) if not _ABOUT_THE_PAGE.search(sentence))
        if said:
            rest.append(said)
    if not what:
        title = plain(example.heading).rstrip(":.")
        what = capitalised(imperative(title) or title) + "." if title else (rest or example.prose).pop(0)
    unsaid = _unsaid_options(example.command, " ".join([what, *rest]))
    if unsaid:
        what += f" Use {enumeration(unsaid)}."
    files = [f"Contents of {name}:\n{content}" for name, content in example.files]
    return "\n\n".join([what, *files]), " ".join(rest)


def _unsaid_options(command: str, said: str) -> list[str]:
    """Return ``name value`` for the options whose value the request does not mention: an assistant could not know them."""
    first_line = command.partition("\n")[0]
    words = shlex.split(first_line if _closed(first_line) else command)
    unsaid: list[str] = []
    name, values = "", []
    for word in [*words, "--"]:
        if word.startswith("--") or word in ("|", ">", "&&", ";"):
            value = " ".join(values)
            if name and value and value not in said:
                unsaid.append(f"{in_words(name)} `{value}`")
            name, values = word.removeprefix("--") if word.startswith("--") else "", []
        elif name:
            values.append(word)
    return unsaid


def _closed(command: str) -> bool:
    """Return whether all quotations are closed."""
    try:
        shlex.split(command)
    except ValueError:
        return False
    return True
