"""Counters, gauges and histograms, written as Prometheus text.

Small on purpose: a labelled increment costs a dictionary access, and nothing is computed until somebody asks.
"""

from bisect import bisect_left
from collections.abc import Callable, Iterator, Sequence
from typing import TypeVar

SECONDS = (0.0005, 0.001, 0.002, 0.003, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0)
"""Default buckets of a histogram: fine where our promises are (1 to 3 ms)."""


def _labels(names: Sequence[str], values: Sequence[str], more: str = "") -> str:
    parts = [f'{name}="{_escaped(value)}"' for name, value in zip(names, values, strict=True)]
    if more:
        parts.append(more)
    return "{" + ",".join(parts) + "}" if parts else ""


def _escaped(value: str) -> str:
    return value.replace("\\", r"\\").replace("\n", r"\n").replace('"', r"\"")


class Counter:
    """A number that only grows. Name it ``weirgate_<what>_total``."""

    kind = "counter"

    def __init__(self, name: str, help: str, labels: Sequence[str] = ()) -> None:
        self.name = name
        self.help = help
        self._names = tuple(labels)
        self._values: dict[tuple[str, ...], float] = {} if labels else {(): 0.0}

    def add(self, *labels: str, by: float = 1) -> None:
        """Count, under these label values (as many as the counter has labels)."""
        if len(labels) != len(self._names):
            raise TypeError(f"{self.name} has {len(self._names)} labels")
        self._values[labels] = self._values.get(labels, 0.0) + by

    def lines(self) -> Iterator[str]:
        """Write the values."""
        for labels, value in self._values.items():
            yield f"{self.name}{_labels(self._names, labels)} {value:g}"


class Gauge:
    """A number read when somebody asks."""

    kind = "gauge"

    def __init__(self, name: str, help: str, read: Callable[[], float]) -> None:
        self.name = name
        self.help = help
        self._read = read

    def lines(self) -> Iterator[str]:
        """Write the value."""
        yield f"{self.name} {self._read():g}"


class Histogram:
    """How often a quantity fell between bounds. Name it ``weirgate_<what>_seconds``."""

    kind = "histogram"

    def __init__(self, name: str, help: str, buckets: Sequence[float] = SECONDS) -> None:
        self.name = name
        self.help = help
        self._bounds = tuple(buckets)
        self._counts = [0] * (len(self._bounds) + 1)
        self._sum = 0.0

    def observe(self, value: float) -> None:
        """Count one value."""
        self._counts[bisect_left(self._bounds, value)] += 1
        self._sum += value

    def lines(self) -> Iterator[str]:
        """Write the buckets, summed up as Prometheus wants them."""
        total = 0
        for bound, count in zip((*self._bounds, float("inf")), self._counts, strict=True):
            total += count
            edge = "+Inf" if bound == float("inf") else f"{bound:g}"
            yield f'{self.name}_bucket{{le="{edge}"}} {total}'
        yield f"{self.name}_sum {self._sum:g}"
        yield f"{self.name}_count {total}"


type_of_metric = Counter | Gauge | Histogram
M = TypeVar("M", Counter, Gauge, Histogram)


class Metrics:
    """The metrics of one service."""

    def __init__(self) -> None:
        self._metrics: dict[str, type_of_metric] = {}

    def counter(self, name: str, help: str, labels: Sequence[str] = ()) -> Counter:
        """Make a counter."""
        return self._add(Counter(name, help, labels))

    def gauge(self, name: str, help: str, read: Callable[[], float]) -> Gauge:
        """Make a gauge that is read when somebody asks."""
        return self._add(Gauge(name, help, read))

    def histogram(self, name: str, help: str, buckets: Sequence[float] = SECONDS) -> Histogram:
        """Make a histogram."""
        return self._add(Histogram(name, help, buckets))

    def _add(self, metric: M) -> M:
        if metric.name in self._metrics:
            raise ValueError(f"{metric.name} stands already")
        self._metrics[metric.name] = metric
        return metric

    def text(self) -> str:
        """Write all of them.

        Source: Prometheus documentation, "Exposition formats", text format 0.0.4.
        """
        lines: list[str] = []
        for metric in self._metrics.values():
            lines += (f"# HELP {metric.name} {metric.help}", f"# TYPE {metric.name} {metric.kind}")
            lines += metric.lines()
        return "\n".join(lines) + "\n"
