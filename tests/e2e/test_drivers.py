"""Real drivers through the gateway see what they see directly."""

import asyncio
import io
import json
import os
import re
import subprocess
from collections.abc import Awaitable, Callable
from pathlib import Path
from typing import Any

import asyncpg
import psycopg
import pytest
import sqlalchemy
from langchain_community.agent_toolkits.sql.toolkit import SQLDatabaseToolkit
from langchain_community.utilities import SQLDatabase
from langchain_core.language_models.fake_chat_models import FakeMessagesListChatModel
from langchain_core.messages import AIMessage, HumanMessage, ToolMessage

from weirgate_testkit.gateway import RunningGateway

NODE = Path(__file__).parent / "node"


@pytest.mark.parametrize("mode", ["simple", "extended", "prepared"])
@pytest.mark.parametrize("clients", [1, 8])
def test_pgbench(gateway: RunningGateway, tmp_path: Path, mode: str, clients: int) -> None:
    script = tmp_path / "script.sql"
    script.write_text(
        "\\set id random(1, 600)\n"
        "begin;\n"
        "select name, price from products where id = :id;\n"
        "update products set price = price where id = :id;\n"
        "end;\n"
    )
    found = sorted(Path("/usr/lib/postgresql").glob("*/bin/pgbench"))
    done = subprocess.run(
        [str(found[-1]), "-n", "-f", str(script), "-M", mode, "-c", str(clients), "-t", "20",
         gateway.url("admin-bot")],
        text=True, capture_output=True, timeout=120, check=False,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    assert f"transactions actually processed: {20 * clients}/{20 * clients}" in done.stdout
    assert "number of failed transactions: 0" in done.stdout


async def both(gateway: RunningGateway, story: Callable[[str], Awaitable[Any]]) -> tuple[Any, Any]:
    return await story(gateway.url("admin-bot")), await story(gateway.direct_url())


async def test_psycopg_parameters_types_and_binary(gateway: RunningGateway) -> None:
    async def story(url: str) -> Any:
        async with await psycopg.AsyncConnection.connect(url) as connection:
            seen: list[Any] = []
            for binary in (False, True):
                cursor = connection.cursor(binary=binary)
                await cursor.execute(
                    "select %s::int, %s::text, %s::numeric, %s::timestamptz, %s::bytea, %s::int[], null::date, "
                    "'{\"a\": [1, 2]}'::jsonb, inet '10.0.0.1', interval '1 day 2 hours'",
                    (5, "ä", "12.50", "2024-02-29 12:00+00", b"\0\xff", [1, 2]),
                )
                seen.append(await cursor.fetchall())
                seen.append([(c.name, c.type_code) for c in cursor.description or []])
            return seen

    through, direct = await both(gateway, story)
    assert through == direct


async def test_psycopg_prepares_after_some_executions(gateway: RunningGateway) -> None:
    async def story(url: str) -> Any:
        async with await psycopg.AsyncConnection.connect(url, prepare_threshold=2) as connection:
            return [
                await (await connection.execute("select name from products where id = %s", (n,))).fetchone()
                for n in range(1, 12)
            ]

    through, direct = await both(gateway, story)
    assert through == direct


async def test_psycopg_server_cursors(gateway: RunningGateway) -> None:
    async def story(url: str) -> Any:
        async with await psycopg.AsyncConnection.connect(url) as connection:
            async with connection.cursor("named", scrollable=True) as cursor:
                await cursor.execute("select id, status from orders order by id limit 1000")
                some = await cursor.fetchmany(10)
                await cursor.scroll(100)
                return some, await cursor.fetchmany(5)

    through, direct = await both(gateway, story)
    assert through == direct


async def test_psycopg_pipeline(gateway: RunningGateway) -> None:
    async def story(url: str) -> Any:
        async with await psycopg.AsyncConnection.connect(url, autocommit=True) as connection:
            async with connection.pipeline() as pipeline:
                cursors = [await connection.execute("select %s::int * 2, name from products where id = %s", (n, n))
                           for n in range(1, 40)]  # fmt: skip
                await pipeline.sync()
                return [await cursor.fetchall() for cursor in cursors]

    through, direct = await both(gateway, story)
    assert through == direct


async def test_psycopg_pipeline_with_an_error_skips_to_sync(gateway: RunningGateway) -> None:
    async def story(url: str) -> Any:
        async with await psycopg.AsyncConnection.connect(url, autocommit=True) as connection:
            seen: list[str] = []
            try:
                async with connection.pipeline():
                    await connection.execute("select 1")
                    await connection.execute("select 1/0")
                    await connection.execute("select 2")
            except psycopg.Error as error:
                seen.append(str(error.sqlstate))
            seen.append(str(await (await connection.execute("select 3")).fetchall()))
            return seen

    through, direct = await both(gateway, story)
    assert through == direct


async def test_psycopg_copy_in_and_out(gateway: RunningGateway) -> None:
    async def story(url: str) -> Any:
        async with await psycopg.AsyncConnection.connect(url) as connection:
            await connection.execute("create temp table copied (a int, b text, c timestamptz)")
            cursor = connection.cursor()
            async with cursor.copy("copy copied from stdin") as copy:
                for n in range(5000):
                    await copy.write_row((n, f"row\t{n}\n\\", "2024-01-01 00:00+00"))
            async with cursor.copy("copy copied from stdin (format binary)") as copy:
                copy.set_types(["int4", "text", "timestamptz"])
                await copy.write_row((7, "binary", None))
            out: list[bytes] = []
            for form in ("text", "csv", "binary"):
                async with cursor.copy(
                    f"copy (select * from copied order by a, b) to stdout (format {form})"
                ) as copy:
                    out.append(b"".join([bytes(part) async for part in copy]))
            return out

    through, direct = await both(gateway, story)
    assert through == direct


async def test_psycopg_copy_that_the_agent_gives_up(gateway: RunningGateway) -> None:
    async with await psycopg.AsyncConnection.connect(gateway.url("admin-bot"), autocommit=True) as connection:
        await connection.execute("create temp table given_up (a int)")
        with pytest.raises(ValueError, match="enough"):
            async with connection.cursor().copy("copy given_up from stdin") as copy:
                await copy.write("1\n")
                raise ValueError("enough")
        assert await (await connection.execute("select count(*) from given_up")).fetchone() == (0,)


async def test_asyncpg(gateway: RunningGateway) -> None:
    async def story(url: str) -> Any:
        connection = await asyncpg.connect(url)
        seen: list[Any] = []
        seen.append(
            [tuple(row) for row in await connection.fetch("select id, name, price from products order by id")]
        )
        statement = await connection.prepare("select name from products where id = $1")
        seen.append([await statement.fetchval(n) for n in range(1, 20)])
        seen.append([(a.name, a.type.name) for a in statement.get_attributes()])
        async with connection.transaction():
            await connection.execute("create temp table a (n int, t text)")
            await connection.executemany("insert into a values ($1, $2)", [(n, str(n)) for n in range(500)])
            await connection.copy_records_to_table("a", records=[(n, "copied") for n in range(1000)])
            out = io.BytesIO()
            await connection.copy_from_query("select * from a order by n, t", output=out)
            seen.append(out.getvalue())
            cursor = await connection.cursor("select n from a order by n, t")
            seen.append([tuple(row) for row in await cursor.fetch(10)])
            seen.append([tuple(row) for row in await cursor.fetch(10)])
        seen.append(await connection.fetchval("select $1::jsonb", json.dumps({"a": 1})))
        seen.append(
            await connection.fetchrow("select row(1, 'a'::text) as r, array[[1,2],[3,4]] as m") is not None
        )
        try:
            await connection.fetch("select 1/0")
        except asyncpg.DivisionByZeroError as error:
            seen.append(str(error))
        await connection.close()
        return seen

    through, direct = await both(gateway, story)
    assert through == direct


async def test_asyncpg_hears_notifications(gateway: RunningGateway) -> None:
    heard: asyncio.Queue[str] = asyncio.Queue()
    listener = await asyncpg.connect(gateway.url("admin-bot"))
    await listener.add_listener("news", lambda _c, _p, _ch, payload: heard.put_nowait(str(payload)))
    speaker = await asyncpg.connect(gateway.url("admin-bot"))
    await speaker.execute("notify news, 'hello'")
    assert await asyncio.wait_for(heard.get(), 10) == "hello"
    await listener.close()
    await speaker.close()


async def test_asyncpg_over_verified_tls(gateway: RunningGateway) -> None:
    import ssl

    context = ssl.create_default_context(cafile=gateway.endpoints["ca"])
    context.set_alpn_protocols(["postgresql"])
    connection = await asyncpg.connect(
        gateway.url("admin-bot").replace("127.0.0.1", "localhost"), ssl=context
    )
    assert await connection.fetchval("select 1") == 1
    await connection.close()


async def test_asyncpg_over_direct_tls(gateway: RunningGateway) -> None:
    import ssl

    context = ssl.create_default_context(cafile=gateway.endpoints["ca"])
    context.set_alpn_protocols(["postgresql"])
    connection = await asyncpg.connect(
        gateway.url("admin-bot").replace("127.0.0.1", "localhost"), ssl=context, direct_tls=True
    )
    assert await connection.fetchval("select 1") == 1
    await connection.close()


def test_psycopg_with_tls_direct_and_protocol_3_2(gateway: RunningGateway) -> None:
    url = gateway.url("admin-bot").replace("127.0.0.1", "localhost")
    more: dict[str, Any] = {"sslmode": "verify-full", "sslrootcert": gateway.endpoints["ca"]}
    with psycopg.connect(url, **more) as connection:
        assert connection.execute("select 1").fetchone() == (1,)
    if psycopg.pq.version() >= 180000:
        with psycopg.connect(url, max_protocol_version="latest", **more) as connection:
            assert connection.execute("select 1").fetchone() == (1,)
    if psycopg.pq.version() >= 170000:
        with psycopg.connect(url, sslnegotiation="direct", **more) as connection:
            assert connection.execute("select 1").fetchone() == (1,)


def test_sqlalchemy_reflects_queries_and_rolls_back(gateway: RunningGateway) -> None:
    def story(url: str) -> Any:
        engine = sqlalchemy.create_engine(url.replace("postgresql://", "postgresql+psycopg://"))
        seen: list[Any] = []
        inspector = sqlalchemy.inspect(engine)
        for table in sorted(inspector.get_table_names()):
            if not table.startswith(("bench", "e2e")):
                seen.append((table, str(inspector.get_columns(table)), inspector.get_foreign_keys(table),
                             inspector.get_pk_constraint(table), inspector.get_indexes(table)))  # fmt: skip
        metadata = sqlalchemy.MetaData()
        products = sqlalchemy.Table("products", metadata, autoload_with=engine)
        with engine.connect() as connection:
            query = sqlalchemy.select(products).where(products.c.category == "office").order_by(products.c.id)
            seen.append([tuple(row) for row in connection.execute(query)])
            connection.execute(products.update().where(products.c.id == 600).values(name="changed"))
            connection.rollback()
            named = sqlalchemy.text("select name from products where id = :id")
            seen.append(connection.execute(named, {"id": 600}).scalar())
        engine.dispose()
        return seen

    assert story(gateway.url("admin-bot")) == story(gateway.direct_url())


def test_node_postgres(gateway: RunningGateway) -> None:
    def session(url: str, *more: str) -> Any:
        done = subprocess.run(
            ["node", "session.js", url, *more], cwd=NODE, text=True, capture_output=True, timeout=60, check=False,
            env=os.environ | {"NODE_NO_WARNINGS": "1"},
        )  # fmt: skip
        assert done.returncode == 0, done.stderr
        return json.loads(done.stdout)

    direct = session(gateway.direct_url())
    assert session(gateway.url("admin-bot")) == direct
    assert (
        session(gateway.url("admin-bot").replace("127.0.0.1", "localhost"), gateway.endpoints["ca"]) == direct
    )


class ScriptedModel(FakeMessagesListChatModel):
    """A model that says what the script says, and takes tools without looking at them."""

    def bind_tools(self, tools: Any, **kwargs: Any) -> Any:
        return self


def test_langchain_sql_toolkit_with_a_scripted_model(gateway: RunningGateway) -> None:
    """An agent loop: it lists tables, reads a schema, queries (masked), and is told why a write is refused."""
    database = SQLDatabase.from_uri(
        gateway.url("analyst").replace("postgresql://", "postgresql+psycopg://"),
        include_tables=["customers", "products", "orders"], sample_rows_in_table_info=2,
    )  # fmt: skip
    script = [
        ("sql_db_list_tables", {"tool_input": ""}),
        ("sql_db_schema", {"table_names": "customers, products"}),
        ("sql_db_query", {"query": "select id, name, email from customers order by id limit 3"}),
        ("sql_db_query", {"query": "delete from customers where id = 1"}),
    ]
    said = [
        AIMessage(content="", tool_calls=[{"name": name, "args": arguments, "id": f"call{n}"}])
        for n, (name, arguments) in enumerate(script)
    ]
    model = ScriptedModel(responses=[*said, AIMessage(content="done")])
    tools = {tool.name: tool for tool in SQLDatabaseToolkit(db=database, llm=model).get_tools()}
    messages: list[Any] = [HumanMessage("Who are our first customers? Then remove the first.")]
    bound = model.bind_tools(list(tools.values()))
    while True:
        answer = bound.invoke(messages)
        messages.append(answer)
        if not answer.tool_calls:
            break
        for call in answer.tool_calls:
            messages.append(
                ToolMessage(str(tools[call["name"]].invoke(call["args"])), tool_call_id=call["id"])
            )
    heard = [message.content for message in messages if isinstance(message, ToolMessage)]
    assert "customers" in heard[0]
    assert "CREATE TABLE" in heard[1]
    assert "quinn.patel1@example.com" not in str(heard)
    assert "4000008005368753" not in str(heard)
    assert "Quinn Patel" in heard[2]
    assert "Error" in heard[3]
    assert re.search(r"(?i)not permitted|denied|refused|no rule", str(heard[3]))
