#!/usr/bin/env python3
"""floors.py [--svg FILE] [ROOT]: the include graph of lib/, floor by floor.

Prints which floors each floor sees, and fails when
  - an include goes up, sideways, or from view/ to anything but base/ and os/;
  - a floor is entered by another door than <floor>/<floor>.h or a *_layout.h;
  - a folder of lib/ is no floor we know.
With --svg also draws the graph, wrong arrows in red.
"""
import argparse
import pathlib
import re
import sys

LEVELS = [['base'], ['os'], ['life'], ['log'], ['seg'], ['slab'], ['reap'], ['heap'], ['mend'],
          ['tx'], ['commit'], ['cont', 'ipc']]
SIDE = 'view'                   # stands beside the others, and sees only these:
SIDE_SEES = {'base', 'os'}

HEIGHT = {floor: i for i, level in enumerate(LEVELS) for floor in level}
FLOORS = [*HEIGHT, SIDE]
INCLUDE = re.compile(r'^[ \t]*#[ \t]*include[ \t]*"([^"]+)"', re.M)


def may_see(floor, other):
    if floor == other:
        return True
    if floor == SIDE:
        return other in SIDE_SEES
    return other != SIDE and HEIGHT[other] < HEIGHT[floor]


def is_door(path):
    return path.stem == path.parent.name or path.stem.endswith('_layout')


def read(lib):
    """The floors each floor sees, and what is wrong with it."""
    sees, wrong = {}, []
    for folder in sorted(p.name for p in lib.iterdir() if p.is_dir()):
        if folder in FLOORS:
            sees[folder] = set()
        else:
            wrong.append(f'{lib}/{folder}: no floor of this name')
    for file in sorted(f for floor in sees for f in (lib / floor).rglob('*.[ch]')):
        floor = file.relative_to(lib).parts[0]
        text = file.read_text(encoding='utf-8')
        for include in INCLUDE.finditer(text):
            path = pathlib.PurePath(include[1])
            other = path.parts[0]
            if other not in FLOORS or other == floor:
                continue                # a neighbour, or a public header
            where = f'{file}:{text.count(chr(10), 0, include.start(1)) + 1}: "{path}"'
            sees[floor].add(other)
            if not may_see(floor, other):
                wrong.append(f'{where}: {floor} must not see {other}')
            if not is_door(path):
                wrong.append(f'{where}: private to {other}; come in through {other}/{other}.h')
    return sees, wrong


def svg(sees):
    """Floors as boxes; an include is an arc on the right, or in red on the left where it errs."""
    wide, high, step = 190, 30, 44
    left, right = 250, 250 + 190
    order = [f for f in FLOORS if f != SIDE]
    out = []

    def middle(floor):
        return 25 + step * (len(order) - 1 - order.index('os' if floor == SIDE else floor))

    def arc(floor, other):
        y, z = middle(floor), middle(other)
        way = 1 if z > y else -1
        y, z = y + 6 * way, z - 6 * way         # leave and arrive apart
        kind = 'low' if other in SIDE_SEES else 'high'  # nearly everyone sees these: paler
        start, bow, end = right, right + 20 + 0.6 * (z - y), right + 3
        if not may_see(floor, other):
            kind, start, bow, end = 'wrong', left, left - 20 - 0.35 * abs(z - y), left - 3
        if floor == SIDE:
            return kind, f'M120 {middle(SIDE)}L{left - 3} {middle(other)}'
        if other == SIDE:
            return kind, f'M{left} {middle(floor)}L123 {middle(SIDE)}'
        return kind, f'M{start} {y}C{bow:.0f} {y} {bow:.0f} {z} {end} {z}'

    for floor in sorted(sees, key=FLOORS.index):
        for other in sorted(sees[floor], key=FLOORS.index):
            kind, path = arc(floor, other)
            out.append(f'<path class="{kind}" d="{path}" marker-end="url(#{kind})"/>')
    for floor in FLOORS:
        x, w = (20, 100) if floor == SIDE else (left, wide)
        dashed = '' if floor in sees else ' stroke-dasharray="4 3"'
        out.append(f'<rect x="{x}" y="{middle(floor) - high / 2}" width="{w}" height="{high}" '
                   f'rx="4"{dashed}/><text x="{x + w / 2}" y="{middle(floor) + 5}">{floor}</text>')
    colours = {'high': '#345', 'low': '#abc', 'wrong': '#c22'}
    style = 'text{font:15px sans-serif;text-anchor:middle;fill:#223}' \
            'rect{fill:#eef2f7;stroke:#456}path{fill:none;stroke-width:1.3}' + \
            ''.join(f'.{kind}{{stroke:{c}}}' for kind, c in colours.items())
    heads = ''.join(f'<marker id="{kind}" viewBox="0 0 8 8" refX="7" refY="4" markerWidth="8" '
                    f'markerHeight="8" markerUnits="userSpaceOnUse" orient="auto">'
                    f'<path style="fill:{c}" d="M0 0L8 4L0 8z"/></marker>'
                    for kind, c in colours.items())
    return '\n'.join([f'<svg xmlns="http://www.w3.org/2000/svg" '
                      f'viewBox="0 0 730 {step * len(order) + 6}">',
                      f'<style>{style}</style><defs>{heads}</defs>',
                      '<rect style="fill:#fff;stroke:none" width="100%" height="100%"/>',
                      *out, '</svg>', ''])


def main():
    args = argparse.ArgumentParser(description=__doc__.split('\n')[0])
    args.add_argument('--svg', metavar='FILE', type=pathlib.Path)
    args.add_argument('root', nargs='?', type=pathlib.Path, default=pathlib.Path('.'))
    args = args.parse_args()

    sees, wrong = read(args.root / 'lib')
    for floor in sorted(sees, key=FLOORS.index, reverse=True):
        print(f'{floor:7}->', *sorted(sees[floor], key=FLOORS.index, reverse=True))
    if args.svg:
        args.svg.write_text(svg(sees), encoding='utf-8')
    for line in wrong:
        print(line, file=sys.stderr)
    return 1 if wrong else 0


if __name__ == '__main__':
    sys.exit(main())
