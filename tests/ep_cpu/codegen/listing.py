"""Reads what LLVM made: loops of an assembly listing, names an object file lacks."""

import re
import struct


def wanted_from_outside(data):
    """Return the names an object file needs from elsewhere; ELF of 64 bits.

    (System V Application Binary Interface, Object Files.)
    """
    header = struct.unpack_from("<16sHHIQQQIHHHHHH", data)
    start, size, count = header[6], header[11], header[12]
    sections = [
        struct.unpack_from("<IIQQQQIIQQ", data, start + i * size) for i in range(count)
    ]
    names = set()
    for _, kind, _, _, offset, length, link, _, _, each in sections:
        if kind != _SYMBOLS:
            continue
        text = sections[link][4]
        for place in range(offset + each, offset + length, each):
            name, _, _, section = struct.unpack_from("<IBBH", data, place)
            if section == _UNDEFINED:
                end = data.index(b"\0", text + name)
                names.add(data[text + name : end].decode())
    return names


_SYMBOLS, _UNDEFINED = 2, 0

_LABEL = re.compile(r"\.?L?(BB\w+|\w+):")
_HEADER = re.compile(r"=>\s*This Inner Loop Header")
_MEMBER = re.compile(r"in Loop: Header=(\w+)")
_INLINE_LABEL = re.compile(r"(\.Ltmp\d+):")
_JUMP = re.compile(r"\s+j\w+\s+(\.Ltmp\d+)$")
_SPILL = re.compile(r"-byte (?:Folded )?Spill")
_STACK = re.compile(r"-byte (?:Folded )?(?:Spill|Reload)")
_VECTOR = re.compile(r"%[xyz]mm\d+|\b[qdsv]\d+\b")


def innermost(text):
    """Return the lines of the loops that no other loop lies in.

    LLVM's remarks tell of its own; those of inline assembly go back to labels of another
    kind.
    """
    return [*_remarked(text), *_inline(text)]


def _remarked(text):
    found, blocks = {}, {}
    name = ""
    for line in text.splitlines():
        label = _LABEL.match(line)
        if label or re.match(r"\s*(?:#|//) %bb\.\d+:", line):
            name = label[1] if label else line
        blocks.setdefault(name, []).append(line)
        if _HEADER.search(line):
            found[name] = []
    for name, lines in blocks.items():
        member = _MEMBER.search("\n".join(lines))
        header = name if name in found else member[1] if member else ""
        if header in found:
            found[header] += lines
    return list(found.values())


def _inline(text):
    found, labels, lines = [], {}, text.splitlines()
    for number, line in enumerate(lines):
        if label := _INLINE_LABEL.match(line):
            labels[label[1]] = number
        jump = _JUMP.match(line)
        start = labels.get(jump[1]) if jump else None
        if start is not None and all(first < start for first, _ in found):
            found.append((start, number + 1))
    return [lines[first:end] for first, end in found]


def on_stack(lines):
    """Return the lines that move a vector to or from the stack for want of registers.

    LLVM says so in its remarks, without which nothing is found.
    """
    return [line for line in lines if _STACK.search(line) and _VECTOR.search(line)]


def spills(loop):
    """Return the lines of a loop that write a vector to the stack.

    What lies there before the loop and is only read in it is a constant, as good there
    as where constants lie.
    """
    return [line for line in loop if _SPILL.search(line) and _VECTOR.search(line)]


def vectors(loop):
    """Return the lines of a loop that work on vectors."""
    return [line for line in loop if _VECTOR.search(line)]
