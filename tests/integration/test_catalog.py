"""Catalogs of a real PostgreSQL, read through a login that may do nothing else."""

from collections.abc import Iterator
from importlib.resources import files
from pathlib import Path

import asyncpg
import pytest

from weirgate_contracts.config import ResourceDocument
from weirgate_embedded.postgres import Postgres
from weirgate_policy.catalog import CatalogUnreadable, read_catalog
from weirgate_testkit.postgres import running_postgres


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Postgres]:
    """A server with the demo shop, and a role without any rights."""
    with running_postgres(tmp_path_factory.mktemp("catalog")) as running:
        sets = "\\set app_password app\n\\set catalog_password cat\n"
        running.psql(sets + (files("weirgate_embedded.demo") / "shop.sql").read_text())
        yield running


def resource(
    server: Postgres, *, catalog_login: str = "shop_catalog", secret: Path, options: str = "sslmode=disable"
) -> ResourceDocument:
    """The shop as it is registered."""
    address = f"127.0.0.1:{server.port}/shop?{options}"
    return ResourceDocument(
        name="shop",
        protocol="postgres",
        upstream=f"postgresql://shop_app@{address}",
        catalog=f"postgresql://{catalog_login}@{address}",
        catalog_credential=f"file:{secret}",
    )


@pytest.fixture
def secret(tmp_path: Path) -> Path:
    """The password file of the catalog login."""
    path = tmp_path / "secret"
    path.write_text("cat\n")
    return path


async def execute(server: Postgres, *statements: str) -> None:
    """Do something as the owner."""
    connection = await asyncpg.connect(server.dsn("shop"))
    try:
        for one in statements:
            await connection.execute(one)
    finally:
        await connection.close()


async def test_the_shop_is_read_whole_without_any_right_to_its_rows(server: Postgres, secret: Path) -> None:
    found = await read_catalog(resource(server, secret=secret))
    assert found.database == "shop"
    assert found.login == "shop_app"
    assert found.search_path == ("shop_app", "public")
    assert found.server_version >= 140000
    customers = found.relations["public.customers"]
    assert customers.kind == "r"
    assert [column.name for column in customers.columns][:3] == ["id", "name", "email"]
    assert customers.columns[0].type == "integer"
    view = found.relations["public.order_summary"]
    assert view.kind == "v"
    assert "public.customers" in (view.definition or "")
    assert not any(name.startswith("pg_") for name in found.relations)


async def test_the_same_catalog_has_the_same_revision_and_another_another(
    server: Postgres, secret: Path
) -> None:
    document = resource(server, secret=secret)
    first, second = await read_catalog(document), await read_catalog(document)
    assert first.revision == second.revision
    await execute(server, "create table public.fresh (a int)")
    third = await read_catalog(document)
    await execute(server, "drop table public.fresh")
    assert third.revision != first.revision
    assert (await read_catalog(document)).revision == first.revision
    assert third.from_dict(third.to_dict()).revision == third.revision


async def test_functions_show_their_body_only_where_it_means_the_same_to_everybody(
    server: Postgres, secret: Path
) -> None:
    await execute(
        server,
        "create schema f",
        "create function f.plain() returns bigint language sql as 'select count(*) from public.orders'",
        "create function f.atomic() returns bigint language sql "
        "begin atomic select count(*) from public.orders; end",
        "create function f.fixed() returns bigint language sql set search_path = public "
        "as 'select count(*) from orders'",
        "create function f.definer() returns int language plpgsql security definer as 'begin return 1; end'",
        "create table f.part (a int, b date) partition by range (b)",
        "create table f.part_1 partition of f.part default",
    )
    found = await read_catalog(resource(server, secret=secret))
    await execute(server, "drop schema f cascade")
    assert found.functions["f.plain"][0].body == "select count(*) from public.orders"
    assert "public.orders" in (found.functions["f.atomic"][0].body or "")
    assert found.functions["f.fixed"][0].body is None
    definer = found.functions["f.definer"][0]
    assert (definer.language, definer.security_definer, definer.body) == ("plpgsql", True, None)
    assert found.relations["f.part_1"].parents == ("f.part",)
    assert found.relations["f.part"].kind == "p"


@pytest.mark.parametrize(
    ("setting", "path"),
    [
        ("alter role shop_app in database shop set search_path = 'Odd', \"a,b\"", ("Odd", "a,b")),
        ('alter role shop_app set search_path = x, "$user"', ("x", "shop_app")),
        ("alter database shop set search_path = y", ("y",)),
        ("alter role shop_catalog set statement_timeout = '5s'", ("shop_app", "public")),
    ],
)
async def test_the_default_search_path_is_that_of_the_gateways_login(
    server: Postgres, secret: Path, setting: str, path: tuple[str, ...]
) -> None:
    await execute(server, setting)
    try:
        assert (await read_catalog(resource(server, secret=secret))).search_path == path
    finally:
        await execute(
            server,
            "alter role shop_app in database shop reset all",
            "alter role shop_app reset all",
            "alter database shop reset all",
            "alter role shop_catalog reset all",
        )


async def test_a_catalog_login_with_a_path_of_its_own_is_refused(server: Postgres, secret: Path) -> None:
    await execute(server, "alter role shop_catalog set search_path = elsewhere")
    try:
        with pytest.raises(CatalogUnreadable, match="search_path of its own"):
            await read_catalog(resource(server, secret=secret))
    finally:
        await execute(server, "alter role shop_catalog reset all")


async def test_what_goes_wrong_is_told_without_the_secret(
    server: Postgres, secret: Path, tmp_path: Path
) -> None:
    secret.write_text("hunter2")
    with pytest.raises(CatalogUnreadable) as refused:
        await read_catalog(resource(server, secret=secret))
    assert "28P01" in str(refused.value)
    assert "hunter2" not in str(refused.value)
    with pytest.raises(CatalogUnreadable, match="not to be had"):
        await read_catalog(resource(server, secret=tmp_path / "missing"))
    secret.write_text("cat")
    with pytest.raises(CatalogUnreadable):
        await read_catalog(resource(server, secret=secret, options="sslmode=require"))


async def test_a_lock_held_by_ddl_does_not_hold_the_reader_for_ever(server: Postgres, secret: Path) -> None:
    connection = await asyncpg.connect(server.dsn("shop"))
    try:
        await connection.execute("begin; alter table customers add column held int")
        with pytest.raises(CatalogUnreadable):
            await read_catalog(resource(server, secret=secret))
    finally:
        await connection.execute("rollback")
        await connection.close()
    await read_catalog(resource(server, secret=secret))
