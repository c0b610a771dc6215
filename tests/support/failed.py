#!/usr/bin/env python3
"""failed.py - names the tests that failed in meson's JSON logs, with the end of what each said.

CI keeps the end of a long output only, so .ci/run says these again at its end.
"""
import json
import sys

LAST = 25  # lines of each test's own output


def main():
    for path in sys.argv[1:]:
        with open(path, encoding="utf-8", errors="replace") as log:
            tests = [json.loads(line) for line in log if line.strip()]
        for test in tests:
            if test["result"] in ("OK", "EXPECTEDFAIL", "SKIP"):
                continue
            print(f"FAIL  {test['name']}: {test['result']}, "
                  f"{test['returncode']} after {test['duration']:.1f} s ({path})")
            said = test.get("stdout", "") + "\n" + test.get("stderr", "")
            lines = [line for line in said.splitlines() if line.strip()]
            # cmocka's failures are lines among many of success
            told = [line for line in lines[:-LAST] if "FAILED" in line or "ERROR" in line]
            for line in told[-LAST:] + lines[-LAST:]:
                print("      " + line[:200])


main()
