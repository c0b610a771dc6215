#!/usr/bin/env python3
"""explain.py FILES: what inputs of fuzz_open do to a heap, in the words of script.h."""
import pathlib
import re
import sys

HEADER = (pathlib.Path(__file__).parent / 'script.h').read_text(encoding='utf-8')
SEEDS = ['whole', 'dead', 'crowd', 'small']


def names(prefix):
    return [x.lower() for x in re.findall(rf'^\t{prefix}_([A-Z_]+),', HEADER, re.M)
            if x not in ('KINDS',)]


CHANGES, VALUES, REGIONS = names('CHANGE'), names('VALUE'), names('REGION')


def explain(path):
    data = path.read_bytes()
    print(f'{path}: {len(data)} bytes')
    if not data:
        return
    mode = data[0] & 3
    flags = [f for bit, f in enumerate(['read-only', 'by name', 'look first', 'again'])
             if data[0] >> 4 + bit & 1]
    print('   ', ['plain', 'signed', 'sized', 'raw'][mode], 'seed', SEEDS[data[0] >> 2 & 3], *flags)
    if mode == 3:
        print('   ', data[1:65])
        return
    n = min(data[1] % 33, (len(data) - 2) // 12) if len(data) > 1 else 0
    for i in range(n):
        c = data[2 + i * 12:14 + i * 12]
        value = int.from_bytes(c[4:], 'little')
        kind = VALUES[(c[0] >> 3) % len(VALUES)]
        if kind == 'place':
            kind += f' {REGIONS[(value & 255) % len(REGIONS)]}[{(value & 255) // len(REGIONS)}] ' \
                    f'word {value >> 8 & 0xffff}'
        print(f'    {CHANGES[c[0] & 7]} {REGIONS[c[1] % len(REGIONS)]}[{c[1] // len(REGIONS)}] '
              f'word {c[2] | c[3] << 8}: {kind} {value:#x}')
    steps = data[2 + n * 12:]
    print('    steps', *(f'{a % 32},{b}' for a, b in zip(steps[::2], steps[1::2])))


for name in sys.argv[1:]:
    explain(pathlib.Path(name))
