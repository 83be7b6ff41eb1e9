"""Labels of one resource, laid over its catalog: on tables as written, on views as their definitions carry
them."""

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass

from weirgate_contracts.operation import SessionContext
from weirgate_sql.model import Catalog, ColumnRef, Output, Relation, Unreadable

Lineage = Callable[[str, Catalog, SessionContext], Sequence[Sequence[Output] | None]]


@dataclass(frozen=True, slots=True, kw_only=True)
class LabelledPlace:
    """A column of a table or view that carries labels."""

    relation: str
    """``schema.name``."""
    table_oid: int
    number: int
    labels: tuple[str, ...]


class Labels:
    """Which columns carry which labels.

    A label on a view's column is also laid on the columns behind it, since lineage sees through views: they
    are then masked wherever they are read. A view whose definition cannot be followed carries every label on
    every column.
    """

    def __init__(self, catalog: Catalog, columns: Mapping[str, str], lineage: Lineage) -> None:
        """Lay ``schema.table.column`` to label over a catalog."""
        self.catalog = catalog
        self.names: tuple[str, ...] = tuple(sorted(set(columns.values())))
        """Every label of the resource."""
        self._of: dict[str, set[str]] = {column: {label} for column, label in columns.items()}
        views = self._views(lineage)
        for view, outputs in views:
            for column, output in zip(view.columns, outputs or (), strict=False):
                label = columns.get(f"{view.schema}.{view.name}.{column.name}")
                if label is not None:
                    for source in output.sources:
                        self._of.setdefault(str(source), set()).add(label)
        for view, outputs in views:
            for at, column in enumerate(view.columns):
                known = self.names if outputs is None else self.of(outputs[at].sources)
                if known:
                    self._of.setdefault(f"{view.schema}.{view.name}.{column.name}", set()).update(known)
        self.columns: tuple[LabelledPlace, ...] = tuple(self._places())
        """Every labelled column, of views too, by the numbers RowDescription gives."""

    def of(self, sources: Iterable[ColumnRef]) -> tuple[str, ...]:
        """Return the labels of everything a value is derived from, sorted."""
        found: set[str] = set()
        for source in sources:
            found |= self._of.get(str(source), frozenset())
        return tuple(sorted(found))

    def type_of(self, output: Output) -> str | None:
        """Return the type of an output that is a column unchanged."""
        if not output.direct or len(output.sources) != 1:
            return None
        (source,) = output.sources
        relation = self.catalog.relations.get(f"{source.schema}.{source.table}")
        columns = relation.columns if relation else ()
        return next((column.type for column in columns if column.name == source.column), None)

    def _views(self, lineage: Lineage) -> list[tuple[Relation, Sequence[Output] | None]]:
        context = SessionContext(database=self.catalog.database)
        found: list[tuple[Relation, Sequence[Output] | None]] = []
        for relation in self.catalog.relations.values():
            if relation.kind not in "vm":
                continue
            outputs: Sequence[Output] | None = None
            if relation.definition is not None:
                try:
                    read = lineage(relation.definition, self.catalog, context)
                    outputs = read[0] if len(read) == 1 else None
                except Unreadable:
                    outputs = None
            if outputs is not None and len(outputs) != len(relation.columns):
                outputs = None
            found.append((relation, outputs))
        return found

    def _places(self) -> Iterable[LabelledPlace]:
        for key, relation in self.catalog.relations.items():
            for column in relation.columns:
                labels = self._of.get(f"{relation.schema}.{relation.name}.{column.name}")
                if labels:
                    yield LabelledPlace(
                        relation=key,
                        table_oid=relation.oid,
                        number=column.number,
                        labels=tuple(sorted(labels)),
                    )
