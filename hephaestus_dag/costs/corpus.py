"""Costs of everything before training: documents, retrieval, quality, token stores and mixtures.

Documents are those that the recipe's caps allow. Tokens of a document and bytes of a token are assumptions, listed in
`ASSUMPTIONS`, unless an artifact was measured.
"""

from hephaestus_dag.costs.amount import NOTHING, Amount, about, at_most, unknown
from hephaestus_dag.costs.architecture import find_architecture
from hephaestus_dag.costs.book import Book, answers, forward, unknown_shape
from hephaestus_dag.evaluation.bfcl.config import BFCL_CATEGORIES, MULTI_TURN
from hephaestus_dag.mixture.config import Component
from hephaestus_dag.quality.config import AnnotatorConfig
from hephaestus_dag.quality.openai_annotator import MAX_ANSWER_TOKENS
from hephaestus_dag.quality.rubric import load_rubric
from hephaestus_dag.recipe import Recipe
from hephaestus_dag.retrieval.index import choose_kind
from hephaestus_dag.sources.config import SourceConfig
from hephaestus_dag.variants import Variants

CHARACTERS_PER_TOKEN = 4
TOKENS = {
    "tool_documentation": 700,
    "function_calling_trajectories": 400,
    "code_documents": 2_000,
    "text_documents": 700,
    "web_corpus": 700,
}
TEXT_BYTES = 1.2
LEDGER_BYTES = 60
ID_BYTES = 40
SEQUENCE_BYTES = 10
CANARIES = 500
ASSUMPTIONS = [
    "tokens of a document: " + ", ".join(f"{name.replace('_', ' ')} {count:,}" for name, count in TOKENS.items()),
    f"{CHARACTERS_PER_TOKEN} characters a token; {TEXT_BYTES} bytes a token in Parquet, {LEDGER_BYTES} a document in ledgers",
    "retrieval, annotation and evaluation read as many tokens as the recipe allows: upper bounds",
    "generation at the stated utilisation, which decoding does not reach",
    "curation, the quality filter's threshold and the packing of examples remove an unknown part: upper bounds",
]
_COUNTS = (400, 100, 50, 200, 200, 200, 240, 258, 1_053, 16, 24, 884, 16, 200, 200, 200, 200)
BFCL_ITEMS: dict[str, int] = dict(zip(BFCL_CATEGORIES, _COUNTS, strict=True))
"""Items of the official release by category."""


def corpus_costs(book: Book, variants: Variants) -> None:
    """Enter the assets of the groups benchmarks, seed_corpus, web_retrieval, quality and mixture."""
    _benchmarks(book)
    _seed_corpus(book)
    _web_retrieval(book)
    _quality(book)
    _token_stores(book, variants)
    _mixtures(book, variants)


def _benchmarks(book: Book) -> None:
    items = Amount(float(sum(BFCL_ITEMS[name] for name in book.recipe.evaluation.bfcl.categories)))
    disk = unknown("the index holds what the kept-out benchmarks hold")
    book.add("benchmark_items", "benchmarks", documents=items, disk=disk)
    book.add("benchmark_matches", "benchmarks", disk=at_most(1e8), note="on the CPU")


def num_answers(recipe: Recipe, per_category: int | None) -> int:
    """Return how many reference answers of BFCL are scored: irrelevance, relevance and conversations have none."""
    categories = [name for name in recipe.evaluation.bfcl.categories if name not in MULTI_TURN]
    answered = (BFCL_ITEMS[category] for category in categories if "relevance" not in category)
    return sum(min(count, per_category or count) for count in answered)


def capped(sources: tuple[SourceConfig, ...]) -> Amount:
    """Return how many documents sources give at most; unknown where one has no cap."""
    open_ended = [source.name for source in sources if source.max_documents is None]
    if open_ended:
        return unknown(f"{', '.join(open_ended)}: no max_documents, so only reading tells")
    return at_most(float(sum(source.max_documents or 0 for source in sources)))


def _collected(book: Book, key: str, group: str, documents: Amount, inference: Amount = NOTHING) -> None:
    cost = book.add(key, group, documents=documents, inference=inference)
    tokens = cost.tokens if cost.measured and cost.tokens.value else cost.documents * about(TOKENS.get(key, 700))
    book.add(key, group, documents=cost.documents, tokens=tokens, inference=inference, disk=tokens * TEXT_BYTES)


def _seed_corpus(book: Book) -> None:
    seed = book.recipe.seed_corpus
    made = at_most(float(seed.synthetic_calls.count))
    _collected(book, "tool_documentation", "seed_corpus", capped(seed.tool_documentation))
    trajectories = capped(seed.function_calling_trajectories) + made
    _collected(book, "function_calling_trajectories", "seed_corpus", trajectories)
    _collected(book, "code_documents", "seed_corpus", capped(seed.code_documents))
    _collected(book, "text_documents", "seed_corpus", capped(seed.text_documents))
    parts = ["tool_documentation", "function_calling_trajectories", "code_documents", "text_documents"]
    if written := seed.synthetic_documentation:
        read = written.annotator.max_tokens + written.max_tokens
        documents = at_most(float(written.count))
        inference = _answering(written.annotator, documents, read)
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
                _server(written.annotator),
                "seed_corpus.synthetic_documentation.annotator",
            ),
        )
        parts.append("synthetic_documentation")
    documents, tokens = Amount(0.0, "≤"), Amount(0.0, "≤")
    for part in parts:
        documents, tokens = documents + book.documents(part), tokens + book.tokens(part)
    book.add("seed_corpus", "seed_corpus", documents=documents, tokens=tokens, disk=tokens * TEXT_BYTES)


def _server(annotator: AnnotatorConfig) -> AnnotatorConfig | None:
    return annotator if annotator.kind == "openai" else None


def _answering(annotator: AnnotatorConfig, questions: Amount, tokens: int) -> Amount:
    """Return FLOP of questions to a language model, of so many tokens each."""
    if annotator.kind == "openai":
        return unknown(f"{annotator.model} answers on a server, whose GPUs are not counted")
    return questions * forward(annotator.model, tokens) * tokens


def _web_retrieval(book: Book) -> None:
    """Encoding: documents x tokens read x (2 N + 4 L d T). Exact search: 2 x queries x pages x dimension (one product)."""
    config = book.recipe.web_retrieval.retrieval
    encoder, group = config.encoder, "web_retrieval"
    _collected(book, "web_corpus", group, capped(book.recipe.web_retrieval.web_corpus))
    per_page = forward(encoder.model, encoder.max_tokens) * at_most(encoder.max_tokens)
    query_tokens = encoder.max_query_tokens or encoder.max_tokens
    per_query = forward(encoder.model, query_tokens) * at_most(query_tokens)
    dimension = _dimension(encoder.model)

    candidates = at_most(config.num_candidates) if config.num_candidates else book.documents("seed_corpus")
    encoded = candidates + config.num_general
    queries = at_most(config.num_queries) if config.num_queries else candidates
    book.add("seed_queries", group, documents=queries, inference=encoded * per_query, disk=encoded * (dimension * 4 + ID_BYTES))
    pages = book.documents("web_corpus")
    if first := config.first_pass:
        kept = pages * first.keep_share
        book.add(
            "web_candidates",
            group,
            documents=kept,
            inference=per_page * first.recall_sample,
            disk=kept * about(TOKENS["web_corpus"] * TEXT_BYTES),
        )
        pages = book.documents("web_candidates")
    book.add(
        "web_index",
        group,
        documents=pages,
        inference=pages * per_page,
        disk=pages * (dimension * 4 + ID_BYTES) + _index_bytes(book, pages, dimension),
    )
    pairs = queries * pages
    exact = config.search == "exact" or (config.search == "auto" and (pairs.value or 0) <= config.exact_up_to_pairs)
    found = (queries * config.neighbours).capped(pages)
    book.add(
        "retrieved_web_shards",
        group,
        documents=found,
        tokens=found * about(TOKENS["web_corpus"]),
        inference=pairs * dimension * 2 if exact else NOTHING,
        disk=found * about(TOKENS["web_corpus"] * TEXT_BYTES),
        note="" if exact else "FAISS searches on the CPU",
    )


def _dimension(model: str) -> Amount:
    found = find_architecture(model)
    return Amount(float(found.hidden_size)) if found else unknown_shape(model)


def _index_bytes(book: Book, pages: Amount, dimension: Amount) -> Amount:
    """Return the bytes of a FAISS index, as `retrieval.index` counts them for each kind."""
    if pages.value is None or dimension.value is None:
        return pages * dimension
    kind = choose_kind(int(pages.value), int(dimension.value), book.recipe.web_retrieval.retrieval.index)
    width = dimension.value
    return pages * {"flat": 4 * width, "hnsw": 4 * width + 256, "ivf_pq": width / 4 + 8}[kind]


def _quality(book: Book) -> None:
    quality, group = book.recipe.quality, "quality"
    annotation, encoder = quality.annotation, book.recipe.web_retrieval.retrieval.encoder
    asked = at_most(annotation.num_samples + annotation.recheck_samples)
    length = annotation.annotator.max_tokens + len(load_rubric(annotation.rubric).text) // CHARACTERS_PER_TOKEN
    book.add(
        "quality_annotations",
        group,
        documents=at_most(annotation.num_samples),
        tokens=asked * about(length),
        inference=_answering(annotation.annotator, asked, length),
        disk=asked * ID_BYTES,
        answers=answers(
            asked,
            asked * about(length),
            asked * (MAX_ANSWER_TOKENS if annotation.annotator.kind == "openai" else 0),
            _server(annotation.annotator),
            "quality.annotation.annotator",
        ),
    )
    examples = quality.classifier.num_seed + quality.classifier.num_random + annotation.num_samples
    book.add(
        "quality_classifier",
        group,
        documents=at_most(examples),
        disk=unknown("fastText's model is quantised, and its size depends on the words"),
        note="on the CPU",
    )
    retrieved = book.documents("retrieved_web_shards")
    book.add("quality_scored_web", group, documents=retrieved, disk=retrieved * ID_BYTES, note="on the CPU")
    share = quality.filter.keep_share
    kept = retrieved * share if share else retrieved.capped(retrieved * quality.filter.max_keep_share)
    canaries = forward(encoder.model, encoder.max_tokens) * at_most(encoder.max_tokens * CANARIES)
    tokens = kept * about(TOKENS["web_corpus"])
    book.add("filtered_web", group, documents=kept, tokens=tokens, inference=canaries, disk=tokens * TEXT_BYTES)


def _token_stores(book: Book, variants: Variants) -> None:
    book.add("tokenizer", "mixture", disk=at_most(20e6), note="on the CPU")
    cap = book.recipe.mixture.token_store.max_tokens_per_domain
    for key, documents, domains in [
        ("tokenized_seed", "seed_corpus", 3),
        *((key, documents, 1) for key, documents in variants.webs.items()),
    ]:
        tokens = book.tokens(documents)
        tokens = tokens.capped(at_most(cap * domains)) if cap else tokens
        disk = tokens * book.token_bytes + book.documents(documents) * LEDGER_BYTES
        book.add(key, "mixture", documents=book.documents(documents), tokens=tokens, disk=disk, note="on the CPU")


def _mixtures(book: Book, variants: Variants) -> None:
    section = book.recipe.mixture
    length = section.sequence_length
    for key, store in variants.mixed.values():
        sequences = section.stage1_tokens // length
        ratio = section.agent_ratio if isinstance(section.agent_ratio, float) else book.recipe.scaling_law.fallback_agent_ratio
        components = section.stage1(ratio) if ratio else section.stage1_components or ()
        _planned(book, key, sequences, length, _shortage(book, sequences * length, components, store))
    for key in variants.seed.values():
        sequences = section.stage2_tokens // length
        shown = sequences * length * (1 - section.stage2_replay)
        _planned(book, key, sequences, length, _shortage(book, shown, section.stage2_components, None))
    instruction = section.instruction
    sequences = packed_sequences(book)
    stored = at_most(instruction.num_examples) * instruction.sequence_length
    book.add(
        "instruction_corpus",
        "mixture",
        documents=at_most(instruction.num_examples),
        tokens=sequences * instruction.sequence_length,
        disk=stored * (book.token_bytes + 1) + sequences * SEQUENCE_BYTES,
        note="short examples share a sequence: how many is known once they are packed",
    )


def packed_sequences(book: Book) -> Amount:
    """Return the sequences of Stage III, at most: one for each example, times the epochs."""
    section = book.recipe.mixture
    return at_most(float(round(section.instruction.num_examples * section.stage3_epochs)))


def _planned(book: Book, key: str, sequences: int, length: int, shortage: str) -> None:
    tokens = Amount(float(sequences * length))
    book.add(key, "mixture", tokens=tokens, disk=Amount(float(sequences * SEQUENCE_BYTES)), shortage=shortage)


def _tokenised(book: Book, keys: list[str]) -> float | None:
    """Return how many different tokens of one domain of these documents a token store holds, at most: its cap counts."""
    parts = [book.tokens(key).value for key in keys]
    cap = book.recipe.mixture.token_store.max_tokens_per_domain
    if None in parts:
        return float(cap) if cap else None
    held = sum(part or 0 for part in parts)
    return min(held, cap) if cap else held


def _shortage(book: Book, tokens: float, components: tuple[Component, ...], web: str | None) -> str:
    """Say which domains hold too few different tokens to be shown ``max_epochs`` times at most."""
    agent = ["tool_documentation", "function_calling_trajectories"]
    agent += [key for key in ("synthetic_documentation",) if key in book.costs]
    held = {"agent": [*agent, *([web] if web else [])], "code": ["code_documents"], "text": ["text_documents"]}
    found = []
    for component in components:
        keys = held.get(component.domain or "", [])
        stores = [[key for key in keys if key != web], [key for key in keys if key == web]]
        parts = [_tokenised(book, store) for store in stores if store]
        if not parts or None in parts:
            continue
        there, needed = sum(part or 0 for part in parts), component.share * tokens / book.recipe.mixture.max_epochs
        if there < needed:
            found.append(
                f"{component.name}: {needed / 1e6:,.1f}M different tokens are needed for max_epochs "
                f"{book.recipe.mixture.max_epochs:g}, about {there / 1e6:,.1f}M are there; add {component.name} documents, "
                "lower the share or the tokens, or raise max_epochs"
            )
    return "; ".join(found)
