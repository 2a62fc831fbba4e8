"""Reference documentation that a language model writes from source code: the paper's second synthetic channel.

A model may write anything, so what can be checked is checked: the parameters that are documented are those of the signature,
nothing is copied from the prompt, nothing repeats itself, and the text is complete, of bounded length and in the language
wanted. What it says in words cannot be checked, so every document names the model in its origin and is of a kind of its own.
"""

import hashlib
import re
from collections import Counter
from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path

from hephaestus_dag.documents import Document, Reject, signature
from hephaestus_dag.journal import identity_hash, open_journal
from hephaestus_dag.language_model import LanguageModel, Reply
from hephaestus_dag.sources.synthesis.config import SyntheticDocumentationConfig
from hephaestus_dag.sources.synthesis.undocumented import Undocumented
from hephaestus_dag.wordings import load_wording

KIND = "synthetic_documentation"
PLACES = ("{source}", "{name}", "{thing}", "{parameters}")
CHUNK = 8
"""Answers between two writes of the journal: what a stop can cost."""

SHORTEST, LONGEST = 80, 6_000
"""Characters of an answer."""

_RUN = 6
_HEADING = re.compile(r"^\W{0,3}(?:parameters|arguments|args)\W{0,4}$", re.IGNORECASE)
_NEXT_HEADING = re.compile(r"^\W{0,3}(?:returns?|yields?|raises|example|examples|notes?)\b", re.IGNORECASE)
_ENTRY = re.compile(
    r"^\s*(?:[-*•]\s*|\d+[.)]\s*)?[`*\"']*(?P<name>\*{0,2}[A-Za-z_]\w*)[`*\"']*\s*(?:\([^)]*\))?\s*[:\u2013\u2014-]\s*\S"
)


def load_prompt(name: str) -> str:
    """Return a packaged prompt by name, or the one in a text file.

    Raises FileNotFoundError when there is none, ValueError unless ``{source}`` occurs exactly once.
    """
    return load_wording("prompt", "hephaestus_dag.sources.synthesis", "prompts", name, "{source}", "code")


def write_documentation(
    functions: Sequence[Undocumented],
    model: LanguageModel,
    config: SyntheticDocumentationConfig,
    journal: Path,
    progress: Callable[[int, int], None] | None = None,
) -> Iterator[Document | Reject]:
    """Yield a document for each function, in order, or the reason why what the model wrote is set aside.

    ``journal`` is a JSON-lines file that outlives the run: a run that was stopped goes on where it was, and a larger one asks
    only about the new functions. Errors are not kept in it, so they are asked about again.
    Raises RuntimeError when the model gave no answer for more than half of the functions.
    """
    template = load_prompt(config.prompt)
    prompts = {each.key: fill(template, each) for each in functions}
    replies = ask_model(prompts, model, config.max_tokens, journal, progress)
    failed = [reply for reply in replies.values() if reply.status == "error"]
    if len(failed) > len(replies) / 2:
        raise RuntimeError(f"no answer about {len(failed)} of {len(replies)} functions; for example: {failed[0].text}")
    for each in functions:
        reply = replies[each.key]
        problem = find_problem(reply, each, prompts[each.key], config)
        written = f"{each.origin} documented by {config.annotator.model}"
        if problem:
            yield Reject(source=each.source, origin=written, position=f"function {each.name}", reason=problem)
        else:
            yield Document(
                text=f"# {each.name}\n\n`{each.signature}`\n\n{reply.text.strip()}",
                domain="agent",
                kind=KIND,
                source=each.source,
                origin=written,
                license=each.license,
                provider=each.provider,
                api=f"{each.provider} {each.name}",
                signatures=signature(each.name.rpartition(".")[2], each.parameters),
                format="reference",
            )


def ask_model(
    prompts: Mapping[str, str],
    model: LanguageModel,
    max_tokens: int,
    journal: Path,
    progress: Callable[[int, int], None] | None = None,
) -> dict[str, Reply]:
    """Return key → reply, asking only what the journal has no answer to."""
    names = {key: hashlib.sha256(prompt.encode()).hexdigest()[:32] for key, prompt in prompts.items()}
    who: dict[str, str | int] = {"model": identity_hash(model.identity), "max_tokens": max_tokens}
    with open_journal(journal, Reply, field="prompt", who=who) as kept:
        replies = {key: kept.answers[name] for key, name in names.items() if name in kept.answers}
        missing = [key for key in prompts if key not in replies]
        for start in range(0, len(missing), CHUNK):
            part = missing[start : start + CHUNK]
            for key, reply in zip(part, model.generate([prompts[key] for key in part], max_tokens), strict=True):
                replies[key] = reply
                if reply.status != "error":
                    kept.append(names[key], reply)
            if progress:
                progress(len(replies), len(prompts))
    return replies


def fill(template: str, function: Undocumented) -> str:
    """Return the prompt about one function. What the code itself says in braces stays as it is."""
    values = {
        "{source}": function.code,
        "{name}": function.name,
        "{thing}": function.thing,
        "{parameters}": ", ".join(function.parameters),
    }
    return re.sub("|".join(map(re.escape, PLACES)), lambda place: values[place.group()], template)


def find_problem(reply: Reply, function: Undocumented, prompt: str, config: SyntheticDocumentationConfig) -> str | None:
    """Return why an answer is no documentation of a function, with the category before the colon; None when it may stay."""
    text = reply.text.strip()
    if reply.status != "ok":
        return f"{'no answer' if reply.status == 'error' else 'not an answer'}: {reply.text[:200]}"
    if not text or not SHORTEST <= len(text) <= LONGEST:
        return f"length: {len(text)} characters, {SHORTEST} to {LONGEST} are allowed"
    if not reply.finished:
        return f"cut off: no end within {config.max_tokens} tokens"
    copied = copied_share(text, prompt)
    if copied > config.max_copied_share or re.search(rf"\b(?:def|class) {function.name.rpartition('.')[2]}\b", text):
        return f"copied: {copied:.0%} of its runs of {_RUN} words stand in the prompt"
    if repeated := next((line for line, times in Counter(_sentences(text)).items() if times > 2), None):
        return f"repetitive: {repeated[:80]!r} stands there three times"
    documented = documented_parameters(text)
    if unknown := [name for name in documented if name not in function.parameters]:
        return f"unknown parameters: {', '.join(unknown)}"
    if absent := [name for name in function.parameters if name not in documented]:
        return f"undocumented parameters: {', '.join(absent)}"
    return _other_language(text, config.language)


def documented_parameters(text: str) -> list[str]:
    """Return the names that an answer lists below its heading for parameters, without stars."""
    names: list[str] = []
    inside = False
    for line in text.splitlines():
        if _HEADING.match(line.strip()):
            inside = True
        elif inside and _NEXT_HEADING.match(line.strip()):
            break
        elif inside and (entry := _ENTRY.match(line)):
            names.append(entry["name"].lstrip("*"))
    return names


def copied_share(text: str, prompt: str) -> float:
    """Return the share of a text's runs of six words that also stand in the prompt."""
    runs = _runs(text)
    return len(runs & _runs(prompt)) / len(runs) if runs else 0.0


def _runs(text: str) -> set[tuple[str, ...]]:
    words = re.findall(r"\w+", text.lower())
    return {tuple(words[n : n + _RUN]) for n in range(len(words) - _RUN + 1)}


def _sentences(text: str) -> list[str]:
    """Return lines and sentences of some length, without the names that lead the lines of a list."""
    parts = re.split(r"\n|(?<=[.!?])\s", text)
    return [part for part in (re.sub(r"^[-*\s`]*\w+`?\s*:", "", part).strip().lower() for part in parts) if len(part) > 15]


def _other_language(text: str, wanted: str | None) -> str | None:
    from hephaestus_dag.curation.language import FEWEST_LETTERS, languages_of, plain_words

    words = plain_words(text)
    if wanted is None or sum(map(str.isalpha, words)) < FEWEST_LETTERS:
        return None
    [(language, sure)] = languages_of([words])
    return None if language == wanted or sure < 0.5 else f"language: {language} ({sure:.2f}) instead of {wanted}"
