"""AgentBench's KG task: questions over Freebase, answered by calls of seven tools; needs a SPARQL server that holds it.

Prompts, tools, messages and the F1 are those of AgentBench v0.2 (``src/server/tasks/knowledgegraph``, Apache-2.0; quoted).
The tools' queries are standard SPARQL 1.1 where v0.2 writes Virtuoso's dialect, and lists of relations are sorted, where v0.2
leaves their order to chance.
"""

import hashlib
import json
import re
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from types import TracebackType
from typing import Any, Self

from hephaestus_dag.evaluation.agentbench.freebase import ONTOLOGY_FILES, Ontology, SparqlServer, Variable
from hephaestus_dag.evaluation.agentbench.kg_prompt import EXAMPLE, INSTRUCTIONS
from hephaestus_dag.evaluation.agentbench.plug_in_config import KnowledgeGraphConfig
from hephaestus_dag.evaluation.agentbench.task import Outcome, TaskItem, TaskLostError, pooled, split_file
from hephaestus_dag.evaluation.prompts import ChatMessage

TURN_LIMIT = 15
FILES = {"dev": "knowledgegraph/dev.json", "test": "knowledgegraph/std.json"}
ONTOLOGY = "https://github.com/THUDM/AgentBench at tag v0.2, folder src/server/tasks/knowledgegraph/ontology"


class KnowledgeGraphTask:
    """The KG task on a server."""

    name = "KG"
    title = "AgentBench KG"
    turn_limit = TURN_LIMIT

    def __init__(self, config: KnowledgeGraphConfig) -> None:
        self.config = config

    def missing(self) -> str:
        """Say what of the server's address and the ontology is missing."""
        if self.config.url is None:
            return "needs Freebase in a SPARQL server (Virtuoso, some 50 GB); name its address as agentbench.kg.url"
        ontology = self.config.ontology
        if ontology is None or not all((ontology / name).is_file() for name in ONTOLOGY_FILES):
            files = " and ".join(ONTOLOGY_FILES)
            return f"needs the ontology files {files} of {ONTOLOGY}; name the folder as agentbench.kg.ontology"
        return ""

    def unavailable(self) -> str:
        """Say what is missing, or why the server gives no answer."""
        if missing := self.missing():
            return missing
        assert self.config.url
        try:
            SparqlServer(self.config.url, self.config.query_seconds).values("SELECT ?x WHERE { ?x ?y ?z . } LIMIT 1")
        except (TaskLostError, TimeoutError, ValueError) as error:
            return f"needs the SPARQL server of agentbench.kg.url to run: {error}"
        return ""

    def identity(self) -> Mapping[str, Any]:
        """Return what the recipe says of the server's data, which nothing here can see; the ontology's digests; the limit."""
        assert self.config.ontology
        files = {name: self.config.ontology / name for name in ONTOLOGY_FILES}
        return {
            "version": self.config.version,
            **{name: hashlib.sha256(path.read_bytes()).hexdigest()[:16] for name, path in files.items()},
            "query_seconds": self.config.query_seconds,
        }

    def read_items(self, data: Path, split: str) -> list[TaskItem]:
        """Return the items of a split."""
        (path,) = split_file(data, FILES, split)
        items = []
        for row, record in enumerate(json.loads(path.read_text())):
            if not {"question", "entities", "answer"} <= record.keys():
                raise ValueError(f"{path}, row {row}: needs `question`, `entities` and `answer`")
            answers = sorted({answer["answer_argument"] for answer in record["answer"]})
            names = [answer.get("entity_name") or answer["answer_argument"] for answer in record["answer"]]
            items.append(
                TaskItem(
                    task=self.name,
                    category="KG",
                    item_id=f"kg-{split}-{row}",
                    question=record["question"],
                    reference=", ".join(names),
                    content={"entities": record["entities"], "answers": answers},
                    opening=opening(record["question"], record["entities"]),
                )
            )
        return items

    def start(self, item: TaskItem) -> "KnowledgeGraphConversation":
        """Begin a conversation."""
        assert self.config.url
        assert self.config.ontology
        return KnowledgeGraphConversation(item, SparqlServer(self.config.url, self.config.query_seconds), self.ontology)

    def weights(self, items: Mapping[str, int]) -> dict[str, float]:
        """Return the weights of the mean F1."""
        return pooled(items)

    def __enter__(self) -> Self:
        assert self.config.ontology
        self.ontology = Ontology.read(self.config.ontology)
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None) -> None:
        return None


class KnowledgeGraphConversation:
    """A question under way."""

    def __init__(self, item: TaskItem, server: SparqlServer, ontology: Ontology) -> None:
        self.item, self.server, self.ontology = item, server, ontology
        self.history: list[ChatMessage] = []
        self.variables: list[Variable] = []
        self.relations: dict[Variable | str, list[str]] = {}
        self.attributes: dict[Variable | str, list[str]] = {}
        self.turns = 0
        self.final: Variable | None = None

    def messages(self) -> list[ChatMessage]:
        """Return the instruction, the example, and the question."""
        self.history = opening(self.item.question, self.item.content["entities"])
        return list(self.history)

    def observe(self, reply: str) -> list[ChatMessage] | None:
        """Call the tool that a reply names; what the model made up as its result is cut off."""
        self.turns += 1
        reply = reply.split("Observation:")[0].replace("\\_", "_")
        answer = self._answer(reply)
        if answer is None or self.turns == TURN_LIMIT:
            return None
        self.history += [{"role": "assistant", "content": reply}, {"role": "user", "content": answer}]
        return list(self.history)

    def outcome(self) -> Outcome:
        """Compare the members of the final variable with the answers."""
        if self.final is None:
            return Outcome(0.0, "no final answer")
        found, wanted = set(self.server.values(self.final.query())), set(self.item.content["answers"])
        score = f1(found, wanted)
        return Outcome(score, "" if score == 1 else f"{len(found & wanted)} of {len(wanted)} answers among {len(found)} given")

    def close(self) -> None:
        """Nothing stays of a conversation."""

    def _answer(self, reply: str) -> str | None:
        """Return the answer to a reply, or None when it names the final variable."""
        if final := re.findall(r"(?:Find|Final) Answer: #(\d+)", reply):
            if int(final[0]) >= len(self.variables):
                return "Invalid variable id! Need to recheck the action."
            self.final = self.variables[int(final[0])]
            return None
        line = next((line for line in reply.split("\n") if re.match(r"Action.*?:", line)), None)
        if line is None:
            return "No executable function found! Need to recheck the action."
        message = "Function is not executed!"
        for name in re.findall(r"(\w+)\(", line):
            inside = re.findall(rf"{name}\((.+?)\)", line)
            if not inside:
                message = (
                    f"I may make a syntax error when calling {name} (e.g., unmatched parenthesis). "
                    "I need to fix it and reuse the tool"
                )
                continue
            arguments = re.split(r"\s*,\s*", inside[0])
            try:
                return self._call(name, arguments)
            except (TimeoutError, TaskLostError):
                raise
            except Exception:  # whatever the model did wrong, it is told so
                call = f"{name}({', '.join(arguments)}) cannot be executed. "
                message = call + (
                    "The two variables are not of the same type. You may further explore them by call get_relations"
                    if name == "intersection"
                    else "You may make a mistake and need to fix it."
                )
        return message

    def _call(self, name: str, arguments: Sequence[str]) -> str:
        """Call a tool; return its message. Raises on any misuse."""
        result = TOOLS[name](self, *(self._value(argument) for argument in arguments))
        if isinstance(result, list):
            return f"Observation: [{', '.join(result)}]"
        self.variables.append(result)
        kind = "which is a number" if result.counted else f"which are instances of {result.kind}"
        return f"Observation: variable #{len(self.variables) - 1}, {kind}"

    def _value(self, argument: str) -> Variable | str:
        plain = argument.replace("variable ", "").replace("Variable ", "")
        if plain.startswith("#"):
            return self.variables[int(plain[1:])]
        return self.item.content["entities"].get(plain, argument)

    def _outgoing(self, source: Variable | str, known: frozenset[str]) -> list[str]:
        """Return the known relations that leave an entity or a set."""
        if isinstance(source, Variable):
            if source.counted:
                raise ValueError("a number has no relations")
            query = f"SELECT DISTINCT ?rel WHERE {{ ?x ?rel ?obj . {{ {source.query()} }} }}"
        else:
            query = f"SELECT DISTINCT ?rel WHERE {{ ns:{_entity(source)} ?rel ?obj . }}"
        return sorted(set(self.server.values(query)) & known)

    def get_relations(self, source: Variable | str) -> list[str]:
        """Tool 1."""
        self.relations[source] = self._outgoing(source, self.ontology.relations)
        return self.relations[source]

    def get_neighbors(self, source: Variable | str, relation: str) -> Variable:
        """Tool 2."""
        if relation not in self.relations[source]:
            raise ValueError("no relation of the variable")
        kind = self.ontology.ranges[relation]
        if not isinstance(source, Variable):
            return Variable(kind, (f"ns:{_entity(source)} ns:{relation} ?x .",), frozenset({source}))
        inner = f"?y{len(self.variables)}"
        # The old set becomes a set on the way; its superlative stays.
        moved = tuple(re.sub(r"\?x\b", inner, pattern) for pattern in source.patterns)
        return Variable(kind, (*moved, f"{inner} ns:{relation} ?x ."), source.entities, source.order)

    def intersection(self, one: Variable, other: Variable) -> Variable:
        """Tool 3."""
        if one.kind != other.kind or one.counted or other.counted or (one.order and other.order):
            raise ValueError("not of the same type")
        # Sets on the way are the other's own, also where both come from the same variable.
        patterns = tuple(re.sub(r"\?y\w+", rf"\g<0>_{len(self.variables)}", pattern) for pattern in other.patterns)
        return Variable(one.kind, one.patterns + patterns, one.entities | other.entities, one.order or other.order)

    def get_attributes(self, source: Variable) -> list[str]:
        """Tool 4."""
        if not isinstance(source, Variable):
            raise ValueError("no variable")
        self.attributes[source] = self._outgoing(source, self.ontology.attributes)
        return self.attributes[source]

    def argmax(self, source: Variable, attribute: str) -> Variable:
        """Tool 5."""
        return self._best(source, attribute, "ORDER BY DESC(?value)")

    def argmin(self, source: Variable, attribute: str) -> Variable:
        """Tool 6."""
        return self._best(source, attribute, "ORDER BY ?value")

    def count(self, source: Variable) -> Variable:
        """Tool 7."""
        if source.counted or source.order:
            raise ValueError("no set of entities")
        return Variable("type.int", source.patterns, source.entities, counted=True)

    def _best(self, source: Variable, attribute: str, order: str) -> Variable:
        if attribute not in self.attributes[source] or source.order:
            raise ValueError("no attribute of the variable")
        return Variable(source.kind, (*source.patterns, f"?x ns:{attribute} ?value ."), source.entities, order)


TOOLS: dict[str, Callable[..., Variable | list[str]]] = {
    tool.__name__: tool
    for tool in (
        *(KnowledgeGraphConversation.get_relations, KnowledgeGraphConversation.get_neighbors),
        *(KnowledgeGraphConversation.intersection, KnowledgeGraphConversation.get_attributes),
        *(KnowledgeGraphConversation.argmax, KnowledgeGraphConversation.argmin, KnowledgeGraphConversation.count),
    )
}


def opening(question: str, entities: Mapping[str, str]) -> list[ChatMessage]:
    """Return the messages before the first reply."""
    ask = f"A new question: {question}\nEntities: [{', '.join(entities)}]"
    texts = [INSTRUCTIONS, "I've understood your instruction, start please.", *EXAMPLE, ask]
    return [{"role": "assistant" if turn % 2 else "user", "content": text} for turn, text in enumerate(texts)]


def f1(found: set[str], wanted: set[str]) -> float:
    """Return the harmonic mean of precision and recall; 0 where nothing is right."""
    right = len(found & wanted)
    return 2 * right / (len(found) + len(wanted)) if right else 0.0


def _entity(name: str) -> str:
    """Return a Freebase id, checked: it becomes part of a query."""
    if not re.fullmatch(r"(m|f)\.\w+", name):
        raise ValueError(f"{name} is no entity")
    return name
