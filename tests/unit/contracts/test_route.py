"""Which template a path fits."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from weirgate_contracts.route import match_route

ROUTES = (
    "/v1/{kind}/{id}", "/v1/customers/{id}", "/v1/customers/me", "/v1/{kind}/me", "/v1/customers",
    "/", "/v1/customers/",
)  # fmt: skip


@pytest.mark.parametrize(
    ("path", "found"),
    [
        ("/v1/customers/7", ("/v1/customers/{id}", {"id": "7"})),
        ("/v1/customers/me", ("/v1/customers/me", {})),
        ("/v1/staff/me", ("/v1/{kind}/me", {"kind": "staff"})),
        ("/v1/staff/7", ("/v1/{kind}/{id}", {"kind": "staff", "id": "7"})),
        ("/v1/customers", ("/v1/customers", {})),
        ("/", ("/", {})),
        ("/v1/customers/", ("/v1/customers/", {})),
        ("/v1/customers/a%20b%2Fc", ("/v1/customers/{id}", {"id": "a b/c"})),
        ("/v1/customers/%7Bid%7D", ("/v1/customers/{id}", {"id": "{id}"})),
    ],
)
def test_a_path_fits_the_template_whose_literal_segments_come_first(
    path: str, found: tuple[str, dict[str, str]]
) -> None:
    assert match_route(ROUTES, path) == found
    assert match_route(ROUTES[::-1], path) == found


@pytest.mark.parametrize(
    "path", ["/v1", "/v1/", "/v2/customers/7", "/v1/customers/7/orders", "/V1/customers", "", "x"]
)
def test_a_path_that_fits_none_has_no_route(path: str) -> None:
    assert match_route(ROUTES, path) is None


def test_a_name_stands_for_one_segment_that_is_not_empty() -> None:
    assert match_route(("/a/{x}",), "/a/") is None
    assert match_route(("/a/{x}/",), "/a/b/") == ("/a/{x}/", {"x": "b"})
    assert match_route(("/a/{x}",), "/a/b/c") is None


def test_a_literal_is_compared_as_it_is_written_in_normal_form() -> None:
    assert match_route(("/a%20b",), "/a%20b") == ("/a%20b", {})
    assert match_route(("/a{x}b", "/{x}.json"), "/a{x}b") == ("/a{x}b", {})


@given(st.lists(st.sampled_from(["a", "b", "{x}", "{y}"]), min_size=1, max_size=4), st.text(max_size=30))
def test_a_template_fits_only_paths_of_its_own_length(parts: list[str], path: str) -> None:
    found = match_route(["/" + "/".join(parts)], path)
    assert found is None or path.count("/") == len(parts)


def plainly(routes: list[str], path: str) -> tuple[str, dict[str, str]] | None:
    """The same, said in the plainest way: try every template, take the one with names as late as can be."""
    found: list[tuple[tuple[bool, ...], int, str, dict[str, str]]] = []
    for order, route in enumerate(routes):
        pairs = list(zip(route.split("/"), path.split("/"), strict=False))
        if route.count("/") == path.count("/") and all(
            part == segment or (part.startswith("{") and segment) for part, segment in pairs
        ):
            names = {part[1:-1]: segment for part, segment in pairs if part.startswith("{")}
            found.append((tuple(part.startswith("{") for part, _ in pairs), order, route, names))
    return (min(found)[2], min(found)[3]) if found else None


TEMPLATES = st.lists(st.sampled_from(["a", "b", "{x}", "{y}", ""]), min_size=1, max_size=4).map("/".join)


@given(
    st.lists(TEMPLATES.map(lambda parts: f"/{parts}"), max_size=8),
    st.lists(st.sampled_from(["a", "b", "c", ""]), min_size=1, max_size=4).map("/".join),
)
def test_what_is_found_is_what_trying_every_template_finds(routes: list[str], path: str) -> None:
    assert match_route(routes, f"/{path}") == plainly(routes, f"/{path}")


def test_a_path_with_many_segments_costs_no_depth() -> None:
    assert match_route(ROUTES, "/v1" * 5000) is None
