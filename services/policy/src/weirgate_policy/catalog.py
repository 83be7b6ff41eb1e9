"""Reading a resource's catalog through policy's own login: the only place where policy reaches an upstream.

Names come out schema-qualified, since the session's own ``search_path`` is empty: a view's definition and a
standard SQL function body mean the same wherever they are read later.
"""

import asyncio
import os
from collections.abc import Mapping
from pathlib import Path
from typing import Any
from urllib.parse import parse_qsl, unquote, urlsplit

import asyncpg

from weirgate_contracts.config import ResourceDocument
from weirgate_sql.model import Catalog, Column, Function, Relation

CONNECT_TIMEOUT_S = 5.0
READ_TIMEOUT_S = 15.0
LOCK_TIMEOUT_MS = 2_000
"""A view whose tables somebody alters waits for that lock; the read is given up and tried again."""
RELATIONS_LIMIT = 50_000

_TLS_OPTIONS = ("sslmode", "sslrootcert", "sslcert", "sslkey", "sslcrl", "sslnegotiation")
_RELATIONS = """
select n.nspname, c.relname, c.oid::int8, c.relkind::text,
       case when c.relkind in ('v', 'm') then pg_catalog.pg_get_viewdef(c.oid) end,
       array(select pn.nspname || '.' || p.relname from pg_catalog.pg_inherits i
             join pg_catalog.pg_class p on p.oid = i.inhparent
             join pg_catalog.pg_namespace pn on pn.oid = p.relnamespace
             where i.inhrelid = c.oid order by i.inhseqno)
from pg_catalog.pg_class c join pg_catalog.pg_namespace n on n.oid = c.relnamespace
where c.relkind in ('r', 'v', 'm', 'f', 'p', 'S') and {schemas}
order by 1, 2
"""
_COLUMNS = """
select a.attrelid::int8, a.attname, a.attnum::int4, pg_catalog.format_type(a.atttypid, a.atttypmod)
from pg_catalog.pg_attribute a
join pg_catalog.pg_class c on c.oid = a.attrelid
join pg_catalog.pg_namespace n on n.oid = c.relnamespace
where a.attnum > 0 and not a.attisdropped and c.relkind in ('r', 'v', 'm', 'f', 'p', 'S') and {schemas}
order by 1, 3
"""
# A body is given only where its names mean the same whoever calls: a function with settings of its own (SET
# search_path …) resolves old-style text elsewhere than its caller does, so it stays closed.
_FUNCTIONS = """
select n.nspname, p.proname, l.lanname, p.prosecdef,
       case when l.lanname <> 'sql' then null
            when {sqlbody} is not null then {sqlbody}
            when p.proconfig is null then p.prosrc end,
       p.proretset, pg_catalog.format_type(p.prorettype, null)
from pg_catalog.pg_proc p
join pg_catalog.pg_namespace n on n.oid = p.pronamespace
join pg_catalog.pg_language l on l.oid = p.prolang
where {schemas}
order by 1, 2, p.oid
"""
_SCHEMAS = (
    r"n.nspname not in ('pg_catalog', 'information_schema', 'pg_toast') and n.nspname not like 'pg\_t%emp\_%'"
)
_SETTINGS = """
select coalesce(r.rolname, ''), s.setdatabase <> 0, substr(one, length('search_path=') + 1)
from pg_catalog.pg_db_role_setting s
left join pg_catalog.pg_roles r on r.oid = s.setrole
cross join lateral unnest(s.setconfig) one
where one like 'search\\_path=%'
  and s.setdatabase in (0, (select oid from pg_catalog.pg_database where datname = current_database()))
  and (s.setrole = 0 or r.rolname in ($1, session_user))
"""


class CatalogUnreadable(Exception):
    """The catalog could not be read; the text names no secret."""


def read_credential(reference: str | None, environment: Mapping[str, str] | None = None) -> str:
    """Return the password a reference names; empty where there is none.

    Raises:
        CatalogUnreadable: the variable or file is not there.
    """
    if reference is None:
        return ""
    scheme, _, name = reference.partition(":")
    try:
        if scheme == "env":
            return (os.environ if environment is None else environment)[name]
        if scheme == "file":
            return Path(name).read_text(encoding="utf-8").rstrip("\r\n")
    except (KeyError, OSError, UnicodeDecodeError) as error:
        raise CatalogUnreadable(f"the credential {scheme}: of the catalog login is not to be had") from error
    raise CatalogUnreadable(f"no credential scheme {scheme!r}")


def login_of(address: str) -> str:
    """Return the role an upstream address logs in as."""
    return unquote(urlsplit(address).username or "")


async def read_catalog(resource: ResourceDocument) -> Catalog:
    """Read everything the judge needs to know of a database.

    Raises:
        CatalogUnreadable: not reached, refused, too slow, too large, or the default search_path cannot be
        known.
    """
    try:
        async with asyncio.timeout(CONNECT_TIMEOUT_S + READ_TIMEOUT_S):
            connection = await _connect(resource)
            try:
                return await _read(connection, login_of(resource.upstream))
            finally:
                await connection.close(timeout=1.0)
    except CatalogUnreadable:
        raise
    except TimeoutError as error:
        raise CatalogUnreadable("the upstream did not answer in time") from error
    except (OSError, ValueError) as error:
        raise CatalogUnreadable(f"the upstream cannot be reached ({type(error).__name__})") from error
    except (asyncpg.PostgresError, asyncpg.InterfaceError) as error:
        state = getattr(error, "sqlstate", None) or type(error).__name__
        raise CatalogUnreadable(f"the upstream refused the catalog login ({state})") from error


async def _connect(resource: ResourceDocument) -> "asyncpg.Connection[Any]":
    if resource.catalog is not None:
        address, credential = resource.catalog, resource.catalog_credential
    else:
        address, credential = resource.upstream, resource.credential
    parts = urlsplit(address)
    options = {name: value for name, value in parse_qsl(parts.query) if name in _TLS_OPTIONS}
    query = "&".join(f"{name}={value}" for name, value in options.items())
    return await asyncpg.connect(
        dsn=f"postgresql://{parts.netloc}{parts.path}?{query}",
        password=read_credential(credential),
        timeout=CONNECT_TIMEOUT_S,
        command_timeout=READ_TIMEOUT_S,
        statement_cache_size=0,
        server_settings={
            "application_name": "weirgate-policy",
            "default_transaction_read_only": "on",
            "lock_timeout": str(LOCK_TIMEOUT_MS),
            "statement_timeout": str(int(READ_TIMEOUT_S * 1000)),
        },
    )


async def _read(connection: "asyncpg.Connection[Any]", login: str) -> Catalog:
    # Before search_path is emptied: what this session was given tells the server's own default.
    given = await connection.fetchval("select pg_catalog.current_setting('search_path')")
    own = await connection.fetchval("select session_user")
    version = int(await connection.fetchval("select pg_catalog.current_setting('server_version_num')"))
    async with connection.transaction(isolation="repeatable_read", readonly=True):
        await connection.execute("set local search_path = ''")
        database = await connection.fetchval("select current_database()")
        settings = await connection.fetch(_SETTINGS, login)
        relations = await connection.fetch(_RELATIONS.format(schemas=_SCHEMAS))
        if len(relations) > RELATIONS_LIMIT:
            raise CatalogUnreadable(f"more than {RELATIONS_LIMIT} relations")
        columns = await connection.fetch(_COLUMNS.format(schemas=_SCHEMAS))
        body = "pg_catalog.pg_get_function_sqlbody(p.oid)" if version >= 140000 else "null::text"
        functions = await connection.fetch(_FUNCTIONS.format(schemas=_SCHEMAS, sqlbody=body))
    path = default_search_path(settings=[tuple(row) for row in settings], login=login, own=own, given=given)
    return Catalog(
        database=database,
        login=login,
        search_path=resolved(path, login),
        relations=_relations(relations, columns),
        functions=_functions(functions),
        server_version=version,
    )


def default_search_path(*, settings: list[tuple[str, bool, str]], login: str, own: str, given: str) -> str:
    """Return the search_path a new session of the gateway's login begins with.

    Args:
        settings: Of ``pg_db_role_setting``: role (empty: every role), whether for this database alone, value.
        login: The gateway's role.
        own: Policy's role.
        given: What policy's own session began with.

    Raises:
        CatalogUnreadable: policy's role has a search_path of its own, which hides what others begin with.

    Source: PostgreSQL manual, "pg_db_role_setting"; a role in a database before a role, before a database.
    """
    found = {(role, in_database): value for role, in_database, value in settings}
    for key in ((login, True), (login, False), ("", True), ("", False)):
        if key in found:
            return found[key]
    if own != login and ((own, True) in found or (own, False) in found):
        raise CatalogUnreadable(
            f"take the search_path of its own from the catalog login {own}: it hides the default"
        )
    return given


def split_path(value: str) -> tuple[str, ...]:
    """Split a search_path setting into its names, as PostgreSQL does: unquoted ones in lower case."""
    names: list[str] = []
    at = 0
    while at < len(value):
        if value[at].isspace() or value[at] == ",":
            at += 1
        elif value[at] == '"':
            end = at + 1
            name = ""
            while end < len(value):
                if value[end] == '"' and value[end + 1 : end + 2] == '"':
                    name += '"'
                    end += 2
                elif value[end] == '"':
                    break
                else:
                    name += value[end]
                    end += 1
            names.append(name)
            at = end + 1
        else:
            end = value.find(",", at)
            end = len(value) if end < 0 else end
            names.append(value[at:end].strip().lower())
            at = end
    return tuple(name for name in names if name)


def resolved(value: str, login: str) -> tuple[str, ...]:
    """Return the names of a search_path with ``$user`` as the login."""
    return tuple(login if name == "$user" else name for name in split_path(value))


def _relations(rows: list[Any], columns: list[Any]) -> dict[str, Relation]:
    by_oid: dict[int, list[Column]] = {}
    for oid, name, number, kind in columns:
        by_oid.setdefault(oid, []).append(Column(name=name, number=number, type=kind))
    return {
        f"{schema}.{name}": Relation(
            schema=schema,
            name=name,
            oid=oid,
            kind=kind,
            definition=definition,
            columns=tuple(by_oid.get(oid, ())),
            parents=tuple(parents),
        )
        for schema, name, oid, kind, definition, parents in rows
    }


def _functions(rows: list[Any]) -> dict[str, tuple[Function, ...]]:
    found: dict[str, list[Function]] = {}
    for schema, name, language, definer, body, returns_set, result in rows:
        found.setdefault(f"{schema}.{name}", []).append(
            Function(
                schema=schema, name=name, language=language, security_definer=definer, body=body,
                returns_set=returns_set, result=result or "",
            )
        )  # fmt: skip
    return {name: tuple(several) for name, several in found.items()}
