"""The starter packs: they can be published as they are."""

from pathlib import Path

import pytest
import yaml

from weirgate_cli.apply import Documents, load
from weirgate_policy.bundle import Known, check

PACKS = Path(__file__).parents[3] / "deploy" / "packs"


@pytest.mark.parametrize("pack", ["starter", "allow-all"])
def test_a_pack_can_be_published_as_it_is(pack: str) -> None:
    found = load(PACKS / pack)
    assert isinstance(found, Documents), found
    assert not found.warnings
    policies = {one.name: str(one.body["cedar"]) for one in found.documents if one.kind == "policy"}
    labels = {"pii.email", "pay.salary", "payment.card"}
    known = Known(resources={"shop"}, reviewers={"dba"}, labels=labels)
    assert check(policies, known) == []


@pytest.mark.parametrize("pack", ["starter", "allow-all"])
def test_every_file_of_a_pack_is_named_by_a_document(pack: str) -> None:
    named = {
        body["file"]
        for file in (PACKS / pack).glob("*.yaml")
        for body in yaml.safe_load_all(file.read_text())
        if "file" in body
    }
    assert {file.name for file in (PACKS / pack).glob("*.cedar")} == named
