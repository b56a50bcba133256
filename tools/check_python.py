"""Refuses an interpreter that cannot run Sanhui, in a sentence. Must itself run on any Python 3."""

import importlib.util
import sys

if sys.version_info < (3, 11):  # noqa: UP036 - said before anything newer is parsed
    sys.exit(
        "Sanhui needs Python 3.11 or newer; %s is %d.%d.\n需要 Python 3.11 或更新的版本。\n"  # noqa: UP031
        "Name another one: make PYTHON=/path/to/python3.12 demo" % (sys.executable, *sys.version_info[:2])
    )
missing = [name for name in ("venv", "ensurepip") if importlib.util.find_spec(name) is None]
if missing:
    sys.exit(
        "This Python lacks %s. On Debian and Ubuntu: apt-get install python3-venv, then try again."  # noqa: UP031
        % " and ".join(missing)
    )
