#!/usr/bin/env python3
"""check_format.py FORMAT.md CC [ARG...]: is the page what the compiler sees?

Turns each table of a struct (offset | size | name) in the page into static asserts and compiles
them; the rows must also follow one another without a gap, to the size the page gives the struct.
"""
import re
import subprocess
import sys

HEAD = '#include "heap/root_layout.h"\n#include "life/slot_layout.h"\n#include "seg/seg_layout.h"\n'


def structs(text):
    """name, size and rows of each struct the page tells of."""
    for m in re.finditer(r'^`struct (\w+)`, (\d+) bytes', text, re.M):
        rows = []
        for line in text[m.end():].split('| offset', 1)[1].split('\n')[2:]:
            if not line.startswith('|'):
                break
            offset, size, name = [cell.strip(' `') for cell in line.split('|')[1:4]]
            rows.append((int(offset), int(size), name))
        yield m[1], int(m[2]), rows


def main():
    page, compiler = sys.argv[1], sys.argv[2:]
    source, n, at_fault = HEAD, 0, False
    for name, size, rows in structs(open(page).read()):
        at = 0
        for offset, length, field in rows:
            if offset != at:
                print(f'{page}: {name}: {field} is at {offset}, what comes before ends at {at}')
                at_fault = True
            at = offset + length
            source += (f'_Static_assert(offsetof(struct {name}, {field}) == {offset} && '
                       f'sizeof(((struct {name} *)0)->{field}) == {length}, "{name}.{field}");\n')
            n += 1
        if at != size:
            print(f'{page}: {name}: the rows end at {at}, the struct at {size}')
            at_fault = True
        source += f'_Static_assert(sizeof(struct {name}) == {size}, "{name}");\n'
    done = subprocess.run([*compiler, '-fsyntax-only', '-x', 'c', '-'], input=source, text=True)
    print(f'{n} fields')
    return 1 if at_fault or n < 60 or done.returncode else 0


sys.exit(main())
