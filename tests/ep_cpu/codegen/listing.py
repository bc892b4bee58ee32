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

_JUMP = re.compile(r"\s+(?:j\w+|b|b\.\w+|t?bn?z|cbn?z)\s+(?:\w+, )*([\w.$]+)$")


def loops(text):
    """Return the lines of every loop, from a label to the last jump back to it."""
    lines, labels, last = [], {}, {}
    for number, line in enumerate(text.splitlines()):
        line = re.split(r"\s*(?://|#+ )", line)[0].rstrip()
        lines.append(line)
        if label := re.match(r"\s*([\w.$]+):", line):
            labels[label[1]] = number
        jump = _JUMP.match(line)
        name = jump[1] if jump else ""
        name = name[:-1] if name.endswith("b") and name[:-1].isdigit() else name
        if name in labels:
            last[labels[name]] = number
    return [lines[first : end + 1] for first, end in last.items()]


def innermost(text):
    """Return the loops that no other loop lies in."""
    found = loops(text)
    texts = ["\n".join(loop) for loop in found]
    return [
        loop
        for loop, own in zip(found, texts, strict=True)
        if not any(other != own and other in own for other in texts)
    ]


_VECTOR = re.compile(r"%[xyz]mm\d+|\b[qv]\d+\b")


def spills(loop, text):
    """Return the lines of a loop that move a vector to or from the stack.

    ``text`` is the whole listing, which tells whether a register holds the frame.
    """
    bases = [r"\(%rsp", r"\[sp\b"]
    if re.search(r"mov\w\s+%rsp, %rbp", text):
        bases.append(r"\(%rbp")
    if re.search(r"(mov|add)\s+x29, sp\b", text):
        bases.append(r"\[x29\b")
    stack = re.compile("|".join(bases))
    return [line for line in loop if _VECTOR.search(line) and stack.search(line)]


def vectors(loop):
    """Return the lines of a loop that work on vectors."""
    return [line for line in loop if _VECTOR.search(line)]
