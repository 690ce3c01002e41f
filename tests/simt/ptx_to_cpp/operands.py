"""Operands of an instruction as C++ expressions. A register is a C++ variable of the type below that its declaration names; what an
instruction reads and writes it as may differ, and then the bits are taken."""

import re
import struct

from model import TranslationError, type_bytes

CPP_TYPES = {
    "pred": "bool",
    "b8": "uint8_t", "u8": "uint8_t", "s8": "int8_t",
    "b16": "uint16_t", "u16": "uint16_t", "s16": "int16_t", "f16": "uint16_t", "bf16": "uint16_t",
    "b32": "uint32_t", "u32": "uint32_t", "s32": "int32_t", "f16x2": "uint32_t", "bf16x2": "uint32_t", "tf32": "uint32_t",
    "b64": "uint64_t", "u64": "uint64_t", "s64": "int64_t",
    "f32": "float", "f64": "double",
}

SPECIAL_REGISTERS = {
    "%tid.x": "self.x", "%tid.y": "self.y", "%tid.z": "self.z", "%laneid": "self.lane", "%warpid": "self.warp",
    "%ntid.x": "running.block.x", "%ntid.y": "running.block.y", "%ntid.z": "running.block.z",
    "%ctaid.x": "running.index.x", "%ctaid.y": "running.index.y", "%ctaid.z": "running.index.z",
    "%nctaid.x": "running.grid.x", "%nctaid.y": "running.grid.y", "%nctaid.z": "running.grid.z",
    "%nwarpid": "warps_in_block()", "%smid": "0u", "%nsmid": "1u", "%gridid": "0ull",
    "%lanemask_eq": "(1u << self.lane)", "%lanemask_lt": "((1u << self.lane) - 1)",
    "%lanemask_le": "((2u << self.lane) - 1)", "%lanemask_gt": "~((2u << self.lane) - 1)",
    "%lanemask_ge": "~((1u << self.lane) - 1)",
    "%clock": "(uint32_t)ticks()", "%clock_hi": "(uint32_t)(ticks() >> 32)", "%clock64": "ticks()",
    "%globaltimer": "ticks()", "%globaltimer_lo": "(uint32_t)ticks()", "%globaltimer_hi": "(uint32_t)(ticks() >> 32)",
    "%dynamic_smem_size": "dynamic_shared_bytes()", "%total_smem_size": "total_shared_bytes()",
    "WARP_SZ": "32u",
}
# %tid and its like as vectors are not in what nvcc writes.

INTEGER = re.compile(r"^-?(0[xX][0-9A-Fa-f]+|\d+)U?$")


def identifier(name):
    """A C++ name for a PTX name."""
    name = name.lstrip("%").replace("$", "_S_")
    return "v_" + name if name[0].isdigit() or name in RESERVED else name


RESERVED = {"self", "parameters", "running", "int", "float", "double", "char", "short", "long", "bool", "auto", "new", "delete",
            "this", "class", "struct", "union", "template", "signed", "unsigned", "and", "or", "not", "xor", "if", "else", "for",
            "do", "while", "switch", "case", "return", "goto", "true", "false", "const", "static", "register", "default", "break"}


def is_integer_type(type_name):
    return type_name[0] in "usb" and type_name[1:].isdigit()


def bits_of(type_name):
    return type_bytes("b32" if type_name == "tf32" else type_name) * 8


def float_literal(text, type_name):
    """0f3F800000, 0d3FF0000000000000 or a whole number as a float."""
    if text[:2] in ("0f", "0F"):
        bits = int(text[2:], 16)
        value = struct.unpack("<f", struct.pack("<I", bits))[0]
    elif text[:2] in ("0d", "0D"):
        bits = int(text[2:], 16)
        value = struct.unpack("<d", struct.pack("<Q", bits))[0]
    else:
        value, bits = None, int(text.rstrip("U"), 0)
    suffix = "f" if type_name == "f32" else ""
    if value is None or value != value or value in (float("inf"), float("-inf")):
        width = "uint32_t" if type_name == "f32" else "uint64_t"
        return f"bits<{CPP_TYPES[type_name]}>(({width})0x{bits:x}ull)"
    return value.hex() + suffix


def integer_literal(text, type_name):
    if text[:2] in ("0f", "0F", "0d", "0D"):
        value = int(text[2:], 16)
    else:
        text = text.rstrip("U")
        negative, digits = text.startswith("-"), text.lstrip("-")
        octal = len(digits) > 1 and digits[0] == "0" and digits.isdigit()
        value = int(digits, 8 if octal else 0) * (-1 if negative else 1)
    width = bits_of(type_name)
    value &= (1 << width) - 1
    if type_name[0] == "s":
        signed = value - (1 << width) if value >> (width - 1) else value
        if abs(signed) < 1 << 31:
            return f"{signed}" if width == 32 else f"({CPP_TYPES[type_name]}){signed}"
    suffix = "ull" if width == 64 else "u"
    literal = f"{value}{suffix}" if value < 1024 else f"0x{value:x}{suffix}"
    return literal if CPP_TYPES[type_name] == "uint32_t" else f"({CPP_TYPES[type_name]}){literal}"


def convert_bits(expression, have, want):
    """The bits of a register of one type as a value of another; the narrower counts."""
    have_cpp, want_cpp = CPP_TYPES[have], CPP_TYPES[want]
    if have_cpp == want_cpp:
        return expression
    if have == "pred" or want == "pred":
        raise TranslationError("a predicate meets a number")
    if have in ("f32", "f64"):
        if bits_of(have) == bits_of(want):
            return f"bits<{want_cpp}>({expression})"
        unsigned = "uint32_t" if have == "f32" else "uint64_t"
        return f"({want_cpp})bits<{unsigned}>({expression})"
    if want in ("f32", "f64"):
        unsigned = "uint32_t" if want == "f32" else "uint64_t"
        return f"bits<{want_cpp}>(({unsigned}){expression})"
    return f"({want_cpp}){expression}"


class Scope:
    """What names mean inside of one function."""

    def __init__(self, registers, symbols):
        self.registers = registers   # name -> type
        self.symbols = symbols       # name -> (space, expression of its address)

    def value(self, operand, type_name):
        """The operand read as a type."""
        if operand.startswith("!"):
            return "!" + self.value(operand[1:], "pred")
        if operand in self.registers:
            return convert_bits(identifier(operand), self.registers[operand], type_name)
        if operand in SPECIAL_REGISTERS:
            return f"({CPP_TYPES[type_name]}){SPECIAL_REGISTERS[operand]}"
        if operand[:2] in ("0f", "0F", "0d", "0D") and "x" not in operand:
            return float_literal(operand, type_name) if type_name in ("f32", "f64") else integer_literal(operand, type_name)
        if INTEGER.match(operand):
            if type_name == "pred":
                return "false" if int(operand, 0) == 0 else "true"
            if type_name in ("f32", "f64"):
                return float_literal(operand, type_name)
            return integer_literal(operand, type_name)
        symbol, _, offset = operand.partition("+")
        if symbol.strip() in self.symbols:
            address = self.symbols[symbol.strip()][1]
            return f"({CPP_TYPES[type_name]})({address}{' + ' + offset if offset else ''})"
        raise TranslationError(f"the operand '{operand}' is not known")

    def assign(self, operand, expression, type_name):
        """A statement that gives a register a value of that type; signed ones are extended."""
        if operand == "_":
            return f"(void)({expression});"
        if operand not in self.registers:
            raise TranslationError(f"the result '{operand}' is not a register that was declared")
        have = self.registers[operand]
        have_cpp, want_cpp = CPP_TYPES[have], CPP_TYPES[type_name]
        name = identifier(operand)
        if have_cpp == want_cpp:
            return f"{name} = {expression};"
        if have in ("f32", "f64"):
            unsigned = "uint32_t" if have == "f32" else "uint64_t"
            return f"{name} = bits<{have_cpp}>(({unsigned})({expression}));"
        if type_name in ("f32", "f64"):
            unsigned = "uint32_t" if type_name == "f32" else "uint64_t"
            return f"{name} = ({have_cpp})bits<{unsigned}>({expression});"
        return f"{name} = ({have_cpp})({expression});"

    def split_address(self, operand):
        """[base+offset] -> (base, offset)."""
        inside = operand.strip()[1:-1].strip()
        found = re.match(r"^(.*?)\s*\+\s*(-?(?:0x[0-9A-Fa-f]+|\d+))$", inside)
        if not found:
            found = re.match(r"^(.*?)\s*(-\d+)$", inside) if not INTEGER.match(inside) else None
        return (found.group(1).strip(), int(found.group(2), 0)) if found else (inside, 0)

    def address(self, operand, space):
        """The host address that an address operand means in a state space."""
        base, offset = self.split_address(operand)
        plus = f" + {offset}" if offset > 0 else f" - {-offset}" if offset < 0 else ""
        if space == "shared":
            return f"shared_address({self.value(base, 'u32')}{plus})"
        return f"{self.value(base, 'u64')}{plus}"


def vector(operand):
    """{a, b} -> [a, b]; a -> [a]."""
    operand = operand.strip()
    return [part.strip() for part in operand[1:-1].split(",")] if operand.startswith("{") else [operand]
