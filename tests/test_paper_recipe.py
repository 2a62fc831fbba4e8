import pytest

from hephaestus_dag.recipe import Recipe
from hephaestus_dag.recipe_file import RecipeError, load_recipe, read_recipe


@pytest.fixture(scope="module")
def paper() -> Recipe:
    return read_recipe("paper")[0]


def test_it_holds_what_is_known_of_the_paper(paper: Recipe) -> None:
    assert paper.training.backbone.model
    assert paper.training.backbone.model.startswith("meta-llama/Meta-Llama-3-8B@")
    assert paper.mixture.agent_ratio == paper.scaling_law.fallback_agent_ratio == 0.36
    shares = {component.name: component.share for component in paper.mixture.stage1(0.36)}
    assert shares == {"agent": 0.36, "code": 0.32, "text": 0.32}
    encoder = paper.web_retrieval.retrieval.encoder
    assert encoder.model.startswith("OpenMatch/cocodr-base-msmarco@")
    assert (encoder.pooling, encoder.normalize, encoder.max_query_tokens, encoder.max_tokens) == ("cls", False, 64, 128)
    sweep = paper.scaling_law.sweep
    assert (sweep.agent_ratios[0], sweep.agent_ratios[-1]) == (0.17, 0.84)
    assert len(sweep.agent_ratios) == 6
    assert sweep.start != "scratch"
    assert len(sweep.budgets_per_parameter or ()) in (2, 3)
    assert sum(len(replicate.seeds) for replicate in sweep.replicates) == 4
    assert 44e6 <= sweep.ladder[0].params <= 46e6
    assert 0.64e9 <= sweep.ladder[-1].params <= 0.66e9
    assert paper.mixture.instruction.num_examples == 95_000
    assert {source.kind for source in paper.seed_corpus.function_calling_trajectories} == {"toolace", "agent_flan", "sharegpt"}


def test_its_tokens_give_the_papers_steps_exactly(paper: Recipe) -> None:
    section = paper.mixture
    for tokens, config in ((section.stage1_tokens, paper.training.stage1), (section.stage2_tokens, paper.training.stage2)):
        sequences, rest = divmod(tokens, section.sequence_length)
        assert (divmod(sequences, config.global_batch_sequences), rest) == ((55_000, 0), 0)
    sequences = round(section.instruction.num_examples * section.stage3_epochs)
    assert divmod(sequences, paper.training.stage3.global_batch_sequences) == (24_000, 0)


def test_only_its_inputs_are_missing_each_with_a_way_to_get_it() -> None:
    _, missing = read_recipe("paper")
    assert missing
    assert all("paper-data/" in problem.text and problem.hint for problem in missing)
    with pytest.raises(RecipeError, match=f"has {len(missing)} problems"):
        load_recipe("paper")
