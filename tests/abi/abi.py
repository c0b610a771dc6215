#!/usr/bin/env python3
"""abi.py LIB STATIC MAP VERSION HEADERS...: what is declared, listed and exported is the same.

A symbol is part of comap when a header says COMAP_API and lib/comap.map lists it under the
version that brought it.  The shared library must export these, under those versions, and nothing
else; the static one must not claim names that are not comap's.
"""
import re
import subprocess
import sys

lib, static, mapfile, version, *headers = sys.argv[1:]
faults = []


def fault(text, names):
    faults.extend(f'{text}: {name}' for name in sorted(names))


def run(*command):
    return subprocess.run(command, check=True, capture_output=True, text=True).stdout


def listed():
    """Of the map: name -> version."""
    names, node, is_global = {}, None, False
    for line in re.sub(r'/\*.*?\*/|#.*', '', open(mapfile).read(), flags=re.S).splitlines():
        line = line.strip()
        if match := re.match(r'(\w[\w.]*)\s*{', line):
            node, is_global = match[1], False
        elif line == 'global:':
            is_global = True
        elif line == 'local:':
            is_global = False
        elif is_global and (match := re.match(r'(\w+);', line)):
            if match[1] in names:
                faults.append(f'listed twice: {match[1]}')
            names[match[1]] = node
    return names


def declared():
    names = set()
    for path in headers:
        text = re.sub(r'/\*.*?\*/|//[^\n]*', '', open(path).read(), flags=re.S)
        text = re.sub(r'^\s*#(\\\n|[^\n])*', '', text, flags=re.M)
        for match in re.finditer(r'COMAP_API\b([^;{]*?)\b(\w+)\s*\(', text):
            names.add(match[2])
        # what is declared without COMAP_API is hidden: nobody could call it
        for match in re.finditer(r'^(?!static|typedef)[\w *]+?[ *](comap_\w+)\s*\([^;{]*\)\s*;',
                                 text, flags=re.M):
            if match[1] not in names:
                faults.append(f'declared without COMAP_API: {match[1]}')
    return names


def exported():
    """Of the library: name -> version."""
    names = {}
    for line in run('nm', '-D', '--defined-only', lib).splitlines():
        kind, name = line.split()[-2:]
        if kind == 'A':                 # the version itself
            continue
        name, _, node = name.partition('@@')
        if kind not in 'TB':
            faults.append(f'exported, but no function: {name} ({kind})')
        names[name] = node
    return names


in_map, in_headers, in_lib = listed(), declared(), exported()
fault('declared, not in the map', in_headers - in_map.keys())
fault('in the map, not declared', in_map.keys() - in_headers)
fault('in the map, not exported', in_map.keys() - in_lib.keys())
fault('exported, not in the map', in_lib.keys() - in_map.keys())
fault('exported under another version than listed',
      {name for name in in_map.keys() & in_lib.keys() if in_map[name] != in_lib[name]})
fault('no name of ours', {name for name in in_lib if not name.startswith('comap_')})
if not in_map or not in_headers or not in_lib:
    faults.append('found nothing at all: is this script still right?')

dynamic = run('readelf', '-d', lib)
if f'Library soname: [libcomap.so.{version.split(".")[0]}]' not in dynamic:
    faults.append('the soname is not libcomap.so.' + version.split('.')[0])
if 'TEXTREL' in dynamic:
    faults.append('it has text relocations')

for line in run('nm', '-g', '--defined-only', static).splitlines():
    parts = line.split()
    if len(parts) == 3 and not re.match(r'(comap|cm)_|_*(asan|tsan|ubsan|odr)|__', parts[2]):
        faults.append(f'the static library claims a name that is not ours: {parts[2]}')

print(*faults, sep='\n')
sys.exit(1 if faults else 0)
