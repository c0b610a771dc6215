#!/usr/bin/env python3
"""levels.py BENCH0 BENCH1 BENCH2 BENCH3: what each level of -Dcheck costs.

BENCHn is bench_comap of a build with -Dcheck=n.  They run in turns; medians, and the share of level
0's speed that is left.
"""
import statistics
import subprocess
import sys

ROWS = ['pair64', 'churn10k', 'larson', 'large', 'bulk']
ROUNDS = 5


def run(command, row):
    done = subprocess.run([command, row], capture_output=True, text=True, timeout=300, check=True)
    value, unit = done.stdout.split()
    return float(value), unit


def main():
    builds = sys.argv[1:]
    print(f'{"row":<10}{"unit":<6}' + ''.join(f'{f"check={n}":>18}' for n in range(len(builds))))
    for row in ROWS:
        values, unit = [[] for _ in builds], ''
        for _ in range(ROUNDS):
            for n, build in enumerate(builds):
                value, unit = run(build, row)
                values[n].append(value)
        medians = [statistics.median(v) for v in values]
        cells = [f'{m:.3g} ({m / medians[0] * 100:.0f} %)' for m in medians]
        print(f'{row:<10}{unit:<6}' + ''.join(f'{c:>18}' for c in cells), flush=True)


main()
