"""Write ``weirgate_sql/builtin.json``: what a fresh PostgreSQL 18 has in ``pg_catalog`` and
``information_schema``.

Run it from the workspace (it starts a server of its own)::

    .venv/bin/python libs/sql/scripts/generate_builtin.py

Per function name (all overloads together, the most dangerous counts): ``k`` the kinds (``f a w p``), ``s``
whether it
returns a set, ``l`` whether every overload is leakproof by PostgreSQL's own word,
``o`` the names of its OUT columns,
``d`` the capability calling it needs. A function that is not in the file is never taken for a harmless one.
"""

import json
import re
import tempfile
from pathlib import Path
from typing import Any

from weirgate_testkit.postgres import running_postgres

TARGET = Path(__file__).parents[1] / "src" / "weirgate_sql" / "builtin.json"

DANGEROUS: tuple[tuple[str, str], ...] = (
    # The first pattern that matches the whole name counts.
    (r"lo_(import|export)", "lateral.file"),
    (r"lo_.*|loread|lowrite", "lateral.largeobject"),
    (r"pg_read_.*|pg_ls_.*|pg_stat_file|pg_current_logfile|pg_rotate_logfile.*|pg_file_.*", "lateral.file"),
    (r"pg_hba_file_rules|pg_ident_file_mappings|pg_show_all_file_settings", "system.sensitive"),
    # They run SQL text, or read whole tables, by a name in an argument.
    (r"(query|table|cursor|schema|database)_to_xml.*", "lateral.dynamic"),
    (r"ts_stat|ts_rewrite", "lateral.dynamic"),
    (r".*(logical|replication|subscription|origin).*|pg_sync_replication_slots|binary_upgrade_.*",
     "lateral.replication"),
    (r"pg_stat_get_(activity|backend_activity|backend_client_addr|backend_client_port|wal_senders|wal_receiver|"
     r"progress_info)|pg_mcv_list_items|pg_config|pg_get_backend_memory_contexts|pg_get_shmem_.*|"
     r"pg_show_all_file_settings|pg_stat_get_.*slot.*|pg_get_wal_.*|pg_get_aios", "system.sensitive"),
    (r"pg_(reload_conf|terminate_backend|cancel_backend|promote|switch_wal|create_restore_point|backup_.*|"
     r"wal_replay_.*|log_.*|log_backend_memory_contexts|export_snapshot|extension_config_dump|"
     r"import_system_collations|nextoid|stop_making_pinned_objects|.*_(relation|attribute)_stats|stat_reset.*|"
     r"stat_force_next_flush|set_attribute_.*|walfile_.*|switch_.*|extension_update_paths)",
     "lateral.system"),
)  # fmt: skip

HARMLESS_THOUGH_REVOKED: frozenset[str] = frozenset()
"""Functions whose EXECUTE is revoked from PUBLIC and which are harmless all the same: none so far."""

SENSITIVE = (
    "pg_authid", "pg_shadow", "pg_largeobject", "pg_largeobject_metadata", "pg_user_mapping",
    "pg_user_mappings",
    "pg_hba_file_rules", "pg_ident_file_mappings", "pg_file_settings", "pg_subscription", "pg_stat_activity",
    "pg_stat_replication", "pg_stat_wal_receiver", "pg_stat_ssl", "pg_stat_gssapi", "pg_stat_subscription",
    "pg_backend_memory_contexts", "pg_shmem_allocations", "pg_shmem_allocations_numa", "pg_aios", "pg_config",
    "pg_replication_origin", "pg_replication_origin_status", "pg_replication_slots",
    "pg_stat_replication_slots",
    "pg_prepared_xacts", "pg_stats", "pg_statistic", "pg_statistic_ext_data", "pg_stats_ext",
    "pg_stats_ext_exprs",
)  # fmt: skip
"""System relations that hold secrets, other sessions' SQL, or values of columns."""

SENSITIVE_INFORMATION_SCHEMA = (
    "user_mapping_options", "_pg_user_mappings", "foreign_server_options", "_pg_foreign_servers",
    "foreign_data_wrapper_options",
)  # fmt: skip

VALUES = (
    "pg_stats", "pg_statistic", "pg_statistic_ext_data", "pg_stats_ext", "pg_stats_ext_exprs",
    "pg_largeobject",
)  # fmt: skip
"""System relations that hold values of any column of any table, so nobody can say which label they bear."""

FUNCTIONS = """
select json_agg(json_build_array(proname, prokind, proretset, proleakproof,
  coalesce(not has_function_privilege('somebody', p.oid, 'execute'), false),
  (select json_agg(coalesce(n, '') order by i) from unnest(proargnames, proargmodes::text[]) with ordinality
     as u(n, m, i) where m in ('o', 'b', 't'))))
from (select case pronamespace when 'information_schema'::regnamespace then 'information_schema.' else '' end
  || proname as proname, oid, prokind, proretset, proleakproof, proargnames, proargmodes from pg_proc
  where pronamespace in ('pg_catalog'::regnamespace, 'information_schema'::regnamespace) and oid < 16384) p"""

RELATIONS = """
select json_agg(json_build_array(n.nspname, c.relname, (select json_agg(attname order by attnum) from
pg_attribute a
  where a.attrelid = c.oid and attnum > 0 and not attisdropped)) order by 1)
from pg_class c join pg_namespace n on n.oid = relnamespace
where n.nspname in ('pg_catalog', 'information_schema') and relkind in ('r', 'v')"""


def capability(name: str, *, revoked: bool) -> str | None:
    """Return what calling a built-in function needs, ``None`` for nothing."""
    for pattern, found in DANGEROUS:
        if re.fullmatch(pattern, name):
            return found
    if revoked and name not in HARMLESS_THOUGH_REVOKED:
        return "lateral.system"
    return None


def main() -> None:
    """Ask a fresh server and write the file."""
    with tempfile.TemporaryDirectory() as directory, running_postgres(Path(directory)) as server:
        server.psql("create role somebody")
        rows: list[list[Any]] = json.loads(server.psql(FUNCTIONS))
        relations: list[list[Any]] = json.loads(server.psql(RELATIONS))
        operators = sorted(server.psql("select distinct oprname from pg_operator").split())
        types = sorted(
            server.psql(
                "select typname from pg_type where typnamespace = 'pg_catalog'::regnamespace and typelem = 0"
                " and typtype in ('b', 'p', 'r', 'm')"
            ).split()
        )
    functions: dict[str, dict[str, Any]] = {}
    shapes: dict[str, set[tuple[str, ...]]] = {}
    for name, kind, returns_set, leakproof, revoked, outs in rows:
        entry = functions.setdefault(name, {"k": "", "l": 1})
        entry["k"] = "".join(sorted(set(entry["k"]) | {kind}))
        if returns_set:
            entry["s"] = 1
        if not leakproof:
            entry.pop("l", None)
        shapes.setdefault(name, set()).add(tuple(outs or ()))
        danger = capability(name, revoked=revoked)
        if danger:
            entry["d"] = danger
    for name, found in shapes.items():
        outs = max(found)
        if outs and len(found) == 1:
            functions[name]["o"] = outs  # where overloads differ, nobody can say which columns there are
    body: dict[str, Any] = {
        "version": 18,
        "functions": dict(sorted(functions.items())),
        "relations": {f"{schema}.{name}": columns or [] for schema, name, columns in sorted(relations)},
        "operators": operators,
        "types": types,
        "sensitive": sorted(
            [f"pg_catalog.{name}" for name in SENSITIVE]
            + [f"information_schema.{name}" for name in SENSITIVE_INFORMATION_SCHEMA]
        ),
        "values": sorted(f"pg_catalog.{name}" for name in VALUES),
    }
    lines = [f'"version":{body["version"]}']
    for part in ("functions", "relations"):
        inner = ",\n".join(
            f"{json.dumps(key)}:{json.dumps(value, separators=(',', ':'))}"
            for key, value in body[part].items()
        )
        lines.append(f'"{part}":{{\n{inner}}}')
    lines += [f'"{part}":{json.dumps(body[part])}' for part in ("operators", "types", "sensitive", "values")]
    TARGET.write_text("{" + ",\n".join(lines) + "}\n")


if __name__ == "__main__":
    main()
