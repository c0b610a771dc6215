#!/usr/bin/env python3
"""grep_test.py OURS: is examples/grep right, and how fast is it?

Compares OURS with `grep -c -F -a` on inputs that were thrown together, where lines, patterns and
chunks meet in the nastiest places; then cuts files short under its feet, and prints both speeds.

Exit status: 0 they agree, 1 they do not, 77 there is no grep here that knows -a.
"""
import os
import pathlib
import random
import shutil
import signal
import subprocess
import sys
import tempfile
import time

GREP = ['grep', '-c', '-F', '-a']
SKIP = 77
CHUNK = 256 << 10                   # what a stream reads at once
ENV = {**os.environ, 'LC_ALL': 'C'}


class Wrong(Exception):
    pass


def run(command, **how):
    return subprocess.run(command, env=ENV, stdout=subprocess.PIPE, stderr=subprocess.PIPE, timeout=120, **how)


def compare(ours, pattern, files, **how):
    """OURS and grep say the same, and end the same."""
    a, b = (run([*command, '--', pattern, *files], **how) for command in ([ours, '-c'], GREP))
    if (a.returncode, a.stdout) != (b.returncode, b.stdout):
        raise Wrong(f'{pattern[:60]!r} in {[str(f) for f in files]}: {a.returncode} {a.stdout!r} {a.stderr!r}, '
                    f'but grep says {b.returncode} {b.stdout!r}')


def drip(command, data, pieces):
    """The same by way of a pipe, in pieces, so that chunks end anywhere."""
    with subprocess.Popen(command, env=ENV, stdin=subprocess.PIPE, stdout=subprocess.PIPE) as child:
        at = 0
        while at < len(data):
            n = pieces()
            child.stdin.write(data[at:at + n])
            child.stdin.flush()
            at += n
            if n < 64:
                time.sleep(0)
        said, _ = child.communicate()
    return child.returncode, said


# ---- inputs -------------------------------------------------------------------------------------

def soup(chance, n, alphabet):
    return bytes(chance.choices(alphabet, k=n))


def sizes(chance):
    return chance.choice([0, 1, 2, 3, 10, 100, 1000, 4095, 4096, 4097, 20000])


def check_random(ours, folder, chance, rounds):
    file, other = folder / 'soup', folder / 'other'
    for _ in range(rounds):
        alphabet = chance.choice([b'ab\n', b'aab\n\0', b'a\n', b'abcd \n\0\xff', bytes(range(256))])
        data = soup(chance, sizes(chance), alphabet)
        n = chance.choice([0, 1, 1, 2, 2, 3, 5, 8])
        pattern = bytes(c for c in soup(chance, n, alphabet) if c not in b'\n\0')
        file.write_bytes(data)
        other.write_bytes(soup(chance, 50, alphabet))
        compare(ours, pattern, [file])
        compare(ours, pattern, [file, other, '-'], input=data)
        compare(ours, pattern, [], input=data)
        with open(file, 'rb') as half:      # not from the beginning
            half.seek(len(data) // 2)
            expected = run([*GREP, '--', pattern], input=data[len(data) // 2:])
            got = run([ours, '--', pattern], stdin=half)
            if (got.returncode, got.stdout) != (expected.returncode, expected.stdout):
                raise Wrong(f'{pattern!r} from the midst of a file: {got}, but grep says {expected}')


def check_borders(ours, folder, chance):
    """Patterns that lie across chunks; lines that are longer than chunks."""
    file = folder / 'border'
    for length in (1, 2, 7, 255, 4096, 70000, 120000):
        pattern = bytes(chance.choices(b'xyz', k=length))
        for shift in (0, 1, length // 2, length - 1, length):
            for filler in (b'.', b'.\n', b'..................\n', pattern[:-1] + b'\n'):
                data = bytearray((filler * (3 * CHUNK // len(filler) + 1))[:3 * CHUNK + 17])
                for border in (CHUNK, 2 * CHUNK):
                    at = border - shift
                    data[at:at + length] = pattern
                file.write_bytes(data)
                compare(ours, pattern, [file])
                compare(ours, pattern[1:] + b'x', [file])


def check_drip(ours, chance, rounds):
    for _ in range(rounds):
        data = soup(chance, chance.choice([1, 50, 3000]), b'aab\n')
        pattern = bytes(chance.choices(b'ab', k=chance.choice([1, 2, 3, 6])))
        most = chance.choice([1, 3, 50])
        got = drip([ours, '--', pattern], data, lambda: chance.randint(1, most))
        expected = run([*GREP, '--', pattern], input=data)
        if got != (expected.returncode, expected.stdout):
            raise Wrong(f'{pattern!r} in a pipe of {data!r}: {got}, but grep says {expected.stdout!r}')


def check_odd(ours, folder):
    """What is no plain file, and what is none at all."""
    fifo = folder / 'fifo'
    os.mkfifo(fifo)
    with subprocess.Popen([ours, 'b', fifo], stdout=subprocess.PIPE) as child:
        fifo.write_bytes(b'abc\nb\nc\n')
        said, _ = child.communicate(timeout=60)
    if (child.returncode, said) != (0, b'2\n'):
        raise Wrong(f'a FIFO: {child.returncode} {said!r}')
    compare(ours, 'processor', ['/proc/cpuinfo'])
    good = folder / 'good'
    good.write_bytes(b'needle\n')
    for files, status in (([folder / 'nothing'], 2), ([folder], 2), ([folder / 'nothing', good], 2), ([good], 0)):
        ran = run([ours, 'needle', *files])
        if ran.returncode != status or bool(ran.stderr) != (status == 2) or (good in files) != (b'1\n' in ran.stdout):
            raise Wrong(f'{files}: {ran}')
    if run([ours, 'two\nlines', good]).returncode != 2 or run([ours]).returncode != 2:
        raise Wrong('a usage that is none')


# ---- .lz4 ---------------------------------------------------------------------------------------

def check_lz4(ours, folder, chance):
    plain, packed = folder / 'plain', folder / 'packed'     # known by its first bytes, not by its name
    for n in (0, 1, 1000, 65536, 200001, 5000000):
        alphabet = b'abcdefgh \n' if n > 1000 else b'ab\n'
        plain.write_bytes(soup(chance, n, alphabet))
        for options in (['-B4'], ['-B7', '-9'], ['-B4', '-BX', '--content-size']):
            subprocess.run(['lz4', '-q', '-f', *options, plain, packed], check=True)
            for pattern in ('a', 'ba', 'abc', 'hgfed', ''):
                a, b = run([ours, pattern, packed]), run([*GREP, '--', pattern, plain])
                if (a.returncode, a.stdout) != (b.returncode, b.stdout):
                    raise Wrong(f'{pattern!r} in {n} bytes of lz4 {options}: {a}, but grep says {b.stdout!r}')
            with open(packed, 'rb') as file:
                if run([ours, 'a'], stdin=file).stdout != run([*GREP, 'a', plain]).stdout:
                    raise Wrong(f'{n} bytes of lz4 {options} as standard input')
    whole = packed.read_bytes()
    packed.write_bytes(whole[:len(whole) * 2 // 3])
    half = run([ours, 'a', packed])
    packed.write_bytes(whole[:99999] + bytes(64) + whole[99999 + 64:])
    damaged = run([ours, 'a', packed])                      # its blocks have checksums
    for ran in (half, damaged):
        if ran.returncode != 2 or ran.stdout or not ran.stderr:
            raise Wrong(f'a .lz4 file that is not whole: {ran}')


# ---- files that are cut short -------------------------------------------------------------------

def has(pid, file):
    """Is it open or mapped?"""
    try:
        if str(file) in pathlib.Path(f'/proc/{pid}/maps').read_text(encoding='utf-8'):
            return True
        return any(os.readlink(f.path) == str(file) for f in os.scandir(f'/proc/{pid}/fd'))
    except OSError:
        return False


def cut(ours, file, make):
    """Stop it in the midst of the file, cut that short, let it go on."""
    for _ in range(20):
        make()
        with subprocess.Popen([ours, 'needle', file], stdout=subprocess.PIPE, stderr=subprocess.PIPE) as child:
            while child.poll() is None and not has(child.pid, file):
                pass
            time.sleep(0.005)
            child.send_signal(signal.SIGSTOP)
            os.truncate(file, 5000)
            child.send_signal(signal.SIGCONT)
            said, why = child.communicate(timeout=60)
        if child.returncode == 2 and b'short' in why and not said:
            return why.decode().strip()
        if child.returncode != 1:
            raise Wrong(f'{file} was cut short: {child.returncode} {said!r} {why!r}')
    raise Wrong(f'{file} was cut short 20 times, and it was always faster')


def check_cut(ours, folder, chance):
    file = folder / 'long'

    def make_sparse():
        with open(file, 'wb') as new:
            new.truncate(8 << 30)
    print(cut(ours, file, make_sparse))
    file.unlink()
    if not shutil.which('lz4'):
        return
    text, packed, copy = folder / 'text', folder / 'text.lz4', folder / 'copy.lz4'
    with open(text, 'wb') as new:
        for _ in range(64):
            new.write(chance.randbytes(512 << 10).hex().encode() + b'\n')
    subprocess.run(['lz4', '-q', '-f', text, packed], check=True)
    text.unlink()
    print(cut(ours, copy, lambda: shutil.copy(packed, copy)))


# ---- speed --------------------------------------------------------------------------------------

def best(command):
    times = []
    for _ in range(3):
        begin = time.perf_counter()
        run(command)
        times.append(time.perf_counter() - begin)
    return min(times)


def show_speed(ours, folder, chance):
    words = [bytes(chance.choices(b'etaoinshrdlu', k=chance.randint(2, 9))) for _ in range(2000)]
    text = b'\n'.join(b' '.join(chance.choices(words, k=chance.randint(3, 15))) for _ in range(40000)) + b'\n'
    file = folder / 'text'
    with open(file, 'wb') as new:
        for _ in range((64 << 20) // len(text)):
            new.write(text)
    size = file.stat().st_size
    for name, pattern in (('never', 'cannot be there'), ('often', words[0] + b' ' + words[1][:1]), ('each_line', '')):
        compare(ours, pattern, [file])
        a, b = best([ours, '--', pattern, file]), best([*GREP, '--', pattern, file])
        print(f'speed of {name}: {size / a / 1e9:.2f} GB/s, grep {size / b / 1e9:.2f} GB/s')


def main(ours):
    if not shutil.which('grep') or run([*GREP, 'a'], input=b'a\0').stdout != b'1\n':
        return SKIP
    chance = random.Random(1)
    ours = str(pathlib.Path(ours).resolve())
    with tempfile.TemporaryDirectory(prefix='comap-grep-') as name:
        folder = pathlib.Path(name).resolve()
        try:
            check_random(ours, folder, chance, 150)
            check_borders(ours, folder, chance)
            check_drip(ours, chance, 60)
            check_odd(ours, folder)
            if shutil.which('lz4'):
                check_lz4(ours, folder, chance)
            else:
                print('no lz4 here: .lz4 files were not tried')
            check_cut(ours, folder, chance)
            show_speed(ours, folder, chance)
        except Wrong as why:
            print(why, file=sys.stderr)
            return 1
    print('proved: the same counts as grep, and an error where a file is cut short')
    return 0


if __name__ == '__main__':
    sys.exit(main(*sys.argv[1:2]) if len(sys.argv) == 2 else 1)
