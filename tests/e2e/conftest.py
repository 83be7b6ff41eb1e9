"""One gateway with the demo shop for the whole end-to-end suite."""

from collections.abc import Iterator

import pytest

from weirgate_testkit.gateway import RunningGateway, running_gateway


@pytest.fixture(scope="session")
def gateway(tmp_path_factory: pytest.TempPathFactory) -> Iterator[RunningGateway]:
    """A gateway that is up, with agents reader, analyst, writer and admin-bot."""
    settings = {"upstream:log_statement": "all", "upstream:log_line_prefix": "%m [%p] %u@%d "}
    with running_gateway(tmp_path_factory.mktemp("gateway"), port_base=17400, settings=settings) as running:
        yield running
