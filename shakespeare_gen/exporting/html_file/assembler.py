"""Assembles the WebAssembly text of the kernel.

A part of the text format (WebAssembly Core Specification 2.0, chapters 5 and 6): functions with
folded instructions, named locals and labels, one memory. The bytes are those that WABT's
`wat2wasm` writes. Knows nothing about models.

    assembler.assemble('(module (func (export "one") (result i32) (i32.const 1)))')
"""

import re
import struct
from collections.abc import Iterator, Sequence
from typing import Any

Expression = list[Any]  # of strings and expressions

_TOKEN = re.compile(r';;[^\n]*|\s+|([()]|"[^"]*"|[^\s()";]+)')
_TYPES = {"i32": 0x7F, "f32": 0x7D, "v128": 0x7B}
_TYPE, _FUNCTION, _MEMORY, _EXPORT, _CODE = 1, 3, 5, 7, 10
_NO_RESULT = 0x40
_SIMD = 0xFD
# Instructions without immediates.
_PLAIN = {
    "i32.lt_u": 0x49,
    "i32.add": 0x6A,
    "i32.sub": 0x6B,
    "i32.shl": 0x74,
    "i32.shr_u": 0x76,
    "f32.reinterpret_i32": 0xBE,
}
_PLAIN_SIMD = {
    "i32x4.splat": 0x11,
    "f32x4.splat": 0x13,
    "v128.and": 0x4E,
    "v128.or": 0x50,
    "f32x4.nearest": 0x6A,
    "i16x8.narrow_i32x4_s": 0x85,
    "i32x4.shl": 0xAB,
    "i32x4.add": 0xAE,
    "i32x4.dot_i16x8_s": 0xBA,
    "f32x4.abs": 0xE0,
    "f32x4.add": 0xE4,
    "f32x4.sub": 0xE5,
    "f32x4.mul": 0xE6,
    "f32x4.div": 0xE7,
    "f32x4.min": 0xE8,
    "f32x4.max": 0xE9,
    "i32x4.trunc_sat_f32x4_s": 0xF8,
    "f32x4.convert_i32x4_s": 0xFA,
}
# Code, and the logarithm of the alignment.
_MEMORY_SIMD = {"v128.load": (0x00, 4), "v128.load8x8_s": (0x01, 3), "v128.store": (0x0B, 4)}
_LOCALS = {"local.get": 0x20, "local.set": 0x21, "local.tee": 0x22}
_BRANCHES = {"br": 0x0C, "br_if": 0x0D}


def assemble(text: str) -> bytes:
    """The bytes of a module.

    Raises:
      ValueError: the text has something that is not among the supported part.
    """
    [(keyword, *fields)] = _parsed(text)
    if keyword != "module":
        raise ValueError(f"expected a module, received {keyword}")
    functions = [field for field in fields if field[0] == "func"]
    names = {field[1]: i for i, field in enumerate(functions) if _is_name(field[1])}
    built = [_Function(field, names) for field in functions]
    types = list(dict.fromkeys(function.type for function in built))
    memories = [field for field in fields if field[0] == "memory"]
    exports = [_export(field, 2, i) for i, field in enumerate(memories)]
    exports += [_export(field, 0, i) for i, field in enumerate(functions)]
    sections = {
        _TYPE: types,
        _FUNCTION: [_unsigned(types.index(function.type)) for function in built],
        _MEMORY: [b"\0" + _unsigned(int(field[-1])) for field in memories],
        _EXPORT: [export for export in exports if export],
        _CODE: [_sized(function.code) for function in built],
    }
    content = [bytes([n]) + _sized(_vector(items)) for n, items in sections.items() if items]
    return b"\0asm" + struct.pack("<I", 1) + b"".join(content)


def _parsed(text: str) -> Expression:
    """The expressions of a text, nested as its parentheses are."""
    stack: list[Expression] = [[]]
    at = 0
    while at < len(text):
        match = _TOKEN.match(text, at)
        if match is None:
            raise ValueError(f"expected a token, received {text[at : at + 20]!r}")
        at, token = match.end(), match[1]
        if token == "(":
            stack.append([])
        elif token == ")":
            done = stack.pop()
            stack[-1].append(done)
        elif token is not None:
            stack[-1].append(token)
    [whole] = stack
    return whole


def _is_name(token: Any) -> bool:
    return isinstance(token, str) and token.startswith("$")


def _export(field: Expression, kind: int, index: int) -> bytes:
    """The export of a function or memory; empty if it has none."""
    for part in field[1:]:
        if part[0] == "export":
            return _sized(part[1][1:-1].encode()) + bytes([kind]) + _unsigned(index)
    return b""


class _Function:
    """A function: `type`, and `code` with its locals."""

    def __init__(self, field: Expression, functions: dict[str, int]) -> None:
        self._functions = functions
        declared = [part for part in field[1:] if isinstance(part, list)]
        parameters, results, variables = (
            [part for part in declared if part[0] == kind] for kind in ("param", "result", "local")
        )
        named = [part[1] for part in (*parameters, *variables)]
        self._locals = {name: i for i, name in enumerate(named)}
        kinds = [_vector([bytes([_TYPES[part[-1]]]) for part in p]) for p in (parameters, results)]
        self.type = b"\x60" + b"".join(kinds)
        head = ("export", "param", "result", "local")
        body = [part for part in declared if part[0] not in head]
        code = b"".join(self._compiled(part, ()) for part in body)
        self.code = _locals([part[-1] for part in variables]) + code + b"\x0b"

    def _compiled(self, expression: Expression, labels: Sequence[str]) -> bytes:
        """An instruction after its operands; `labels` are those around it, the innermost first."""
        name, *rest = expression
        if name == "loop":
            label, *body = rest
            inside = b"".join(self._compiled(part, (label, *labels)) for part in body)
            return bytes([0x03, _NO_RESULT]) + inside + b"\x0b"
        if name == "if":
            condition, (_, *body) = rest
            inside = b"".join(self._compiled(part, ("", *labels)) for part in body)
            return self._compiled(condition, labels) + bytes([0x04, _NO_RESULT]) + inside + b"\x0b"
        immediates = [part for part in rest if isinstance(part, str)]
        operands = [self._compiled(part, labels) for part in rest if isinstance(part, list)]
        return b"".join(operands) + b"".join(self._instruction(name, immediates, labels))

    def _instruction(
        self, name: str, immediates: Sequence[str], labels: Sequence[str]
    ) -> Iterator[bytes]:
        if name in _PLAIN:
            yield bytes([_PLAIN[name]])
        elif name in _PLAIN_SIMD:
            yield bytes([_SIMD]) + _unsigned(_PLAIN_SIMD[name])
        elif name in _LOCALS:
            yield bytes([_LOCALS[name]]) + _unsigned(self._locals[immediates[0]])
        elif name in _BRANCHES:
            yield bytes([_BRANCHES[name]]) + _unsigned(labels.index(immediates[0]))
        elif name in _MEMORY_SIMD:
            code, alignment = _MEMORY_SIMD[name]
            offset = int(immediates[0].removeprefix("offset=")) if immediates else 0
            yield bytes([_SIMD, code, alignment]) + _unsigned(offset)
        else:
            yield _with_constants(name, immediates, self._functions)


def _with_constants(name: str, immediates: Sequence[str], functions: dict[str, int]) -> bytes:
    """An instruction with numbers, or the name of a function, in it."""
    if name == "call":
        return b"\x10" + _unsigned(functions[immediates[0]])
    if name == "i32.const":
        return b"\x41" + _signed(int(immediates[0], 0))
    if name == "f32.const":
        return b"\x43" + struct.pack("<f", float(immediates[0]))
    if name == "v128.const":
        return bytes([_SIMD, 0x0C]) + struct.pack("<4i", *map(int, immediates[1:]))
    if name == "i8x16.shuffle":
        return bytes([_SIMD, 0x0D, *map(int, immediates)])
    if name == "i32x4.extract_lane":
        return bytes([_SIMD, 0x1B, int(immediates[0])])
    raise ValueError(f"expected a supported instruction, received {name}")


def _locals(types: Sequence[str]) -> bytes:
    """The types of local variables: runs of equal types, with their lengths."""
    runs: list[tuple[int, str]] = []
    for name in types:
        count = runs.pop()[0] if runs and runs[-1][1] == name else 0
        runs.append((count + 1, name))
    return _vector([_unsigned(count) + bytes([_TYPES[name]]) for count, name in runs])


def _vector(items: Sequence[bytes]) -> bytes:
    return _unsigned(len(items)) + b"".join(items)


def _sized(content: bytes) -> bytes:
    return _unsigned(len(content)) + content


def _unsigned(value: int) -> bytes:
    """LEB128."""
    found = bytearray()
    while value >= 0x80:
        found.append(value & 0x7F | 0x80)
        value >>= 7
    return bytes([*found, value])


def _signed(value: int) -> bytes:
    """LEB128 of a 32-bit integer, which may be written without its sign."""
    value -= (value >> 31 & 1) << 32 if value >= 1 << 31 else 0
    found = bytearray()
    while not -0x40 <= value < 0x40:
        found.append(value & 0x7F | 0x80)
        value >>= 7
    return bytes([*found, value & 0x7F])
