"""A pytest plugin that adds each test's outcome as a line to the file named by OUTCOMES.

py-lmdb has a test that forks and returns in both processes, so that the child runs all later tests, too, before the
parent does. Its lines say so.
"""

import os

FIRST = os.getpid()


def pytest_runtest_logreport(report):
    if report.when != "call" and report.outcome == "passed":
        return
    forked = "" if os.getpid() == FIRST else " (in a forked child)"
    phase = "" if report.when == "call" else f" in {report.when}"
    with open(os.environ["OUTCOMES"], "a") as lines:
        lines.write(f"{report.outcome}{phase}: {report.nodeid}{forked}\n")
