#!/usr/bin/env python3
"""check_report.py WRITER: do the three forms of a report parse, and say the same?

WRITER is write_reports.c.  The figures must also agree with one another.
"""
import json
import pathlib
import re
import subprocess
import sys
import tempfile
import xml.etree.ElementTree as ET

BAD = '\ufffd'
# As write_reports.c names its threads: in JSON, in XML, in the text.
NAMES = [
    ('plain',) * 3,
    (f'"><!--\\\x1b{BAD},\n', f'"><!--\\{BAD}{BAD},\n', '"><!--\\??,?'),
    (']]>&amp;</comap',) * 3,           # a thread's name has 15 bytes
    ('","a":{\\u0000',) * 3,
    ('  two  spaces ',) * 3,
    (f'\u20ac\U0001f40e{BAD}', f'\u20ac\U0001f40e{BAD}', '\u20ac\U0001f40e?'),
]


class Wrong(Exception):
    pass


def same(what, *values):
    if any(value != values[0] for value in values):
        raise Wrong(f'{what}: ' + ' / '.join(map(repr, values)))


def number(word):
    return None if word == 'none' else int(word) if word.lstrip('-').isdigit() else word


def no_doubles(pairs):
    same('a key twice', len(dict(pairs)), len(pairs))
    return dict(pairs)


def read_json(path):
    found = json.loads(path.read_bytes().decode('utf-8'), object_pairs_hook=no_doubles)
    same('JSON version', found.pop('comap'), 1)
    return found


def read_xml(path):
    root = ET.fromstring(path.read_bytes())
    same('XML root', (root.tag, root.get('version')), ('comap', '1'))
    same('XML parts', [part.tag for part in root], ['heap', 'classes', 'threads'])
    heap, classes, threads = root
    same('XML rows', {row.tag for row in classes} | {row.tag for row in threads}, {'class', 'thread'})

    def figures(row):
        return {key: value if key == 'name' else number(value) for key, value in row.items()}

    return {'library': root.get('library'), 'heap': figures(heap),
            'classes': [figures(row) for row in classes], 'threads': [figures(row) for row in threads]}


def read_text(path):
    head, heap, classes, threads = path.read_bytes().decode('utf-8').split('\n\n')

    def rows(part, title):
        first, names, *lines = part.rstrip('\n').split('\n')
        same('title', first, title)
        if title == 'classes':
            same('widths', len(names), *map(len, lines))
        names = names.split()
        row = r'\s*' + r'\s+'.join([r'(\S+)'] * (len(names) - 1)) + (r'  (.*)' if title == 'threads' else r'\s+(.*)')
        for line in lines:
            values = re.fullmatch(row, line).groups()
            yield {name: value if name == 'name' else number(value)
                   for name, value in zip(names, values, strict=True)}

    return {'library': head.split()[-1],
            'heap': {line.split()[0]: number(line.split()[1]) for line in heap.split('\n')[1:]},
            'classes': list(rows(classes, 'classes')), 'threads': list(rows(threads, 'threads'))}


def without_names(report):
    return {**report, 'threads': [{k: v for k, v in row.items() if k != 'name'} for row in report['threads']]}


def agree(report):
    """Figures of a quiet heap, one with the other."""
    heap, classes, threads = report['heap'], report['classes'], report['threads']
    for ours, theirs in (('live', 'live_blocks'), ('cached', 'cached_blocks')):
        large = heap['large_blocks'] if ours == 'live' else 0
        same(theirs, heap[theirs], large + sum(row[ours] for row in classes))
    same('live_bytes', heap['live_bytes'],
         heap['large_bytes'] + sum(row['live'] * row['block_size'] for row in classes))
    same('cached_bytes', heap['cached_bytes'], sum(row['cached'] * row['block_size'] for row in classes))
    same('mallocs less frees', heap['mallocs'] - heap['frees'], heap['live_blocks'] + heap['cached_blocks'])
    for row in classes:
        blocks = row['live'] + row['free'] + row['cached']
        same('use_percent', row['use_percent'], row['live'] * 100 // blocks)
    same('sizes', sorted({row['block_size'] for row in classes}), [row['block_size'] for row in classes])
    same('threads', len(threads), heap['slots_live'] + heap['slots_dead'])
    same('the dead', [row['name'] for row in threads if row['state'] == 'dead'], ['the dead'] * heap['slots_dead'])
    same('those who left are counted', sum(row['mallocs'] for row in threads) < heap['mallocs'], True)
    for key in ('live_blocks', 'large_blocks', 'mallocs', 'frees', 'caches', 'cached_blocks', 'refills',
                'flushes', 'purged_bytes', 'deaths', 'slots_live', 'slots_dead'):
        same(f'{key} is not 0', heap[key] > 0, True)


def main(writer):
    with tempfile.TemporaryDirectory(prefix='comap-report-') as folder:
        at = pathlib.Path(folder)
        subprocess.run([writer, folder], check=True, timeout=60)
        reports = [read_json(at / 'json'), read_xml(at / 'xml'), read_text(at / 'text')]
        same('busy', list(read_json(at / 'busy.json')), list(read_xml(at / 'busy.xml')), list(reports[0]))
    same('the three forms', *map(without_names, reports))
    for form, report in enumerate(reports):
        agree(report)
        names = [row['name'] for row in report['threads']]
        for name in NAMES:
            same(f'{name[form]!r} is there', name[form] in names, True)
    print(f'{len(reports[0]["classes"])} classes, {len(reports[0]["threads"])} threads')


if __name__ == '__main__':
    try:
        main(*sys.argv[1:])
    except Wrong as why:
        sys.exit(f'{why}')
