# SPDX-License-Identifier: Apache-2.0
"""What tests print: one TAP line a check, the plan at the end. Shared by tunnel_lib.py and upload_lib.py."""
import sys

tests, failures = 0, 0


def check(good, name, said=""):
    """One TAP line; returns good."""
    global tests, failures
    tests += 1
    print(f"{'ok' if good else 'not ok'} {tests} - {name}", flush=True)
    if not good:
        failures += 1
        for line in str(said).splitlines()[-40:]:
            print(f"# {line}", flush=True)
    return good


def finish():
    print(f"1..{tests}", flush=True)
    sys.exit(1 if failures else 0)


def skip(why):
    print(f"skip: {why}")
    sys.exit(77)
