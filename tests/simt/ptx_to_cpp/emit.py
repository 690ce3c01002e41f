"""Module -> the text of a C++ file: data, one function for each function of the PTX, and the tables that say where an instruction
came from, what a block of code executes, and which kernels there are."""

import re

from instructions import instruction_class, translate_instruction
from model import BranchTargets, Instruction, Label, TranslationError, type_bytes
from operands import CPP_TYPES, INTEGER, Scope, identifier, integer_literal, float_literal

SHARED_GUARD_BYTES = 64   # nothing lies there, so that an access past the end of a variable is seen
CLASSES = ["GlobalLoad", "GlobalStore", "SharedLoad", "SharedStore", "OtherLoad", "OtherStore", "Atomic", "AsyncCopy", "Integer",
           "Float", "Dot", "Matrix", "Conversion", "Move", "Exchange", "Control"]


def align_up(value, alignment):
    return (value + alignment - 1) // alignment * alignment


def quoted(text):
    return '"' + text.replace("\\", "\\\\").replace('"', '\\"') + '"'


class ModuleWriter:
    def __init__(self, module, architecture):
        self.module = module
        self.architecture = architecture
        self.files, self.sites, self.blocks = [], [], []
        self.site_numbers = {}
        self.is_entry = False
        self.errors = []
        self.by_name = {f.name: f for f in module.functions if not f.is_prototype}
        self.data_symbols = {}
        self.shared = {v.name: v for v in module.variables if v.space == "shared"}
        for function in self.by_name.values():
            self.shared.update((v.name, v) for v in function.variables if v.space == "shared")

    def write(self):
        lines = ['#include "tests/simt/runtime/device.h"', "", "namespace {", "using namespace sluice::simt;", ""]
        lines += self.write_data()
        functions = [f for f in self.by_name.values() if not f.is_entry]
        entries = [f for f in self.by_name.values() if f.is_entry]
        common = self.shared_used_by(functions)
        lines += [self.signature(f) + ";" for f in functions]
        bodies, kernels = [], []
        for function in functions:
            bodies += self.write_function(function, self.lay_out_shared(common))
        for entry in entries:
            layout = self.lay_out_shared(common, self.shared_used_by([entry]))
            bodies += self.write_function(entry, layout)
            kernels.append((entry, layout))
        if self.errors:
            raise TranslationError("\n".join(self.errors[:20]))
        return "\n".join(lines + bodies + self.write_tables(kernels)) + "\n"

    # ---- data --------------------------------------------------------------------------------------------------------

    def write_data(self):
        lines, pointers = [], []
        for variable in self.module.variables:
            if variable.space not in ("global", "const"):
                continue
            if variable.is_extern:
                self.errors.append(f"{self.module.path}: the variable {variable.name} is defined elsewhere, which is not supported")
                continue
            name = "data_" + identifier(variable.name)
            self.data_symbols[variable.name] = (variable.space, name)
            cpp = CPP_TYPES[variable.type]
            values = []
            for i, text in enumerate(variable.initial):
                if re.fullmatch(r"-?(0[xX][0-9A-Fa-f]+|\d+|0[fFdD][0-9A-Fa-f]+)U?", text):
                    literal = float_literal if variable.type in ("f32", "f64") else integer_literal
                    values.append(literal(text, variable.type))
                else:
                    values.append("0")
                    pointers.append((variable, i, text))
            alignment = max(variable.alignment, type_bytes(variable.type))
            count = max(1, variable.n_elements)
            lines.append(f"alignas({alignment}) {cpp} {name}[{count}] = {{{', '.join(values)}}};")
        if pointers:
            lines.append("const bool pointers_are_set = [] {")
            for variable, i, text in pointers:
                found = re.fullmatch(r"(?:generic\()?\s*([$\w]+)\s*\)?(?:\s*\+\s*(\d+))?", text)
                if not found or found.group(1) not in self.data_symbols or type_bytes(variable.type) != 8:
                    self.errors.append(f"{self.module.path}: the variable {variable.name} is initialised with '{text}', "
                                       "which is not known")
                    continue
                lines.append(f"  {self.data_symbols[variable.name][1]}[{i}] = "
                             f"(uint64_t){self.data_symbols[found.group(1)][1]} + {found.group(2) or 0};")
            lines.append("  return true;\n}();")
        return lines + [""]

    # ---- shared memory -----------------------------------------------------------------------------------------------

    def shared_used_by(self, functions):
        used = []
        for function in functions:
            words = set()
            for statement in function.statements:
                if isinstance(statement, Instruction):
                    for operand in statement.operands:
                        words.update(re.findall(r"[$\w]+", operand))
            for name in self.shared:
                if name in words and name not in used:
                    used.append(name)
        return used

    def lay_out_shared(self, *groups):
        """-> (list of (variable, offset), bytes as a device packs them, offset of the dynamic part)"""
        placed, seen, end, packed = [], set(), SHARED_GUARD_BYTES, 0
        dynamic = []
        for group in groups:
            for name in group:
                variable = self.shared[name]
                if name in seen:
                    continue
                seen.add(name)
                if variable.is_extern and variable.n_elements == 0:
                    dynamic.append(variable)
                    continue
                offset = align_up(end, max(variable.alignment, 16))
                placed.append((variable, offset))
                end = offset + variable.bytes + SHARED_GUARD_BYTES
                packed = align_up(packed, variable.alignment) + variable.bytes
        return placed, packed, align_up(end, 1024)

    # ---- functions ---------------------------------------------------------------------------------------------------

    def signature(self, function):
        if function.is_entry:
            return f"void kernel_{identifier(function.name)}(const std::byte* parameters)"
        arguments = [f"std::byte* result_{i}" for i in range(len(function.results))]
        arguments += [f"std::byte* argument_{i}" for i in range(len(function.parameters))]
        return f"void function_{identifier(function.name)}({', '.join(arguments)})"

    def symbols_of(self, function, layout):
        symbols = dict(self.data_symbols)
        symbols = {name: (space, f"(uint64_t){text}") for name, (space, text) in symbols.items()}
        placed, _, dynamic_offset = layout
        offsets = {v.name: offset for v, offset in placed}
        for name, variable in self.shared.items():
            if name in offsets:
                symbols[name] = ("shared", f"{offsets[name]}u")
            elif variable.is_extern:
                # Functions do not know whose kernel's they are.
                symbols[name] = ("shared", f"{dynamic_offset}u" if function.is_entry else "running.dynamic_shared_offset")
        if function.is_entry:
            offset = 0
            for parameter in function.parameters:
                offset = align_up(offset, parameter.alignment)
                symbols[parameter.name] = ("param", f"(uint64_t)(parameters + {offset})")
                offset += parameter.bytes
        else:
            for i, parameter in enumerate(function.parameters):
                symbols[parameter.name] = ("param", f"(uint64_t)argument_{i}")
            for i, result in enumerate(function.results):
                symbols[result.name] = ("param", f"(uint64_t)result_{i}")
        for variable in function.variables:
            if variable.space in ("local", "param"):
                symbols[variable.name] = (variable.space, f"(uint64_t)memory_{identifier(variable.name)}")
        return symbols

    def write_function(self, function, layout):
        self.is_entry = function.is_entry
        scope = Scope(function.registers, self.symbols_of(function, layout))
        lines = ["", self.signature(function) + " {", "  const ThreadIndex& self = *current_thread;", "  (void)self;"]
        used = self.used_registers(function)
        by_type = {}
        for name, type_name in function.registers.items():
            if name in used and type_name not in CPP_TYPES:
                self.errors.append(f"{self.module.path}: registers of the type .{type_name} are not known to the translator")
            elif name in used:
                by_type.setdefault(CPP_TYPES[type_name], []).append(identifier(name))
        for cpp, names in by_type.items():
            for i in range(0, len(names), 16):
                lines.append(f"  {cpp} {', '.join(names[i:i + 16])};")
        for variable in function.variables:
            if variable.space in ("local", "param"):
                lines.append(f"  alignas(16) std::byte memory_{identifier(variable.name)}[{max(1, variable.bytes)}];")
        targets = {s.name: s.labels for s in function.statements if isinstance(s, BranchTargets)}
        code, counts, begins_block = [], None, True
        for statement in function.statements:
            if isinstance(statement, BranchTargets):
                continue
            if isinstance(statement, Label):
                code.append(f"{identifier(statement.name)}:;")
                begins_block = True
                continue
            if begins_block:
                counts = dict.fromkeys(CLASSES, 0)
                code.append(f"  if (unlikely(counting)) count_block({len(self.blocks)});")
                self.blocks.append(counts)
                begins_block = False
            counts[instruction_class(statement)] += 1
            try:
                text = self.write_instruction(statement, scope, targets)
            except TranslationError as error:
                self.add_error(statement, str(error))
                continue
            except (KeyError, IndexError, ValueError, AttributeError):
                self.add_error(statement, f"the operands or types of '{'.'.join(statement.opcode)} "
                                          f"{', '.join(statement.operands)}' are not known to the translator")
                continue
            if statement.guard:
                text = f"if ({scope.value(statement.guard, 'pred')}) {text if text.startswith('{') else '{ ' + text + ' }'}"
            code.append("  " + text)
            begins_block = statement.opcode[0] in ("bra", "brx", "ret", "exit")
        return lines + code + ["}"]

    def used_registers(self, function):
        used = set()
        for statement in function.statements:
            if isinstance(statement, Instruction):
                used.add(statement.guard.lstrip("!"))
                for operand in statement.operands:
                    used.update(re.findall(r"[%$A-Za-z_][\w$]*", operand))
        return used

    def add_error(self, instruction, sentence):
        place = instruction.place
        source = f"{place.file}:{place.line}: " if place.line else ""
        self.errors.append(f"{self.module.path}:{place.ptx_line}: {source}{sentence}")

    def write_instruction(self, instruction, scope, targets):
        name = instruction.opcode[0]
        if name == "bra":
            return f"goto {identifier(instruction.operands[0])};"
        if name == "brx":
            labels = targets.get(instruction.operands[1])
            if instruction.opcode[1] != "idx" or not labels:
                raise TranslationError("a branch through a table that is not known")
            cases = " ".join(f"case {i}: goto {identifier(label)};" for i, label in enumerate(labels))
            return f"{{ switch ({scope.value(instruction.operands[0], 'u32')}) {{ {cases} default: __builtin_unreachable(); }} }}"
        if name == "call":
            return self.write_call(instruction, scope)
        return translate_instruction(instruction, scope, self)

    def write_call(self, instruction, scope):
        operands = list(instruction.operands)
        results = self.call_list(operands.pop(0)) if operands[0].startswith("(") else []
        name = operands.pop(0)
        arguments = self.call_list(operands.pop(0)) if operands else []
        addresses = [f"(std::byte*)({scope.symbols[a][1]})" for a in results + arguments if a in scope.symbols]
        if operands or len(addresses) != len(results) + len(arguments):
            raise TranslationError(f"the call of '{name}' has operands that are not known")
        if name == "__assertfail":
            site = self.site(instruction.place, "none", "Collective", 0)
            return f"assertion_failed({', '.join(addresses[:3])}, {site});"
        if name not in self.by_name:
            raise TranslationError(f"it calls '{name}', which is not defined in the file")
        return f"function_{identifier(name)}({', '.join(addresses)});"

    @staticmethod
    def call_list(text):
        return [part.strip() for part in text.strip()[1:-1].split(",") if part.strip()]

    # ---- tables ------------------------------------------------------------------------------------------------------

    def site(self, place, space, kind, n_bytes):
        if place.file not in self.files:
            self.files.append(place.file)
        self.sites.append((self.files.index(place.file), place.line, kind, space, n_bytes))
        return len(self.sites) - 1

    def write_tables(self, kernels):
        lines = ["", "const char* const files[] = {" + ", ".join(quoted(f) for f in self.files or [""]) + "};"]
        lines.append("const Site sites[] = {")
        for file, line, kind, space, n_bytes in self.sites or [(0, 0, "Collective", "none", 0)]:
            lines.append(f"  {{{file}, {line}, SiteKind::{kind}, Space::{space.capitalize()}, {n_bytes}}},")
        lines.append("};")
        lines.append("const CodeBlock blocks[] = {")
        for counts in self.blocks or [dict.fromkeys(CLASSES, 0)]:
            lines.append("  {{" + ", ".join(str(counts[c]) for c in CLASSES) + "}},")
        lines.append("};")
        variables = [v for v in self.module.variables if v.name in self.data_symbols]
        lines.append("const ModuleVariable variables[] = {")
        for v in variables:
            is_const = "true" if v.space == "const" else "false"
            lines.append(f"  {{{quoted(v.name)}, (std::byte*)data_{identifier(v.name)}, {max(1, v.bytes)}, {is_const}}},")
        lines.append("  {}};")
        lines.append(f"const Module module = {{files, sites, {max(1, len(self.sites))}, blocks, {max(1, len(self.blocks))}, "
                     f"{{variables, {len(variables)}}}}};")
        table = []
        for i, (entry, (placed, packed, dynamic_offset)) in enumerate(kernels):
            offset, parameters = 0, []
            for parameter in entry.parameters:
                offset = align_up(offset, parameter.alignment)
                parameters.append(f"{{{offset}, {parameter.bytes}}}")
                offset += parameter.bytes
            lines.append(f"const Parameter parameters_{i}[] = {{{', '.join(parameters) or '{}'}}};")
            shared = ", ".join(f"{{{quoted(v.name)}, {at}, {v.bytes}}}" for v, at in placed) or "{}"
            lines.append(f"const SharedVariable shared_{i}[] = {{{shared}}};")
            table.append(f"  {{{quoted(entry.name)}, kernel_{identifier(entry.name)}, {offset}, "
                         f"{{parameters_{i}, {len(parameters)}}}, {packed}, &module, {{shared_{i}, {len(placed)}}}, "
                         f"{dynamic_offset}}},")
        if table:
            lines += ["const Kernel kernels[] = {"] + table + ["};"]
            lines.append(f"const bool are_registered = (register_kernels({self.architecture}, kernels), true);")
        return lines + ["}  // namespace"]


def translate_module(module, architecture):
    return ModuleWriter(module, architecture).write()
