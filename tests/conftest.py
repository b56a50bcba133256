"""What every test may use; the fixtures themselves are in ``tests/support``."""

pytest_plugins = ["tests.support.servers", "tests.support.every_playlist", "tests.support.interfaces"]
