#!/usr/bin/env python3
"""views.py FOLDER OUT [--mib N] [--rounds N] [--dir DIR] [ROW...]: the file views benchmark.

Each row is done by each method, in turns and in random order, each time in a new process; the
medians are printed, with their spread, and whether comap's choice ("auto") is as near to the best
method as it should be.  A row may be named by its beginning: scan, rand64.
Writes OUT/bench-views.json and OUT/bench-views.svg.  Exit status 1 when a method found its own work
wrong; a target that is missed is printed, not a failure.
"""
import argparse
import json
import pathlib
import random
import shutil
import statistics
import subprocess
import sys
import tempfile

WITH_SLACK = ('scan', 'view', 'write', 'copy')   # rows in ms where
SHORT_MS, SHORT_MORE = 15, 3                     # rows that are shorter get so many times the rounds
ALWAYS_MS = 1.0                                  # so much more than the best is never too much

# Row, by its beginning: which of ours, against which (None: the best of the others), how many times as
# long it may take, or, where the unit is given, how long.
TARGETS = [
    ('scan', [('auto', None, 1.10)]),
    ('view', [('auto', None, 1.10)]),
    ('write', [('auto', None, 1.10), ('auto-hint', None, 1.10)]),
    ('copy', [('auto', None, 1.10)]),
    ('rand', [('auto', None, 2.0), ('auto-hint', None, 1.15)]),
    ('many', [('auto', 'plain', 1.10)]),
    ('open', [('auto', 'bare', 1.20)]),
    ('guard', [('auto', 'ns', 10)]),
    ('lz4-inflate', [('auto', 'lz4-d', 1 / 1.5)]),
    ('lz4-rand', [('auto', 'us', 20)]),
]
UNITS = ('ms', 'us', 'ns')

# The chart: one point a row and kind; the best method of a kind is taken.
KINDS = [('read, pread, write', ('read', 'pread', 'malloc+pread', 'kept+pread', 'plain', 'malloc+read', 'write',
                                 'falloc+write', 'read+write', 'read+write-1m', 'bare')),
         ('fread, fwrite', ('fread', 'fwrite')),
         ('mmap, any advice', ('mmap', 'mmap-seq', 'mmap-willneed', 'mmap-huge', 'mmap-populate', 'mmap-random',
                               'falloc+mmap', 'mmap+write', 'mmap+mmap')),
         ('in the kernel, lz4 tool', ('copy_file_range', 'sendfile', 'splice', 'lz4-d')),
         ('comap auto', ('auto',))]


def list_rows(program):
    out = subprocess.run([program, 'list'], capture_output=True, text=True, check=True).stdout
    return {words[0]: (words[1], words[2:]) for words in map(str.split, out.splitlines())}


def run_once(program, place, row, method):
    """Value and page faults, or None and why not; None twice: this machine has no such thing."""
    try:
        done = subprocess.run([program, *place, 'run', row, method], capture_output=True, text=True,
                              timeout=300)
    except subprocess.TimeoutExpired:
        return None, 'took over 300 s'
    if done.returncode == 4:
        return None, None
    if done.returncode:
        return None, (done.stderr.strip().splitlines() or [f'status {done.returncode}'])[-1]
    value, faults = done.stdout.split()
    return float(value), int(faults)


class Row:
    """What was measured of one row: by method the values and the page faults."""

    def __init__(self, name, unit):
        self.name, self.unit = name, unit
        self.values, self.faults, self.failed = {}, {}, {}

    def measure(self, program, place, methods, rounds, order):
        done = subprocess.run([program, *place, 'prepare', self.name], capture_output=True, text=True)
        if done.returncode:
            self.failed['prepare'] = done.stderr.strip()
            return
        absent, turn = set(), 0
        while turn < rounds * (SHORT_MORE if self.is_short() else 1):
            turn += 1
            for method in order.sample(methods, len(methods)):
                if method in absent or method in self.failed:
                    continue
                if sys.stderr.isatty():
                    print(f'\r\033[K{self.name} {turn} {method}', end='', file=sys.stderr, flush=True)
                value, more = run_once(program, place, self.name, method)
                if value is not None:
                    self.values.setdefault(method, []).append(value)
                    self.faults[method] = more
                elif more is None:
                    absent.add(method)
                else:
                    self.failed[method] = more

    def is_short(self):
        """A process that runs for milliseconds depends on where its pages happen to lie."""
        return self.unit == 'ms' and self.values and all(v < SHORT_MS for all_of in self.values.values()
                                                         for v in all_of[:1])

    def median(self, method):
        return statistics.median(self.values[method])

    def fastest(self, methods):
        return min((self.median(m) for m in methods if m in self.values), default=None)

    def spread(self, method):
        """Between the quartiles: one turn that was disturbed says nothing."""
        values = self.values[method]
        if len(values) < 4:
            return max(values) - min(values)
        low, _, high = statistics.quantiles(values, n=4)
        return high - low

    def best(self):
        others = [m for m in self.values if not m.startswith('auto')]
        return min(others, key=self.median) if others else None

    def verdicts(self):
        return [text for ours, peer, factor in targets_of(self.name)
                if (text := self.verdict(ours, peer, factor))]

    def verdict(self, ours, peer, factor):
        if ours not in self.values:
            return None
        value = self.median(ours)
        if peer in UNITS:
            return f'{word(value <= factor)}: {ours} {value:.3g} {peer} (at most {factor:g})'
        other = peer or self.best()
        if other not in self.values:
            return None
        least = self.median(other)
        most, slack = least * factor, ''
        if self.name.startswith(WITH_SLACK) and value > most:
            if value <= least + ALWAYS_MS:
                most, slack = least + ALWAYS_MS, ', within 1 ms'
            elif value <= least + self.spread(other):
                most, slack = value, ', within the spread of the best'
        return f'{word(value <= most)}: {ours} {value / least:.2f}x {other} (at most {factor:.2f}x{slack})'


def word(holds):
    return 'reached' if holds else 'MISSED'


def targets_of(name):
    """The longest beginning counts."""
    fits = [(len(begin), targets) for begin, targets in TARGETS if name.startswith(begin)]
    return max(fits, key=lambda f: f[0])[1] if fits else []


def report(rows):
    print(f'{"row":<19}{"best of the others":<26}{"comap auto":>12}{"ratio":>8}{"spread":>8}   target')
    for row in rows:
        if 'auto' not in row.values:
            continue
        auto, best = row.median('auto'), row.best()
        spread = row.spread('auto') / auto * 100
        other = f'{best} {row.median(best):.3g} {row.unit}' if best else '-'
        ratio = f'{auto / row.median(best):.2f}x' if best else '-'
        print(f'{row.name:<19}{other:<26}{auto:>9.3g} {row.unit}{ratio:>8}{spread:>6.0f} %   '
              + '; '.join(row.verdicts()))
    print('\nall methods, fastest first (page faults of one pass)')
    for row in rows:
        if row.values:
            print(f'{row.name} ({row.unit}): ' + ', '.join(
                f'{m} {row.median(m):.3g} ({row.faults[m]})' for m in sorted(row.values, key=row.median)))


def write_json(path, rows):
    path.write_text(json.dumps([
        {'bench': 'views', 'row': row.name, 'peer': method, 'value': row.median(method), 'unit': row.unit}
        for row in rows for method in row.values], indent=1))


def draw(path, rows):
    """Points by gnuplot: the time of each kind of method as a multiple of the best one's."""
    if not shutil.which('gnuplot'):
        print('no gnuplot: no chart')
        return
    rows = [row for row in rows if sum(row.fastest(methods) is not None for _, methods in KINDS) > 1][::-1]
    if not rows:
        return
    lines = []
    for y, row in enumerate(rows):
        times = [row.fastest(methods) for _, methods in KINDS]
        least = min(t for t in times if t is not None)
        lines.append(f'{row.name} {y} ' + ' '.join('NaN' if t is None else f'{t / least:.3f}' for t in times))
    data = path.with_suffix('.dat')
    data.write_text('\n'.join(lines) + '\n')
    marks = [(4, 1.4, '#1f6fb2'), (8, 1.4, '#6c757d'), (6, 1.4, '#e8893a'), (12, 1.5, '#2b8a3e'), (7, 1.1, '#000000')]
    plots = ', '.join(
        f'"{data}" using {i + 3}:2:ytic(1) with points pt {pt} ps {ps} lw 2 lc rgb "{colour}" title "{kind}"'
        for i, ((kind, methods), (pt, ps, colour)) in enumerate(zip(KINDS, marks))
        if any(row.fastest(methods) is not None for row in rows))
    script = f"""
set terminal svg size 1000,{150 + 24 * len(rows)} font "sans,13" background "white"
set output "{path}"
set datafile missing "NaN"
set key outside top center horizontal
set logscale x 2
set xrange [0.9:*]
set yrange [-0.6:{len(rows) - 0.4}]
set xlabel "times as long as the best way of the row (log); further left is better"
set grid xtics ytics lc rgb "#dee2e6"
plot {plots}
"""
    subprocess.run(['gnuplot'], input=script, text=True, check=True)
    data.unlink()
    print(f'chart: {path}')


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument('folder', type=pathlib.Path, help='where bench_views is')
    parser.add_argument('out', type=pathlib.Path)
    parser.add_argument('--mib', type=int, default=1024, help='size of the large files')
    parser.add_argument('--rounds', type=int, default=7)
    parser.add_argument('--dir', default='/var/tmp', help='on which file system')
    parser.add_argument('rows', nargs='*')
    args = parser.parse_intermixed_args()
    if args.mib < 16:
        parser.error('--mib: 16 at least')
    program = str(args.folder / 'bench_views')
    known = list_rows(program)
    names = [n for n in known if not args.rows or any(n.startswith(r) for r in args.rows)]
    if not names:
        parser.error('rows are: ' + ' '.join(known))

    rows, order = [], random.Random(1)
    need = args.mib * 5 << 20
    if shutil.disk_usage(args.dir).free < need:
        sys.exit(f'views.py: {args.dir} has no room for {need >> 20} MiB; --dir or --mib?')
    with tempfile.TemporaryDirectory(prefix='comap-bench.', dir=args.dir) as folder:
        for name in names:
            unit, methods = known[name]
            row = Row(name, unit)
            row.measure(program, (folder, str(args.mib)), methods, args.rounds, order)
            rows.append(row)
    if sys.stderr.isatty():
        print('\r\033[K', end='', file=sys.stderr)
    print(f'large files: {args.mib} MiB in {args.dir}; {args.rounds} rounds')
    report(rows)
    failed = [(row.name, method, why) for row in rows for method, why in row.failed.items()]
    for name, method, why in failed:
        print(f'failed: {name} {method}: {why}')
    write_json(args.out / 'bench-views.json', rows)
    draw(args.out / 'bench-views.svg', rows)
    return 1 if failed else 0


if __name__ == '__main__':
    try:
        sys.exit(main())
    except KeyboardInterrupt:
        sys.exit(130)
