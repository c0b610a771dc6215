#!/usr/bin/env python3
"""check.py: are the man pages true?  Each verb is a meson test.

  check.py example PAGE INCLUDE LIBRARY CC [ARG...]
        compile the program in PAGE's EXAMPLES as a user would, run it in an empty folder
  check.py names MAP INCLUDE FILE...
        FILEs are pages, and aliases that hold one .so line.  Every function of MAP and of the
        headers has one; its page names it and shows its prototype word for word.
  check.py lint FILE...
        mandoc -T lint finds nothing, every section a page needs is there
  check.py render FILE...
        man-db and groff print it without a warning

Exit status: 0 yes, 1 no, 77 the tool this needs is not installed.
"""
import os
import pathlib
import re
import shutil
import subprocess
import sys
import tempfile

SECTIONS = ['NAME', 'LIBRARY', 'SYNOPSIS', 'DESCRIPTION', 'THREADS AND PROCESSES', 'AFTER A CRASH',
            'RETURN VALUES', 'EXAMPLES', 'ERRORS', 'SEE ALSO']
ESCAPES = {r'\-': '-', r'\(aq': "'", r'\(ha': '^', r'\(ti': '~', r'\(ga': '`', r'\e': '\\'}
SKIP = 77


class Wrong(Exception):
    pass


# ---- reading mdoc -------------------------------------------------------------------------------

def sections(page):
    """Title -> lines."""
    found, title = {}, None
    for line in page.read_text(encoding='utf-8').splitlines():
        if line.startswith('.Sh '):
            title = line[4:].strip()
            found[title] = []
        elif title:
            found[title].append(line)
    return found


def code(line):
    """What the reader sees of a line of code, and copies."""
    if line.startswith('.'):
        raise Wrong(f'a macro amid code, or a dot that needs \\& before it: {line}')
    shown = re.sub(r'\\(-|\(..|e)', lambda m: ESCAPES.get(m[0], m[0]), line.removeprefix(r'\&'))
    bare = re.sub(r'\\(-|\(..|e|&)', '', line)
    if re.search(r"[-'^~`\\]", bare):
        raise Wrong(f'a character that groff would change, write {" ".join(ESCAPES)}: {line}')
    return shown


def displays(lines):
    found, inside = [], None
    for line in lines:
        if line.startswith('.Bd -literal'):
            inside = []
        elif line == '.Ed':
            found.append('\n'.join(inside) + '\n')
            inside = None
        elif inside is not None:
            inside.append(code(line))
    return found


def words(line):
    """The arguments of a macro; quotes group."""
    return [a or b for a, b in re.findall(r'"([^"]*)"|(\S+)', line)]


def prototypes(lines):
    """Name -> prototype, of the functions in a SYNOPSIS."""
    found, kind, name, args = {}, '', None, []
    for line in lines:
        macro, _, rest = line.partition(' ')
        if macro == '.Ft':
            kind = rest.strip('"')
        elif macro == '.Fo':
            name, args = rest, []
        elif macro == '.Fa' and name:
            args += words(rest)
        elif macro == '.Fn':
            name, *args = words(rest)
        if macro in ('.Fn', '.Fc'):
            found[name] = tidy(f'{kind} {name}({", ".join(args)})')
            name = None
    return found


def names(lines):
    return [name for line in lines if line.startswith('.Nm ')
            for name in words(line[4:]) if name != ',']


# ---- reading headers ----------------------------------------------------------------------------

def tidy(text):
    text = ' '.join(text.split())
    return re.sub(r'\s*([*(),])\s*', r'\1', text)


def declared(include):
    """Name -> prototype, of the public functions, inline ones too."""
    found = {}
    for header in sorted(include.rglob('*.h')):
        text = re.sub(r'/\*.*?\*/', ' ', header.read_text(encoding='utf-8'), flags=re.S)
        text = re.sub(r'^#.*(\\\n.*)*', '', text, flags=re.M)
        for m in re.finditer(r'(?:COMAP_API|static inline)\s+([^;{]*?\b(comap_\w+)\([^;{]*\))\s*[;{]', text):
            found[m[2]] = tidy(m[1])
    return found


# ---- the verbs ----------------------------------------------------------------------------------

def example(page, include, library, *cc):
    programs = [text for text in displays(sections(page)['EXAMPLES']) if ' main(' in text]
    if len(programs) != 1:
        raise Wrong(f'{page.name}: {len(programs)} programs under EXAMPLES')
    library = pathlib.Path(library).resolve()
    with tempfile.TemporaryDirectory(prefix='comap-man-') as folder:
        source, program = pathlib.Path(folder, 'example.c'), pathlib.Path(folder, 'example')
        source.write_text(programs[0], encoding='utf-8')
        built = subprocess.run([*cc, '-std=c11', '-Wall', '-Wextra', '-Werror', '-g', f'-I{include}', source,
                                '-o', program, library, f'-Wl,-rpath,{library.parent}', '-pthread'])
        if built.returncode:
            raise Wrong(f'{page.name}: the example does not compile')
        ran = subprocess.run([program], cwd=folder)
        left = sorted(set(os.listdir(folder)) - {'example', 'example.c'})
    if ran.returncode:
        raise Wrong(f'{page.name}: the example ended with {ran.returncode}')
    if left:
        raise Wrong(f'{page.name}: the example left {left}')


def check_page(page, target, found, is_declared):
    """What page promises, target being the page each name leads to."""
    for name in names(found['NAME']):
        if name.lower() != page.stem.lower() and target.get(name) != page.stem:
            yield f'{page.name} names {name}, which leads to {target.get(name)}'
    for name, text in prototypes(found['SYNOPSIS']).items():
        if name in is_declared and is_declared[name] != text:
            yield f'{page.name} shows\n\t{text}\nbut the header says\n\t{is_declared[name]}'
    for m in re.finditer(r'^\.Xr (comap\w*) (\d)', page.read_text(encoding='utf-8'), re.M):
        if (target.get(m[1]) if m[2] == '3' else page.with_name(f'{m[1]}.{m[2]}').exists() or None) is None:
            yield f'{page.name} refers to {m[1]}({m[2]}), which is nowhere'


def check_names(symbols, include, *files):
    files = [pathlib.Path(f) for f in files]
    exported = re.findall(r'^\s*(comap_\w+);', pathlib.Path(symbols).read_text(encoding='utf-8'), re.M)
    is_declared = declared(pathlib.Path(include))
    target, pages, wrong = {}, {}, []
    for file in files:
        alias = re.match(r'\.so man3/(\w+)\.3\n$', file.read_text(encoding='utf-8'))
        if file.suffix == '.3':
            target[file.stem] = alias[1] if alias else file.stem
        if not alias:
            pages[file.stem] = file
    wrong += [f'comap.map lists {name}, which no header declares' for name in exported if name not in is_declared]
    for name in {*exported, *is_declared}:
        page = pages.get(target.get(name, ''))
        if page is None:
            wrong.append(f'{name} has no page')
        elif name not in names(sections(page)['NAME']):
            wrong.append(f'{name} leads to {page.name}, which does not name it')
        elif name not in prototypes(sections(page)['SYNOPSIS']):
            wrong.append(f'{page.name} has no prototype of {name}')
    for page in pages.values():
        wrong += check_page(page, target, sections(page), is_declared)
    if wrong or not exported:
        raise Wrong('\n'.join(sorted(wrong)) or 'comap.map lists nothing')


def lint(*files):
    wrong = []
    if not shutil.which('mandoc'):
        return SKIP
    for file in map(pathlib.Path, files):
        found = sections(file)
        if file.suffix == '.3':
            wrong += [f'{file.name} has no section {title}' for title in SECTIONS if title not in found]
        for lines in found.values():
            displays(lines)             # for its complaints
    said = subprocess.run(['mandoc', '-T', 'lint', '-W', 'warning', *files], stdout=subprocess.PIPE, text=True)
    if wrong or said.returncode or said.stdout:
        raise Wrong('\n'.join(wrong) + said.stdout)
    return 0


def render(*files):
    if not shutil.which('groff') or not shutil.which('man') or \
            'mandoc' in subprocess.run(['man', '--version'], capture_output=True, text=True).stderr:
        return SKIP
    for file in files:
        said = subprocess.run(['man', '--warnings', '-E', 'UTF-8', '-l', '-Tutf8', '-Z', file],
                              env={**os.environ, 'MANROFFSEQ': '', 'MANWIDTH': '80', 'LC_ALL': 'C.UTF-8'},
                              stdout=subprocess.DEVNULL, stderr=subprocess.PIPE, text=True)
        if said.returncode or said.stderr:
            raise Wrong(f'{file}:\n{said.stderr}')
    return 0


def main(verb, *args):
    try:
        if verb == 'example':
            example(pathlib.Path(args[0]), *args[1:])
        elif verb == 'names':
            check_names(*args)
        elif verb == 'lint':
            return lint(*args)
        elif verb == 'render':
            return render(*args)
        else:
            raise Wrong(__doc__)
    except Wrong as why:
        print(why, file=sys.stderr)
        return 1
    return 0


if __name__ == '__main__':
    sys.exit(main(*sys.argv[1:] or ['help']))
