"""Costs of the documents of the seed corpus.

Documents are those that the recipe's caps allow. Tokens of a document and bytes of a token are assumptions, listed in
`sizes.ASSUMPTIONS`, unless an artifact was measured.
"""

from hephaestus_dag.costs.amount import Amount, about, at_most, unknown
from hephaestus_dag.costs.book import Book, answers, forward
from hephaestus_dag.costs.sizes import TEXT_BYTES, TOKENS
from hephaestus_dag.costs.sources import held
from hephaestus_dag.quality.config import AnnotatorConfig


def corpus_costs(book: Book) -> None:
    """Enter the assets of the group seed_corpus."""
    seed = book.recipe.seed_corpus
    parts = ["tool_documentation", "function_calling_trajectories", "code_documents", "text_documents"]
    for part in parts:
        documents, tokens = held(getattr(seed, part), part)
        if part == "function_calling_trajectories":
            made = at_most(float(seed.synthetic_calls.count))
            documents, tokens = documents + made, tokens + made * about(TOKENS[part])
        collected(book, part, "seed_corpus", documents, tokens)
    if written := seed.synthetic_documentation:
        read = written.annotator.max_tokens + written.max_tokens
        documents = at_most(float(written.count))
        inference = answering(written.annotator, documents, read)
        book.add(
            "synthetic_documentation",
            "seed_corpus",
            documents=documents,
            tokens=documents * written.max_tokens,
            inference=inference,
            disk=documents * (written.max_tokens * TEXT_BYTES),
            answers=answers(
                documents,
                documents * (read - written.max_tokens),
                documents * written.max_tokens,
                server_of(written.annotator),
                "seed_corpus.synthetic_documentation.annotator",
            ),
        )
        parts.append("synthetic_documentation")
    documents, tokens = Amount(0.0, "≤"), Amount(0.0, "≤")
    for part in parts:
        documents, tokens = documents + book.documents(part), tokens + book.tokens(part)
    book.add("seed_corpus", "seed_corpus", documents=documents, tokens=tokens, disk=tokens * TEXT_BYTES)


def collected(book: Book, key: str, group: str, documents: Amount, tokens: Amount) -> None:
    """Enter an asset that reads sources."""
    found = book.measured.get(key)
    if found and found.documents is not None and not found.tokens:
        tokens = about(found.documents * TOKENS[key])
    book.add(key, group, documents=documents, tokens=tokens, disk=tokens * TEXT_BYTES)


def server_of(annotator: AnnotatorConfig) -> AnnotatorConfig | None:
    """Return what an annotator says of its server; None for a local model."""
    return annotator if annotator.kind == "openai" else None


def answering(annotator: AnnotatorConfig, questions: Amount, tokens: int) -> Amount:
    """Return FLOP of questions to a language model, of so many tokens each."""
    if annotator.kind == "openai":
        return unknown(f"{annotator.model} answers on a server, whose GPUs are not counted")
    return questions * forward(annotator.model, tokens) * tokens
