"""A probe's steps in words: facts with labels and units, problems and advice as sentences."""

import base64
from collections.abc import Callable, Mapping

from streaming.probe import Outcome, ProbeStep
from web.api.schemas.cameras import ProbeEvent, ProbeFact, ProbeOutcome, ProbeStepName
from web.messages import Catalog

Facts = Mapping[str, str | int | float]
_CODECS = {"h264": "H.264", "h265": "H.265", "pcma": "G.711A", "pcmu": "G.711μ", "aac": "AAC", "opus": "Opus"}


def event(step: ProbeStep, catalog: Catalog) -> ProbeEvent:
    """One line for the page."""
    still = f"data:image/jpeg;base64,{base64.b64encode(step.still).decode('ascii')}" if step.still else None
    return ProbeEvent(
        type="step",
        step=ProbeStepName(step.stage.value),
        outcome=ProbeOutcome(step.outcome.value),
        took_ms=step.took_ms,
        facts=_facts(step.facts, catalog),
        problem=catalog.notice(step.problem.code, step.problem.params) if step.problem else None,
        advice=[catalog.notice(item.code, item.params, "advice") for item in step.advice],
        still=still,
    )


def done(outcomes: Mapping[str, Outcome], took_ms: float) -> ProbeEvent:
    """The last line: the worst that any step came to."""
    worst = ProbeOutcome.OK
    if Outcome.FAILED in outcomes.values():
        worst = ProbeOutcome.FAILED
    elif Outcome.WARNING in outcomes.values():
        worst = ProbeOutcome.WARNING
    return ProbeEvent(type="done", outcome=worst, took_ms=took_ms)


def _facts(facts: Facts, catalog: Catalog) -> list[ProbeFact]:
    shown = []
    for code, say in _SAYERS.items():
        value = say(facts, catalog)
        if value:
            shown.append(ProbeFact(code=code, label=catalog.text("probe", code), value=value))
    return shown


def _text(name: str) -> Callable[[Facts, Catalog], str]:
    return lambda facts, _: _CODECS.get(str(facts.get(name, "")), str(facts.get(name, "")))


def _transport(facts: Facts, _: Catalog) -> str:
    return str(facts.get("transport", "")).upper()


def _size(facts: Facts, _: Catalog) -> str:
    return f"{facts['width']} × {facts['height']}" if "width" in facts and "height" in facts else ""


def _gop(facts: Facts, catalog: Catalog) -> str:
    if "gop_s" not in facts:
        return ""
    return (
        catalog.text("probe", "seconds", {"value": facts["gop_s"]})
        if facts["gop_s"]
        else catalog.text("probe", "gop-longer")
    )


def _sound(facts: Facts, catalog: Catalog) -> str:
    if "rate" not in facts:
        return ""
    codec = _CODECS.get(str(facts.get("codec", "")), str(facts.get("codec", "")))
    return f"{codec} · {float(facts['rate']) / 1000:g} kHz"


def _codec(facts: Facts, _: Catalog) -> str:
    return "" if "rate" in facts else _CODECS.get(str(facts.get("codec", "")), str(facts.get("codec", "")))


def _fps(facts: Facts, catalog: Catalog) -> str:
    return catalog.text("probe", "frames", {"value": f"{float(facts['fps']):g}"}) if facts.get("fps") else ""


def _bitrate(facts: Facts, _: Catalog) -> str:
    return f"{float(facts['bitrate_bps']) / 1e6:.2f} Mb/s" if facts.get("bitrate_bps") else ""


def _loss(facts: Facts, _: Catalog) -> str:
    return f"{facts['packets_lost']} / {facts['packets']}" if facts.get("packets_lost") else ""


def _certificate(facts: Facts, _: Catalog) -> str:
    digits = str(facts.get("certificate", "")).upper()
    return ":".join(digits[at : at + 2] for at in range(0, len(digits), 2))


def _clock(facts: Facts, catalog: Catalog) -> str:
    if "offset_ms" not in facts:
        return ""
    return catalog.text("probe", "seconds", {"value": f"{float(facts['offset_ms']) / 1000:+.2f}"})


_SAYERS: Mapping[str, Callable[[Facts, Catalog], str]] = {
    "address": _text("url"),
    "certificate": _certificate,
    "transport": _transport,
    "offered-video": _text("video"),
    "offered-sound": _text("audio"),
    "codec": _codec,
    "size": _size,
    "fps": _fps,
    "gop": _gop,
    "bitrate": _bitrate,
    "packets-lost": _loss,
    "sound": _sound,
    "clock-drift": _clock,
}
