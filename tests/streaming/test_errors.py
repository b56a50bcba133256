"""Every error and advice a person may see has its sentence, in both languages."""

import json
import re
from pathlib import Path
from typing import Any

import pytest

import streaming.probe
from streaming import errors
from streaming.errors import StreamingError

LOCALES = Path(__file__).parents[2] / "web" / "locales"
ERRORS = [one for one in vars(errors).values() if isinstance(one, type) and issubclass(one, StreamingError)]
ADVICE = re.findall(r"^    ([a-z0-9-]+) +\{", streaming.probe.__doc__ or "", re.MULTILINE)


@pytest.fixture(params=["zh-CN", "en"])
def catalog(request: pytest.FixtureRequest) -> dict[str, Any]:
    loaded: dict[str, Any] = json.loads((LOCALES / f"{request.param}.json").read_text("utf-8"))
    return loaded


def test_codes_are_unique_and_kebab_case() -> None:
    codes = [error.code for error in ERRORS]
    assert len(set(codes)) == len(codes)
    assert all(re.fullmatch(r"[a-z]+(-[a-z]+)*", code) for code in codes)


def test_every_error_has_its_sentence(catalog: dict[str, Any]) -> None:
    missing = [error.code for error in ERRORS if error.code not in catalog["errors"]]
    assert not missing


def test_every_error_is_drawn_in_the_tree() -> None:
    assert all(error.__name__ in (errors.__doc__ or "") for error in ERRORS)


def test_every_advice_has_its_sentence(catalog: dict[str, Any]) -> None:
    assert len(ADVICE) == 13
    for code in ADVICE:
        parameters = re.search(rf"^    {code} +\{{(.*?)\}}", streaming.probe.__doc__ or "", re.MULTILINE)
        assert parameters is not None
        allowed = {name.strip() for name in parameters[1].split(",") if name.strip()}
        entry = catalog["advice"][code]
        for sentence in (entry["title"], entry["detail"]):
            assert set(re.findall(r"\{(\w+)\}", sentence)) <= allowed
