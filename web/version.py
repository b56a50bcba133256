"""Which Sanhui this is."""

from importlib.metadata import PackageNotFoundError
from importlib.metadata import version as distribution_version


def version() -> str:
    """The installed version, such as ``0.1.0``."""
    try:
        return distribution_version("sanhui")
    except PackageNotFoundError:
        return "0.0.0"
