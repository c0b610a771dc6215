#!/usr/bin/env python3
"""format.py [--fix] FILES: clang-format, except where a layout was made by hand.

clang-format 14 cannot keep a column of trailing comments, the rows of a table or a one-line
struct.  It only ever moves white space, though, so its text and ours can be cut wherever both
break the line at the same character, and compared piece by piece.  Ours stays when
  - only gaps inside the lines differ, or those before ? and :, columns;
  - it is one line with balanced braces, or a case with its statement, or the head of a macro
    that takes a block, or a line a little over 100 columns;
  - its lines break at a comma or an operator: rows;
  - it is a macro.
Anything else is reported, or with --fix taken from clang-format.  It breaks no comment either, so one
that is too wide is reported, and is for us to break.
"""
import re
import subprocess
import sys

COLUMNS = 100
ROOM = 108              # about 100
ENDS_OPEN = re.compile(r'(,|[-+*/|&=<>?:]|")$')
STARTS_OPEN = re.compile(r'\s*[?:]')


def pieces(text, cuts=None):
    """Lines grouped between cuts: (non-blank characters before it, is it a line with any)."""
    groups, at, start = {}, 0, None
    for line in text.split('\n'):
        cut = at, bool(line.strip())
        if start is None or cuts is None or cut in cuts:
            start = cut
        groups.setdefault(start, []).append(line)
        # the backslashes that continue a macro come and go with its line breaks
        at += len(re.sub(r'\s', '', re.sub(r'\\$', '', line)))
    return groups


def squeeze(line):
    line = re.sub(r'(?<=\S)[ \t]+(?=\S)', ' ', line)
    line = re.sub(r'^\s+(?=[?:])', '\t', line)
    return line.replace('{ }', '{}').replace('{ 0 }', '{0}')


def on_one_line(lines):
    first = lines[0]
    return first[:len(first) - len(first.lstrip())] + squeeze(' '.join(x.strip() for x in lines))


def fits(lines, columns=ROOM):
    return all(len(line.expandtabs(8)) <= columns for line in lines)


def is_short(line):
    line = line.strip()
    if re.match(r'(if|for|while|do|else|switch)\b', line):
        return False
    return re.match(r'(case|default)\b|\w+\(.*\) {$', line) or \
        '{' in line and line.count('{') == line.count('}')


def are_rows(lines):
    return all(ENDS_OPEN.search(a) or STARTS_OPEN.match(b) for a, b in zip(lines, lines[1:]))


def settle(ours, theirs):
    """The lines that should stand here."""
    if [*map(squeeze, ours)] == [*map(squeeze, theirs)]:
        return ours if fits(ours) or not fits(theirs) else theirs
    if not fits(ours) or any(line != line.rstrip() for line in ours):
        return theirs
    if len(ours) == 1:
        joined = on_one_line(theirs)
        if is_short(ours[0]) and fits([joined]):
            return ours if squeeze(ours[0]) == joined else [joined]
        if squeeze(ours[0]) != joined:
            return theirs
        return ours if are_rows(theirs) or not fits(ours, COLUMNS) else theirs
    return ours if are_rows(ours) else theirs


def check(path, fix):
    with open(path, encoding='utf-8') as f:
        text = f.read()
    formatted = subprocess.run(['clang-format', '--style=file', path], check=True,
                               capture_output=True, encoding='utf-8').stdout
    cuts = pieces(text).keys() & pieces(formatted).keys()
    theirs = pieces(formatted, cuts)
    result, number, is_macro = [], 1, False
    for cut, lines in pieces(text, cuts).items():
        is_macro = is_macro or lines[0].startswith('#')
        settled = lines if is_macro and fits(lines) else settle(lines, theirs[cut])
        is_macro = is_macro and lines[-1].endswith('\\')
        if settled != lines and not fix:
            print(f'{path}:{number}:', *(f'\n\t-{x}' for x in lines),
                  *(f'\n\t+{x}' for x in settled), sep='')
        result += settled
        number += len(lines)
    result = '\n'.join(result)
    if fix and result != text:
        with open(path, 'w', encoding='utf-8') as f:
            f.write(result)
    return fix or result == text


def wide_comments(path):
    """Lines with a comment, or inside of one, that do not fit; a string that long may stay."""
    with open(path, encoding='utf-8') as f:
        return [f'{path}:{n}: a comment of {len(line.rstrip().expandtabs(8))} columns'
                for n, line in enumerate(f, 1)
                if not fits([line.rstrip()]) and re.search(r'/\*|\*/|^\s*\* ', line)]


def main():
    fix = '--fix' in sys.argv[1:]
    wrong = [a for a in sys.argv[1:] if a != '--fix' and not check(a, fix)]
    if wrong:
        print('to repair: tests/support/format.py --fix', *wrong)
    wide = [text for a in sys.argv[1:] if a != '--fix' for text in wide_comments(a)]
    print(*wide, sep='\n', end='\n' if wide else '')
    return 1 if wrong or wide else 0


if __name__ == '__main__':
    sys.exit(main())
