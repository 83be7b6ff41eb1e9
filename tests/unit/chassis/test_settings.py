"""Settings: what is misspelt stops the start."""

import pytest

from weirgate_chassis.settings import ServiceSettings, SettingsError, split_address

GOOD = {"WEIRGATE_NATS_NKEY_FILE": "/secrets/policy.nk"}


def test_settings_come_from_the_environment() -> None:
    settings = ServiceSettings.from_environment(GOOD | {"WEIRGATE_NAME": "two", "PATH": "/bin"})
    assert settings.name == "two"
    assert settings.nats_url == "nats://127.0.0.1:4222"


def test_an_unknown_variable_is_refused_and_the_nearest_is_named() -> None:
    with pytest.raises(SettingsError, match="WEIRGATE_LOG_LEVL: unknown; did you mean WEIRGATE_LOG_LEVEL"):
        ServiceSettings.from_environment(GOOD | {"WEIRGATE_LOG_LEVL": "info"})


def test_a_variable_in_the_wrong_case_is_not_silently_ignored() -> None:
    with pytest.raises(SettingsError, match="weirgate_name"):
        ServiceSettings.from_environment(GOOD | {"weirgate_name": "two"})


def test_what_is_missing_or_wrong_is_named_and_its_value_is_not_shown() -> None:
    with pytest.raises(SettingsError) as refused:
        ServiceSettings.from_environment({"WEIRGATE_HEALTH_LISTEN": "hunter2", "WEIRGATE_NAME": "a.b"})
    text = str(refused.value)
    for name in ("WEIRGATE_NATS_NKEY_FILE", "WEIRGATE_HEALTH_LISTEN", "WEIRGATE_NAME"):
        assert name in text
    assert "hunter2" not in text


def test_variables_of_the_command_do_not_disturb_a_service() -> None:
    ServiceSettings.from_environment(GOOD | {"WEIRGATE_DATA_DIR": "/x", "WEIRGATE_URL": "http://x"})


def test_settings_do_not_change() -> None:
    settings = ServiceSettings.from_environment(GOOD)
    with pytest.raises(ValueError):
        settings.name = "other"  # pyright: ignore[reportAttributeAccessIssue]


@pytest.mark.parametrize(
    ("value", "address"), [("127.0.0.1:80", ("127.0.0.1", 80)), ("[::1]:80", ("::1", 80)), ("h:0", ("h", 0))]
)
def test_addresses_are_split(value: str, address: tuple[str, int]) -> None:
    assert split_address(value) == address


@pytest.mark.parametrize("value", ["", "host", ":80", "h:x", "h:70000", "h:-1"])
def test_what_is_no_address_is_refused(value: str) -> None:
    with pytest.raises(ValueError):
        split_address(value)


def test_a_setting_that_would_have_no_effect_is_refused() -> None:
    with pytest.raises(SettingsError, match="WEIRGATE_OTLP_URL"):
        ServiceSettings.from_environment(GOOD | {"WEIRGATE_OTLP_URL": "http://collector:4318"})
