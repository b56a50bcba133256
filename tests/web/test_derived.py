"""Settings of the parts, derived from those of the service."""

from pathlib import Path

import pytest

from tests.web.conftest import settings
from web.derived import address_policy


@pytest.mark.parametrize(
    ("changes", "port"),
    [
        ({"http_port": 8088}, 8088),
        ({"database_url": "postgresql://sanhui@127.0.0.1/sanhui"}, 5432),
        ({"database_url": "postgresql://sanhui@127.0.0.1:6000/sanhui"}, 6000),
        ({"s3_endpoint": "http://127.0.0.1:9000"}, 9000),
        ({"s3_endpoint": "https://127.0.0.1"}, 443),
    ],
)
def test_a_camera_is_never_at_a_port_of_our_own_servers(tmp_path: Path, changes: dict[str, object], port: int) -> None:
    assert port in address_policy(settings(tmp_path, **changes)).own_ports
