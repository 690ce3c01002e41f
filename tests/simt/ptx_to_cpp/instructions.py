"""What instructions mean, as C++ statements. One function a family, and in the end the table from opcodes to families. Functions of
the C++ text are those of runtime/arithmetic.h, runtime/half.h and runtime/device.h.

An opcode, a modifier or a type that is not known here is an error of the translation: nothing is skipped."""

from model import TranslationError, type_bytes
from operands import CPP_TYPES, bits_of, is_integer_type, vector

HALVES = ("f16", "bf16", "f16x2", "bf16x2")
ROUNDINGS = {"rn": "Nearest", "rz": "Zero", "rm": "Down", "rp": "Up"}
WHOLE_ROUNDINGS = {"rni": "Nearest", "rzi": "Zero", "rmi": "Down", "rpi": "Up"}


class Translation:
    """One instruction and where it stands."""

    def __init__(self, instruction, scope, writer):
        self.instruction = instruction
        self.opcode = instruction.opcode
        self.operands = instruction.operands
        self.type = instruction.opcode[-1]
        self.scope = scope
        self.writer = writer

    def value(self, i, type_name=None):
        return self.scope.value(self.operands[i], type_name or self.type)

    def values(self, first, last, type_name=None):
        return [self.value(i, type_name) for i in range(first, last)]

    def result(self, expression, type_name=None):
        return self.scope.assign(self.operands[0], expression, type_name or self.type)

    def has(self, modifier):
        return modifier in self.opcode

    def allow(self, *modifiers):
        """Modifiers other than these (and the type in the end) are not known."""
        for modifier in self.opcode[1:-1]:
            if modifier not in modifiers:
                self.unknown(f"the modifier .{modifier}")

    def unknown(self, what="it"):
        raise TranslationError(f"the instruction '{'.'.join(self.opcode)}' is not known to the translator ({what})")

    def require(self, *types):
        if self.type not in types:
            self.unknown(f"the type .{self.type}")


# ---- integers ----------------------------------------------------------------------------------------------------------------

INTEGERS = ("u8", "s8", "b16", "u16", "s16", "b32", "u32", "s32", "b64", "u64", "s64")


def unsigned_of(type_name):
    return "u" + type_name[1:] if is_integer_type(type_name) else type_name


def integer_or_float(expression, name):
    """A family that is an operator on integers (modulo 2^n, computed without a sign) and a function of its own on floats."""
    def translate(t):
        if t.type in HALVES:
            return half_arithmetic(t, name)
        if t.type in ("f32", "f64"):
            return float_arithmetic(t, name, 2)
        t.allow("sat", "cc")
        t.require(*INTEGERS)
        if t.has("sat") or t.has("cc"):
            return t.result(f"{name}_saturating({t.value(1)}, {t.value(2)})") if t.has("sat") else t.unknown("carries")
        unsigned = unsigned_of(t.type)
        return t.result(expression.format(*t.values(1, 3, unsigned)), unsigned)
    return translate


def bitwise(expression):
    def translate(t):
        t.allow()
        if t.type == "pred":
            return t.result(expression.format(*t.values(1, len(t.operands))).replace("~", "!"), "pred")
        t.require("b16", "b32", "b64")
        return t.result(expression.format(*t.values(1, len(t.operands))))
    return translate


def product(t):
    """mul and mad: .lo, .hi and .wide of integers."""
    is_mad = t.opcode[0] == "mad"
    if t.type in HALVES or t.type in ("f32", "f64"):
        return float_arithmetic(t, "fma", 3) if is_mad else half_arithmetic(t, "mul") if t.type in HALVES \
            else float_arithmetic(t, "mul", 2)
    t.allow("lo", "hi", "wide")
    t.require("u16", "s16", "u32", "s32", "u64", "s64")
    a, b = t.values(1, 3)
    if t.has("wide"):
        wide = t.type[0] + str(bits_of(t.type) * 2)
        cpp = CPP_TYPES[unsigned_of(wide)]
        expression = f"({cpp})(({CPP_TYPES[wide]}){a} * ({CPP_TYPES[wide]}){b})"
        return t.result(expression + (f" + {t.value(3, unsigned_of(wide))}" if is_mad else ""), unsigned_of(wide))
    unsigned = unsigned_of(t.type)
    if t.has("hi"):
        expression = f"multiply_high({a}, {b})"
        if is_mad:
            expression = f"({CPP_TYPES[unsigned]}){expression} + {t.value(3, unsigned)}"
        return t.result(expression, unsigned)
    a, b = t.values(1, 3, unsigned)
    if t.type[1:] == "16":
        a = f"(uint32_t){a}"
    return t.result(f"{a} * {b}" + (f" + {t.value(3, unsigned)}" if is_mad else ""), unsigned)


def product24(t):
    t.allow("lo", "hi")
    t.require("u32", "s32")
    return t.result(f"multiply_24_{'hi' if t.has('hi') else 'lo'}({t.value(1)}, {t.value(2)})" +
                    (f" + {t.value(3)}" if t.opcode[0] == "mad24" else ""))


def divide(t):
    if t.type in ("f32", "f64"):
        return float_arithmetic(t, "divide", 2)
    t.allow()
    t.require("u16", "s16", "u32", "s32", "u64", "s64")
    return t.result(f"divide_whole({t.value(1)}, {t.value(2)})")


def function(name, n_operands, types, operand_types=None, result_type=None):
    """A function of the runtime; operand_types names those that differ from the instruction's type."""
    def translate(t):
        t.allow()
        t.require(*types)
        kinds = operand_types or [None] * n_operands
        return t.result(f"{name}({', '.join(t.value(i + 1, kinds[i]) for i in range(n_operands))})", result_type)
    return translate


def shift(t):
    t.allow()
    t.require("b16", "b32", "b64", "u16", "u32", "u64", "s16", "s32", "s64")
    name = "shift_left" if t.opcode[0] == "shl" else "shift_right"
    count = t.operands[2]
    if count.isdigit() and int(count) < bits_of(t.type):
        return t.result(f"{t.value(1)} {'<<' if name == 'shift_left' else '>>'} {count}")
    return t.result(f"{name}({t.value(1)}, {t.value(2, 'u32')})")


def funnel_shift(t):
    t.allow("l", "r", "wrap", "clamp")
    t.require("b32")
    name = f"funnel_{'left' if t.has('l') else 'right'}_{'wrap' if t.has('wrap') else 'clamp'}"
    return t.result(f"{name}({', '.join(t.values(1, 4))})")


def negate(t):
    if t.type in HALVES:
        t.allow("ftz")
        return t.result(f"{t.value(1)} ^ {'0x80008000u' if t.type.endswith('x2') else '0x8000u'}")
    if t.type in ("f32", "f64"):
        return float_arithmetic(t, "negate", 1)
    t.allow()
    t.require("s16", "s32", "s64")
    unsigned = unsigned_of(t.type)
    return t.result(f"0 - {t.value(1, unsigned)}", unsigned)


def absolute(t):
    if t.type in HALVES:
        t.allow("ftz")
        return t.result(f"{t.value(1)} & {'0x7fff7fffu' if t.type.endswith('x2') else '0x7fffu'}")
    if t.type in ("f32", "f64"):
        return float_arithmetic(t, "absolute", 1)
    t.allow()
    t.require("s16", "s32", "s64")
    return t.result(f"absolute_whole({t.value(1)})")


def extremum(t):
    name = t.opcode[0]
    if t.type in HALVES:
        t.allow("ftz", "NaN", "xorsign")
        if t.has("xorsign"):
            t.unknown("the modifier .xorsign")
        return t.result(f"{t.type}_{name}{'_nan' if t.has('NaN') else ''}({t.value(1)}, {t.value(2)})")
    if t.type in ("f32", "f64"):
        t.allow("ftz", "NaN")
        arguments = [flushed(t, v) for v in t.values(1, len(t.operands))]
        call = f"{name}_float{'_nan' if t.has('NaN') else ''}"
        expression = f"{call}({arguments[0]}, {arguments[1]})"
        if len(arguments) == 3:
            expression = f"{call}({expression}, {arguments[2]})"
        return t.result(expression)
    t.allow("relu")
    t.require("u16", "s16", "u32", "s32", "u64", "s64")
    expression = f"{name}_whole({t.value(1)}, {t.value(2)})"
    return t.result(f"max_whole({expression}, ({CPP_TYPES[t.type]})0)" if t.has("relu") else expression)


def sum_of_differences(t):
    t.allow()
    t.require("u16", "s16", "u32", "s32")
    return t.result(f"{t.value(3)} + absolute_difference({t.value(1)}, {t.value(2)})")


def dot_product(t):
    """dp4a.atype.btype and dp2a.lo/hi.atype.btype; the sum is signed where one of them is."""
    a, b = t.opcode[-2:]
    if a not in ("s32", "u32") or b not in ("s32", "u32"):
        t.unknown()
    signs = f"{'true' if a == 's32' else 'false'}, {'true' if b == 's32' else 'false'}"
    name = "dot_4"
    if t.opcode[0] == "dp2a":
        name = "dot_2_low" if t.has("lo") else "dot_2_high"
    sum_type = "u32"   # modulo 2^32 it is the same with and without a sign
    return t.result(f"{name}<{signs}>({', '.join(t.values(1, 4, sum_type))})", sum_type)


def logic_of_three(t):
    """lop3 with an immediate table; as few operations as its common tables need."""
    if t.type != "b32" or "BoolOp" in t.opcode or len(t.operands) != 5:
        t.unknown("other than lop3.b32 with one result")
    table = int(t.operands[4], 0) & 255
    a, b, c = t.values(1, 4)
    return t.result(logic_expression(table, a, b, c))


def logic_expression(table, a, b, c):
    simple = {
        0x80: "{a} & {b} & {c}", 0xfe: "{a} | {b} | {c}", 0x96: "{a} ^ {b} ^ {c}", 0xf8: "{a} | ({b} & {c})",
        0xea: "({a} & {b}) | {c}", 0xec: "({a} & {c}) | {b}", 0xca: "({a} & {b}) | (~{a} & {c})",
        0xe8: "({a} & {b}) | ({a} & {c}) | ({b} & {c})", 0x6a: "({a} & {b}) ^ {c}", 0x78: "{a} ^ ({b} & {c})",
        0xc0: "{a} & {b}", 0xfc: "{a} | {b}", 0x3c: "{a} ^ {b}", 0x30: "{a} & ~{b}", 0xa8: "({a} | {b}) & {c}",
        0xe0: "{a} & ({b} | {c})", 0x40: "{a} & {b} & ~{c}", 0x28: "({a} ^ {b}) & {c}", 0x60: "{a} & ({b} ^ {c})",
        0xa0: "{a} & {c}", 0x88: "{b} & {c}",
    }
    if table in simple:
        return simple[table].format(a=a, b=b, c=c)
    terms = []
    for i in range(8):   # the bit of the table for a = bit 2 of i, b = bit 1, c = bit 0
        if table >> i & 1:
            terms.append("(" + " & ".join(v if i >> (2 - k) & 1 else f"~{v}" for k, v in enumerate((a, b, c))) + ")")
    return " | ".join(terms) if terms else "0u"


def permute_bytes(t):
    mode = t.opcode[2] if len(t.opcode) > 2 else ""
    if t.opcode[1] != "b32" or mode not in ("", "f4e", "b4e", "rc8", "ecl", "ecr", "rc16"):
        t.unknown()
    name = f"permute_{mode}" if mode else "permute"
    a, b, selector = (t.value(i, "b32") for i in (1, 2, 3))
    return t.result(f"{name}({a}, {b}, {selector})", "b32")


def extract_field(t):
    t.allow()
    t.require("u32", "s32", "u64", "s64")
    return t.result(f"extract_field({t.value(1)}, {t.value(2, 'u32')}, {t.value(3, 'u32')})")


def insert_field(t):
    t.allow()
    t.require("b32", "b64")
    return t.result(f"insert_field({t.value(1)}, {t.value(2)}, {t.value(3, 'u32')}, {t.value(4, 'u32')})")


def find_bit(t):
    t.allow("shiftamt")
    t.require("u32", "s32", "u64", "s64")
    name = "highest_bit_shift" if t.has("shiftamt") else "highest_bit"
    return t.result(f"{name}({t.value(1)})", "u32")


def count_bits(name):
    def translate(t):
        t.allow()
        t.require("b32", "b64")
        return t.result(f"{name}({t.value(1)})", "u32")
    return translate


def bit_mask(t):
    t.allow("clamp", "wrap")
    t.require("b32")
    return t.result(f"bit_mask_{'wrap' if t.has('wrap') else 'clamp'}({t.value(1)}, {t.value(2)})")


# ---- floats ------------------------------------------------------------------------------------------------------------------

def flushed(t, expression):
    return f"flush({expression})" if t.has("ftz") and t.type == "f32" else expression


def finished(t, expression):
    """.ftz and .sat of a result."""
    expression = flushed(t, expression)
    return f"saturate({expression})" if t.has("sat") else expression


PLAIN_FLOAT = {"add": "{0} + {1}", "sub": "{0} - {1}", "mul": "{0} * {1}", "divide": "{0} / {1}", "negate": "-{0}",
               "absolute": "absolute_float({0})", "fma": "fused({0}, {1}, {2})", "square_root": "square_root({0})"}


def float_arithmetic(t, name, n_operands):
    """Rounds to nearest where nothing is said. .approx and .full are computed as .rn: a device may differ in the last bits."""
    t.allow("rn", "rz", "rm", "rp", "ftz", "sat", "approx", "full")
    arguments = [flushed(t, v) for v in t.values(1, 1 + n_operands)]
    rounding = next((r for r in ("rz", "rm", "rp") if t.has(r)), None)
    if rounding and name not in ("negate", "absolute"):
        expression = f"{name}_rounded<Rounding::{ROUNDINGS[rounding]}>({', '.join(arguments)})"
    else:
        expression = PLAIN_FLOAT[name].format(*arguments)
    return t.result(finished(t, expression))


def fused_multiply_add(t):
    return half_arithmetic(t, "fma") if t.type in HALVES else float_arithmetic(t, "fma", 3)


def half_arithmetic(t, name):
    """f16 and bf16, one or two at once. f16 subnormals are kept unless .ftz says otherwise."""
    t.allow("rn", "ftz", "sat", "relu")
    arguments = t.values(1, 4 if name == "fma" else 3)
    if t.has("ftz"):
        if t.type.startswith("bf16"):
            t.unknown("the modifier .ftz")
        arguments = [f"{t.type}_flush({a})" for a in arguments]
    expression = f"{t.type}_{name}({', '.join(arguments)})"
    for modifier, wrapper in (("ftz", "flush"), ("sat", "saturate"), ("relu", "relu")):
        if t.has(modifier):
            expression = f"{t.type}_{wrapper}({expression})"
    return t.result(expression)


def square_root(t):
    return float_arithmetic(t, "square_root", 1)


def reciprocal(t):
    t.allow("rn", "rz", "rm", "rp", "ftz", "approx")
    one = "1.0f" if t.type == "f32" else "1.0"
    rounding = next((r for r in ("rz", "rm", "rp") if t.has(r)), None)
    a = flushed(t, t.value(1))
    expression = f"divide_rounded<Rounding::{ROUNDINGS[rounding]}>({one}, {a})" if rounding else f"{one} / {a}"
    return t.result(finished(t, expression))


def approximated(name, types=("f32", "f64")):
    """A function that a device approximates and we compute as exactly as the C library does."""
    def translate(t):
        if t.type in HALVES:
            t.allow("approx", "ftz")
            return t.result(f"{t.type}_{name}({t.value(1)})")
        t.allow("approx", "ftz", "rn")
        t.require(*types)
        return t.result(finished(t, f"{name}({flushed(t, t.value(1))})"))
    return translate


def copy_sign(t):
    t.allow()
    t.require("f32", "f64")
    return t.result(f"copy_sign({t.value(2)}, {t.value(1)})")   # the sign of the first, the magnitude of the second


def test_property(t):
    properties = ("finite", "infinite", "number", "notanumber", "normal", "subnormal")
    t.allow(*properties)
    return t.result(f"is_{t.opcode[1]}({t.value(1)})", "pred")


# ---- conversions -------------------------------------------------------------------------------------------------------------

def convert(t):
    """cvt.modifiers.to.from"""
    modifiers, to, source = t.opcode[1:-2], t.opcode[-2], t.opcode[-1]
    known = ("rn", "rz", "rm", "rp", "rna", "rni", "rzi", "rmi", "rpi", "ftz", "sat", "relu", "satfinite")
    for modifier in modifiers:
        if modifier not in known:
            t.unknown(f"the modifier .{modifier}")
    if to in ("f16x2", "bf16x2"):
        if source != "f32":
            t.unknown()
        one = to[:-2]
        high, low = (float_to_half(t, t.value(i, "f32"), one, modifiers) for i in (1, 2))
        return t.result(f"(uint32_t){high} << 16 | {low}", to)
    if to == "tf32":
        return t.result(f"to_tf32({t.value(1, 'f32')}, {'true' if 'rna' in modifiers else 'false'})", "b32")
    value = t.value(1, source)
    if "ftz" in modifiers and source == "f32":
        value = f"flush({value})"
    whole = next((WHOLE_ROUNDINGS[m] for m in modifiers if m in WHOLE_ROUNDINGS), None)
    rounding = next((ROUNDINGS[m] for m in modifiers if m in ROUNDINGS), None)
    if source in ("f16", "bf16"):
        value, source = f"float_of_{source}({value})", "f32"
        if to in ("f16", "bf16") and t.opcode[-1] == to and not whole and "sat" not in modifiers:
            return t.result(t.value(1, to), to)
    if source in ("f32", "f64"):
        if is_integer_type(to):
            if not whole:
                t.unknown("no rounding to a whole number")
            return t.result(f"to_whole<{CPP_TYPES[to]}>(round_whole<Rounding::{whole}>({value}), {bits_of(to)}, "
                            f"{'true' if t.opcode[-1] == 'f64' else 'false'})", to)
        if whole:
            value = f"round_whole<Rounding::{whole}>({value})"
        return t.result(float_to_float(t, value, source, to, rounding, modifiers), to)
    if not is_integer_type(source):
        t.unknown()
    if is_integer_type(to):
        return t.result(f"saturate_whole<{CPP_TYPES[to]}>({value})" if "sat" in modifiers else
                        f"({CPP_TYPES[to]})({value})", to)
    if to in ("f32", "f64"):
        if rounding in (None, "Nearest"):
            expression = f"({CPP_TYPES[to]})({value})"
        else:
            expression = f"whole_to_{to}<Rounding::{rounding}>({value})"
        return t.result(f"saturate({expression})" if "sat" in modifiers else expression, to)
    if to in ("f16", "bf16"):
        return t.result(f"{to}_of_whole<Rounding::{rounding or 'Nearest'}>({value})", to)
    return t.unknown()


def float_to_half(t, value, to, modifiers):
    rounding = next((ROUNDINGS[m] for m in modifiers if m in ROUNDINGS), "Nearest")
    name = f"{to}_of_float" if rounding == "Nearest" else f"{to}_of_float_rounded<Rounding::{rounding}>"
    expression = f"{name}({value})"
    if "relu" in modifiers:
        expression = f"{to}_relu({expression})"
    if "satfinite" in modifiers:
        expression = f"{to}_finite({expression})"
    if "sat" in modifiers:
        expression = f"{to}_saturate({expression})"
    return expression


def float_to_float(t, value, source, to, rounding, modifiers):
    if to in ("f16", "bf16"):
        if source == "f64":
            expression = f"{to}_of_double<Rounding::{rounding or 'Nearest'}>({value})"
            return f"{to}_saturate({expression})" if "sat" in modifiers else expression
        return float_to_half(t, value, to, modifiers)
    expression = value
    if source == "f64" and to == "f32":
        expression = f"float_of_double<Rounding::{rounding or 'Nearest'}>({value})"
    elif source == "f32" and to == "f64":
        expression = f"(double){value}"
    if "ftz" in modifiers and to == "f32":
        expression = f"flush({expression})"
    return f"saturate({expression})" if "sat" in modifiers else expression


# ---- comparison and selection ------------------------------------------------------------------------------------------------

COMPARISONS = {"eq": "{0} == {1}", "ne": "{0} != {1}", "lt": "{0} < {1}", "le": "{0} <= {1}", "gt": "{0} > {1}",
               "ge": "{0} >= {1}", "lo": "{0} < {1}", "ls": "{0} <= {1}", "hi": "{0} > {1}", "hs": "{0} >= {1}"}
# Of floats: true also where one of them is no number, except ne, which is false there (PTX).
FLOAT_COMPARISONS = {"eq": "{0} == {1}", "ne": "is_ordered({0}, {1}) && {0} != {1}", "lt": "{0} < {1}", "le": "{0} <= {1}",
                     "gt": "{0} > {1}", "ge": "{0} >= {1}", "equ": "!is_ordered({0}, {1}) || {0} == {1}", "neu": "{0} != {1}",
                     "ltu": "!({0} >= {1})", "leu": "!({0} > {1})", "gtu": "!({0} <= {1})", "geu": "!({0} < {1})",
                     "num": "is_ordered({0}, {1})", "nan": "!is_ordered({0}, {1})"}
COMBINATIONS = {"and": "({0}) && {1}", "or": "({0}) || {1}", "xor": "({0}) != {1}"}


def comparison(t, name, type_name, a, b):
    if type_name in ("f32", "f64", "f16", "bf16"):
        if type_name in ("f16", "bf16"):
            a, b = f"float_of_{type_name}({a})", f"float_of_{type_name}({b})"
        if name in FLOAT_COMPARISONS:
            return FLOAT_COMPARISONS[name].format(a, b)
    elif name in COMPARISONS:
        return COMPARISONS[name].format(a, b)
    return t.unknown(f"the comparison .{name}")


def set_predicate(t):
    """setp.compare[.combine][.ftz].type p[|q], a, b[, c]"""
    rest = [m for m in t.opcode[2:-1] if m != "ftz"]
    for modifier in rest:
        if modifier not in COMBINATIONS:
            t.unknown(f"the modifier .{modifier}")
    results = t.operands[0].split("|")
    if t.type in ("f16x2", "bf16x2"):
        if len(results) != 2 or rest:
            t.unknown("other than two results")
        one = t.type[:-2]
        a, b = t.value(1), t.value(2)
        low = comparison(t, t.opcode[1], one, f"(uint16_t)({a})", f"(uint16_t)({b})")
        high = comparison(t, t.opcode[1], one, f"(uint16_t)({a} >> 16)", f"(uint16_t)({b} >> 16)")
        return f"{{ const bool low = {low}, high = {high}; " \
               f"{t.scope.assign(results[0], 'low', 'pred')} {t.scope.assign(results[1], 'high', 'pred')} }}"
    a, b = flushed(t, t.value(1)), flushed(t, t.value(2))
    met = comparison(t, t.opcode[1], t.type, a, b)
    if len(results) == 1:
        expression = COMBINATIONS[rest[0]].format(met, t.value(3, "pred")) if rest else met
        return t.scope.assign(results[0], expression, "pred")
    yes, no = "met", "!met"
    if rest:
        yes, no = (COMBINATIONS[rest[0]].format(e, "other") for e in (yes, no))
    other = f", other = {t.value(3, 'pred')}" if rest else ""
    return f"{{ const bool met = {met}{other}; {t.scope.assign(results[0].strip(), yes, 'pred')} " \
           f"{t.scope.assign(results[1].strip(), no, 'pred')} }}"


def set_value(t):
    """set.compare[.combine][.ftz].to.from: all ones or 1.0 where it is met."""
    to, source = t.opcode[-2:]
    rest = [m for m in t.opcode[2:-2] if m != "ftz"]
    if rest and rest[0] not in COMBINATIONS:
        t.unknown(f"the modifier .{rest[0]}")
    if source in ("f16x2", "bf16x2"):
        if rest or to not in ("f16x2", "bf16x2"):
            t.unknown()
        one = source[:-2]
        unit = "0x3c00u" if one == "f16" else "0x3f80u"
        a, b = t.value(1, source), t.value(2, source)
        low = comparison(t, t.opcode[1], one, f"(uint16_t)({a})", f"(uint16_t)({b})")
        high = comparison(t, t.opcode[1], one, f"(uint16_t)({a} >> 16)", f"(uint16_t)({b} >> 16)")
        return t.result(f"(({low}) ? {unit} : 0u) | (({high}) ? {unit} << 16 : 0u)", to)
    met = comparison(t, t.opcode[1], source, t.value(1, source), t.value(2, source))
    if rest:
        met = COMBINATIONS[rest[0]].format(met, t.value(3, "pred"))
    one = {"f32": "1.0f", "u32": "0xffffffffu", "s32": "-1", "f16": "(uint16_t)0x3c00", "bf16": "(uint16_t)0x3f80"}.get(to)
    if not one:
        t.unknown(f"the type .{to}")
    return t.result(f"({met}) ? {one} : ({CPP_TYPES[to]})0", to)


def select(t):
    t.allow()
    return t.result(f"{t.value(3, 'pred')} ? {t.value(1)} : {t.value(2)}")


def select_by_sign(t):
    to, by = t.opcode[-2:]
    if by not in ("s32", "f32"):
        t.unknown()
    return t.result(f"{t.value(3, by)} >= 0 ? {t.value(1, to)} : {t.value(2, to)}", to)


# ---- moves -------------------------------------------------------------------------------------------------------------------

def move(t):
    t.allow()
    target, source = t.operands[0], t.operands[1]
    if not target.startswith("{") and not source.startswith("{"):
        return t.result(t.value(1))
    width = bits_of(t.type)
    if source.startswith("{") and target.startswith("{"):
        t.unknown("two vectors")
    if source.startswith("{"):
        parts = vector(source)
        part = f"b{width // len(parts)}"
        expression = " | ".join(f"({CPP_TYPES['b%d' % width]}){t.scope.value(p, part)}" + (f" << {i * width // len(parts)}" if i else "")
                                for i, p in enumerate(parts))
        return t.result(expression, f"b{width}")
    parts = vector(target)
    part = f"b{width // len(parts)}"
    assignments = " ".join(t.scope.assign(p, f"({CPP_TYPES[part]})(whole >> {i * width // len(parts)})", part)
                           for i, p in enumerate(parts) if p != "_")
    return f"{{ const {CPP_TYPES['b%d' % width]} whole = {t.value(1, 'b%d' % width)}; {assignments} }}"


# ---- memory ------------------------------------------------------------------------------------------------------------------

SPACES = ("global", "shared", "local", "param", "const", "shared__cta")
CACHE_HINTS = ("ca", "cg", "cs", "lu", "cv", "wb", "wt", "nc", "L1__evict_last", "L1__evict_first", "L1__evict_normal",
               "L1__no_allocate", "L1__evict_unchanged", "L2__64B", "L2__128B", "L2__256B", "weak")
STRONG = ("volatile", "relaxed", "acquire", "release", "mmio")
SCOPES = ("cta", "gpu", "sys", "cluster")


def memory_operand(t, known, address_operand):
    """-> (space, address, n_elements)"""
    space = "generic"
    n_elements = 1
    for modifier in t.opcode[1:-1]:
        if modifier in SPACES:
            space = modifier.split("__")[0]
        elif modifier in ("v2", "v4"):
            n_elements = int(modifier[1])
        elif modifier in ("param__entry", "param__func"):
            space = "param"
        elif modifier not in known:
            t.unknown(f"the modifier .{modifier}")
    return space, t.scope.address(t.operands[address_operand], space), n_elements


def watch(t, space, kind, n_bytes):
    """What tells the runtime of an access; registers, locals, parameters and constants are nobody else's."""
    if space in ("local", "param", "const"):
        return ""
    return f"if (unlikely(watching)) watch_access(address, {t.writer.site(t.instruction.place, space, kind, n_bytes)}); "


def load(t):
    space, address, n = memory_operand(t, CACHE_HINTS + STRONG + SCOPES, 1)
    is_strong = any(t.has(m) for m in STRONG)
    results = vector(t.operands[0])
    if len(results) != n:
        t.unknown("another number of results than its vector has")
    size = type_bytes(t.type)
    cpp = CPP_TYPES[t.type]
    seen = watch(t, space, "StrongLoad" if is_strong else "Load", n * size)
    read = "read_strong" if is_strong else "read"
    order = ""
    if is_strong and space != "shared":
        order = f"observe(address, {'true' if t.has('acquire') else 'false'}); "
    if n == 1:
        return f"{{ const uint64_t address = {address}; {seen}{order}{t.scope.assign(results[0], f'{read}<{cpp}>(address)', t.type)} }}"
    # A register of the address may be among the results, so the address is kept.
    reads = " ".join(t.scope.assign(r, f"{read}<{cpp}>(address + {i * size})", t.type) for i, r in enumerate(results) if r != "_")
    return f"{{ const uint64_t address = {address}; {seen}{order}{reads} }}"


def store(t):
    space, address, n = memory_operand(t, CACHE_HINTS + STRONG + SCOPES, 0)
    is_strong = any(t.has(m) for m in STRONG)
    values = vector(t.operands[1])
    size = type_bytes(t.type)
    cpp = CPP_TYPES[t.type]
    seen = watch(t, space, "StrongStore" if is_strong else "Store", n * size)
    order = ""
    if is_strong and space != "shared":
        order = f"publish(address, {'true' if t.has('release') else 'false'}); "
    write = "write_strong" if is_strong else "write"
    writes = " ".join(f"{write}<{cpp}>(address + {i * size}, {t.scope.value(v, t.type)});" if i else
                      f"{write}<{cpp}>(address, {t.scope.value(v, t.type)});" for i, v in enumerate(values))
    return f"{{ const uint64_t address = {address}; {seen}{order}{writes} }}"


ATOMICS = {"add": "add", "min": "min", "max": "max", "exch": "exchange", "and": "and", "or": "or", "xor": "xor", "inc": "increment",
           "dec": "decrement", "cas": "compare_and_swap"}


def atomic(t):
    """atom d, [a], b[, c] and red [a], b."""
    is_red = t.opcode[0] == "red"
    at = 0 if is_red else 1
    operation = next((m for m in t.opcode[1:-1] if m in ATOMICS), None)
    if not operation:
        t.unknown("the operation")
    orders = ("relaxed", "acquire", "release", "acq_rel")
    space, address = memory_operand(t, SCOPES + orders + ("noftz", operation), at)[:2]
    cpp = CPP_TYPES[t.type]
    values = t.values(at + 1, len(t.operands))
    if t.type in HALVES:
        if operation != "add":
            t.unknown("the type")
        updated = f"{t.type}_add(old, {values[0]})"
    else:
        updated = f"atomic_{ATOMICS[operation]}<{cpp}>(old, {', '.join(values)})"
    seen = watch(t, space, "Atomic", type_bytes(t.type))
    order = ""
    if space != "shared":
        releases = "true" if t.has("release") or t.has("acq_rel") else "false"
        order = f"meet(address, {releases}); "
    result = "" if is_red else t.scope.assign(t.operands[0], "old", t.type)
    return f"{{ const uint64_t address = {address}; {seen}{order}const {cpp} old = read<{cpp}>(address); " \
           f"write<{cpp}>(address, {updated}); {result} }}"


def convert_address(t):
    """Addresses of all spaces but shared are those of the host; a generic address of shared memory is too."""
    t.allow("to", "shared", "global", "local", "const", "param", "shared__cta", "param__entry")
    if not any(m.startswith("shared") for m in t.opcode):
        return t.result(t.value(1))
    if t.has("to"):
        return t.result(f"shared_offset({t.value(1, 'u64')})", "u32" if t.type == "u32" else "u64")
    return t.result(f"shared_address({t.value(1, 'u32')})", "u64")


def is_space(t):
    if t.opcode[1] not in ("shared", "global", "local", "const"):
        t.unknown()
    return t.result(f"is_{t.opcode[1]}_address({t.value(1, 'u64')})", "pred")


def prefetch(t):
    return ";"


def fence(t):
    for modifier in t.opcode[1:]:
        if modifier not in ("sc", "acq_rel", "cta", "gpu", "sys", "gl", "cluster", "acquire", "release"):
            t.unknown(f"the modifier .{modifier}")
    narrow = t.has("cta")
    return ";" if narrow else "fence();"


def asynchronous_copy(t):
    """cp.async in all its forms."""
    modifiers = t.opcode[2:]
    if modifiers[0] == "commit_group":
        return "commit_copies();"
    if modifiers[0] == "wait_group":
        return f"wait_for_copies({t.value(0, 'u32')});"
    if modifiers[0] == "wait_all":
        return "wait_for_all_copies();"
    for modifier in modifiers:
        if modifier not in ("ca", "cg", "shared", "global", "shared__cta") and not modifier.startswith("L2__"):
            t.unknown(f"the modifier .{modifier}")
    if len(t.operands) not in (3, 4) or t.operands[2] not in ("4", "8", "16"):
        t.unknown("its operands")
    n_bytes = int(t.operands[2])
    source_bytes = t.value(3, "u32") if len(t.operands) == 4 else f"{n_bytes}u"
    to_site = t.writer.site(t.instruction.place, "shared", "AsyncWrite", n_bytes)
    from_site = t.writer.site(t.instruction.place, "global", "AsyncRead", n_bytes)
    return f"copy_later({t.scope.address(t.operands[0], 'shared')}, {t.scope.address(t.operands[1], 'global')}, " \
           f"{n_bytes}u, {source_bytes}, {to_site}, {from_site});"


# ---- what the threads of a warp do together ----------------------------------------------------------------------------------

def plain_site(t):
    return t.writer.site(t.instruction.place, "none", "Collective", 0)


def shuffle(t):
    """shfl.sync.mode.b32 d[|p], a, b, c, mask"""
    if t.opcode[1] != "sync" or t.type != "b32":
        t.unknown("only .sync of 32 bits is")
    mode = {"up": "Up", "down": "Down", "bfly": "Butterfly", "idx": "Index"}.get(t.opcode[2])
    if not mode:
        t.unknown()
    results = [r.strip() for r in t.operands[0].split("|")]
    call = f"shuffle(Shuffle::{mode}, {t.value(1, 'b32')}, {t.value(2, 'u32')}, {t.value(3, 'u32')}, {t.value(4, 'u32')}, " \
           f"{plain_site(t)})"
    predicate = t.scope.assign(results[1], "got.is_in_range", "pred") if len(results) > 1 else ""
    return f"{{ const Shuffled got = {call}; {t.scope.assign(results[0], 'got.value', 'b32')} {predicate} }}"


def vote(t):
    """vote.sync.mode d, p, mask"""
    if t.opcode[1] != "sync" or t.opcode[2] not in ("all", "any", "uni", "ballot"):
        t.unknown()
    call = f"vote_{t.opcode[2]}({t.value(1, 'pred')}, {t.value(2, 'u32')}, {plain_site(t)})"
    return t.result(call, "b32" if t.opcode[2] == "ballot" else "pred")


def match(t):
    """match.any/all.sync.type d[|p], a, mask"""
    if t.opcode[1] not in ("any", "all") or t.opcode[2] != "sync":
        t.unknown()
    results = [r.strip() for r in t.operands[0].split("|")]
    value = f"(uint64_t){t.value(1)}"
    mask = t.value(2, "u32")
    if t.opcode[1] == "any":
        return t.scope.assign(results[0], f"match_any({value}, {mask}, {plain_site(t)})", "b32")
    predicate = t.scope.assign(results[1], "same != 0", "pred") if len(results) > 1 else ""
    return f"{{ const uint32_t same = match_all({value}, {mask}, {plain_site(t)}); " \
           f"{t.scope.assign(results[0], 'same', 'b32')} {predicate} }}"


def reduce_warp(t):
    if t.opcode[1] != "sync" or t.opcode[2] not in ("add", "min", "max", "and", "or", "xor"):
        t.unknown()
    t.require("u32", "s32", "b32")
    operation = {"add": "Add", "min": "Min", "max": "Max", "and": "And", "or": "Or", "xor": "Xor"}[t.opcode[2]]
    name = "reduce_signed" if t.type == "s32" else "reduce_unsigned"
    return t.result(f"{name}(Reduction::{operation}, {t.value(1)}, {t.value(2, 'u32')}, {plain_site(t)})")


def active_mask(t):
    return t.scope.assign(t.operands[0], "active_lanes()", "b32")


def barrier(t):
    """bar and barrier, of a block or of a warp."""
    words = [m for m in t.opcode[1:] if m not in ("cta", "aligned")]
    if words[:2] == ["warp", "sync"]:
        return f"synchronize_warp({t.value(0, 'u32')}, {plain_site(t)});"
    aligned = "true" if t.opcode[0] == "bar" or "aligned" in t.opcode else "false"
    if words == ["sync"] or words == ["arrive"]:
        count = t.value(1, "u32") if len(t.operands) > 1 else "0"
        name = "barrier_wait" if words == ["sync"] else "barrier_arrive"
        return f"{name}({t.value(0, 'u32')}, {count}, {aligned}, {plain_site(t)});"
    if words[0] == "red" and words[1] in ("popc", "and", "or"):
        # d, barrier[, count], predicate
        count = t.value(2, "u32") if len(t.operands) == 4 else "0"
        predicate = t.value(len(t.operands) - 1, "pred")
        call = f"barrier_count({t.value(1, 'u32')}, {count}, {predicate}, {aligned}, {plain_site(t)})"
        if words[1] == "popc":
            return t.result(f"{call}.n_true", "u32")
        return t.result(f"{call}.{'all' if words[1] == 'and' else 'any'}()", "pred")
    return t.unknown()


def load_matrix(t):
    """ldmatrix.sync.aligned.m8n8.xN[.trans].shared.b16"""
    known = ("sync", "aligned", "m8n8", "x1", "x2", "x4", "trans", "shared", "shared__cta")
    t.allow(*known)
    n = next((int(m[1]) for m in t.opcode if m in ("x1", "x2", "x4")), 0)
    results = vector(t.operands[0])
    if t.type != "b16" or "m8n8" not in t.opcode or len(results) != n:
        t.unknown()
    site = t.writer.site(t.instruction.place, "shared", "MatrixLoad", 16)
    assignments = " ".join(t.scope.assign(r, f"tiles[{i}]", "b32") for i, r in enumerate(results))
    return f"{{ uint32_t tiles[{n}]; load_matrix(tiles, {n}, {'true' if t.has('trans') else 'false'}, " \
           f"{t.scope.address(t.operands[1], 'shared')}, {site}); {assignments} }}"


MMA_ELEMENTS = {"f16": "F16", "bf16": "BF16", "tf32": "TF32", "s8": "S8", "u8": "U8"}
MMA_SHAPES = {("m16n8k16", "f16"), ("m16n8k8", "f16"), ("m16n8k16", "bf16"), ("m16n8k8", "bf16"), ("m16n8k8", "tf32"),
              ("m16n8k4", "tf32"), ("m16n8k32", "s8"), ("m16n8k16", "s8"), ("m8n8k16", "s8")}


def matrix_multiply(t):
    """mma.sync.aligned.shape.row.col[.satfinite].d.a.b.c"""
    opcode = [m for m in t.opcode if m != "satfinite"]
    if len(opcode) != 10 or opcode[1:3] != ["sync", "aligned"] or opcode[4:6] != ["row", "col"]:
        t.unknown()
    shape, (d, a, b, c) = opcode[3], opcode[6:]
    kind = "s8" if a in ("s8", "u8") and b in ("s8", "u8") else a
    if (shape, kind) not in MMA_SHAPES or d != c or (kind != "s8" and a != b):
        t.unknown(f"the shape {shape} of .{a}")
    if d not in ({"s8": ("s32",), "f16": ("f32", "f16"), "bf16": ("f32",), "tf32": ("f32",)}[kind]):
        t.unknown(f"sums of .{d}")
    m, n, k = (int(x) for x in shape.replace("m", "").replace("n", " ").replace("k", " ").split())
    parts = [vector(o) for o in t.operands]
    lists = []
    for name, regs, type_name in (("a", parts[1], "b32"), ("b", parts[2], "b32"), ("c", parts[3], "b32")):
        lists.append(f"const uint32_t {name}[] = {{{', '.join(t.scope.value(r, type_name) for r in regs)}}}; ")
    assignments = " ".join(t.scope.assign(r, f"d[{i}]", "b32") for i, r in enumerate(parts[0]))
    sums = {"f32": "F32", "f16": "F16", "s32": "S32"}[d]
    return f"{{ {''.join(lists)}uint32_t d[{len(parts[0])}]; multiply_matrices({{{m}, {n}, {k}, MatrixElement::{MMA_ELEMENTS[a]}, " \
           f"MatrixElement::{MMA_ELEMENTS[b]}, MatrixSum::{sums}, {'true' if t.has('satfinite') else 'false'}}}, " \
           f"d, a, b, c, {plain_site(t)}); {assignments} }}"


# ---- control -----------------------------------------------------------------------------------------------------------------

def leave(t):
    return "return;" if t.opcode[0] == "ret" or t.writer.is_entry else "leave_thread();"


def trap(t):
    return f"trap({plain_site(t)});"


def sleep(t):
    return "give_way();"


def fns(t):
    t.require("b32")
    return t.result(f"find_nth_set({t.value(1, 'b32')}, {t.value(2, 'u32')}, {t.value(3, 's32')})", "u32")


# ---- the table ---------------------------------------------------------------------------------------------------------------

FAMILIES = {
    "add": integer_or_float("{0} + {1}", "add"),
    "sub": integer_or_float("{0} - {1}", "sub"),
    "mul": product, "mad": product, "mul24": product24, "mad24": product24,
    "div": divide,
    "rem": function("remainder_whole", 2, INTEGERS),
    "abs": absolute, "neg": negate, "min": extremum, "max": extremum, "sad": sum_of_differences,
    "and": bitwise("{0} & {1}"), "or": bitwise("{0} | {1}"), "xor": bitwise("{0} ^ {1}"), "not": bitwise("~{0}"),
    "cnot": function("logical_not", 1, ("b16", "b32", "b64")),
    "lop3": logic_of_three, "shl": shift, "shr": shift, "shf": funnel_shift, "prmt": permute_bytes,
    "bfe": extract_field, "bfi": insert_field, "bfind": find_bit, "bmsk": bit_mask,
    "popc": count_bits("count_ones"), "clz": count_bits("count_leading_zeros"),
    "brev": function("reverse_bits", 1, ("b32", "b64")), "fns": fns,
    "dp4a": dot_product, "dp2a": dot_product,
    "fma": fused_multiply_add, "sqrt": square_root, "rcp": reciprocal,
    "rsqrt": approximated("reciprocal_root"), "ex2": approximated("power_of_two"), "lg2": approximated("logarithm_to_two", ("f32",)),
    "sin": approximated("sine", ("f32",)), "cos": approximated("cosine", ("f32",)),
    "tanh": approximated("hyperbolic_tangent", ("f32",)),
    "copysign": copy_sign, "testp": test_property,
    "cvt": convert, "setp": set_predicate, "set": set_value, "selp": select, "slct": select_by_sign, "mov": move,
    "ld": load, "ldu": load, "st": store, "atom": atomic, "red": atomic, "cvta": convert_address, "isspacep": is_space,
    "prefetch": prefetch, "prefetchu": prefetch, "membar": fence, "fence": fence, "cp": asynchronous_copy,
    "shfl": shuffle, "vote": vote, "match": match, "redux": reduce_warp, "activemask": active_mask,
    "bar": barrier, "barrier": barrier, "ldmatrix": load_matrix, "mma": matrix_multiply,
    "ret": leave, "exit": leave, "trap": trap, "brkpt": trap, "nanosleep": sleep,
}


def translate_instruction(instruction, scope, writer):
    t = Translation(instruction, scope, writer)
    family = FAMILIES.get(instruction.opcode[0])
    if not family:
        t.unknown()
    if instruction.opcode[0] == "cp" and instruction.opcode[1] != "async":
        t.unknown()
    return family(t)


def instruction_class(instruction):
    """What it is counted as: the names of AccessCounts (runtime/access_counts.h)."""
    opcode = instruction.opcode
    name, type_name = opcode[0], opcode[-1]
    if name in ("mma", "dp4a", "dp2a", "ldmatrix", "cvt", "bra", "brx", "call", "ret", "exit"):
        return {"mma": "Matrix", "dp4a": "Dot", "dp2a": "Dot", "ldmatrix": "SharedLoad", "cvt": "Conversion"}.get(name, "Control")
    if name in ("ld", "ldu", "st", "atom", "red", "cp"):
        if name == "cp":
            return "AsyncCopy"
        if name in ("atom", "red"):
            return "Atomic"
        shared, other = any(m.startswith("shared") for m in opcode), any(m in ("local", "param", "const") for m in opcode)
        kind = "Load" if name in ("ld", "ldu") else "Store"
        return "Shared" + kind if shared else "Other" + kind if other else "Global" + kind
    if name in ("shfl", "vote", "match", "redux", "bar", "barrier", "membar", "fence", "activemask"):
        return "Exchange"
    if name in ("mov", "selp", "cvta"):
        return "Move"
    if type_name in ("f32", "f64") or type_name in HALVES:
        return "Float"
    return "Integer"
