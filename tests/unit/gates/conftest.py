"""Every story must have looked at every effect."""

from collections.abc import Iterator

import pytest

from weirgate_testkit.story import check_stories


@pytest.fixture(autouse=True)
def every_effect_is_checked() -> Iterator[None]:
    yield
    check_stories()
