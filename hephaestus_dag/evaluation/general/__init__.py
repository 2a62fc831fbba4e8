"""General ability: MMLU and GSM8K through lm-eval, and HumanEval, whose programs run in a sandbox."""
