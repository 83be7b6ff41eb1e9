"""The starter packs: they can be published as they are."""

from pathlib import Path

import pytest
import yaml

from weirgate_cli.apply import Documents, load
from weirgate_contracts.modelapi import joined
from weirgate_policy.bundle import Known, check
from weirgate_policy.testing import Case, run_cases

PACKS = Path(__file__).parents[3] / "deploy" / "packs"


@pytest.mark.parametrize("pack", ["starter", "allow-all", "models"])
def test_a_pack_can_be_published_as_it_is(pack: str) -> None:
    found = load(PACKS / pack)
    assert isinstance(found, Documents), found
    assert not found.warnings
    policies = {one.name: str(one.body["cedar"]) for one in found.documents if one.kind == "policy"}
    labels = {"pii.email", "pay.salary", "payment.card"}
    known = Known(
        resources={"shop", "models"},
        reviewers={"dba", "model-owners"},
        labels=labels,
        routes={"models": joined("openai", ())},
    )
    assert check(policies, known) == []


@pytest.mark.parametrize("pack", ["starter", "allow-all", "models"])
def test_every_file_of_a_pack_is_named_by_a_document(pack: str) -> None:
    named = {
        body["file"]
        for file in (PACKS / pack).glob("*.yaml")
        for body in yaml.safe_load_all(file.read_text())
        if "file" in body
    }
    assert {file.name for file in (PACKS / pack).glob("*.cedar")} == named


def policies_of(pack: str) -> dict[str, str]:
    """The rules of a pack, as they are published."""
    found = load(PACKS / pack)
    assert isinstance(found, Documents)
    return {one.name: str(one.body["cedar"]) for one in found.documents if one.kind == "policy"}


def said(case: Case) -> str:
    """What an agent of a case sends."""
    if case.mcp is not None:
        return case.mcp.text()
    return f"{case.call.method} {case.call.path}" if case.call is not None else str(case.sql)


def test_the_starter_pack_makes_of_the_demo_what_it_should() -> None:
    outcomes = run_cases([Path(__file__).parent / "starter.cases.yaml"], policies=policies_of("starter"))
    assert len(outcomes) > 60
    assert [f"{one.line}: {said(one.case)}: {one.problem}" for one in outcomes if not one.passed] == []
    assert {one.got for one in outcomes if one.case.call is not None} == {"allow", "deny", "hold"}


def test_allow_all_published_over_the_starter_pack_allows_everything() -> None:
    both = policies_of("starter") | policies_of("allow-all")
    outcomes = run_cases([Path(__file__).parent / "starter.cases.yaml"], policies=both)
    # A hold of the writers' rule counts beside a permit without one: the strictest of several.
    refused = {said(one.case) for one in outcomes if one.got == "deny"}
    assert refused == {"selec 1"}
    assert {one.case.agent for one in outcomes if one.got == "hold"} == {"writer"}


def test_the_pack_for_models_permits_by_name_and_refuses_what_it_cannot_read() -> None:
    outcomes = run_cases([Path(__file__).parent / "models.cases.yaml"], policies=policies_of("models"))
    assert [f"{one.line}: {said(one.case)}: {one.problem}" for one in outcomes if not one.passed] == []
    assert {one.got for one in outcomes} == {"allow", "deny", "hold"}
