"""A gateway of its own for every module that breaks things."""

from collections.abc import Iterator

import pytest

from weirgate_testkit.gateway import RunningGateway, running_gateway


@pytest.fixture(scope="module")
def gateway(tmp_path_factory: pytest.TempPathFactory) -> Iterator[RunningGateway]:
    """A gateway whose upstream logs every statement it gets."""
    settings = {"upstream:log_statement": "all", "upstream:log_line_prefix": "%m [%p] %u@%d "}
    with running_gateway(tmp_path_factory.mktemp("gateway"), port_base=17500, settings=settings) as running:
        yield running
