"""Cameras: register, state, probe, still pictures."""

from aiohttp import web

from web.access.scopes import Scope
from web.api.schemas.cameras import (
    Camera,
    CameraDeleted,
    CameraInput,
    CameraList,
    CameraQuery,
    ProbeEvent,
    ProbeRequest,
)
from web.call import Call
from web.operations import Operations

operations = Operations("cameras")


@operations.operation("GET", "/cameras", scope=Scope.CAMERAS_READ)
async def list_cameras(call: Call, query: CameraQuery) -> CameraList:
    """All cameras with their state."""
    raise NotImplementedError


@operations.operation("POST", "/cameras", scope=Scope.CAMERAS_WRITE, status=201)
async def create_camera(call: Call, body: CameraInput) -> Camera:
    """Add a camera. It is connected at once."""
    raise NotImplementedError


@operations.operation(
    "POST", "/cameras/probe", scope=Scope.CAMERAS_WRITE, media_type="application/x-ndjson", line=ProbeEvent
)
async def probe_camera(call: Call, body: ProbeRequest) -> web.StreamResponse:
    """Test a camera step by step. Each line of the answer is one event, sent as it happens."""
    raise NotImplementedError


@operations.operation("GET", "/cameras/{camera_id}", scope=Scope.CAMERAS_READ)
async def get_camera(call: Call, camera_id: str) -> Camera:
    """One camera with its state."""
    raise NotImplementedError


@operations.operation("PUT", "/cameras/{camera_id}", scope=Scope.CAMERAS_WRITE)
async def update_camera(call: Call, camera_id: str, body: CameraInput) -> Camera:
    """Change a camera."""
    raise NotImplementedError


@operations.operation("DELETE", "/cameras/{camera_id}", scope=Scope.CAMERAS_WRITE)
async def delete_camera(call: Call, camera_id: str) -> CameraDeleted:
    """Take a camera out of the register. Its recordings stay."""
    raise NotImplementedError


@operations.operation("GET", "/cameras/{camera_id}/still.jpg", scope=Scope.MEETINGS_READ, media_type="image/jpeg")
async def get_still(call: Call, camera_id: str) -> web.StreamResponse:
    """A picture of the camera, at most 10 s old while it is online."""
    raise NotImplementedError
