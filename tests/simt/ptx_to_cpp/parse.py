"""PTX text -> Module. Registers, labels and variables of nested scopes get names of their own, so a function has one flat list of
statements."""

import bisect
import re

from model import BranchTargets, Function, Instruction, Label, Module, Place, TranslationError, Variable

NAME = r"[%$\w]+"


def parse_module(text, path):
    return ModuleParser(text, path).parse()


def split_operands(text):
    """At the commas outside of brackets."""
    parts, depth, current = [], 0, ""
    for c in text:
        if c in "{[(":
            depth += 1
        elif c in "}])":
            depth -= 1
        if c == "," and depth == 0:
            parts.append(current.strip())
            current = ""
        else:
            current += c
    if current.strip():
        parts.append(current.strip())
    return parts


def without_comments(text):
    """Comments become blanks; lines stay where they are."""
    def blank(match):
        return match.group(0) if match.group(0).startswith('"') else re.sub(r"[^\n]", " ", match.group(0))
    return re.sub(r'"[^"\n]*"|//[^\n]*|/\*.*?\*/', blank, text, flags=re.S)


def parse_variable(text, fail):
    """.visible .const .align 8 .b8 grid[32] = {1, 2} and its like, without the semicolon."""
    head, _, initial = text.partition("=")
    head = re.sub(r"\.attribute\([^)]*\)", "", head).strip()
    match = re.match(r"^(.*?)(" + NAME + r")((?:\s*\[\s*\d*\s*\])*)$", head, re.S)
    words = match.group(1).split() if match else []
    space = next((w[1:] for w in words if w in (".global", ".const", ".shared", ".local", ".param")), None)
    type_name = next((w[1:] for w in words if re.fullmatch(r"\.([busf]\d+|pred|b?f16x2)", w)), None)
    if not match or not space or not type_name or ".v2" in words or ".v4" in words:
        fail(f"a variable is declared in a way that is not known: {text.strip()[:120]}")
    n_elements = 1
    for size in re.findall(r"\[\s*(\d*)\s*\]", match.group(3)):
        n_elements *= int(size) if size else 0
    alignment = int(words[words.index(".align") + 1]) if ".align" in words else 0
    if ".ptr" in words and ".align" in words[words.index(".ptr"):]:   # of what a pointer points to
        alignment = 0
    values = split_operands(re.sub(r"[{}]", "", initial)) if initial.strip() else []
    if n_elements == 0 and values:
        n_elements = len(values)
    variable = Variable(match.group(2), space, type_name, n_elements, alignment, values, ".extern" in words)
    if not variable.alignment:
        variable.alignment = max(1, variable.bytes // max(1, n_elements))
    return variable


class ModuleParser:
    def __init__(self, text, path):
        self.text = without_comments(text)
        self.module = Module(path)
        self.at = 0
        self.line_starts = [0] + [m.end() for m in re.finditer("\n", self.text)]

    def ptx_line(self, at=None):
        return bisect.bisect_right(self.line_starts, self.at if at is None else at)

    def fail(self, sentence):
        raise TranslationError(f"{self.module.path}:{self.ptx_line()}: {sentence}")

    def match(self, pattern):
        """Consumes what matches here."""
        found = re.compile(pattern, re.S).match(self.text, self.at)
        if found:
            self.at = found.end()
        return found

    def until(self, character):
        end = self.text.find(character, self.at)
        if end < 0:
            self.fail(f"the file ends where '{character}' is expected")
        part = self.text[self.at:end]
        self.at = end + 1
        return part

    def skip_blank(self):
        self.match(r"\s*")
        return self.at < len(self.text)

    def parse(self):
        for found in re.finditer(r'^\s*\.file\s+(\d+)\s+"([^"]+)"', self.text, re.M):
            self.module.files[int(found.group(1))] = found.group(2)
        while self.skip_blank():
            if self.match(r"\.(version|target|address_size|file)\b[^\n]*"):
                continue
            if self.match(r"\.section\b"):
                self.until("{")
                self.until("}")
            elif re.compile(r"(\.(visible|extern|weak|common)\s+)*\.(entry|func)\b").match(self.text, self.at):
                self.parse_function()
            elif self.match(r"\.(pragma|alias)\b"):
                self.until(";")
            elif self.match(r"\$?\w+:"):   # labels between sections of line numbers
                continue
            else:
                declaration = self.until(";")
                self.module.variables.append(parse_variable(declaration, self.fail))
        return self.module

    def parse_function(self):
        found = self.match(r"(?:\.(?:visible|extern|weak|common)\s+)*\.(entry|func)\s*")
        is_entry = found.group(1) == "entry"
        results = []
        if self.match(r"\("):
            results = self.parse_parameters()
            self.skip_blank()
        name = self.match(NAME).group(0)
        self.skip_blank()
        parameters = self.parse_parameters() if self.match(r"\(") else []
        function = Function(name, is_entry, False, results, parameters, place=Place("", 0, self.ptx_line()))
        while self.match(r"\s*\.(maxntid|reqntid|minnctapersm|maxnreg|noreturn|pragma)\b[^.{;]*(;(?=\s*[.{]))?"):
            pass
        self.skip_blank()
        if self.match(";"):
            function.is_prototype = True
        elif self.match("{"):
            BodyParser(self, function).parse()
        else:
            self.fail(f"the head of the function {name} ends in a way that is not known")
        self.module.functions.append(function)

    def parse_parameters(self):
        return [parse_variable(p, self.fail) for p in split_operands(self.until(")"))]


class BodyParser:
    def __init__(self, parser, function):
        self.parser = parser
        self.function = function
        self.scopes = [{}]     # name as written -> name of its own
        self.n_scopes = 0
        self.place = (function.place.file, 0)

    def parse(self):
        parser = self.parser
        begin = parser.at
        self.collect_labels(begin)
        while self.scopes:
            if not parser.skip_blank():
                parser.fail(f"the file ends inside of the function {self.function.name}")
            if parser.match(r"\{"):
                self.n_scopes += 1
                self.scopes.append({})
                self.collect_labels(parser.at)
            elif parser.match(r"\}"):
                self.scopes.pop()
            elif parser.match(r";"):
                continue
            elif found := parser.match(r"\.loc\s+(\d+)\s+(\d+)([^\n]*)"):
                self.set_place(found)
            elif parser.match(r"\.pragma\b"):
                parser.until(";")
            elif found := parser.match(r"(\$?[\w$]+)\s*:(?!:)"):
                self.parse_label(found.group(1))
            elif parser.match(r"\.reg\b"):
                self.parse_registers(parser.until(";"))
            elif re.compile(r"\.(local|shared|param)\b").match(parser.text, parser.at):
                self.parse_local_variable(parser.until(";"))
            else:
                at = parser.at
                self.parse_instruction(parser.until(";"), parser.ptx_line(at))

    def collect_labels(self, begin):
        """Labels are used before they are seen: those of this scope get their names first."""
        depth, text = 1, self.parser.text
        for found in re.compile(r"[{}]|(?<![\w$%])(\$?[A-Za-z_$][\w$]*)\s*:(?!:)").finditer(text, begin):
            if found.group(0) == "{":
                depth += 1
            elif found.group(0) == "}":
                depth -= 1
                if depth == 0:
                    return
            elif depth == 1:
                self.declare(found.group(1))

    def declare(self, name):
        own = name if len(self.scopes) == 1 else f"{name}_scope{self.n_scopes}"
        self.scopes[-1][name] = own
        return own

    def resolve(self, name):
        for scope in reversed(self.scopes):
            if name in scope:
                return scope[name]
        return name

    def resolve_all(self, text):
        return re.sub(r"[%$A-Za-z_][\w$]*", lambda found: self.resolve(found.group(0)), text)

    def set_place(self, found):
        """A line of a toolkit header is named by the line that it was inlined at."""
        files = self.parser.module.files
        number, line, rest = int(found.group(1)), int(found.group(2)), found.group(3)
        inlined = re.search(r"inlined_at\s+(\d+)\s+(\d+)", rest)
        if inlined and is_toolkit_header(files.get(number, "")):
            number, line = int(inlined.group(1)), int(inlined.group(2))
            if is_toolkit_header(files.get(number, "")):   # two levels deep in headers: stay at the last line of the kernel's own
                return
        self.place = (files.get(number, ""), line)

    def here(self, ptx_line):
        return Place(self.place[0], self.place[1], ptx_line)

    def parse_label(self, name):
        parser = self.parser
        if found := parser.match(r"\s*\.branchtargets\b"):
            labels = [self.resolve(l) for l in split_operands(parser.until(";"))]
            self.function.statements.append(BranchTargets(self.resolve(name), labels))
        elif parser.match(r"\s*\.(callprototype|calltargets)\b"):
            parser.until(";")   # a call through it is refused when it is met
        else:
            self.function.statements.append(Label(self.resolve(name), self.here(parser.ptx_line())))

    def parse_registers(self, text):
        found = re.match(r"\s*\.(\w+)\s+(.*)$", text, re.S)
        for name in split_operands(found.group(2)):
            if many := re.fullmatch(r"(" + NAME + r")<(\d+)>", name):
                for i in range(int(many.group(2))):
                    self.function.registers[self.declare(f"{many.group(1)}{i}")] = found.group(1)
            else:
                self.function.registers[self.declare(name)] = found.group(1)

    def parse_local_variable(self, text):
        variable = parse_variable(text, self.parser.fail)
        if variable.space == "shared":
            self.scopes[-1][variable.name] = variable.name   # nvcc's names of them are unique
        else:
            variable.name = self.declare(variable.name)
        self.function.variables.append(variable)

    def parse_instruction(self, text, ptx_line):
        found = re.match(r"^(?:@(!?)\s*(" + NAME + r")\s+)?([a-z][\w.:]*)\s*(.*)$", text.strip(), re.S)
        if not found:
            self.parser.fail(f"not an instruction: {text.strip()[:120]}")
        negated, guard, opcode, operands = found.groups()
        guard = (negated + self.resolve(guard)) if guard else ""
        operands = [self.resolve_all(o) for o in split_operands(" ".join(operands.split()))]
        self.function.statements.append(
            Instruction(guard, opcode.replace("::", "__").split("."), operands, self.here(ptx_line)))


def is_toolkit_header(path):
    return "/cuda" in path and "/include/" in path or "/targets/" in path
