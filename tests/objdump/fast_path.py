#!/usr/bin/env python3
"""fast_path.py BUILD SOURCE LEVELS...: the short ways of malloc and free, as compiled.

SOURCE, the full path of lib/heap/malloc.c or a copy, is compiled as BUILD does but at these levels, by
gcc and clang, whichever there are.  Then we follow every way through the two functions and know of each
register what it is made of: a sum of what was loaded, by name.  Each way that stores more than idle
makes the stores of EXPECTED, in that order; no others, no lock, no fence, no call.  We count the shortest.
"""
import copy
import itertools
import json
import platform
import re
import shlex
import shutil
import subprocess
import sys
import tempfile

EXPECTED = {    # arg: what the caller gave; loads that are not here may be anywhere
    'malloc': ['store8 idle = 0', 'load head', 'load ring', 'store4 head = head-1', 'store8 idle = serial'],
    'free': ['store8 idle = 0', 'load head', 'store8 ring = arg+data_off-low', 'store4 head = head+1',
             'store8 idle = serial']}
# Instructions: what we saw, and a seventh.  Who needs more says here why.
MOST = {('malloc', 'gcc'): 53, ('free', 'gcc'): 60, ('malloc', 'clang'): 56, ('free', 'clang'): 59}

FIELDS = [x.split() for x in (          # root of an address, its type, the field and how we call it
    'heap comap_heap seg.base base', 'heap comap_heap seg.data_off data_off',
    'heap comap_heap serial serial', 'seat cm_seat idle idle', 'seat cm_seat low low',
    'seat cm_seat magazines magazines', 'seat cm_seat rings rings', 'magazines cm_magazine_shm ends head')]
fields = {('rings', 0): 'ring', ('seats', 0): 'seat'}   # (root, offset) -> name; the compiler knows more
size = {'rings': 8, 'seats': 8}
WIDTH, LOW = {'b': 1, 'w': 2, 'l': 4, 'q': 8}, {'b': 1, 'l': 1, 'h': 1, 'w': 2, 'd': 4}
WORD = re.compile(r'(mov(?:abs|[zs][bwl])?|lea|add|sub|inc|dec|and|xor|shl|cmp|test|push|xchg)([bwlq]?)')
REGISTER = re.compile(r'%([re]?)(\d+|[abcd]x?|[sd]i|[sb]p)([dwblh]?)')
ADDRESS = re.compile(r'(?:%[a-z]s:)?(-?0x[0-9a-f]+)?(?:\((%\w+)?(?:,(%\w+),(\d))?\))?')
COMMITS = re.compile(r'store\d+ (?!idle)').match
is_memory = re.compile(r'\(|%fs:').search
LINE = re.compile(r'((?:(?:lock|bnd|notrack|repz?|data16|cs) )*)(\w+) *(.*)')


def plus(a, b, factor=1):
    """Of sums: {name: factor}, '' for the constant."""
    total = {x: a.get(x, 0) + factor * b.get(x, 0) for x in {**a, **b}}
    return {x: n for x, n in total.items() if n}


def text(a):
    terms = sorted((x == '', n < 0, x, n) for x, n in a.items())
    return ''.join('+-'[is_less] + (str(abs(n)) if abs(n) != 1 or not x else '') + x
                   for _, is_less, x, n in terms).removeprefix('+') or '0'


def register(operand):
    m = REGISTER.fullmatch(operand)     # %r10d: 10, 4
    return (m[2].rstrip('x'), LOW.get(m[3]) or {'r': 8, 'e': 4, '': 2}[m[1]]) if m else (operand, 16)


class Way:
    """One way so far: what registers and stack hold, its instructions, what they did."""

    def __init__(self):
        self.holds = {'di': {'heap': 1}, 'si': {'arg': 1}, 'sp': {'stack': 1}}
        self.lines, self.done, self.been = [], [], set()

    def note(self, what):
        self.done.append(what)
        self.lines[-1] = f'{self.lines[-1]:45} {what}'

    def address(self, operand):
        m = ADDRESS.fullmatch(operand)
        total = plus({'': int(m[1] or '0', 16)}, self.get(m[2]) if m[2] else {})
        return plus(total, self.get(m[3]), int(m[4])) if m[3] else total

    def place(self, operand, reloc):
        address = {} if '(%rip)' in operand else self.address(operand)
        for root in size.keys() & address.keys():       # of those that stand in rows we ask not which
            offset = {x: n % size[root] for x, n in address.items() if x == '' or n % size[root]}
            if offset.pop(root, 0) == 1 and (root, offset.pop('', 0)) in fields and not offset:
                return fields[root, address.get('', 0) % size[root]]
        return f'[{text(address)}]' if address else reloc

    def get(self, operand, reloc=''):
        if operand[0] == '$':
            n = int(operand[1:], 0)
            return plus({'': n - (n.bit_length() in (32, 64)) * (1 << n.bit_length())}, {})
        if not is_memory(operand):
            return self.holds.get(name := register(operand)[0], {name: 1})
        place = self.place(operand, reloc)
        if 'stack' in place:
            return self.holds.get(place, {place: 1})
        self.note(f'load {place}')
        return {place.removeprefix('GOTTPOFF cm_'): 1}

    def do(self, word, args, reloc):
        kind, width = m.groups() if (m := WORD.fullmatch(word)) else (word, '')
        values = [self.address(args[0])] if kind == 'lea' else \
            [self.get(x, reloc) for x in (args[:1] if kind.startswith('mov') else args)]
        by, old = values[0] if len(args) > 1 else {'': 1}, values[-1]
        if kind in ('cmp', 'test', 'push'):
            return
        if kind in ('lea', 'xchg') or kind.startswith('mov'):
            value = by
        elif kind in ('add', 'sub', 'inc', 'dec'):
            value = plus(old, by, 1 if kind in ('add', 'inc') else -1)
        elif kind == 'shl' and not by.keys() - {''}:
            value = plus({}, old, 1 << by[''])
        elif kind == 'and' and len(args) > 1 and by.keys() == {''}:
            value = {f'({text(old)} & {by[""]:#x}) / {by[""] & -by[""]}': by[''] & -by['']}
        elif kind == 'xor' and by == old:
            value = {}
        else:                           # a number of its own
            value = {f'({word} {", ".join(map(text, values))})': 1}
        place = self.place(args[-1], reloc) if is_memory(args[-1]) else register(args[-1])[0]
        if is_memory(args[-1]) and 'stack' not in place:
            self.note(f'store{WIDTH.get(width) or register(args[0])[1]} {place} = {text(value)}')
        else:
            self.holds[place] = value


def ways(code):
    """Through a function to a return or out of it; not those that come back to where they were."""
    index, forks = {line[0]: i for i, line in enumerate(code)}, [(0, Way())]
    while forks:
        i, way = forks.pop()
        while i < len(code) and i not in way.been:
            _, line, reloc = code[i]
            prefix, word, rest = LINE.match(line).groups()
            args = [x.strip() for x in re.split(r',(?![^(]*\))', rest) if x]
            way.lines.append(line)
            way.been.add(i)
            i += 1
            if 'lock' in prefix or 'fence' in word or 'xchg' in word and any(map(is_memory, args)):
                way.note('lock or fence')
            if word.startswith('ret'):
                yield way
                break
            if word.startswith('call'):
                way.note('call')
            elif word[0] == 'j':
                if word != 'jmp':
                    forks.append((i, copy.deepcopy(way)))
                i = index.get(None if reloc or rest[0] == '*' else int(rest.split()[0], 16), len(code))
                if i == len(code):
                    way.note('jump out')
                    yield way
            elif args and not word.startswith('nop'):
                way.do(word, args, reloc)


def run(*command, **how):
    return subprocess.run(command, check=True, stdout=subprocess.PIPE, text=True, **how).stdout.strip()


def functions(obj):                     # name -> its code: address, instruction, what it is relocated to
    found = {}
    for line in run('objdump', '-d', '--no-show-raw-insn', '-r', obj).splitlines():
        if m := re.match(r'[0-9a-f]+ <(.+)>:$', line):
            code = found[m[1]] = []
        elif m := re.match(r' *([0-9a-f]+):\t([^#]+)', line):
            code.append([int(m[1], 16), m[2].strip(), ''])
        elif m := re.match(r'\t+[0-9a-f]+: R_X86_64_(\S+)\t(\w*)', line):
            code[-1][2] = f'{m[1]} {m[2]}'
    return found


build, source, *levels = sys.argv[1:]
if platform.machine() != 'x86_64' or not shutil.which('objdump'):
    print('skipped: it reads what objdump shows of x86-64 code')
    sys.exit(77)
command = next(x['command'] for x in json.load(open(f'{build}/compile_commands.json'))
               if x['file'].endswith('lib/heap/malloc.c'))
flags = [x for x in shlex.split(command) if re.match('-([DI]|std=|fPIC|fvisib)', x) and 'CHECK' not in x]
probe = '#include <stdio.h>\n#include "heap/heap.h"\nint main(void) {' + ''.join(
    f'printf("%zu %zu\\n", sizeof(struct {x}), offsetof(struct {x}, {y}));' for _, x, y, _ in FIELDS) + '}'
compilers = [*filter(shutil.which, ('gcc', 'clang'))]
faults = ['there is neither gcc nor clang'][len(compilers):]
for compiler, folder in ((x, tempfile.TemporaryDirectory()) for x in compilers):
    cc = compiler, *flags, '-DNDEBUG', '-DCOMAP_CHECK=0', '-o', f'{folder.name}/out'
    run(*cc, '-xc', '-', cwd=build, input=probe)
    for (root, _, _, name), line in zip(FIELDS, run(f'{folder.name}/out').splitlines()):
        size[root], offset = map(int, line.split())
        fields[root, offset] = name
    for level, (short, expected) in itertools.product(levels, EXPECTED.items()):
        run(*cc, level, '-c', source, cwd=build)
        codes = [code for name, code in functions(f'{folder.name}/out').items()
                 if re.match(rf'(comap_heap|short)_{short}(\.|$)', name)]
        found = [way for code in codes for way in ways(code) if any(map(COMMITS, way.done))]
        best = min(found, key=lambda way: len(way.lines), default=Way())
        title = f'fast path {short} {compiler}-{run(compiler, "-dumpversion").split(".")[0]} {level}'
        print(f'{title}: {len(best.lines)} instructions,', sum('store' in x for x in best.done), 'stores')
        for way in found:
            if [x for x in way.done if x in expected or not x.startswith('load')] != expected:
                faults += [f'\n{title}: expected {", ".join(expected)}; but it is', *way.lines]
        if not found:
            faults += [f'\n{title}: no way stores head', *(line for code in codes for _, line, _ in code)]
        elif len(best.lines) > MOST[short, compiler]:
            faults += [f'\n{title}: more than {MOST[short, compiler]} instructions', *best.lines]
print(*faults, sep='\n')
sys.exit(1 if faults else 0)
