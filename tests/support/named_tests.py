#!/usr/bin/env python3
"""named_tests.py: does each test that docs/views.md names stand in the file it names?

A row of its feature table says  `open`: a_case, another_case; `use`: a_third  for cases of
tests/unit/test_view_open.c and test_view_use.c.
"""
import pathlib
import re
import sys


def main():
    root = pathlib.Path(__file__).resolve().parents[2]
    missing, named = [], 0
    for line in (root / 'docs/views.md').read_text(encoding='utf-8').splitlines():
        for name, cases in re.findall(r'`(\w+)`: ((?:[a-z0-9]\w+(?:, )?)+)', line):
            path = root / f'tests/unit/test_view_{name}.c'
            text = path.read_text(encoding='utf-8') if path.exists() else ''
            for case in cases.rstrip(', ').split(', '):
                named += 1
                if not re.search(rf'^static void {case}\(void \*\*state\)', text, re.M):
                    missing.append(f'docs/views.md: no {case} in {path.name}')
    print(*missing, sep='\n')
    return 1 if missing or named < 20 else 0


sys.exit(main())
