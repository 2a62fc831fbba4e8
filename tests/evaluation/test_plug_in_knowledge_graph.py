"""AgentBench's KG task against a tiny SPARQL server of our own."""

import json
import re
import threading
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from itertools import product
from pathlib import Path
from urllib.parse import parse_qs

import pytest

from hephaestus_dag.evaluation.agentbench.knowledge_graph import KnowledgeGraphTask, f1
from hephaestus_dag.evaluation.agentbench.plug_in_config import KnowledgeGraphConfig
from hephaestus_dag.evaluation.agentbench.task import TaskLostError

FACTS = [
    ("m.kerosene", "fuel.engines", "m.e1"),
    ("m.kerosene", "fuel.engines", "m.e2"),
    ("m.cycle", "cycle.engines", "m.e2"),
    ("m.cycle", "cycle.engines", "m.e3"),
    ("m.e1", "engine.mass", "10"),
    ("m.e2", "engine.mass", "30"),
    ("m.e2", "engine.designed_by", "m.ann"),
    ("m.e3", "engine.designed_by", "m.bob"),
]


def answer(query: str) -> list[str]:
    """Answer the few forms of queries that the task asks: triple patterns, a superlative, a count."""
    head, body = query.split("WHERE", 1)
    best = re.search(r"SELECT \?value WHERE .*ORDER BY (DESC)?", body)
    inner = body[: best.start()] if best else body
    patterns = re.findall(r"(\?\w+|ns:[\w.]+) (\?\w+|ns:[\w.]+) (\?\w+|ns:[\w.]+) \.", inner)
    excluded = set(re.findall(r"\?x != ns:([\w.]+)", body))
    bindings: list[dict[str, str]] = [{}]
    for pattern in patterns:
        grown = []
        for binding, fact in product(bindings, FACTS):
            new = dict(binding)
            if all(_bind(new, term, value) for term, value in zip(pattern, fact, strict=True)):
                grown.append(new)
        bindings = grown
    bindings = [binding for binding in bindings if binding.get("?x") not in excluded]
    if best and bindings:
        value = sorted((binding["?value"] for binding in bindings), reverse=bool(best[1]))[0]
        bindings = [binding for binding in bindings if binding["?value"] == value]
    if "COUNT" in head:
        return [str(len({binding["?x"] for binding in bindings}))]
    asked = re.findall(r"\?\w+", head)[0]
    return sorted({binding[asked] for binding in bindings})


def _bind(binding: dict[str, str], term: str, value: str) -> bool:
    if term.startswith("ns:"):
        return term[3:] == value
    return binding.setdefault(term, value) == value


class Handler(BaseHTTPRequestHandler):
    """A SPARQL endpoint."""

    def do_POST(self) -> None:
        """Answer a query."""
        form = parse_qs(self.rfile.read(int(self.headers["Content-Length"])).decode())
        values = answer(form["query"][0].split(">", 1)[1])
        rows = [{"v": {"value": v if v[0].isdigit() else f"http://rdf.freebase.com/ns/{v}"}} for v in values]
        self.send_response(200)
        self.end_headers()
        self.wfile.write(json.dumps({"results": {"bindings": rows}}).encode())

    def log_message(self, format: str, *args: object) -> None:
        """Print nothing."""


@pytest.fixture
def task(tmp_path: Path) -> Iterator[KnowledgeGraphTask]:
    """KG on the tiny server."""
    names = sorted({fact[1] for fact in FACTS})
    (tmp_path / "vocab.json").write_text(json.dumps({"relations": names, "attributes": ["engine.mass"]}))
    (tmp_path / "fb_roles").write_text("".join(f"domain {name} {name.split('.')[1]}\n" for name in names))
    (tmp_path / "knowledgegraph").mkdir()
    record = {
        "question": "who designed it?",
        "entities": {"Kerosene": "m.kerosene", "Cycle": "m.cycle"},
        "answer": [{"answer_argument": "m.ann", "entity_name": "Ann"}],
    }
    (tmp_path / "knowledgegraph/dev.json").write_text(json.dumps([record]))
    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    threading.Thread(target=server.serve_forever, args=(0.02,), daemon=True).start()
    config = KnowledgeGraphConfig(url=f"http://127.0.0.1:{server.server_port}/sparql", ontology=tmp_path)
    with KnowledgeGraphTask(config) as entered:
        yield entered
    server.shutdown()
    server.server_close()


def play(task: KnowledgeGraphTask, data: Path, *actions: str) -> tuple[list[str], float]:
    """Play actions; return what the model is told, and the score."""
    conversation = task.start(task.read_items(data, "dev")[0])
    assert conversation.messages()[-1]["content"] == "A new question: who designed it?\nEntities: [Kerosene, Cycle]"
    told = []
    for action in actions:
        messages = conversation.observe(
            action if action.startswith("Final") else f"Thought: hm\nAction: {action}\nObservation: made up"
        )
        told.append(messages[-1]["content"].removeprefix("Observation: ") if messages else "over")
    return told, conversation.outcome().score


def test_a_question_is_answered_with_the_tools(task: KnowledgeGraphTask, tmp_path: Path) -> None:
    assert task.unavailable() == ""
    told, score = play(
        task,
        tmp_path,
        "get_relations(Kerosene)",
        "get_neighbors(Kerosene, fuel.engines)",
        "get_relations(Cycle)",
        "get_neighbors(Cycle, cycle.engines)",
        "intersection(#0, #1)",
        "get_relations(#2)",
        "get_neighbors(#2, engine.designed_by)",
        "Final Answer: #3",
    )
    assert told == [
        "[fuel.engines]",
        "variable #0, which are instances of engines",
        "[cycle.engines]",
        "variable #1, which are instances of engines",
        "variable #2, which are instances of engines",
        "[engine.designed_by, engine.mass]",
        "variable #3, which are instances of designed_by",
        "over",
    ]
    assert score == 1


def test_superlatives_and_counts(task: KnowledgeGraphTask, tmp_path: Path) -> None:
    start = ["get_relations(Kerosene)", "get_neighbors(Kerosene, fuel.engines)", "get_attributes(#0)"]
    for tool, member in (("argmax", "m.e2"), ("argmin", "m.e1")):
        conversation = task.start(task.read_items(tmp_path, "dev")[0])
        conversation.messages()
        for action in (*start, f"{tool}(#0, engine.mass)"):
            assert conversation.observe(f"Action: {action}")
        assert conversation.variables[1].query().count("LIMIT 1") == 1
        assert conversation.server.values(conversation.variables[1].query()) == [member]
    told, score = play(task, tmp_path, *start[:2], "count(#0)", "Final Answer: #1")
    assert told[2] == "variable #1, which is a number"
    assert score == 0
    told, score = play(
        task,
        tmp_path,
        *start,
        "argmax(#0, engine.mass)",
        "get_relations(#1)",
        "get_neighbors(#1, engine.designed_by)",
        "Final Answer: #2",
    )
    assert score == 1, "the designer of the heaviest"


def test_misuse_is_answered_and_goes_on(task: KnowledgeGraphTask, tmp_path: Path) -> None:
    told, score = play(
        task,
        tmp_path,
        "get_neighbors(Kerosene, fuel.engines)",
        "get_relations(Paris)",
        "intersection(#0, #1)",
        "get_relations(",
        "think about it",
        "Final Answer: #4",
        "get_relations(x> } DROP GRAPH <y)",
        "__init__(Kerosene)",
    )
    assert told[0] == "get_neighbors(Kerosene, fuel.engines) cannot be executed. You may make a mistake and need to fix it."
    assert "cannot be executed" in told[1]
    assert "not of the same type" in told[2]
    assert "syntax error when calling get_relations" in told[3]
    assert told[4] == "Function is not executed!"
    assert told[5] == "Invalid variable id! Need to recheck the action."
    assert all("cannot be executed" in text for text in told[6:])
    assert score == 0


def test_the_history_holds_no_made_up_observations_and_ends_after_fifteen_turns(
    task: KnowledgeGraphTask, tmp_path: Path
) -> None:
    conversation = task.start(task.read_items(tmp_path, "dev")[0])
    before = len(conversation.messages())
    messages = conversation.observe("Action: get\\_relations(Kerosene)\nObservation: [wrong]\nFinal Answer: #0")
    assert messages
    assert len(messages) == before + 2
    assert messages[-2]["content"] == "Action: get_relations(Kerosene)\n"
    answers = [conversation.observe("hm") for _ in range(14)]
    assert answers[-1] is None
    assert all(answers[:-1])
    assert conversation.outcome().reason == "no final answer"


def test_sets_that_come_from_one_are_independent_when_intersected(task: KnowledgeGraphTask, tmp_path: Path) -> None:
    conversation = task.start(task.read_items(tmp_path, "dev")[0])
    conversation.messages()
    for action in ("get_relations(Kerosene)", "get_neighbors(Kerosene, fuel.engines)", "get_relations(#0)"):
        conversation.observe(f"Action: {action}")
    conversation.observe("Action: get_neighbors(#0, engine.mass)")
    conversation.observe("Action: intersection(#1, #1)")
    one, both = conversation.variables[1:]
    # Two engines may share a mass: the engine on the way to it is not the same in both halves.
    on_the_way = set(re.findall(r"\?y\w+", " ".join(both.patterns)))
    assert len(on_the_way) == 2 * len(set(re.findall(r"\?y\w+", " ".join(one.patterns)))) == 2
    assert conversation.server.values(both.query()) == ["10", "30"]


def test_f1() -> None:
    assert f1({"a", "b"}, {"a"}) == pytest.approx(2 / 3)
    assert f1(set(), {"a"}) == 0 == f1({"b"}, {"a"})


def test_what_is_missing_is_said(task: KnowledgeGraphTask, tmp_path: Path) -> None:
    assert "agentbench.kg.url" in KnowledgeGraphTask(KnowledgeGraphConfig()).unavailable()
    (tmp_path / "vocab-only").mkdir()
    (tmp_path / "vocab-only/vocab.json").write_text("{}")
    part = KnowledgeGraphConfig(url="http://127.0.0.1:9/sparql", ontology=tmp_path / "vocab-only")
    assert "fb_roles" in KnowledgeGraphTask(part).missing()
    gone = KnowledgeGraphConfig(url="http://127.0.0.1:9/sparql", ontology=tmp_path)
    assert "does not answer" in KnowledgeGraphTask(gone).unavailable()
    with KnowledgeGraphTask(gone) as entered, pytest.raises(TaskLostError):
        play(entered, tmp_path, "get_relations(Kerosene)")
