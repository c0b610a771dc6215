#!/usr/bin/env python3
"""run.py BUILD_BENCH OUT [--rounds N] [--seconds S] [ROW...]: the malloc benchmark.

Runs each row for each peer in turns, in random order, so that what disturbs the machine disturbs
all of them; prints medians with their spread, ratios, floors and goals; writes OUT/bench.json, OUT/bench.svg.
Exit status 1 when a benchmark failed its own check; a missed floor is printed, not a failure.
"""
import argparse
import json
import os
import pathlib
import random
import shutil
import statistics
import subprocess
import sys

LIBS = '/usr/lib/*-linux-gnu/'
PRELOADS = {'mimalloc': 'libmimalloc.so.2*', 'jemalloc': 'libjemalloc.so.2',
            'tcmalloc': 'libtcmalloc_minimal.so.4'}
PRIVATE = ['glibc', 'jemalloc', 'tcmalloc', 'mimalloc']

# Row: what a floor compares with and how much of it is enough; several: all of them.
# goal: the best of the private ones, or a number.  Footprints: less is better.
ROWS = {
    'pair64': ([('mimalloc', 1.0)], 'best'),
    'churn10k': ([('mimalloc', 1.0), ('boost', 20)], 'best'),
    'churn1m': ([('mimalloc', 1.0)], 'best'),
    'larson': ([('mimalloc', 2.0), ('boost', 40)], ('tcmalloc', 1.0)),
    'pipe': ([('tcmalloc', 2.4), ('boost', 40)], None),
    'large': ([('mimalloc', 0.8)], 'best'),
    'realloc': ([('mimalloc', 0.8)], 'best'),
    'calloc': ([('mimalloc', 0.8)], 'best'),
    'bulk': ([('mimalloc', 0.7)], 'best'),
    'fill': ([('mimalloc', 0.7)], ('mimalloc', 1.0)),
    'open-small': ([], None),
    'open': ([('boost', 2.0), ('open-small', 1.5)], ('boost', 1.0)),
    'reap1m': ([], (None, 100)),
    'reap10m': ([('reap1m', 1.5)], (None, 100)),
    'kills': ([(None, 40)], None),
    'footprint': ([(None, 1.10)], (None, 1.07)),
    'shifting': ([('mimalloc', 1.0)], ('glibc', 1.0)),
    'crowd': ([(None, 64)], None),
}
LESS_IS_BETTER = {'crowd', 'footprint', 'shifting', 'open', 'open-small', 'reap1m', 'reap10m'}
ONCE = {'crowd', 'shifting', 'kills', 'reap10m'}                 # long, or no figure that varies


def find_peers(folder):
    """Name: (command, environment); and what is missing."""
    peers, missing = {}, []
    peers['comap'] = ([str(folder / 'bench_comap')], {})
    peers['glibc'] = ([str(folder / 'bench_libc')], {})
    for name, pattern in PRELOADS.items():
        found = sorted(pathlib.Path('/').glob((LIBS + pattern).lstrip('/')))
        if found:
            peers[name] = ([str(folder / 'bench_libc')], {'LD_PRELOAD': str(found[0])})
        else:
            missing.append(name)
    for name in ('boost', 'pmemobj'):
        if (folder / f'bench_{name}').exists():
            peers[name] = ([str(folder / f'bench_{name}')], {'PMEM_IS_PMEM_FORCE': '1'})
        else:
            missing.append(name)
    return peers, missing


def run_once(peer, row, seconds):
    """Value and unit, or None and why not; None twice: the peer has no such thing."""
    command, more = peer
    try:
        done = subprocess.run([*command, row, str(seconds)], env={**os.environ, **more},
                              capture_output=True, text=True, timeout=300)
    except subprocess.TimeoutExpired:
        return None, 'took over 300 s'
    if done.returncode == 4:
        return None, None
    if done.returncode:
        return None, (done.stderr.strip().splitlines() or [f'status {done.returncode}'])[-1]
    value, unit = done.stdout.split(maxsplit=1)
    return float(value), unit.strip()


def measure(peers, rows, rounds, seconds):
    results, failed, has_none = {}, [], set()
    progress = sys.stderr.isatty()
    order = random.Random(1)
    for row in rows:
        for turn in range(1 if row in ONCE else rounds):
            # not always after the same one: what it frees may be slow to have again, as where
            # a hypervisor takes it back
            for name, peer in order.sample(list(peers.items()), len(peers)):
                if (name, row) in has_none:
                    continue
                if progress:
                    print(f'\r\033[K{row} {turn + 1} {name}', end='', file=sys.stderr, flush=True)
                value, unit = run_once(peer, row, seconds)
                if value is None:
                    has_none.add((name, row))
                    if unit:
                        failed.append((name, row, unit))
                else:
                    results.setdefault(row, {}).setdefault(name, ([], unit))[0].append(value)
    if progress:
        print('\r\033[K', end='', file=sys.stderr)
    return results, failed


def is_reached(row, got, want):
    return got <= want if row in LESS_IS_BETTER else got >= want


def against(row, medians, peer, factor, results):
    """'1.23 of mimalloc (1.0: reached)' or None when that peer is not here."""
    if peer is None:
        return f'{"reached" if is_reached(row, medians["comap"], factor) else "MISSED"} ({factor:g})'
    if peer in results:     # another row of our own
        other = statistics.median(results[peer]['comap'][0])
    elif peer in medians:
        other = medians[peer]
    else:
        return None
    ratio = medians['comap'] / other
    word = 'reached' if is_reached(row, ratio, factor) else 'MISSED'
    return f'{word}: {ratio:.2f}x {peer} ({factor:g}x)'


def verdicts(row, medians, results):
    floors, goal = ROWS[row]
    texts = [t for t in (against(row, medians, *f, results) for f in floors) if t]
    if goal == 'best':
        private = [p for p in PRIVATE if p in medians]
        best = (min if row in LESS_IS_BETTER else max)(private, key=medians.get, default=None)
        goal = (best, 1.0) if best else None
    text = against(row, medians, *goal, results) if goal else None
    return '; '.join(texts), text or '-'


def report(peers, results):
    names = list(peers)
    print(f'{"row":<10}{"unit":<8}' + ''.join(f'{n:>10}' for n in names) + '  spread  floor | goal')
    for row, by_peer in results.items():
        medians = {n: statistics.median(v) for n, (v, _) in by_peer.items()}
        if 'comap' not in medians:
            continue
        values = by_peer['comap'][0]
        spread = (max(values) - min(values)) / medians['comap'] * 100
        cells = ''.join(f'{medians[n]:>10.3g}' if n in medians else f'{"-":>10}' for n in names)
        floor, goal = verdicts(row, medians, results)
        print(f'{row:<10}{by_peer["comap"][1]:<8}{cells}  {spread:4.0f} %  {floor} | {goal}')


def write_json(path, results):
    path.write_text(json.dumps([
        {'bench': 'malloc', 'row': row, 'peer': name, 'value': statistics.median(values), 'unit': unit}
        for row, by_peer in results.items() for name, (values, unit) in by_peer.items()], indent=1))


def draw(path, peers, results):
    """Bars by gnuplot: each peer's figure as a share of comap's."""
    if not shutil.which('gnuplot'):
        print('no gnuplot: no chart')
        return
    names = [n for n in peers if n not in ('comap', 'pmemobj')]
    table = 'row ' + ' '.join(['comap', *names]) + '\n'
    for row, by_peer in results.items():
        if row in LESS_IS_BETTER | ONCE or 'comap' not in by_peer:
            continue
        comap = statistics.median(by_peer['comap'][0])
        shares = [statistics.median(by_peer[n][0]) / comap if n in by_peer else 0 for n in names]
        table += f'{row} 1 ' + ' '.join(f'{s:.3f}' for s in shares) + '\n'
    data = path.with_suffix('.dat')
    data.write_text(table)
    script = f"""
set terminal svg size 1100,460 font "sans,13" background "white"
set output "{path}"
set style data histogram
set style histogram clustered gap 1
set style fill solid 0.9
set boxwidth 0.9
set key outside top center horizontal
set ylabel "speed, comap = 1 (log)"
set logscale y 2
set yrange [0.0078:4]
set grid ytics
set xtics rotate by -30
plot for [i=2:{len(names) + 2}] "{data}" using i:xtic(1) title columnheader(i)
"""
    subprocess.run(['gnuplot'], input=script, text=True, check=True)
    data.unlink()
    print(f'chart: {path}')


def main():
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument('folder', type=pathlib.Path)
    parser.add_argument('out', type=pathlib.Path)
    parser.add_argument('--rounds', type=int, default=5)
    parser.add_argument('--seconds', type=float, default=0.2)
    parser.add_argument('rows', nargs='*')
    args = parser.parse_intermixed_args()
    rows = args.rows or list(ROWS)
    peers, missing = find_peers(args.folder)
    if missing:
        print('not installed, left out: ' + ', '.join(missing))
    results, failed = measure(peers, rows, args.rounds, args.seconds)
    report(peers, results)
    for name, row, why in failed:
        print(f'failed: {name} {row}: {why}')
    write_json(args.out / 'bench.json', results)
    draw(args.out / 'bench.svg', peers, results)
    return 1 if any(name == 'comap' for name, _, _ in failed) else 0


if __name__ == '__main__':
    sys.exit(main())
