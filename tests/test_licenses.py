"""Licences in free words, addresses and file headers, and what an expression permits."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from hephaestus_dag.licenses import is_identifier, license_of_source_text, mentions, normalise_license, permits


@pytest.mark.parametrize(
    ("name", "url", "expected"),
    [
        ("Apache 2.0", "", "Apache-2.0"),
        ("Apache License, Version 2.0", "", "Apache-2.0"),
        ("Licensed under the Apache License, Version 2.0", "", "Apache-2.0"),
        ("The MIT License (MIT)", "", "MIT"),
        ("mit", "", "MIT"),
        ("", "https://opensource.org/licenses/MIT", "MIT"),
        ("https://opensource.org/licenses/MIT", "", "MIT"),
        ("Creative Commons Attribution 4.0", "", "CC-BY-4.0"),
        ("Creative Commons", "https://creativecommons.org/licenses/by-nc-sa/4.0/legalcode", "CC-BY-NC-SA-4.0"),
        ("Attribution-NonCommercial-ShareAlike 4.0 International", "", "CC-BY-NC-SA-4.0"),
        ("CC BY-NC-ND 2.0", "", "CC-BY-NC-ND-2.0"),
        ("CC0 1.0", "", "CC0-1.0"),
        ("3-Clause BSD License", "", "BSD-3-Clause"),
        ("Simplified BSD", "", "BSD-2-Clause"),
        ("Mozilla Public License 2.0 (MPL 2.0)", "", "MPL-2.0"),
        ("GNU General Public License v3 or later (GPLv3+)", "", "GPL-3.0-or-later"),
        ("GNU General Public License v2 (GPLv2)", "", "GPL-2.0-only"),
        ("LGPLv2.1+", "", "LGPL-2.1-or-later"),
        ("GNU Affero General Public License v3.0", "", "AGPL-3.0-only"),
        ("", "http://www.apache.org/licenses/LICENSE-2.0.html", "Apache-2.0"),
        ("", "https://www.gnu.org/licenses/old-licenses/lgpl-2.0.html", "LGPL-2.0-only"),
        ("MIT OR (apache-2.0 AND ISC)", "", "MIT OR (Apache-2.0 AND ISC)"),
        ("Public Domain", "", "LicenseRef-Public-Domain"),
        ("eBay API License Agreement", "https://go.developer.ebay.com/api-license-agreement", "unknown"),
        ("BSD-like, ask us", "", "unknown"),
        ("GPL with our own exceptions", "", "unknown"),
        ("Proprietary", "", "unknown"),
        ("", "", "unknown"),
    ],
)
def test_names_and_addresses_become_identifiers(name: str, url: str, expected: str):
    assert normalise_license(name, url) == expected


@given(st.text(max_size=60), st.text(max_size=60))
def test_whatever_is_found_is_an_expression(name: str, url: str):
    assert is_identifier(normalise_license(name, url))


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("#!/usr/bin/env python\n# SPDX-License-Identifier: Apache-2.0 OR MIT\nimport os", "Apache-2.0 OR MIT"),
        ("/* SPDX-License-Identifier: GPL-2.0 WITH Linux-syscall-note */", "GPL-2.0-only WITH Linux-syscall-note"),
        ("# SPDX-License-Identifier: our own words", None),
        ("import os", None),
        ("\n" * 5_000 + "# SPDX-License-Identifier: MIT", None),
    ],
)
def test_the_header_of_a_source_file(text: str, expected: str | None):
    assert license_of_source_text(text) == expected


@pytest.mark.parametrize(
    ("expression", "permitted"),
    [
        ("MIT", True),
        ("mit", True),
        ("MIT OR GPL-3.0-only", True),
        ("MIT AND GPL-3.0-only", False),
        ("MIT AND ISC", True),
        ("GPL-3.0-only OR MIT AND ISC", True),
        ("(MIT OR GPL-3.0-only) AND GPL-3.0-only", False),
        ("(MIT OR GPL-3.0-only) AND (ISC OR GPL-2.0-only)", True),
        ("Apache-2.0+", False),
        ("LGPL-2.1+", True),
        ("ISC WITH Classpath-exception-2.0", True),
        ("GPL-2.0-only WITH Classpath-exception-2.0", True),
        ("GPL-2.0-only", False),
        ("unknown", False),
        ("MIT OR unknown", True),
        ("MIT AND", False),
        ("", False),
    ],
)
def test_what_an_allow_list_permits(expression: str, permitted: bool):
    allowed = ["MIT", "ISC", "LGPL-2.1-or-later", "GPL-2.0-only WITH Classpath-exception-2.0"]
    assert permits(expression, allowed) is permitted


def test_unknown_stays_only_when_it_is_listed():
    assert permits("unknown", ["MIT", "unknown"])
    assert not permits("LicenseRef-Public-Domain", ["MIT", "unknown"])
    assert is_identifier("unknown")
    assert is_identifier("LicenseRef-Public-Domain")
    assert not is_identifier("Apache 2")


@pytest.mark.parametrize(
    ("expression", "identifier", "named"),
    [
        ("Apache-2.0 AND (MIT OR GPL-3.0-only)", "gpl-3.0-only", True),
        ("Apache-2.0 WITH LLVM-exception", "Apache-2.0", True),
        ("GPL-3.0+", "GPL-3.0-or-later", True),
        ("GPL-3.0-or-later", "GPL-3.0-only", False),
        ("unknown", "unknown", True),
        ("some words, of a lawyer", "MIT", False),
    ],
)
def test_an_expression_mentions_the_licences_in_it(expression: str, identifier: str, named: bool) -> None:
    assert mentions(expression, identifier) is named
