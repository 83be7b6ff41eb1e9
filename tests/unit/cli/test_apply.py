"""What `weirgate apply` makes of files: documents, or what is wrong, where, and what would be right."""

from pathlib import Path

import pytest

from weirgate_cli.apply import Documents, Problems, load

GOOD = """\
kind: resource
name: shop
protocol: postgres
upstream: postgresql://app@db.internal:5432/shop?sslmode=verify-full
credential: env:SHOP_PASSWORD
---
kind: labels
resource: shop
columns: {public.customers.email: pii.email, public.customers.card: payment.card}
---
kind: masking
rules:
  - {label: "pii.*", transform: redact}
  - {label: payment.card, transform: partial, keep_last: 4}
---
kind: policy
name: analysts
file: analysts.cedar
---
kind: reviewers
name: dba
groups: [dba]
"""


def write(directory: Path, text: str, name: str = "gateway.yaml") -> Path:
    (directory / "analysts.cedar").write_text("permit (principal, action, resource);\n")
    file = directory / name
    file.write_text(text)
    return file


def wrong(directory: Path, text: str) -> list[str]:
    loaded = load(write(directory, text))
    assert isinstance(loaded, Problems), "it was taken"
    return [str(problem).removeprefix(f"{directory}/") for problem in loaded.problems]


def test_the_documents_of_the_manual_are_read(tmp_path: Path) -> None:
    loaded = load(write(tmp_path, GOOD))
    assert isinstance(loaded, Documents)
    by_kind = {document.kind: document for document in loaded.documents}
    assert {(one.kind, one.name) for one in loaded.documents} == {
        ("resource", "shop"), ("labels", "shop"), ("masking", "default"),
        ("policy", "analysts"), ("reviewers", "dba"),
    }  # fmt: skip
    assert by_kind["policy"].body["cedar"] == "permit (principal, action, resource);\n"
    assert by_kind["masking"].body["rules"][1]["transform"]["keep_last"] == 4
    assert by_kind["labels"].lines["columns/public.customers.email"] == 9
    assert by_kind["masking"].lines["rules/1/transform/keep_last"] == 14
    assert by_kind["policy"].cedar_file == str(tmp_path / "analysts.cedar")
    assert by_kind["policy"].lines["cedar"] == 18


def test_a_transform_may_be_written_out_too(tmp_path: Path) -> None:
    text = "kind: masking\nrules:\n  - label: pii.phone\n    transform: {kind: partial, keep_last: 2}\n"
    loaded = load(write(tmp_path, text))
    assert isinstance(loaded, Documents)
    assert loaded.documents[0].body["rules"][0]["transform"]["keep_last"] == 2


def test_a_directory_is_read_whole_and_an_unused_cedar_file_is_pointed_out(tmp_path: Path) -> None:
    write(tmp_path, GOOD)
    (tmp_path / "more").mkdir()
    (tmp_path / "more" / "sre.yml").write_text("kind: reviewers\nname: sre\ngroups: [sre]\n")
    (tmp_path / "lonely.cedar").write_text("")
    loaded = load(tmp_path)
    assert isinstance(loaded, Documents)
    assert len(loaded.documents) == 6
    assert [Path(warning.file).name for warning in loaded.warnings] == ["lonely.cedar"]


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("kind: resource\n\tname: shop\n", "2: a tab indents this line (use spaces)"),
        ("kind: [resource\n", "2: this is not YAML"),
        ("kind: resource\nname: a: b\n", "2: this is not YAML"),
        ("- kind: resource\n", "1: a document is a mapping that begins with 'kind:'"),
        ("name: shop\n", "1: 'kind' is missing (one of labels, masking, policy, resource, reviewers, tools)"),
        ("kind: resorce\nname: shop\n", "1: there is no kind 'resorce' (did you mean 'resource'?)"),
        (
            "kind: reviewers\nname: dba\ngroups: [a]\nname: dbb\n",
            "4: 'name' stands twice, first on line 2 (keep one of them)",
        ),
        (
            "kind: reviewers\nname: dba\ngroup: [a]\n",
            "3: unknown field 'group' (did you mean 'groups'?)",
        ),
        ("kind: reviewers\nname: dba\n", "1: 'groups' is missing (write a list: 'groups: [dba]')"),
        ("kind: reviewers\nname: dba\ngroups: []\n", "3: 'groups' is empty (give at least one)"),
        ("kind: reviewers\nname: no\ngroups: [a]\n", "2: YAML reads no as a truth value"),
        ("kind: reviewers\nname: 12\ngroups: [a]\n", "2: name must be text, not int (put it"),
        ("kind: reviewers\nname: 2026-01-01\ngroups: [a]\n", "2: '2026-01-01' is read as a date"),
        ("kind: reviewers\nname: DBA\ngroups: [a]\n", "2: name: 'DBA' cannot stand here (1 to 63"),
        (
            "kind: labels\nresource: shop\ncolumns:\n  public.c.email: pii.email\n  email: pii.email\n",
            "5: 'email' is no column (write schema.table.column",
        ),
        (
            "kind: labels\nresource: shop\ncolumns:\n  public.customers.email: PII Email\n",
            "4: columns.public.customers.email: 'PII Email' cannot stand here (a label in",
        ),
        (
            "kind: masking\nrules:\n  - {label: 'pii.*', transform: redakt}\n",
            "3: rules.0.transform.kind: 'redakt' is not known (did you mean 'redact'?)",
        ),
        (
            "kind: masking\nrules:\n  - label: payment.card\n    transform: partial\n    keep_lst: 4\n",
            "5: unknown field 'keep_lst' (did you mean 'keep_last'?)",
        ),
        ("kind: policy\nname: p\n", "1: 'file' is missing (write 'file: NAME.cedar')"),
        (
            "kind: policy\nname: p\nfile: analyst.cedar\n",
            "analyst.cedar: there is no such file (did you mean 'analysts.cedar'?)",
        ),
        ("kind: resource\nname: s\nprotocol: postgress\nupstream: x\n", "did you mean 'postgres'?"),
        ("kind: resource\nname: s\nprotocol: postgres\nupstream: db\n", "postgresql://user@host:port/database"),
        ("a: &x {b: 1}\nc: *x\nkind: policy\n", "aliases of mappings and lists are not read here"),
        ("", "there is no document in it"),
    ],
)  # fmt: skip
def test_what_is_wrong_is_named_with_its_line_and_what_would_be_right(
    tmp_path: Path, text: str, said: str
) -> None:
    problems = wrong(tmp_path, text)
    assert any(said in problem.removeprefix("gateway.yaml:") for problem in problems), problems


@pytest.mark.parametrize(
    "upstream",
    [
        "postgresql://app:hunter2@db/shop",
        "postgresql://app@db/shop?password=hunter2",
        "postgresql://app:hunter2@db",
    ],
)
def test_a_password_in_an_address_is_refused_and_not_repeated(tmp_path: Path, upstream: str) -> None:
    problems = wrong(tmp_path, f"kind: resource\nname: shop\nprotocol: postgres\nupstream: {upstream}\n")
    assert problems == [
        "gateway.yaml:4: a password stands in the address "
        "(leave it out and name it by 'credential: env:NAME' or 'credential: file:/path')"
    ]


def test_a_credential_written_out_is_refused_and_not_repeated(tmp_path: Path) -> None:
    text = "kind: resource\nname: s\nprotocol: postgres\nupstream: postgresql://a@h/d\ncredential: hunter2\n"
    (problem,) = wrong(tmp_path, text)
    assert problem.startswith(
        "gateway.yaml:5: credential: a credential is a reference, env:NAME or file:/path"
    )
    assert "hunter2" not in problem


def test_every_problem_of_every_file_is_said_at_once(tmp_path: Path) -> None:
    write(tmp_path, "kind: reviewer\nname: x\n---\nkind: reviewers\nname: X\ngroup: []\n", "a.yaml")
    write(tmp_path, "kind: polici\n", "b.yaml")
    loaded = load(tmp_path)
    assert isinstance(loaded, Problems)
    places = [
        (Path(problem.file).name, problem.line) for problem in loaded.problems if problem.severity == "error"
    ]
    assert places == [("a.yaml", 1), ("a.yaml", 4), ("a.yaml", 5), ("a.yaml", 6), ("b.yaml", 1)]


def test_two_documents_of_one_name_are_refused_and_both_are_named(tmp_path: Path) -> None:
    text = "kind: reviewers\nname: dba\ngroups: [a]\n---\nkind: reviewers\nname: dba\ngroups: [b]\n"
    (problem,) = wrong(tmp_path, text)
    assert problem.startswith("gateway.yaml:5: a second document 'kind: reviewers, name: dba', the first is ")
    assert "gateway.yaml:1" in problem


def test_a_file_that_is_not_there_suggests_the_nearest(tmp_path: Path) -> None:
    write(tmp_path, GOOD)
    loaded = load(tmp_path / "gatway.yaml")
    assert isinstance(loaded, Problems)
    assert loaded.problems[0].right == "did you mean 'gateway.yaml'?"


def test_a_file_that_is_not_text_names_the_line(tmp_path: Path) -> None:
    file = tmp_path / "x.yaml"
    file.write_bytes(b"kind: policy\nname: \xff\xfe\n")
    loaded = load(file)
    assert isinstance(loaded, Problems)
    assert (loaded.problems[0].line, loaded.problems[0].what) == (2, "not UTF-8")


@pytest.mark.parametrize(
    "text",
    [
        "[" * 5000, "a: " * 2000, "&a [" * 50 + "*a", "%YAML 9.9\n---\n", "\x00",
        "!!python/object:os.system {}\n", "? {a: b}\n: c\n",
    ],
)  # fmt: skip
def test_hostile_yaml_is_a_problem_and_nothing_worse(tmp_path: Path, text: str) -> None:
    assert wrong(tmp_path, text)
