"""Plans of small sweeps."""

from hephaestus_dag.scaling.sweep_config import LadderRung, Replicate, SweepConfig


def sweep_config(**changes: object) -> SweepConfig:
    values: dict[str, object] = {
        "ladder": [rung("0.1M", 64), rung("0.2M", 96), rung("0.4M", 128)],
        "agent_ratios": [0.17, 0.36, 0.6, 0.84],
        "code_share_of_rest": 0.5,
        "budgets": None,
        "budgets_per_parameter": [20],
        "max_warmup_share": 0.1,
        "start": "scratch",
        "benchmark_items": None,
        "replicates": [Replicate(rung="0.1M", agent_ratio=0.36, seeds=[1, 2])],
        "learning_rate": {"reference_rate": 0.00235, "reference_params": 108e6, "exponent": -1 / 3, "maximum": 0.01},
        "batch": {"reference_sequences": 160, "reference_params": 108e6, "exponent": 2 / 3, "maximum": 512},
        "seed": 0,
    }
    return SweepConfig.model_validate(values | changes)


def rung(name: str, width: int, layers: int = 2) -> LadderRung:
    return LadderRung(name=name, hidden_size=width, layers=layers, heads=4, kv_heads=2, intermediate_size=3 * width)
