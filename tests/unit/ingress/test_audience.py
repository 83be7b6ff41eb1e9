"""A token for one resource opens no other."""

import pytest

from weirgate_ingress.audience import bound_resources

GATEWAY = "https://gateway.test"


@pytest.mark.parametrize(
    ("claimed", "audience", "resources"),
    [
        ("weirgate", "weirgate", None),
        (["other", "weirgate"], "weirgate", None),
        ("weirgate/tools", "weirgate", ("tools",)),
        (f"{GATEWAY}/tools", GATEWAY, ("tools",)),
        (f"{GATEWAY}/tools/", GATEWAY, ("tools",)),
        (f"{GATEWAY}/", GATEWAY, None),
        ([GATEWAY, f"{GATEWAY}/tools"], GATEWAY, ("tools",)),
        ([f"{GATEWAY}/tools", f"{GATEWAY}/crm", "https://other.test/userinfo"], GATEWAY, ("crm", "tools")),
    ],
)
def test_an_audience_says_for_which_resources_a_token_is(
    claimed: object, audience: str, resources: tuple[str, ...] | None
) -> None:
    assert bound_resources(claimed, audience) == resources


@pytest.mark.parametrize(
    "claimed",
    [None, 7, [], {}, "https://other.test/tools", [["weirgate"]], f"{GATEWAY}.evil/tools", f"{GATEWAY}/A/b"],
)
def test_an_audience_that_names_nothing_here_is_refused(claimed: object) -> None:
    with pytest.raises(ValueError, match="audience"):
        bound_resources(claimed, GATEWAY)
