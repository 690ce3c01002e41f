"""What a PTX file says, as values."""

from dataclasses import dataclass, field


class TranslationError(Exception):
    """A sentence for whoever wrote the kernel: what is not known, and where it stands."""


@dataclass
class Place:
    """Where a statement comes from: the line of the .cu file (0: unknown), and that of the PTX file."""
    file: str
    line: int
    ptx_line: int


@dataclass
class Variable:
    """A variable of any state space. n_elements is 1 for scalars and 0 for `extern` arrays without a size."""
    name: str
    space: str       # global, const, shared, local, param
    type: str        # b8, u32, f32, ...
    n_elements: int
    alignment: int
    initial: list = field(default_factory=list)  # of strings: numbers and names of variables
    is_extern: bool = False

    @property
    def bytes(self):
        return self.n_elements * type_bytes(self.type)


@dataclass
class Instruction:
    guard: str       # "", "%p1" or "!%p1"
    opcode: list     # ["ld", "global", "f32"]
    operands: list   # of strings, as they stand
    place: Place


@dataclass
class Label:
    name: str
    place: Place


@dataclass
class BranchTargets:
    """A named list of labels, for brx.idx."""
    name: str
    labels: list


@dataclass
class Function:
    name: str
    is_entry: bool
    is_prototype: bool
    results: list     # of Variable
    parameters: list  # of Variable
    registers: dict = field(default_factory=dict)  # name (with %) -> type
    variables: list = field(default_factory=list)  # local, shared and call-sequence parameters
    statements: list = field(default_factory=list)
    place: Place = None


@dataclass
class Module:
    path: str
    files: dict = field(default_factory=dict)      # number -> path
    variables: list = field(default_factory=list)
    functions: list = field(default_factory=list)


def type_bytes(type_name):
    if type_name == "pred":
        return 1
    if type_name == "f16x2" or type_name == "bf16x2":
        return 4
    return int("".join(c for c in type_name if c.isdigit())) // 8
