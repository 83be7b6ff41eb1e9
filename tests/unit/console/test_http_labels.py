"""Labels that would mask nothing are refused, from whichever side they come."""

from typing import Any

from weirgate_console.check import Found, Sent, check_together, read_sent

CRM: dict[str, Any] = {
    "name": "crm", "protocol": "http", "upstream": "https://crm", "routes": ["/v1/customers/{id}"],
}  # fmt: skip
SHOP: dict[str, Any] = {"name": "shop", "protocol": "postgres", "upstream": "postgresql://a@h/shop"}
STANDING = {("resource", "crm"): CRM, ("resource", "shop"): SHOP}


def checked(*sent: Sent, standing: Any = STANDING) -> list[Found]:
    documents, problems = read_sent(sent)
    assert not problems, problems
    return check_together(documents, standing, {})


def labels(**body: Any) -> Sent:
    field = next(iter(body["fields"] if "fields" in body else body["columns"]))
    held = "fields" if "fields" in body else "columns"
    return Sent(kind="labels", body=body, file="l.yaml", lines={held: 3, f"{held}/{field}": 4})


def test_fields_of_a_route_the_resource_has_are_taken() -> None:
    assert checked(labels(resource="crm", fields={"/v1/customers/{id} /email": "pii.email"})) == []
    assert checked(labels(resource="crm", fields={"* /**/email": "pii.email"})) == []


def test_columns_of_an_http_resource_are_refused() -> None:
    (found,) = checked(labels(resource="crm", columns={"public.customers.email": "pii.email"}))
    assert (found.line, found.what) == (3, "'crm' is a resource of 'protocol: http' and has no columns")
    assert (found.right or "").startswith("write 'fields: {")


def test_fields_of_a_postgres_resource_are_refused() -> None:
    (found,) = checked(labels(resource="shop", fields={"* /email": "pii.email"}))
    assert (found.line, found.what) == (3, "'shop' is a resource of 'protocol: postgres' and has no fields")


def test_a_label_on_a_route_nobody_registered_is_refused_with_the_nearest() -> None:
    (found,) = checked(labels(resource="crm", fields={"/v1/customer/{id} /email": "pii.email"}))
    assert found.line == 4
    assert found.what == "'crm' has no route '/v1/customer/{id}', so the label would never apply"
    assert found.right == "did you mean '/v1/customers/{id}'?"


def test_a_resource_sent_with_its_labels_is_what_they_are_checked_against() -> None:
    resource = Sent(kind="resource", body=CRM | {"routes": ["/v2/{id}"]})
    assert checked(resource, labels(resource="crm", fields={"/v2/{id} /email": "pii.email"})) == []
    (found,) = checked(resource, labels(resource="crm", fields={"/v1/customers/{id} /email": "pii.email"}))
    assert found.file == "l.yaml"


def test_a_resource_that_would_leave_standing_labels_without_effect_is_refused() -> None:
    standing = STANDING | {
        ("labels", "crm"): {"resource": "crm", "columns": {}, "fields": {"/v1/customers/{id} /email": "x"}},
        ("labels", "shop"): {"resource": "shop", "columns": {"public.c.d": "pii.email"}},
    }
    resource = Sent(kind="resource", body=CRM | {"routes": []}, file="r.yaml", lines={"routes": 6})
    (found,) = checked(resource, standing=standing)
    assert (found.file, found.line) == ("r.yaml", 6)
    assert "labels of 'crm' stand that would not fit" in found.what
    turned = Sent(kind="resource", body=CRM | {"name": "shop"}, file="r.yaml", lines={"protocol": 2})
    (found,) = checked(turned, standing=standing)
    assert found.line == 2
    assert checked(Sent(kind="resource", body=SHOP), standing=standing) == []


def test_a_masking_rule_for_a_label_of_a_field_is_not_idle() -> None:
    masking = Sent(
        kind="masking", body={"rules": [{"label": "crm.note", "transform": {"kind": "redact"}}]}
    )  # fmt: skip
    assert checked(masking, labels(resource="crm", fields={"* /note": "crm.note"})) == []
    (warning,) = checked(masking)
    assert warning.severity == "warning"


def test_labels_of_requests_fit_a_resource_that_masks_requests_and_has_the_route() -> None:
    model = {"name": "llm", "protocol": "http", "upstream": "https://llm", "api": "openai"}
    given = {"resource": "llm", "request_fields": {"/v1/chat/completions /user": "pii.name"}}
    sent = Sent(kind="labels", body=given, file="l.yaml", lines={"request_fields": 3})
    masking = STANDING | {("resource", "llm"): model | {"mask_requests": True}}
    assert checked(sent, standing=masking) == []
    (found,) = checked(sent, standing=STANDING | {("resource", "llm"): model})
    assert found.what == "'llm' does not mask requests, so the labels would never apply"
    wrong = Sent(
        kind="labels", body=given | {"request_fields": {"/v1/chat /user": "pii.name"}}, file="l.yaml"
    )
    (found,) = checked(wrong, standing=masking)
    assert "has no route '/v1/chat'" in found.what
    (found,) = checked(Sent(kind="labels", body=given | {"resource": "shop"}, file="l.yaml"))
    assert "has no request_fields" in found.what
