"""Statements that change the session and not the data: SET, PREPARE, DECLARE, transactions.

The search_path is followed through a text where it is certain. Where it is not (a transaction ends that may
have
held a SET LOCAL, a function may have called ``set_config``), later statements of the text must name schemas.
"""

from weirgate_sql.core import Outs, constant_text
from weirgate_sql.model import Defines, Unreadable
from weirgate_sql.modify import Reader
from weirgate_sql.parse import Node, Parsed, split
from weirgate_sql.safe import setting_is_harmless
from weirgate_sql.second import compare
from weirgate_sql.value import Scope

_ENDS = frozenset({
    "TRANS_STMT_COMMIT", "TRANS_STMT_ROLLBACK", "TRANS_STMT_ROLLBACK_TO", "TRANS_STMT_PREPARE",
    "TRANS_STMT_COMMIT_PREPARED", "TRANS_STMT_ROLLBACK_PREPARED",
})  # fmt: skip
_TWO_PHASES = frozenset({"TRANS_STMT_PREPARE", "TRANS_STMT_COMMIT_PREPARED", "TRANS_STMT_ROLLBACK_PREPARED"})
_ROLES = frozenset({"role", "session_authorization"})


class Sessions(Reader):
    """Statements of kind ``session.*`` and ``transaction``, and those that run what was prepared."""

    defines: tuple[Defines, ...] = ()
    search_path: tuple[str, ...] | None = None
    path_was_set: bool = False
    """An earlier statement of this text, or of the session, has set the search_path."""

    def inner(self, parsed: Parsed) -> Outs | None:
        """Read a statement that stands behind another one."""
        raise NotImplementedError

    # ------------------------------------------------------------------ settings

    def set_variable(self, fields: Node) -> None:
        """Read SET and RESET."""
        kind, name = fields.get("kind", ""), fields.get("name", "").lower()
        if kind == "VAR_SET_MULTI":
            self.effects.verb = "transaction" if name == "transaction" else "session.set"
            if name == "transaction snapshot":
                self.effects.capabilities.add("lateral.system")
            return
        reset = kind in ("VAR_RESET", "VAR_RESET_ALL", "VAR_SET_DEFAULT")
        self.effects.verb = "session.reset" if reset else "session.set"
        values = [constant_text(node) for node in fields.get("args", [])]
        if kind == "VAR_RESET_ALL":
            self._path_unknown()
            return
        if name in _ROLES:
            self.effects.verb = "lateral.role"
            self.effects.capabilities.add("lateral.role")
            self._path_unknown()
        elif name == "search_path":
            self._set_path(values, reset=reset or kind == "VAR_SET_CURRENT")
        elif not reset and not setting_is_harmless(name, values[0] if len(values) == 1 else None):
            self.effects.capabilities.add("lateral.system")

    def _set_path(self, values: list[str | None], *, reset: bool) -> None:
        if reset or not all(value is not None for value in values):
            self._path_unknown()
            return
        path = tuple(self.catalog.login if value == "$user" else value for value in values if value)
        self.search_path = path
        self.session.path = path
        self.effects.path_may_change = True

    def _path_unknown(self) -> None:
        self.effects.path_may_change = True

    # ------------------------------------------------------------------ transactions

    def transaction(self, fields: Node) -> None:
        """Read BEGIN, COMMIT, SAVEPOINT and their kin."""
        kind = fields.get("kind", "TRANS_STMT_BEGIN")
        self.effects.verb = "transaction"
        if kind in _TWO_PHASES:
            self.effects.capabilities.add("lateral.system")
        if kind in _ENDS:
            # A SET LOCAL ends with it, a SET made in it is undone by a rollback, and cursors close.
            if self.path_was_set:
                self._path_unknown()
            if kind in ("TRANS_STMT_ROLLBACK", "TRANS_STMT_ROLLBACK_TO"):
                self.session.temporary.clear()

    # ------------------------------------------------------------------ names

    def prepare(self, fields: Node, text: str) -> None:
        """Read PREPARE: nothing runs, so nothing of the statement behind it counts yet."""
        self.effects.verb = "session.prepare"
        self._define("prepared", fields["name"], text)

    def deallocate(self, fields: Node) -> None:
        """Read DEALLOCATE."""
        self.effects.verb = "session.deallocate"
        self._define("prepared", "*" if fields.get("isall") else fields["name"], None)

    def declare(self, fields: Node, text: str) -> None:
        """Read DECLARE: the query is planned and started here, so its effects count here too.

        A cursor keeps the relations it was declared with whatever becomes of the search_path, so the path
        goes
        into the text that later FETCHes are judged by.
        """
        self.query(fields["query"], None)
        self.effects.verb = "session.declare"
        names = ", ".join('"' + name.replace('"', '""') + '"' for name in self.path) or "''"
        self._define("cursor", fields["portalname"], f"SET search_path TO {names}; {text}")

    def close(self, fields: Node) -> None:
        """Read CLOSE."""
        self.effects.verb = "session.close"
        self._define("cursor", fields.get("portalname") or "*", None)

    def discard(self, fields: Node) -> None:
        """Read DISCARD."""
        self.effects.verb = "session.discard"
        target = fields.get("target", "DISCARD_ALL")
        if target == "DISCARD_ALL":
            self._define("prepared", "*", None)
            self._define("cursor", "*", None)
            self._path_unknown()
        if target in ("DISCARD_ALL", "DISCARD_TEMP"):
            self.session.temporary.clear()

    def _define(self, kind: str, name: str, text: str | None) -> None:
        self.defines = (*self.defines, Defines(kind=kind, name=name, text=text))
        names = self.session.prepared if kind == "prepared" else self.session.cursors
        if text is not None:
            names[name] = text
        elif name == "*":
            names.clear()
        else:
            names.pop(name, None)

    def execute(self, fields: Node) -> Outs | None:
        """Read EXECUTE: it counts as the statement behind the name."""
        name = fields["name"]
        for node in fields.get("params", []):
            self.decide(self.expr(node, Scope()))
        text = self.session.prepared.get(name)
        if text is None:
            raise Unreadable(f'prepared statement "{name}" is not known in this session')
        return self._behind(f'prepared "{name}"', text, "PrepareStmt")

    def fetch(self, fields: Node) -> Outs | None:
        """Read FETCH and MOVE: they count as the statement that opened the cursor."""
        name = fields["portalname"]
        text = self.session.cursors.get(name)
        if text is None:
            raise Unreadable(f'cursor "{name}" is not known in this session')
        outs = self._behind(f'cursor "{name}"', text, "DeclareCursorStmt")
        return None if fields.get("ismove") else outs

    def _behind(self, mark: str, text: str, wrapper: str) -> Outs | None:
        if mark in self.session.stack or len(self.session.stack) > 8:
            raise Unreadable(f"{mark} stands behind itself")
        statements = split(text)
        path = self.session.path
        if len(statements) == 2 and statements[0].kind == "VariableSetStmt":
            # The path a cursor was declared under, as ``declare`` wrote it down.
            values = [constant_text(node) for node in statements[0].node.get("args", [])]
            self.session.path = tuple(value for value in values if value)
            statements = statements[1:]
        self.session.stack.append(mark)
        named, self.effects.named = self.effects.named, set()
        try:
            if len(statements) != 1:
                raise Unreadable(f"{mark} does not stand for one statement")
            found = whole = statements[0]
            if found.kind == wrapper:
                ((kind, node),) = found.node["query"].items()
                found = Parsed(text=found.text, kind=kind, node=node)
            outs = self.inner(found)
            compare(whole, self.effects.named)
            return outs
        finally:
            self.effects.named = named
            self.session.path = path
            self.session.stack.pop()
