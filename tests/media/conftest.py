"""What the receiver is fed with: four seconds of a camera, as units and as packets that arrive."""

import pytest

from media.unit import AccessUnit
from tests.support.rtp_feed import NOISY, Arrival, Camera, make_units


@pytest.fixture(scope="session")
def units() -> list[AccessUnit]:
    return make_units(NOISY, 4.0)


@pytest.fixture(scope="session")
def arrivals(units: list[AccessUnit]) -> list[Arrival]:
    return Camera([units[0].track, next(u.track for u in units if u.track.id == 2)]).arrivals(units)
