"""Every fuzz target, by name."""

from tests.fuzz import media_targets, other_targets, streaming_targets, webrtc_targets
from tests.fuzz.harness import Target

TARGETS: dict[str, Target] = {
    target.name: target
    for module in (media_targets, streaming_targets, webrtc_targets, other_targets)
    for target in module.TARGETS
}
