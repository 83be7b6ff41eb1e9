"""psql through the gateway sees what it sees directly."""

import subprocess

import pytest

from weirgate_testkit.gateway import RunningGateway

SCRIPTS = {
    "select": "select id, name, price from products order by id limit 20;",
    "several statements": "select 1; select 2 as two; select 'x' || 3;",
    "transaction": "begin; create temp table t (a int); insert into t values (1), (2); table t; rollback;",
    "error": "select 1/0;",
    "error in a transaction": "begin; select 1/0; select 1; rollback; select 2;",
    "describe table": r"\d orders",
    "describe all": r"\d+",
    "list functions": r"\df",
    "list roles": r"\du",
    "variables and gexec": "select 'select ' || n from generate_series(1, 3) n \\gexec",
    "copy out": "copy (select id, name from products order by id limit 5) to stdout;",
    "copy out csv": "copy (select id, name from products order by id limit 5) to stdout with (format csv, header);",
    "copy in": "create temp table c (a int, b text);\ncopy c from stdin;\n1\tone\n2\t\\N\n\\.\nselect * from c;",
    "cursor": "begin; declare c cursor for select id from orders order by id; fetch 3 from c; move 5 in c; "
    "fetch 2 from c; close c; commit;",
    "prepare": "prepare p (int) as select name from products where id = $1; execute p (3); deallocate p;",
    "bind": r"select name from products where id = $1 \bind 7 \g",
    "notice": "drop table if exists no_such_table;",
    "listen": "listen ch; notify ch, 'payload'; select 1;",
    "set and show": "set statement_timeout = '5s'; show statement_timeout; show search_path;",
    "search path": "create schema if not exists e2e; set search_path = e2e, public; show search_path; "
    "select count(*) from products; drop schema e2e;",
    "explain": "explain (costs off) select * from orders where id = 5;",
    "empty": ";",
    "comment only": "-- nothing at all",
    "unicode": "select 'žluťoučký kůň 🐎' as \"sloupec ž\";",
    "null and arrays": "select null, array[1,null,3], row(1,'a'), '{\"a\": [1]}'::jsonb, 1.50::numeric, true;",
}


def psql(url: str, script: str) -> tuple[int, str, str]:
    done = subprocess.run(
        ["psql", "-X", "-a", url],
        input=script + "\n",
        text=True,
        capture_output=True,
        timeout=60,
        check=False,
    )
    return done.returncode, done.stdout, done.stderr


@pytest.mark.parametrize("script", SCRIPTS.values(), ids=SCRIPTS.keys())
def test_psql_sees_what_it_sees_directly(gateway: RunningGateway, script: str) -> None:
    through = psql(gateway.url("admin-bot"), script)
    direct = psql(gateway.direct_url(), script)
    assert [without_pids(part) for part in through] == [without_pids(part) for part in direct]


def without_pids(part: object) -> str:
    """Server process ids differ by nature: ours are not the upstream's."""
    import re

    return re.sub(r"from server process with PID \d+", "from server process", str(part))


@pytest.mark.parametrize(
    "script", ["selec 1;", "select no_such_column from products;", "select * from no_such_table;"]
)
def test_what_cannot_work_is_an_error_and_the_session_goes_on(gateway: RunningGateway, script: str) -> None:
    through = psql(gateway.url("admin-bot"), script + " select 'after';")
    direct = psql(gateway.direct_url(), script + " select 'after';")
    assert through[:2] == direct[:2]
    assert through[2].startswith("ERROR")


def test_cancel_by_key_ends_a_running_statement(gateway: RunningGateway) -> None:
    import signal
    import time

    process = subprocess.Popen(
        ["psql", "-X", gateway.url("admin-bot"), "-c", "select pg_sleep(60)"],
        stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True,
    )  # fmt: skip
    time.sleep(1.5)
    began = time.monotonic()
    process.send_signal(signal.SIGINT)
    _, said = process.communicate(timeout=20)
    assert "canceling statement due to user request" in said
    assert time.monotonic() - began < 10


def test_a_wrong_token_is_refused_and_says_why(gateway: RunningGateway) -> None:
    status, _, said = psql(gateway.url("analyst", token="not-a-token"), "select 1;")
    assert status == 2
    assert "token" in said


def test_a_token_of_another_agent_is_refused(gateway: RunningGateway) -> None:
    status, _, said = psql(gateway.url("analyst", token=gateway.token("reader")), "select 1;")
    assert status == 2
    assert "FATAL" in said


def test_an_unknown_resource_is_refused(gateway: RunningGateway) -> None:
    status, _, said = psql(gateway.url("analyst", resource="nowhere"), "select 1;")
    assert status == 2
    assert "resource_unknown" in said


def test_replication_is_refused(gateway: RunningGateway) -> None:
    status, _, said = psql(gateway.url("admin-bot", parameters="?replication=database"), "IDENTIFY_SYSTEM;")
    assert status == 2
    assert "eplication" in said
