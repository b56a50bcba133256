"""What is set once for the whole process; tried in a process of its own."""

import json
import subprocess
import sys

PROGRAM = """
import gc, json, sys
from web.interpreter import settle_interpreter
settle_interpreter()
print(json.dumps([gc.get_freeze_count(), gc.get_threshold()[0], sys.getswitchinterval(), gc.isenabled()]))
"""


def test_collector_and_threads_leave_the_loop_alone() -> None:
    done = subprocess.run([sys.executable, "-c", PROGRAM], capture_output=True, text=True, check=True, timeout=60)
    frozen, threshold, switch_s, enabled = json.loads(done.stdout)
    assert frozen > 1_000
    assert threshold > 700
    assert switch_s < 0.005
    assert enabled
