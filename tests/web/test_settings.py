"""Settings: where they come from, and the sentence for a wrong one."""

import re
from pathlib import Path

import pytest

from web.config import Settings
from web.errors import SettingsError
from web.settings_source import load_settings, settings_markdown


def test_the_environment_wins_over_files_over_toml_over_defaults(tmp_path: Path) -> None:
    toml = tmp_path / "sanhui.toml"
    toml.write_text('http_port = 81\nrtsp_port = 82\ns3_region = "toml"\n', encoding="utf-8")
    secret = tmp_path / "region"
    secret.write_text("from-file\n", encoding="utf-8")
    environ = {
        "SANHUI_CONFIG": str(toml),
        "SANHUI_HTTP_PORT": "83",
        "SANHUI_S3_REGION_FILE": str(secret),
        "SANHUI_NODE": "",
        "HOME": "/",
    }
    settings = load_settings(environ)
    assert (settings.http_port, settings.rtsp_port, settings.s3_region) == (83, 82, "from-file")
    assert settings.node == "main"
    assert load_settings(environ, http_port=84).http_port == 84


def test_a_setting_that_ends_in_file_is_not_read_as_one(tmp_path: Path) -> None:
    settings = load_settings({"SANHUI_SECRET_KEY_FILE": str(tmp_path / "key")})
    assert settings.secret_key_file == tmp_path / "key"


def test_the_database_password_may_stand_apart_from_the_address(tmp_path: Path) -> None:
    secret = tmp_path / "database"
    secret.write_text("p@ss:/汉\n", encoding="utf-8")
    environ = {
        "SANHUI_DATABASE_URL": "postgresql://sanhui@db:5432/sanhui?sslmode=require",
        "SANHUI_DATABASE_PASSWORD_FILE": str(secret),
    }
    settings = load_settings(environ)
    assert settings.database_address == "postgresql://sanhui:p%40ss%3A%2F%E6%B1%89@db:5432/sanhui?sslmode=require"
    assert "p@ss" not in repr(settings)


def test_networks_are_parted_by_commas() -> None:
    settings = load_settings({"SANHUI_TRUSTED_PROXIES": "10.1.2.3/8, fd00::/8"})
    assert settings.trusted_proxies == ["10.0.0.0/8", "fd00::/8"]


@pytest.mark.parametrize(
    ("environ", "named", "chinese", "english"),
    [
        ({"SANHUI_HTTP_PORT": "abc"}, "SANHUI_HTTP_PORT", "整数，现在是“abc”", "whole number"),
        ({"SANHUI_HTTP_PORT": "70000"}, "SANHUI_HTTP_PORT", "不能大于 65535", "at most 65535"),
        ({"SANHUI_SPOOL_MAX_GB": "0"}, "SANHUI_SPOOL_MAX_GB", "必须大于 0", "more than 0"),
        ({"SANHUI_STORE": "ftp"}, "SANHUI_STORE", "'directory' 或 's3'", "'directory' or 's3'"),
        ({"SANHUI_STORE": "s3"}, "SANHUI_S3_ENDPOINT", "缺少设置", "is missing"),
        ({"SANHUI_METRICS_ACCESS": "token"}, "SANHUI_METRICS_TOKEN", "缺少设置", "is missing"),
        ({"SANHUI_TIME_ZONE": "Mars/Base"}, "SANHUI_TIME_ZONE", "IANA 时区名", "IANA name"),
        ({"SANHUI_TRUSTED_PROXIES": "here"}, "SANHUI_TRUSTED_PROXIES", "网络地址", "networks"),
        (
            {"SANHUI_DATABSE_URL": "x"},
            "SANHUI_DATABSE_URL",
            "是不是 SANHUI_DATABASE_URL？",
            "is it SANHUI_DATABASE_URL",
        ),
        ({"SANHUI_S3_SECRET_KEY_FILE": "/none"}, "SANHUI_S3_SECRET_KEY_FILE", "读不出来", "cannot be read"),
        ({"SANHUI_S3_CA": "/none.pem"}, "SANHUI_S3_CA", "证书文件", "file of certificates"),
        ({"SANHUI_CONFIG": "/none.toml"}, "/none.toml", "打不开", "cannot be read"),
        ({"SANHUI_CAMERA_ALLOW_LOOPBACK": "perhaps"}, "SANHUI_CAMERA_ALLOW_LOOPBACK", "true 或 false", "true or false"),
    ],
)
def test_a_wrong_setting_is_refused_with_a_sentence_that_names_it(
    environ: dict[str, str], named: str, chinese: str, english: str
) -> None:
    with pytest.raises(SettingsError) as caught:
        load_settings(environ)
    sentences = caught.value.sentences
    assert named in sentences["zh-CN"]
    assert chinese in sentences["zh-CN"]
    assert named in sentences["en"]
    assert english in sentences["en"]
    assert "\n" not in sentences["zh-CN"]


@pytest.mark.parametrize("text", ["http_prot = 1", "http_port = ", "http_port = 'x'"])
def test_a_wrong_toml_file_is_refused(tmp_path: Path, text: str) -> None:
    file = tmp_path / "s.toml"
    file.write_text(text, encoding="utf-8")
    with pytest.raises(SettingsError, match="wrong"):
        load_settings({}, file)


def test_a_secret_is_never_repeated() -> None:
    secret = "mysql://u:p@ss:/汉字@h/d"
    with pytest.raises(SettingsError) as caught:
        load_settings({"SANHUI_DATABASE_URL": secret})
    assert secret not in str(caught.value.sentences)
    settings = load_settings({"SANHUI_S3_SECRET_KEY": secret, "SANHUI_METRICS_TOKEN": secret})
    assert secret not in repr(settings)
    assert secret not in settings.model_dump_json()


def test_every_setting_is_documented_with_its_default() -> None:
    text = settings_markdown()
    for name, field in Settings.model_fields.items():
        assert field.description, name
        assert field.description.rstrip().endswith("."), name
        assert f"`SANHUI_{name.upper()}`" in text
    assert re.search(r"`SANHUI_HTTP_PORT` \| `8080` \|", text)


def test_the_document_of_settings_is_the_newest() -> None:
    document = Path(__file__).parents[2] / "docs" / "settings.md"
    assert document.read_text(encoding="utf-8") == settings_markdown(), "run: sanhui settings --docs > docs/settings.md"
