"""Which template a path fits is the same for policy, masking and ingress."""

import pytest

from weirgate_contracts.route import match_route

ROUTES = ("/v1/customers", "/v1/customers/{id}", "/v1/customers/me", "/v1/{kind}/{id}/notes", "/")


@pytest.mark.parametrize(
    ("path", "found"),
    [
        ("/v1/customers", ("/v1/customers", {})),
        ("/v1/customers/7", ("/v1/customers/{id}", {"id": "7"})),
        ("/v1/customers/me", ("/v1/customers/me", {})),
        ("/v1/customers/m%65", ("/v1/customers/me", {})),
        ("/v1/customers/a%20b", ("/v1/customers/{id}", {"id": "a b"})),
        ("/v1/orders/9/notes", ("/v1/{kind}/{id}/notes", {"kind": "orders", "id": "9"})),
        ("/", ("/", {})),
        ("/v1/customers/", None),
        ("/v1/customers/7/8", None),
        ("/v2/customers", None),
        ("/V1/customers", None),
    ],
)
def test_a_path_fits_the_most_literal_template(path: str, found: tuple[str, dict[str, str]] | None) -> None:
    assert match_route(ROUTES, path) == found
    assert match_route(tuple(reversed(ROUTES)), path) == found
