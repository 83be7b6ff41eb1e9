"""The name PostgreSQL gives an output column that has no alias.

Source: ``FigureColname`` in PostgreSQL's ``parse_target.c``.
"""

from weirgate_sql.core import only, strings
from weirgate_sql.parse import Node

UNNAMED = "?column?"
_FIXED = {
    "GroupingFunc": "grouping", "MergeSupportFunc": "merge_action", "A_ArrayExpr": "array", "RowExpr": "row",
    "CoalesceExpr": "coalesce", "XmlSerialize": "xmlserialize", "JsonParseExpr": "json",
    "JsonScalarExpr": "json_scalar", "JsonSerializeExpr": "json_serialize",
    "JsonObjectConstructor": "json_object",
    "JsonArrayConstructor": "json_array", "JsonArrayQueryConstructor": "json_array",
    "JsonObjectAgg": "json_objectagg", "JsonArrayAgg": "json_arrayagg",
}  # fmt: skip
_XML = {
    "IS_XMLCONCAT": "xmlconcat", "IS_XMLELEMENT": "xmlelement", "IS_XMLFOREST": "xmlforest",
    "IS_XMLPARSE": "xmlparse", "IS_XMLPI": "xmlpi", "IS_XMLROOT": "xmlroot",
    "IS_XMLSERIALIZE": "xmlserialize",
}  # fmt: skip
_JSON = {"JSON_EXISTS_OP": "json_exists", "JSON_QUERY_OP": "json_query", "JSON_VALUE_OP": "json_value"}
_VALUE = {
    "SVFOP_CURRENT_DATE": "current_date", "SVFOP_CURRENT_TIME": "current_time",
    "SVFOP_CURRENT_TIME_N": "current_time", "SVFOP_CURRENT_TIMESTAMP": "current_timestamp",
    "SVFOP_CURRENT_TIMESTAMP_N": "current_timestamp", "SVFOP_LOCALTIME": "localtime",
    "SVFOP_LOCALTIME_N": "localtime", "SVFOP_LOCALTIMESTAMP": "localtimestamp",
    "SVFOP_LOCALTIMESTAMP_N": "localtimestamp", "SVFOP_CURRENT_ROLE": "current_role",
    "SVFOP_CURRENT_USER": "current_user", "SVFOP_USER": "user", "SVFOP_SESSION_USER": "session_user",
    "SVFOP_CURRENT_CATALOG": "current_catalog", "SVFOP_CURRENT_SCHEMA": "current_schema",
}  # fmt: skip


def column_name(node: Node) -> str:
    """Return the name of an output column whose expression this is."""
    return _figure(node)[0] or UNNAMED


def _figure(node: Node | None) -> tuple[str | None, int]:
    """Return name and strength: 2 is a name, 1 one that a better one replaces, 0 none."""
    if not node:
        return None, 0
    kind, fields = only(node)
    if kind in _FIXED:
        return _FIXED[kind], 2
    match kind:
        case "ColumnRef":
            names = [name for name in strings(fields["fields"]) if name != "*"]
            return (names[-1], 2) if names else (None, 0)
        case "A_Indirection":
            names = [part["String"].get("sval", "") for part in fields["indirection"] if "String" in part]
            return (names[-1], 2) if names else _figure(fields.get("arg"))
        case "FuncCall":
            return strings(fields["funcname"])[-1], 2
        case "A_Expr":
            return ("nullif", 2) if fields.get("kind") == "AEXPR_NULLIF" else (None, 0)
        case "TypeCast":
            name, strength = _figure(fields.get("arg"))
            names = strings(fields["typeName"].get("names", []))
            return (names[-1], 1) if strength <= 1 and names else (name, strength)
        case "CollateClause":
            return _figure(fields.get("arg"))
        case "SubLink":
            return _sublink(fields)
        case "CaseExpr":
            name, strength = _figure(fields.get("defresult"))
            return (name, strength) if strength > 1 else ("case", 1)
        case "MinMaxExpr":
            return ("greatest" if fields.get("op") == "IS_GREATEST" else "least"), 2
        case "SQLValueFunction":
            return _VALUE.get(fields.get("op", "")), 2
        case "XmlExpr":
            return _XML.get(fields.get("op", "")), 2 if fields.get("op") in _XML else 0
        case "JsonFuncExpr":
            return _JSON.get(fields.get("op", "")), 2
        case _:
            return None, 0


def _sublink(fields: Node) -> tuple[str | None, int]:
    match fields.get("subLinkType"):
        case "EXISTS_SUBLINK":
            return "exists", 2
        case "ARRAY_SUBLINK":
            return "array", 2
        case "EXPR_SUBLINK":
            select = fields["subselect"].get("SelectStmt", {})
            while "larg" in select:
                select = select["larg"]
            if "valuesLists" in select:
                return "column1", 2
            targets = select.get("targetList", [])
            if len(targets) != 1:
                return None, 0
            target = targets[0]["ResTarget"]
            return target.get("name") or column_name(target["val"]), 2
        case _:
            return None, 0
