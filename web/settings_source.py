"""Where settings come from: the environment (``SANHUI_…``), files named by ``SANHUI_…_FILE``, one TOML file.

The environment wins over files, files over TOML, TOML over the defaults. A wrong setting, or one that does not exist,
is refused with a sentence (:class:`web.errors.SettingsError`): an overlooked typing mistake could keep evidence in the
wrong place.
"""

import difflib
import tomllib
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from pydantic import SecretStr, ValidationError
from pydantic.fields import FieldInfo
from pydantic_core import ErrorDetails, PydanticUndefined

from web.config import Settings
from web.errors import SettingsError

PREFIX = "SANHUI_"
CONFIG_VARIABLE = "SANHUI_CONFIG"
_OTHERS = (CONFIG_VARIABLE, "SANHUI_TEST_", "SANHUI_CACHE")


def load_settings(environ: Mapping[str, str], config: Path | None = None, **overrides: Any) -> Settings:
    """The settings in force. ``config`` is the TOML file (else the one that ``SANHUI_CONFIG`` names, else none).

    Raises SettingsError.
    """
    path = config or (Path(environ[CONFIG_VARIABLE]) if environ.get(CONFIG_VARIABLE) else None)
    values = {**(_from_toml(path) if path else {}), **_from_environment(environ), **overrides}
    try:
        return Settings.model_validate(values)
    except ValidationError as error:
        raise _refusal(error.errors(include_url=False, include_input=False)[0], values) from None


def _from_toml(path: Path) -> dict[str, Any]:
    name = str(path)
    try:
        values = tomllib.loads(path.read_text(encoding="utf-8"))
    except OSError as error:
        reason = error.strerror or "?"
        raise SettingsError(
            name,
            {
                "zh-CN": f"打不开设置文件 {name}：{reason}。请检查路径和读取权限。",
                "en": f"The settings file {name} cannot be read: {reason}. Check its path and permissions.",
            },
        ) from error
    except (tomllib.TOMLDecodeError, UnicodeDecodeError) as error:
        raise SettingsError(
            name,
            {
                "zh-CN": f"设置文件 {name} 不是正确的 TOML：{error}。",
                "en": f"The settings file {name} is not valid TOML: {error}.",
            },
        ) from None
    for key in values:
        if key not in Settings.model_fields:
            raise _unknown(key, list(Settings.model_fields))
    return values


def _from_environment(environ: Mapping[str, str]) -> dict[str, Any]:
    known = {f"{PREFIX}{name.upper()}": name for name in Settings.model_fields}
    files = {f"{variable}_FILE": name for variable, name in known.items()}
    values: dict[str, Any] = {}
    for variable, value in environ.items():
        if variable in files and value and variable not in known:
            values[files[variable]] = _from_file(variable, Path(value))
        elif variable.startswith(PREFIX) and variable not in known and not variable.startswith(_OTHERS):
            if variable not in files:
                raise _unknown(variable, list(known))
    # An empty variable is how Compose files say "not set".
    values.update({name: environ[variable] for variable, name in known.items() if environ.get(variable)})
    return values


def _from_file(variable: str, path: Path) -> str:
    try:
        return path.read_text(encoding="utf-8").strip()
    except (OSError, UnicodeDecodeError) as error:
        raise SettingsError(
            variable,
            {
                "zh-CN": f"设置 {variable} 指向的文件 {path} 读不出来。请检查路径和读取权限。",
                "en": f"The file {path} that {variable} names cannot be read. Check its path and permissions.",
            },
        ) from error


def _unknown(name: str, known: list[str]) -> SettingsError:
    near = difflib.get_close_matches(name, known, n=1)
    return SettingsError(
        name,
        {
            "zh-CN": f"没有名为 {name} 的设置" + (f"，是不是 {near[0]}？" if near else "。"),
            "en": f"There is no setting {name}" + (f"; is it {near[0]} that is meant?" if near else "."),
        },
    )


def _refusal(error: ErrorDetails, values: Mapping[str, Any]) -> SettingsError:
    context = error.get("ctx", {})
    if error["type"] == "needed":
        name, other = str(context["setting"]), str(context["other"])
        return SettingsError(
            name,
            {
                "zh-CN": f"缺少设置 {PREFIX}{name.upper()}：{other} 时必须填写。",
                "en": f"The setting {PREFIX}{name.upper()} is missing: it is needed with {other}.",
            },
        )
    name = str(error["loc"][0])
    shown = _shown(name, values.get(name))
    chinese, english = _demand(error["type"], context)
    variable = f"{PREFIX}{name.upper()}"
    return SettingsError(
        name,
        {
            "zh-CN": f"设置 {variable} 不对：{chinese}{f'，现在是“{shown}”' if shown else ''}。",
            "en": f"The setting {variable} is wrong: {english}{f', and it is “{shown}”' if shown else ''}.",
        },
    )


def _shown(name: str, value: object) -> str:
    if value is None or is_secret(Settings.model_fields[name]):
        return ""
    return str(value)[:80]


def _demand(kind: str, context: Mapping[str, Any]) -> tuple[str, str]:
    """What is demanded of a value, in Chinese and English, for a kind of pydantic error."""
    bound = context.get("ge", context.get("gt", context.get("le", context.get("lt", ""))))
    demands = {
        "int_parsing": ("应为整数", "it must be a whole number"),
        "int_type": ("应为整数", "it must be a whole number"),
        "float_parsing": ("应为数字", "it must be a number"),
        "bool_parsing": ("应为 true 或 false", "it must be true or false"),
        "greater_than_equal": (f"不能小于 {bound}", f"it must be at least {bound}"),
        "greater_than": (f"必须大于 {bound}", f"it must be more than {bound}"),
        "less_than_equal": (f"不能大于 {bound}", f"it must be at most {bound}"),
        "less_than": (f"必须小于 {bound}", f"it must be less than {bound}"),
        "enum": (
            f"只能是 {str(context.get('expected', '')).replace(' or ', ' 或 ')}",
            f"it must be {context.get('expected', '')}",
        ),
        "time_zone": (
            "应为 IANA 时区名，例如 Asia/Shanghai",
            "it must be the IANA name of a time zone, such as Asia/Shanghai",
        ),
        "certificates": (
            "应为能读取的 PEM 证书文件",
            "it must be a PEM file of certificates that can be read",
        ),
        "database_url": (
            "应以 sqlite: 或 postgresql: 开头",
            "it must begin with sqlite: or postgresql:",
        ),
        "network": (
            "应为网络地址，例如 10.0.0.0/8，多个用逗号分开",
            "it must be networks such as 10.0.0.0/8, separated by commas",
        ),
    }
    return demands.get(kind, ("格式不对，请看 docs/settings.md", "its form is wrong, see docs/settings.md"))


def is_secret(field: FieldInfo) -> bool:
    """Whether a setting is a secret, which nothing may print."""
    return field.annotation is SecretStr


def settings_markdown() -> str:
    """The table of all settings for ``docs/settings.md``."""
    lines = [
        "# Settings",
        "",
        "Each setting comes from the environment under the name shown, from a file that `<NAME>_FILE` names (for",
        "secrets), or from a TOML file that `SANHUI_CONFIG` or `sanhui --config` names, there in lower case without",
        "`SANHUI_`. The environment wins over files, files over TOML. A wrong or unknown setting is refused at start.",
        "Made by `sanhui settings --docs`.",
        "",
        "| setting | default | what it is |",
        "|---|---|---|",
    ]
    for name, field in Settings.model_fields.items():
        lines.append(f"| `{PREFIX}{name.upper()}` | {_default(field)} | {field.description}{_bounds(field)} |")
    return "\n".join(lines) + "\n"


def _default(field: FieldInfo) -> str:
    value = field.default
    if value is PydanticUndefined or value in (None, "", []) or isinstance(value, SecretStr):
        return "–"
    return f"`{str(value).lower() if isinstance(value, bool) else value}`"


def _bounds(field: FieldInfo) -> str:
    low = high = None
    for rule in field.metadata:
        low = getattr(rule, "ge", getattr(rule, "gt", low))
        high = getattr(rule, "le", getattr(rule, "lt", high))
    return f" {low}–{high}." if low is not None and high is not None else ""
