"""Any task that lasts as long as the service is ended by an exception of our own: it comes back, the recording and who
looks on do not notice, and the operator is told."""

import asyncio
from pathlib import Path

from recorder.check import check
from tests.faults.conftest import Moments
from tests.faults.test_tasks import strike
from tests.recorder.house import until
from tests.support.fake_camera import Behaviour, fake_camera
from tests.support.webrtc_client import WebRtcClient
from tests.web.conftest import Service, fill, run, settings
from tests.web.live_county import running_meeting
from tests.web.test_flow import add_camera, state_of
from tests.web.test_webrtc_peers import recorded

LASTING = (
    "camera certificates", "camera rates", "cameras follow the register", "county picture", "hls windows", "live board",
    "loop delay", "notices", "rtsp looks", "rtsp sweeper", "store watch", "talk entries", "talk floors", "talk rooms",
    "trends", "whep lines",
)  # fmt: skip
"""But for the recorder's own, which tests/faults/test_tasks.py strikes, and sessions of cameras."""
SDP = {"Content-Type": "application/sdp"}
PATIENCE_S = 15.0


def lasting() -> dict[str, "asyncio.Task[None]"]:
    """The tasks that last, by name."""
    return {task.get_name(): task for task in asyncio.all_tasks() if task.get_name() in LASTING}


async def test_any_task_of_the_service_comes_back(tmp_path: Path, moments: Moments) -> None:
    chosen = settings(tmp_path, reconcile_s=0.2, part_ms=200, segment_s=1, object_s=4, webrtc_host="127.0.0.1")
    async with (
        asyncio.timeout(moments.count * PATIENCE_S),
        fake_camera(Behaviour()) as camera,
        run(chosen) as service,
        WebRtcClient() as viewer,
    ):
        await fill(service.services)
        system, official = await service.logged_in("system"), await service.logged_in("east")
        added = await add_camera(system, camera.url)
        await state_of(system, added["id"], "online")
        meeting = await running_meeting(official)
        await recorded(official, meeting, 2)
        headers = {"X-CSRF-Token": official.csrf, **SDP}
        answer = await official.client.post(f"/live/{added['id']}/whep", data=viewer.offer(), headers=headers)
        await viewer.connect(await answer.text())
        assert sorted(lasting()) == sorted(LASTING)

        names: list[str] = []
        for chance in moments:
            await asyncio.sleep(chance.uniform(0.0, 0.3))
            if not names:
                names = chance.sample(LASTING, len(LASTING))
            await ended_and_back(service, names.pop(), viewer)
        facts = (await official.json("GET", f"/meetings/{meeting}"))["recording"]
        await recorded(official, meeting, facts["recorded_s"] + 2)
        await until(lambda: "task-failed" in service.services.notices.codes, "the operator is told", PATIENCE_S)
        assert camera.connections == 1
        await official.json("POST", f"/meetings/{meeting}/end")
        timeline = await official.json("GET", f"/meetings/{meeting}/timeline")
        assert [gap for gap in timeline["gaps"] if gap["cause"] != "not-started"] == []
        report = await check(service.services.database, service.services.store)
        assert report.findings == []


async def ended_and_back(service: Service, name: str, viewer: WebRtcClient) -> None:
    """Strike the task as it waits: its fault is noted, it goes on, and packets come to the viewer meanwhile."""
    failures, packets = service.services.failures, len(viewer.packets)
    task, noted = lasting()[name], failures.count
    await until(lambda: strike(task), f"{name} waits", PATIENCE_S)
    await until(lambda: failures.count > noted or task.done(), f"{name} is struck", PATIENCE_S)
    assert not task.done(), name
    await viewer.until(lambda: len(viewer.packets) > packets + 10, PATIENCE_S)
