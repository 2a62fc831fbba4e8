"""The four areas of MMLU's 57 subjects, as lm-eval 0.4.13 groups them (tasks/mmlu/default), after the authors' table."""

AREAS = {"stem": "STEM", "humanities": "humanities", "social_sciences": "social sciences", "other": "other"}
"""Names of the areas and how a report calls them."""

_SUBJECTS = {
    "stem": (
        "abstract_algebra anatomy astronomy college_biology college_chemistry college_computer_science college_mathematics "
        "college_physics computer_security conceptual_physics electrical_engineering elementary_mathematics "
        "high_school_biology high_school_chemistry high_school_computer_science high_school_mathematics high_school_physics "
        "high_school_statistics machine_learning"
    ),
    "humanities": (
        "formal_logic high_school_european_history high_school_us_history high_school_world_history international_law "
        "jurisprudence logical_fallacies moral_disputes moral_scenarios philosophy prehistory professional_law "
        "world_religions"
    ),
    "social_sciences": (
        "econometrics high_school_geography high_school_government_and_politics high_school_macroeconomics "
        "high_school_microeconomics high_school_psychology human_sexuality professional_psychology public_relations "
        "security_studies sociology us_foreign_policy"
    ),
}
_AREA_OF = {subject: area for area, subjects in _SUBJECTS.items() for subject in subjects.split()}


def area_of(subject: str) -> str:
    """Return the area of a subject; ``other`` where the table names none."""
    return _AREA_OF.get(subject, "other")
