"""The register and a camera's certificate: remembered on first use, shown, and let go by a person alone."""

from pathlib import Path
from typing import Any

from tests.support.fake_camera import fake_camera
from tests.support.tls import make_certificate, tls_front
from tests.web.conftest import Service
from tests.web.test_flow import add_camera, state_of, until


async def test_a_certificate_is_remembered_changed_and_accepted(service: Service, tmp_path: Path) -> None:
    first, second = make_certificate(tmp_path, "first"), make_certificate(tmp_path, "second")
    system, auditor = await service.logged_in("system"), await service.logged_in("auditor")
    async with fake_camera() as plain, tls_front(first, plain.port) as front:
        address = f"rtsps://127.0.0.1:{front.port}/live"
        added = await add_camera(system, address, tls_trust="pin")
        path = f"/cameras/{added['id']}"

        async def pinned() -> Any:
            return (await system.json("GET", path))["tls_pin"]

        assert await until(pinned) == first.fingerprint
        entries = (await auditor.json("GET", "/audit", params={"action": "camera.pin"}))["items"]
        assert [entry["subject"] for entry in entries] == [f"camera/{added['id']}"]

        front.show(second)
        broken = await state_of(system, added["id"], "misconfigured")
        problem = broken["status"]["problem"]
        assert problem["code"] == "camera-certificate-changed"
        assert second.fingerprint in problem["detail"]
        assert broken["tls_pin"] == first.fingerprint

        body = {"name": added["name"], "site_id": added["site"]["id"], "address": address, "tls_trust": "pin"}
        assert (await system.json("PUT", path, json=body))["tls_pin"] == first.fingerprint
        await system.json("PUT", path, json={**body, "forget_certificate": True})
        await state_of(system, added["id"], "online")

        async def accepted() -> bool:
            return bool(await pinned() == second.fingerprint)

        await until(accepted)
        # Another address is another camera: nothing is known of its certificate.
        moved = await system.json("PUT", path, json={**body, "address": f"rtsps://127.0.0.1:{front.port + 1}/live"})
        assert moved["tls_pin"] == ""
