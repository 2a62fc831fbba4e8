"""The OpenAPI reader survives damaged descriptions: version 2, version 3, and YAML with anchors."""

from pathlib import Path

import orjson
import pytest
from fuzzing import fuzz
from test_openapi import PETS, SWAGGER

YAML = b"""
openapi: 3.0.0
info: {title: Tea House, version: 1.0.0, license: {name: MIT}}
servers: [{url: "https://tea.example/v1"}]
paths:
  /pots/{pot}: &pots
    parameters:
      - &pot {name: pot, in: path, required: true, schema: {type: string, enum: [a, b]}}
    get:
      operationId: getPot
      description: |
        Returns a pot.

        | size | word |
        |------|------|
        | 1    | one  |
      responses: &responses
        200:
          description: A pot of tea
          content: {application/json: {schema: {$ref: "#/components/schemas/Pot"}}}
        404: {description: No such pot}
  /cups/{pot}:
    <<: *pots
    post:
      summary: Fills a cup
      parameters: [*pot, {name: brewed, in: query, schema: {type: string, format: date, default: 2020-01-01}}]
      requestBody: {content: {application/json: {schema: {$ref: "#/components/schemas/Pot"}}}}
      responses: {<<: *responses, 201: {description: Filled to the brim}}
components:
  schemas:
    Pot:
      type: object
      required: [inner]
      properties: {inner: {$ref: "#/components/schemas/Pot"}, any: {oneOf: [{type: integer}, {type: string}]}}
"""
CASES = {"v2.json": orjson.dumps(SWAGGER), "v3.json": orjson.dumps(PETS), "v3.yaml": YAML}


@pytest.mark.parametrize("name", CASES)
def test_damaged_descriptions_are_set_aside(name: str, tmp_path: Path) -> None:
    assert fuzz("openapi", tmp_path / "in", name, CASES[name], count=300)


@pytest.mark.slow
@pytest.mark.timeout(600)
@pytest.mark.parametrize("name", CASES)
def test_ten_thousand_damaged_descriptions_are_set_aside(name: str, tmp_path: Path) -> None:
    assert fuzz("openapi", tmp_path / "in", name, CASES[name], count=10_000)
