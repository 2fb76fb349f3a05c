"""The environment: defaults, values, and all mistakes at once."""

from ipaddress import ip_network
from pathlib import Path

import pytest

from photochanger.domain.errors import ValidationFailed
from photochanger.entrypoints.settings import documented_variables, read_environment

README = Path(__file__).parents[3] / "README.md"


def test_nothing_need_be_set() -> None:
    environment = read_environment({})

    assert environment.database_url is None
    assert environment.media_dir == Path(".data/media")
    assert environment.credentials_path == Path(".data/secrets/runtime_credentials.json")


def test_values_are_read() -> None:
    environment = read_environment(
        {
            "DATABASE_URL": "postgresql://u:p@h/d",
            "PHOTOCHANGER_DATA_DIR": "/srv/фото 1",
            "MEDIA_ROOT": "/mnt/media",
            "PUBLIC_BASE_URL": "https://photos.example.org/",
            "WORKERS": "3",
            "LOG_LEVEL": "debug",
            "LOG_FORMAT": "JSON",
            "TRUSTED_PROXIES": "10.0.0.0/8, 2001:db8::/32,192.0.2.1",
            "RESULT_TTL_HOURS": "24",
            "TEMP_TTL_SECONDS": "60",
        }
    )

    assert environment.trusted_proxies == (
        ip_network("10.0.0.0/8"),
        ip_network("2001:db8::/32"),
        ip_network("192.0.2.1"),
    )
    assert (environment.result_ttl_hours, environment.temp_ttl_seconds) == (24, 60)
    assert environment.database_url == "postgresql://u:p@h/d"
    assert environment.media_dir == Path("/mnt/media")
    assert environment.secrets_dir == Path("/srv/фото 1/secrets")
    assert environment.public_base_url == "https://photos.example.org"
    assert (environment.workers, environment.log_level, environment.log_format) == (3, "DEBUG", "json")


def test_every_mistake_is_reported_at_once_and_no_value_is_repeated() -> None:
    wrong = {
        "DATABASE_URL": "mysql://canary-secret@h/d",
        "PUBLIC_BASE_URL": "photos.example.org",
        "WORKERS": "0",
        "LOG_LEVEL": "LOUD",
        "LOG_FORMAT": "xml",
        "JWT_SIGNING_KEY": "canary-secret",
        "JWT_PREVIOUS_KEYS": "canary-secret,",
        "TRUSTED_PROXIES": "10.0.0.0/8,canary-secret",
        "RESULT_TTL_HOURS": "23",
        "TEMP_TTL_SECONDS": "61",
    }

    with pytest.raises(ValidationFailed) as failed:
        read_environment(wrong)

    assert {problem.field for problem in failed.value.problems} == set(wrong)
    assert "canary-secret" not in str(failed.value)


@pytest.mark.parametrize("workers", ["257", "-1", "1.5", "٣", "many"])
def test_workers_is_a_number_in_bounds(workers: str) -> None:
    with pytest.raises(ValidationFailed):
        read_environment({"WORKERS": workers})


@pytest.mark.parametrize(
    ("variable", "value"),
    [
        *(("TRUSTED_PROXIES", value) for value in ("localhost", "10.0.0.1/8", ",", "*", "0.0.0.0/0", "::/0")),
        *(("RESULT_TTL_HOURS", value) for value in ("0", "23", "169", "72h", "24.5", "-24")),
        *(("TEMP_TTL_SECONDS", value) for value in ("9", "61", "48s", "0")),
    ],
)
def test_what_is_out_of_range_is_refused(variable: str, value: str) -> None:
    with pytest.raises(ValidationFailed) as failed:
        read_environment({variable: value})
    assert [problem.field for problem in failed.value.problems] == [variable]


def test_opentelemetrys_own_variables_are_kept_apart() -> None:
    environment = read_environment({"OTEL_TRACES_EXPORTER": "console", "OTHER": "x"})

    assert environment.telemetry == {"OTEL_TRACES_EXPORTER": "console"}


def test_an_empty_value_counts_as_unset() -> None:
    assert read_environment({"WORKERS": " ", "DATABASE_URL": ""}) == read_environment({})


def test_the_database_url_is_not_shown_with_the_configuration() -> None:
    assert "canary" not in repr(read_environment({"DATABASE_URL": "postgresql://u:canary@h/d"}))


@pytest.mark.parametrize("variable", list(documented_variables()))
def test_every_variable_is_in_the_readme(variable: str) -> None:
    assert f"`{variable}`" in README.read_text()
