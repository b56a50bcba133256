"""Sentences for people, by language: message catalogs ``web/locales/*.json``, and which language to answer in.

A catalog has groups: ``errors`` and ``advice`` (code → title and detail), ``fields``, ``gaps``, ``story``, ``audit``,
``probe``, ``kinds``, ``reasons`` (code → text), and the ``units`` of time. Texts have ``{param}`` placeholders.
"""

import json
from collections.abc import Mapping
from dataclasses import dataclass
from importlib.resources import files
from string import Formatter
from typing import Any

from web.api.schemas.common import Notice
from web.api.schemas.session import Language


class _Lenient(Formatter):
    """Formatting that leaves out what it is not given: a sentence with a hole is better than none.

    ``{seconds:duration}`` is a length of time as people say it, ``{reason:reason}`` the text of a code, both from a
    catalog's groups.
    """

    def __init__(self, groups: Mapping[str, Mapping[str, Any]]) -> None:
        self._units: Mapping[str, str] = groups.get("units", {})
        self._reasons: Mapping[str, str] = groups.get("reasons", {})

    def get_value(self, key: int | str, args: Any, kwargs: Mapping[str, Any]) -> Any:
        return kwargs.get(str(key), "…")

    def get_field(self, field_name: str, args: Any, kwargs: Mapping[str, Any]) -> Any:
        # Attributes and indexes of parameters are never meant; a catalog must not reach into objects.
        return self.get_value(field_name, args, kwargs), field_name

    def format_field(self, value: Any, format_spec: str) -> Any:
        if format_spec == "reason":
            return self._reasons.get(str(value), str(value))
        if format_spec != "duration":
            return super().format_field(value, format_spec)
        try:
            return self._duration(float(value))
        except (TypeError, ValueError):
            return str(value)

    def _duration(self, seconds: float) -> str:
        if seconds < 60:
            return self._units["seconds"].format(f"{round(seconds, 1):g}")
        minutes = round(seconds / 60)
        if minutes < 60:
            return self._units["minutes"].format(minutes)
        hours, minutes = divmod(minutes, 60)
        return self._units["hours-minutes" if minutes else "hours"].format(hours, minutes)


@dataclass(frozen=True, slots=True)
class Catalog:
    """The sentences of one language."""

    language: Language
    groups: Mapping[str, Mapping[str, Any]]

    def text(self, group: str, code: str, params: Mapping[str, object] | None = None) -> str:
        """The text of ``code`` in ``group``; the code itself if there is none."""
        pattern = self.groups.get(group, {}).get(code)
        return self._fill(pattern, params or {}) if isinstance(pattern, str) else code

    def _fill(self, pattern: str, params: Mapping[str, object]) -> str:
        return _Lenient(self.groups).vformat(pattern, (), dict(params))

    def knows(self, group: str, code: str) -> bool:
        """Whether there is an entry."""
        return code in self.groups.get(group, {})

    def notice(self, code: str, params: Mapping[str, object] | None = None, group: str = "errors") -> Notice:
        """Title and detail of an error or warning, or of a piece of ``advice``."""
        entry = self.groups[group].get(code) or self.groups["errors"]["unknown"]
        values = {"code": code, **(params or {})}
        return Notice(
            code=code,
            title=self._fill(entry["title"], values),
            detail=self._fill(entry["detail"], values),
        )


@dataclass(frozen=True, slots=True)
class Catalogs:
    """All languages, with the one for people who have chosen none."""

    by_language: Mapping[Language, Catalog]
    default: Language

    def of(self, language: Language | str | None) -> Catalog:
        """The catalog of ``language``, or the default one."""
        known = {item.value for item in Language}
        return self.by_language[Language(language)] if language in known else self.by_language[self.default]

    def accept(self, header: str) -> Catalog:
        """The catalog that an ``Accept-Language`` header likes best (RFC 9110, 12.5.4)."""
        best, best_weight = self.default, 0.0
        for item in header[:200].split(","):
            tag, _, parameter = item.partition(";")
            weight = _weight(parameter)
            language = _language(tag.strip().lower())
            if language is not None and weight > best_weight:
                best, best_weight = language, weight
        return self.by_language[best]


def _weight(parameter: str) -> float:
    name, _, value = parameter.partition("=")
    if name.strip() != "q":
        return 1.0
    try:
        return float(value)
    except ValueError:
        return 0.0


def _language(tag: str) -> Language | None:
    primary = tag.partition("-")[0]
    return {"zh": Language.ZH_CN, "en": Language.EN}.get(primary)


def load_catalogs(default: Language = Language.ZH_CN) -> Catalogs:
    """Read the catalogs that come with the package."""
    folder = files("web") / "locales"
    return Catalogs(
        {
            language: Catalog(language, json.loads((folder / f"{language.value}.json").read_text(encoding="utf-8")))
            for language in Language
        },
        default,
    )
