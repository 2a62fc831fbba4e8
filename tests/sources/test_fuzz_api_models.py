"""The parsers of vendors' API models survive damaged files."""

from pathlib import Path

import orjson
import pytest
from fuzzing import fuzz

SERVICE = {
    "metadata": {"serviceFullName": "Tea House", "endpointPrefix": "tea"},
    "operations": {
        "Brew": {
            "name": "Brew",
            "http": {"method": "POST", "requestUri": "/brew"},
            "input": {"shape": "BrewRequest"},
            "output": {"shape": "Pot"},
            "errors": [{"shape": "Empty"}],
            "documentation": "<p>Brews <code>tea</code>.</p>",
        }
    },
    "shapes": {
        "BrewRequest": {
            "type": "structure",
            "required": ["Leaf"],
            "members": {"Leaf": {"shape": "Leaf", "documentation": "<p>What to brew.</p>"}, "Pots": {"shape": "Pots"}},
        },
        "Leaf": {"type": "string", "enum": ["oolong", "sencha"]},
        "Pot": {"type": "structure", "members": {"Inner": {"shape": "Pot"}, "Size": {"shape": "Size"}}},
        "Pots": {"type": "list", "member": {"shape": "Pot"}},
        "Size": {"type": "integer"},
        "Empty": {"type": "structure", "members": {}, "documentation": "No leaves."},
    },
}
DISCOVERY = {
    "name": "tea",
    "title": "Tea API",
    "servicePath": "tea/v1/",
    "schemas": {"Pot": {"type": "object", "properties": {"inner": {"$ref": "Pot"}, "ml": {"type": "integer"}}}},
    "resources": {
        "pots": {
            "methods": {
                "brew": {
                    "id": "tea.pots.brew",
                    "path": "pots/{pot}",
                    "httpMethod": "POST",
                    "description": "Brews a pot.",
                    "parameters": {"pot": {"type": "string", "required": True, "enum": ["a", "b"]}},
                    "request": {"$ref": "Pot"},
                    "response": {"$ref": "Pot"},
                }
            }
        }
    },
}
CASES = {
    "botocore": ("tea/2024-01-01/service-2.json", orjson.dumps(SERVICE)),
    "google_discovery": ("tea.v1.json", orjson.dumps(DISCOVERY)),
    "python_modules": (
        "tea.py",
        b'"""Tea."""\n\ndef brew(leaf: str, ml: int = 5) -> str:\n    """Brew a pot of tea, slowly, until it is done."""\n',
    ),
}


@pytest.mark.parametrize("kind", CASES)
def test_damaged_files_are_set_aside(kind: str, tmp_path: Path) -> None:
    assert fuzz(kind, tmp_path / "in", *CASES[kind], count=300)


@pytest.mark.slow
@pytest.mark.timeout(600)
@pytest.mark.parametrize("kind", CASES)
def test_ten_thousand_damaged_files_are_set_aside(kind: str, tmp_path: Path) -> None:
    assert fuzz(kind, tmp_path / "in", *CASES[kind], count=10_000)
