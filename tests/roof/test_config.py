"""Settings: flags over environment over file over defaults; unknown ones are named."""

from __future__ import annotations

from pathlib import Path

import pytest

from costplus.config import Settings, SettingsInvalid, load


def test_defaults_need_nothing(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    settings = load(flags={}, environ={})
    assert settings == Settings()
    assert settings.database_url == "sqlite:///costplus-data/costplus.db"
    assert settings.url == "http://127.0.0.1:4242"


def test_flags_win_over_environment_over_file(tmp_path: Path) -> None:
    file = tmp_path / "c.toml"
    file.write_text('host = "file"\nport = 1\ndata_dir = "file"\n')
    environ = {"COSTPLUS_PORT": "2", "COSTPLUS_DATA_DIR": "environ"}
    settings = load(flags={"data_dir": "flag", "port": None}, environ=environ, file=file)
    assert (settings.host, settings.port, settings.data_dir) == ("file", 2, "flag")


def test_the_environment_names_the_file(tmp_path: Path) -> None:
    file = tmp_path / "c.toml"
    file.write_text("[gateway]\nfsync = true\n")
    assert load(flags={}, environ={"COSTPLUS_CONFIG": str(file)}).gateway.fsync


def test_a_database_url_of_the_environment_is_the_database() -> None:
    assert load(flags={}, environ={"COSTPLUS_DATABASE_URL": "memory:"}).database_url == "memory:"


def test_a_secret_may_come_from_a_file(tmp_path: Path) -> None:
    secret = tmp_path / "key"
    secret.write_text("sk-from-file\n")
    settings = load(flags={}, environ={"COSTPLUS_PROVIDERS__OPENAI__API_KEY_FILE": str(secret)})
    assert settings.providers["openai"].api_key == "sk-from-file"
    with pytest.raises(SettingsInvalid, match="cannot be read"):
        load(flags={}, environ={"COSTPLUS_SECRET_KEY_FILE": str(tmp_path / "none")})


def test_a_known_provider_needs_only_a_key() -> None:
    environ = {"COSTPLUS_PROVIDERS__ANTHROPIC__API_KEY": "x", "COSTPLUS_PROVIDERS__GROQ__API_KEY": "y"}
    providers = load(flags={}, environ=environ).providers
    assert (providers["anthropic"].base_url, providers["anthropic"].wire) == (
        "https://api.anthropic.com/v1",
        "anthropic",
    )
    assert providers["groq"].wire == "openai"


@pytest.mark.parametrize(
    ("environ", "named"),
    [
        ({"COSTPLUS_PROT": "1"}, "prot"),
        ({"COSTPLUS_PORT": "many"}, "port"),
        ({"COSTPLUS_ROLE": "chef"}, "role"),
        ({"COSTPLUS_GATEWAY__FSINC": "true"}, "fsinc"),
        ({"COSTPLUS_PROVIDERS__OPENAI__WIRE": "smoke"}, "wire"),
        ({"COSTPLUS_PROVIDERS__AZURE__DEPLOYMENTS": "gpt-4o"}, "providers.azure.deployments"),
        ({"COSTPLUS_PROVIDERS__AZURE__DEPLOYMENTS": '{"gpt-4o": 1}'}, "providers.azure.deployments"),
        ({"COSTPLUS_PROVIDERS__OPENAI__TIMEOUTS__CONECT_S": "1"}, "conect_s"),
        ({"COSTPLUS_PROVIDERS__OPENAI__TIMEOUTS__CONNECT_S": "0"}, "connect_s"),
        ({"COSTPLUS_PRICES__EVERY_S": "899"}, "every_s"),
        ({"COSTPLUS_PRICES__SYNC": "perhaps"}, "sync"),
        ({"COSTPLUS_PRICES__SOURCES__MOON__URL": "http://x"}, "moon"),
        ({"COSTPLUS_PRICES__SOURCES__LITELLM__URL": "file:///x"}, "url"),
        ({"COSTPLUS_PRICES__SOURCES__LITELLM": "off"}, "litellm"),
        ({"COSTPLUS_CONFIG": "/nowhere/c.toml"}, "/nowhere/c.toml"),
    ],
)
def test_what_cannot_be_used_is_named(environ: dict[str, str], named: str) -> None:
    with pytest.raises(SettingsInvalid, match=named):
        load(flags={}, environ=environ)


def test_a_file_that_is_not_toml_says_so(tmp_path: Path) -> None:
    file = tmp_path / "c.toml"
    file.write_text("port = = 1")
    with pytest.raises(SettingsInvalid, match="not valid TOML"):
        load(flags={}, environ={}, file=file)


def test_three_price_lists_are_followed_every_six_hours_by_default() -> None:
    prices = Settings().prices
    assert list(prices.followed) == ["genai-prices", "litellm", "models.dev"]
    assert all(url.startswith("https://") for url in prices.followed.values())
    assert prices.every_s == 6 * 3600


def test_price_lists_are_named_in_toml_and_in_the_environment(tmp_path: Path) -> None:
    file = tmp_path / "c.toml"
    file.write_text('[prices]\nevery_s = 900\n[prices.sources."models.dev"]\nurl = "http://mirror/x"\n')
    environ = {
        "COSTPLUS_PRICES__SOURCES__GENAI_PRICES__ENABLED": "false",
        "COSTPLUS_PRICES__SOURCES__LITELLM__URL": "https://mirror/l",
        "COSTPLUS_PRICES__SOURCES__OPENROUTER__ENABLED": "true",
    }
    prices = load(flags={}, environ=environ, file=file).prices
    assert prices.every_s == 900
    assert prices.followed == {
        "litellm": "https://mirror/l",
        "models.dev": "http://mirror/x",
        "openrouter": "https://openrouter.ai/api/v1/models",
    }


def test_the_environment_and_the_file_may_name_one_price_list(tmp_path: Path) -> None:
    file = tmp_path / "c.toml"
    file.write_text('[prices.sources."models.dev"]\nurl = "http://mirror/x"\n')
    environ = {"COSTPLUS_PRICES__SOURCES__MODELS_DEV__ENABLED": "false"}
    [(name, setting)] = load(flags={}, environ=environ, file=file).prices.sources.items()
    assert (name, setting.url, setting.enabled) == ("models.dev", "http://mirror/x", False)


def test_without_sync_no_price_list_is_followed() -> None:
    assert not load(flags={}, environ={"COSTPLUS_PRICES__SYNC": "false"}).prices.followed


def test_routes_and_keys_may_come_from_the_environment_as_json() -> None:
    environ = {
        "COSTPLUS_PROVIDERS__OPENAI__API_KEYS": '[{"api_key": "sk-a"}, {"api_key": "sk-b", "weight": 2}]',
        "COSTPLUS_ROUTES": '{"smart": [{"provider": "openai", "model": "gpt-4o", "priority": 1}]}',
    }
    settings = load(flags={}, environ=environ)
    assert [(key.api_key, key.weight) for key in settings.providers["openai"].api_keys] == [
        ("sk-a", 1),
        ("sk-b", 2),
    ]
    (target,) = settings.routes["smart"]
    assert (target.provider, target.model, target.weight, target.priority) == ("openai", "gpt-4o", 1, 1)


@pytest.mark.parametrize(
    ("routes", "named"),
    [
        ('{"smart": []}', "nobody"),
        ('{"smart": [{"provider": "nowhere", "model": "m"}]}', "nowhere"),
        ('{"smart": [{"provider": "openai", "model": "m", "weight": 0}]}', "weight"),
        ("{smart}", "not valid JSON"),
    ],
)
def test_routes_that_lead_nowhere_are_refused(routes: str, named: str) -> None:
    environ = {"COSTPLUS_PROVIDERS__OPENAI__API_KEY": "sk", "COSTPLUS_ROUTES": routes}
    with pytest.raises(SettingsInvalid, match=named):
        load(flags={}, environ=environ)
