"""Topics of cameras: all of an area (``cameras/{organization}``, ``cameras/all``), or one (``camera/{id}``)."""

from collections.abc import Mapping

from media.unit import NS_PER_S
from storage.records import CameraPlace, Meeting
from streaming.camera_status import CameraState, CameraStatus
from web.api import camera_view, present
from web.api.schemas import events as messages
from web.api.schemas.cameras import CameraStanding
from web.live.events_hub import Hub, Render
from web.messages import Catalog
from web.services import Services
from web.trends import STEP_S

CAMERAS, CAMERA, ALL = "cameras", "camera", "all"


def _standing_of(status: CameraStatus | None) -> object:
    """What a page is told of anew when it is another."""
    if status is None:
        return None
    return status.state, status.since_utc_ns, status.problem, status.tracks, status.transport, status.advice


class CameraTopics:
    """What pages of cameras have been told. Owned by the live board."""

    def __init__(self, services: Services, hub: Hub) -> None:
        self._services = services
        self._hub = hub
        # None while nobody has such a topic.
        self._keys: dict[str, object] | None = None
        self._register: tuple[object, ...] = ()
        self._counted_ns = 0

    def snapshot(
        self, topic: str, running: Mapping[str, Meeting], catalog: Catalog, host: str
    ) -> messages.CamerasSnapshot:
        """The topic as it stands. ``running`` are meetings by camera, ``host`` is what the page calls this machine."""
        number = self._hub.newest_id
        if self._keys is None:
            self._look(running)
        data = camera_view.listed(self._services, catalog, self._of(topic), dict(running), host)
        return messages.CamerasSnapshot(topic=topic, id=number, data=data)

    def compare(self, running: Mapping[str, Meeting]) -> list[str]:
        """Publish what has changed; the topics that each page needs anew, since the register is another."""
        names = [topic.name for prefix in (f"{CAMERAS}/", f"{CAMERA}/") for topic in self._hub.topics(prefix)]
        if not names:
            self._keys = None
            return []
        before, register = self._keys, self._register
        after = self._look(running)
        if before is not None and register != self._register:
            return names
        changed = {camera_id for camera_id, key in after.items() if before is not None and before.get(camera_id) != key}
        now_ns = self._services.clock.monotonic_ns()
        counting = now_ns - self._counted_ns >= STEP_S * NS_PER_S
        if counting:
            self._counted_ns = now_ns
        for name in names:
            mine = self._of(name)
            if moved := [place for place in mine if place.camera.id in changed]:
                self._hub.publish(name, self._standings(moved, dict(running)))
            if counting and (online := [place for place in mine if self._is_online(place)]):
                self._hub.publish(name, self._numbers(online))
        return []

    def _look(self, running: Mapping[str, Meeting]) -> dict[str, object]:
        services = self._services
        picture = services.county.picture
        # Where an organization is in the tree decides who may see its cameras.
        self._register = (picture.cameras, picture.organizations)
        found: dict[str, object] = {}
        for camera_id in picture.cameras:
            status = services.supervisor.status(camera_id)
            found[camera_id] = (_standing_of(status), services.wanted.is_unreadable(camera_id), running.get(camera_id))
        self._keys = found
        return found

    def _of(self, topic: str) -> list[CameraPlace]:
        kind, _, key = topic.partition("/")
        picture = self._services.county.picture
        if kind == CAMERA:
            return [picture.cameras[key]] if key in picture.cameras else []
        return list(picture.cameras_in(None if key == ALL else key))

    def _is_online(self, place: CameraPlace) -> bool:
        status = self._services.supervisor.status(place.camera.id)
        return status is not None and status.state is CameraState.ONLINE

    def _standings(self, places: list[CameraPlace], running: dict[str, Meeting]) -> Render:
        def standing(place: CameraPlace, catalog: Catalog) -> CameraStanding:
            meeting = running.get(place.camera.id)
            return CameraStanding(
                id=place.camera.id,
                status=camera_view.status(self._services, catalog, place, meeting),
                meeting=present.brief(meeting, catalog) if meeting is not None else None,
            )

        def render(catalog: Catalog, topic: str, number: str) -> messages.CamerasChanged:
            return messages.CamerasChanged(topic=topic, id=number, data=[standing(place, catalog) for place in places])

        return render

    def _numbers(self, places: list[CameraPlace]) -> Render:
        def render(catalog: Catalog, topic: str, number: str) -> messages.CamerasCounted:
            data = [camera_view.numbers(self._services, catalog, place) for place in places]
            return messages.CamerasCounted(topic=topic, id=number, data=data)

        return render
