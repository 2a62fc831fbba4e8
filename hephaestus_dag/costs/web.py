"""Costs of the pages of the web: reading, encoding and searching them, and the filter for quality."""

from hephaestus_dag.costs.amount import NOTHING, Amount, about, at_most, unknown
from hephaestus_dag.costs.architecture import find_architecture
from hephaestus_dag.costs.book import Book, answers, forward, unknown_shape
from hephaestus_dag.costs.corpus import answering, collected, server_of
from hephaestus_dag.costs.sizes import CHARACTERS_PER_TOKEN, ID_BYTES, TEXT_BYTES, TOKENS
from hephaestus_dag.costs.sources import held
from hephaestus_dag.quality.openai_annotator import MAX_ANSWER_TOKENS
from hephaestus_dag.quality.rubric import load_rubric
from hephaestus_dag.retrieval.index import choose_kind

CANARIES = 500


def web_costs(book: Book) -> None:
    """Enter the assets of the group web_retrieval.

    Encoding: documents x tokens read x (2 N + 4 L d T). Exact search: 2 x queries x pages x dimension (one product).
    """
    config = book.recipe.web_retrieval.retrieval
    encoder, group = config.encoder, "web_retrieval"
    collected(book, "web_corpus", group, *held(book.recipe.web_retrieval.web_corpus, "web_corpus"))
    per_page = forward(encoder.model, encoder.max_tokens) * at_most(encoder.max_tokens)
    query_tokens = encoder.max_query_tokens or encoder.max_tokens
    per_query = forward(encoder.model, query_tokens) * at_most(query_tokens)
    dimension = _dimension(encoder.model)

    candidates = at_most(config.num_candidates) if config.num_candidates else book.documents("seed_corpus")
    encoded = candidates + config.num_general
    queries = at_most(config.num_queries) if config.num_queries else candidates
    book.add(
        "seed_queries",
        group,
        documents=queries,
        inference=encoded * per_query,
        disk=encoded * (dimension * 4 + ID_BYTES),
        dtype=encoder.dtype,
    )
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
        dtype=encoder.dtype,
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


def quality_costs(book: Book) -> None:
    """Enter the assets of the group quality."""
    quality, group = book.recipe.quality, "quality"
    annotation, encoder = quality.annotation, book.recipe.web_retrieval.retrieval.encoder
    asked = at_most(annotation.num_samples + annotation.recheck_samples)
    length = annotation.annotator.max_tokens + len(load_rubric(annotation.rubric).text) // CHARACTERS_PER_TOKEN
    book.add(
        "quality_annotations",
        group,
        documents=at_most(annotation.num_samples),
        tokens=asked * about(length),
        inference=answering(annotation.annotator, asked, length),
        dtype=annotation.annotator.dtype,
        disk=asked * ID_BYTES,
        answers=answers(
            asked,
            asked * about(length),
            asked * (MAX_ANSWER_TOKENS if annotation.annotator.kind == "openai" else 0),
            server_of(annotation.annotator),
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
