"""The starter rules, as the demo's agents meet them."""

import asyncio
import subprocess
import time

import psycopg
import pytest

from weirgate_testkit.gateway import RunningGateway


def rows(gateway: RunningGateway, agent: str, sql: str) -> list[tuple[object, ...]]:
    with psycopg.connect(gateway.url(agent), autocommit=True) as connection:
        return connection.execute(sql).fetchall()  # type: ignore[arg-type]


def refusal(gateway: RunningGateway, agent: str, sql: str) -> psycopg.Error:
    with psycopg.connect(gateway.url(agent), autocommit=True) as connection:
        with pytest.raises(psycopg.Error) as caught:
            connection.execute(sql)  # type: ignore[arg-type]
        connection.execute("select 1")  # the session goes on
        return caught.value


def clear(gateway: RunningGateway, sql: str) -> list[tuple[object, ...]]:
    with psycopg.connect(gateway.direct_url()) as connection:
        return connection.execute(sql).fetchall()  # type: ignore[arg-type]


LEAKS = {
    "plain": "select email from customers order by id limit 50",
    "star": "select * from customers order by id limit 50",
    "alias": "select email as harmless from customers order by id limit 50",
    "expression": "select upper(email) from customers order by id limit 50",
    "concatenation": "select 'x' || card || 'y' from customers order by id limit 50",
    "subquery": "select (select c.email from customers c where c.id = o.customer_id) from orders o limit 50",
    "cte": "with x as (select id, email e from customers) select e from x order by id limit 50",
    "union": "select name from products where id < 3 union all select email from customers where id < 30",
    "aggregate": "select string_agg(email, ',') from customers where id < 30",
    "array": "select array_agg(card) from customers where id < 30",
    "whole row": "select c from customers c order by id limit 20",
    "json": "select row_to_json(c) from customers c order by id limit 20",
    "json build": "select json_build_object('e', email) from customers order by id limit 20",
    "view": "select * from order_summary order by id limit 50",
    "functional notation": "select email(c) from customers c order by id limit 20",
    "notes (by content)": "select notes from customers where notes is not null order by id limit 400",
    "cursor": "declare c cursor with hold for select email from customers order by id; fetch 20 from c",
    "prepared": "prepare leak as select email from customers order by id limit 20; execute leak",
}


@pytest.mark.parametrize("sql", LEAKS.values(), ids=LEAKS.keys())
def test_an_analyst_never_sees_personal_data_in_clear(gateway: RunningGateway, sql: str) -> None:
    secrets = {
        str(value)
        for row in clear(gateway, "select email, card, phone, ssn from customers where id <= 20000")
        for value in row
    }
    done = subprocess.run(
        ["psql", "-XAt", gateway.url("analyst"), "-c", sql],
        text=True,
        capture_output=True,
        timeout=60,
        check=False,
    )
    seen = done.stdout + done.stderr
    assert done.returncode == 0 or "ERROR" in done.stderr
    words = {
        word
        for line in seen.replace(",", " ").replace("|", " ").replace('"', " ").split()
        for word in [line.strip("(){}x y")]
    }
    assert not {word for word in words if word in secrets or word.lower() in secrets}
    assert "@mail.example.com" not in seen


def test_masked_rows_still_have_their_other_values(gateway: RunningGateway) -> None:
    through = rows(gateway, "analyst", "select id, name, city, email from customers order by id limit 100")
    direct = clear(gateway, "select id, name, city, email from customers order by id limit 100")
    assert [row[:3] for row in through] == [row[:3] for row in direct]
    assert all(mine[3] != theirs[3] for mine, theirs in zip(through, direct, strict=True))


def test_a_masked_column_decides_nothing(gateway: RunningGateway) -> None:
    for sql in (
        "select name from customers where email = 'quinn.patel1@example.com'",
        "select name from customers order by card limit 1",
        "select count(*) from customers group by ssn",
        "select distinct phone from customers",
    ):
        said = refusal(gateway, "analyst", sql)
        assert said.sqlstate == "42501", sql


def test_a_reader_may_not_write_and_nothing_reaches_the_upstream(gateway: RunningGateway) -> None:
    mark = f"mark{time.time_ns()}"
    said = refusal(gateway, "reader", f"update products set name = '{mark}' where id = 1")
    assert said.sqlstate == "42501"
    assert said.diag.message_hint
    assert mark not in gateway.upstream_log()


def test_nothing_leads_sideways(gateway: RunningGateway) -> None:
    for sql in (
        "copy (select 1) to program 'id'",
        "copy products from '/etc/passwd'",
        "select pg_read_file('/etc/passwd')",
        "do $$ begin perform 1; end $$",
        "set role postgres",
        "create extension dblink",
        "select lo_import('/etc/passwd')",
        "alter system set work_mem = '1GB'",
    ):
        assert refusal(gateway, "reader", sql).sqlstate == "42501", sql


def test_no_ddl(gateway: RunningGateway) -> None:
    for agent in ("reader", "analyst", "writer"):
        assert refusal(gateway, agent, "drop table products").sqlstate == "42501"


def open_request(gateway: RunningGateway, marker: str, within_s: float = 10) -> str:
    import json

    deadline = time.monotonic() + within_s
    while time.monotonic() < deadline:
        out = gateway.weirgate("approvals", "list", "--json").stdout
        for entry in json.loads(out):
            if marker in json.dumps(entry):
                return str(entry["id"])
        time.sleep(0.1)
    raise AssertionError("no request was opened")


async def test_a_held_update_waits_for_a_person_and_runs_once(gateway: RunningGateway) -> None:
    marker = f"held{time.time_ns()}"
    notices: list[str] = []
    connection = await psycopg.AsyncConnection.connect(gateway.url("writer"), autocommit=True)
    connection.add_notice_handler(
        lambda diag: notices.append(f"{diag.message_primary} {diag.message_detail}")
    )
    waiting = asyncio.create_task(
        connection.execute(f"update products set name = '{marker}' where id = 2")  # type: ignore[arg-type]
    )
    request = await asyncio.to_thread(open_request, gateway, marker)
    assert marker not in gateway.upstream_log()
    assert not waiting.done()
    await asyncio.to_thread(gateway.weirgate, "approvals", "grant", request, "--reason", "fine")
    done = await asyncio.wait_for(waiting, 15)
    assert done.rowcount == 1
    assert notices
    assert request in " ".join(notices)
    assert clear(gateway, "select name from products where id = 2") == [(marker,)]
    assert gateway.upstream_log().count(marker) == 1
    kinds = [event["kind"] for event in gateway.events() if request in str(event)]
    for kind in ("operation.held", "approval.requested", "approval.granted", "operation.allowed"):
        assert kind in kinds
    await connection.close()


async def test_a_refused_hold_never_runs(gateway: RunningGateway) -> None:
    marker = f"refused{time.time_ns()}"
    connection = await psycopg.AsyncConnection.connect(gateway.url("writer"), autocommit=True)
    waiting = asyncio.create_task(
        connection.execute(f"update products set name = '{marker}' where id = 3")  # type: ignore[arg-type]
    )
    request = await asyncio.to_thread(open_request, gateway, marker)
    await asyncio.to_thread(gateway.weirgate, "approvals", "refuse", request, "--reason", "no")
    with pytest.raises(psycopg.Error) as caught:
        await asyncio.wait_for(waiting, 15)
    assert caught.value.sqlstate == "42501"
    assert marker not in gateway.upstream_log()
    await connection.execute("select 1")
    await connection.close()


async def test_a_hold_ends_at_once_when_it_is_cancelled_and_the_request_is_withdrawn(
    gateway: RunningGateway,
) -> None:
    marker = f"cancelled{time.time_ns()}"
    connection = await psycopg.AsyncConnection.connect(gateway.url("writer"), autocommit=True)
    waiting = asyncio.create_task(
        connection.execute(f"delete from products where name = '{marker}'")  # type: ignore[arg-type]
    )
    request = await asyncio.to_thread(open_request, gateway, marker)
    began = time.monotonic()
    await connection.cancel_safe()
    with pytest.raises(psycopg.errors.QueryCanceled):
        await asyncio.wait_for(waiting, 10)
    assert time.monotonic() - began < 5
    await connection.execute("select 1")
    await connection.close()
    deadline = time.monotonic() + 10
    while time.monotonic() < deadline:
        if any(
            e["kind"] == "approval.withdrawn" and e["request"] == request for e in gateway.events(last=200)
        ):
            break
        await asyncio.sleep(0.2)
    else:
        raise AssertionError("the request was not withdrawn")
    assert gateway.weirgate("approvals", "grant", request, check=False).returncode == 1
