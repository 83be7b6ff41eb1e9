"""Which functions, operators, casts and settings are harmless; everything that is not listed is not.

"Harmless" for a function means: no value of the listed arguments decides whether an error is raised,
how long it
runs in any useful way, or how many rows come out. Elsewhere the arguments count as predicates,
since an error is
an answer: ``1/(length(email)-5)`` asks a question no mask can take back.
"""

ALL = frozenset(range(100))
_ANY_ARGUMENT = """
count min max sum avg array_agg json_agg jsonb_agg json_agg_strict jsonb_agg_strict string_agg bool_and
bool_or every
bit_and bit_or bit_xor stddev stddev_pop stddev_samp variance var_pop var_samp corr covar_pop covar_samp
regr_avgx
regr_avgy regr_count regr_intercept regr_r2 regr_slope regr_sxx regr_sxy regr_syy mode
any_value rank dense_rank percent_rank cume_dist row_number first_value last_value lower upper initcap
length char_length character_length octet_length bit_length concat btrim ltrim rtrim reverse md5 sha224
sha256 sha384
sha512 to_json to_jsonb row_to_json array_to_json json_build_array jsonb_build_array quote_literal quote_ident
quote_nullable position strpos replace translate starts_with ceil ceiling floor round trunc sign age
cardinality array_length array_ndims array_lower array_upper array_position array_positions array_append
array_prepend
array_remove array_replace array_to_string json_typeof jsonb_typeof hashtext hashtextextended num_nulls
num_nonnulls
pg_typeof pg_column_size isfinite ascii left right text name bpchar varchar coalesce pg_get_userbyid
format_type
pg_get_expr obj_description col_description shobj_description textcat
jsonb_pretty json_strip_nulls jsonb_strip_nulls jsonb_array_length json_array_length overlaps
pg_table_is_visible pg_type_is_visible pg_function_is_visible pg_input_is_valid casefold
"""
RAISES_NOT: dict[str, frozenset[int]] = dict.fromkeys(_ANY_ARGUMENT.split(), ALL) | {
    "left": frozenset({0}), "right": frozenset({0}), "substr": frozenset({0}), "substring": frozenset({0}),
    "split_part": frozenset({0, 1}), "overlay": frozenset({0, 1}), "concat_ws": ALL, "format": ALL - {0},
    "lag": frozenset({0, 2}), "lead": frozenset({0, 2}), "nth_value": frozenset({0}), "ntile": frozenset(),
    "percentile_cont": frozenset(), "percentile_disc": frozenset(), "to_char": frozenset({0}),
    "date_part": frozenset({1}),
    "extract": frozenset({1}), "date_trunc": frozenset({1}), "timezone": frozenset({1}),
    "lpad": frozenset({0, 2}),
    "rpad": frozenset({0, 2}), "encode": frozenset({0}), "json_extract_path": frozenset({0}),
    "json_extract_path_text": frozenset({0}), "jsonb_extract_path": frozenset({0}),
    "jsonb_extract_path_text": frozenset({0}),
    # Keys must not be null, values may be anything.
    "json_build_object": frozenset(range(1, 100, 2)), "jsonb_build_object": frozenset(range(1, 100, 2)),
    "json_object_agg": frozenset({1}), "jsonb_object_agg": frozenset({1}),
    # The pattern is the right-hand side: it can be malformed.
    "like_escape": frozenset(), "similar_to_escape": frozenset(),
}  # fmt: skip
"""Built-in function to the positions of the arguments that may hold any value."""

_RELATIONAL = """
= <> != < <= > >= || && @> <@ -> #> -|- << >> &< &> @@ ?| ?& ? ->> #>> ~=~ ~<~ ~<=~ ~>~ ~>=~
"""
BOTH_SIDES = frozenset(_RELATIONAL.split())
"""Operators that raise on no value (``<<`` of integers does not raise either)."""
LEFT_SIDE = frozenset({"~~", "!~~", "~~*", "!~~*", "~", "!~", "~*", "!~*"})
"""Operators whose right-hand side is a pattern, which can be malformed."""

TEXT_TYPES = frozenset({"text", "varchar", "bpchar", "name", "char"})
"""Every value of every type has a text form, so a cast to these cannot raise."""

_TIMES = frozenset({"date", "timestamp without time zone", "timestamp with time zone"})
_WHOLE = frozenset({"smallint", "integer", "bigint"})
NOWHERE: frozenset[str] = frozenset()
WIDER = {
    "date": _TIMES, "timestamp": _TIMES, "timestamptz": _TIMES, "int8": _WHOLE, "numeric": _WHOLE, "float8": _WHOLE,
    "int4": frozenset({"smallint"}), "jsonb": frozenset({"json"}), "json": frozenset({"jsonb"}),
    "regclass": frozenset({"oid"}), "oid": frozenset({"regclass"}),
}  # fmt: skip
"""Type name to the types every value of which casts to it."""

_HARMLESS = """
application_name datestyle intervalstyle timezone extra_float_digits bytea_output xmlbinary xmloption
lc_messages
lc_monetary lc_numeric lc_time default_text_search_config statement_timeout lock_timeout transaction_timeout
idle_in_transaction_session_timeout idle_session_timeout work_mem maintenance_work_mem temp_buffers
hash_mem_multiplier default_tablespace temp_tablespaces default_table_access_method
default_transaction_isolation
default_transaction_read_only default_transaction_deferrable transaction_isolation transaction_read_only
transaction_deferrable synchronous_commit client_min_messages jit join_collapse_limit from_collapse_limit geqo
geqo_threshold geqo_effort geqo_generations geqo_pool_size geqo_seed geqo_selection_bias constraint_exclusion
cursor_tuple_fraction plan_cache_mode random_page_cost seq_page_cost cpu_tuple_cost cpu_index_tuple_cost
cpu_operator_cost parallel_setup_cost parallel_tuple_cost effective_cache_size effective_io_concurrency
max_parallel_workers_per_gather max_parallel_workers max_parallel_maintenance_workers
min_parallel_table_scan_size min_parallel_index_scan_size default_statistics_target default_toast_compression
gin_fuzzy_search_limit gin_pending_list_limit tcp_keepalives_idle tcp_keepalives_interval tcp_keepalives_count
tcp_user_timeout client_connection_check_interval quote_all_identifiers escape_string_warning array_nulls
debug_parallel_query recursive_worktable_factor vacuum_cost_delay vacuum_cost_limit commit_delay seed
"""
SETTINGS = frozenset(_HARMLESS.split())
"""Settings an agent may set for its session; ``enable_…`` ones too. Any other one is ``lateral.system``: some
change how SQL is read (``standard_conforming_strings``), some who one is (``app.user`` for row security)."""

SETTING_VALUES = {
    "client_encoding": frozenset({"utf8", "utf-8", "unicode"}),
    "standard_conforming_strings": frozenset({"on", "true", "1"}),
    "row_security": frozenset({"on", "true", "1"}),
    "backslash_quote": frozenset({"safe_encoding", "off"}),
    "check_function_bodies": frozenset({"on", "true", "1"}),
    "session_replication_role": frozenset({"origin"}),
}
"""Settings that may be set to these values and to no other."""


def setting_is_harmless(name: str, value: str | None) -> bool:
    """Say whether an agent may set this; ``value`` is ``None`` where it is not one literal."""
    name = name.lower()
    if name in SETTINGS or (name.startswith("enable_") and "." not in name):
        return True
    allowed = SETTING_VALUES.get(name)
    return allowed is not None and value is not None and value.lower() in allowed
