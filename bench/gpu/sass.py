"""The machine code of kernels: instructions, loops, the way through a loop, and how long one warp takes for it.

Read from `cuobjdump -sass`. The stalls and barriers that the compiler wrote into each instruction (bits 105 to 121 of its 128) say when
the next may issue; what a barrier waits for has the latency of gpus.LATENCIES."""

import heapq
import re
from collections import Counter
from dataclasses import dataclass, field

from gpus import LATENCIES, OTHER_LATENCY

LINE = re.compile(r"^\s+/\*([0-9a-f]{4,})\*/\s+(?:\{\s*)?(@!?U?P\w+\s+)?([A-Z][A-Z0-9_.]*)\s*([^;]*);\s*/\* 0x([0-9a-f]{16}) \*/")
HIGH = re.compile(r"^\s+/\* 0x([0-9a-f]{16}) \*/")

FLOATS = {"FFMA", "FMUL", "FADD", "HADD2", "HFMA2", "HMUL2", "FSWZADD"}
MULTIPLIES = {"IMAD", "IDP", "IDP4A", "IMUL"}
CONVERSIONS = {"MUFU", "I2F", "F2I", "F2F", "POPC", "FLO", "BREV"}
DOUBLES = {"DADD", "DMUL", "DFMA", "DSETP"}
CONTROL = {"BRA", "BSSY", "BSYNC", "EXIT", "NOP", "WARPSYNC", "BAR", "CALL", "RET", "DEPBAR", "LDGDEPBAR", "BREAK", "YIELD", "BMOV",
           "BRX", "ERRBAR", "MEMBAR", "LDC", "CS2R", "S2R"}
TENSOR = {"IMMA", "HMMA"}
MEMORY = {"LDG", "STG", "LDS", "STS", "LDGSTS", "LD", "ST", "LDL", "STL", "ATOM", "ATOMS", "ATOMG", "RED", "SHFL", "LDSM"}


@dataclass
class Instruction:
    address: int
    is_predicated: bool
    opcode: str  # without its modifiers
    text: str
    stall: int
    write_barrier: int  # 7: none
    read_barrier: int
    waits: int  # a bit for each barrier

    @property
    def pipe(self):
        op = self.opcode
        if op in FLOATS:
            return "float"
        if op in MULTIPLIES:
            return "multiply"
        if op in CONVERSIONS:
            return "conversion"
        if op in DOUBLES:
            return "float64"
        if op in TENSOR:
            return "tensor"
        if op in MEMORY:
            return "memory"
        if op in CONTROL or op.startswith("U") or op in ("R2UR", "S2UR", "VOTEU"):
            return "control"
        return "integer"


@dataclass
class Block:
    instructions: list
    next: list = field(default_factory=list)


@dataclass
class Loop:
    header: int
    blocks: set
    children: list = field(default_factory=list)


def functions_of(listing):
    """Mangled name: instructions, of the output of cuobjdump -sass."""
    functions, instructions, pending = {}, None, None
    for line in listing.splitlines():
        if "Function : " in line:
            instructions = functions.setdefault(line.split("Function : ")[1].strip(), [])
        elif match := LINE.match(line):
            pending = match
        elif pending is not None and (high := HIGH.match(line)):
            control = int(high.group(1), 16) >> 41
            address, predicate, opcode, operands, _ = pending.groups()
            instructions.append(Instruction(int(address, 16), predicate is not None, opcode.split(".")[0], f"{opcode} {operands.strip()}",
                                            control & 15, control >> 5 & 7, control >> 8 & 7, control >> 11 & 63))
            pending = None
    return functions


def target_of(instruction):
    found = re.findall(r"0x[0-9a-f]+", instruction.text)
    return int(found[-1], 16) if found else None


class Kernel:
    """Blocks of code and the loops among them."""

    def __init__(self, instructions):
        self.instructions = instructions
        jumps = [i for i in instructions if i.opcode == "BRA"]
        leaders = {instructions[0].address} | {target_of(i) for i in jumps}
        ends = {"BRA", "EXIT", "RET", "BRX"}
        leaders |= {b.address for a, b in zip(instructions, instructions[1:]) if a.opcode in ends}
        self.blocks = {}
        for instruction in instructions:
            if instruction.address in leaders:
                current = self.blocks[instruction.address] = Block([])
            current.instructions.append(instruction)
        order = sorted(self.blocks)
        for begin, follower in zip(order, order[1:] + [None]):
            block = self.blocks[begin]
            last = block.instructions[-1]
            falls = follower is not None and (last.opcode not in ends or last.is_predicated)
            if last.opcode == "BRA":
                target = target_of(last)
                if ".DIV" in last.text:  # the way of lanes that have parted
                    block.next = [follower]
                    continue
                if ".CONV" in last.text:  # of lanes that have not
                    block.next = [target]
                    continue
                # A condition may be an operand: BRA P0, target or BRA !UP0, target.
                falls = follower is not None and (last.is_predicated or re.match(r"BRA\S* !?U?P", last.text) is not None)
                block.next.append(target)
            if falls:
                block.next.append(follower)
        self.entry = order[0]
        self.loops = self.find_loops()

    def find_loops(self):
        reachable, stack = set(), [self.entry]
        while stack:
            at = stack.pop()
            if at not in reachable:
                reachable.add(at)
                stack += self.blocks[at].next
        before = {at: set() for at in reachable}
        for at in reachable:
            for target in self.blocks[at].next:
                before[target].add(at)
        dominators = {at: set(reachable) for at in reachable}
        dominators[self.entry] = {self.entry}
        changed = True
        while changed:
            changed = False
            for at in sorted(reachable - {self.entry}):
                now = set.intersection(*[dominators[b] for b in before[at]]) | {at} if before[at] else {at}
                if now != dominators[at]:
                    dominators[at], changed = now, True
        loops = {}
        for at in reachable:
            for header in self.blocks[at].next:
                if header not in dominators[at]:
                    continue
                inside, stack = {header}, [at]
                while stack:
                    block = stack.pop()
                    if block not in inside:
                        inside.add(block)
                        stack += before[block]
                loop = loops.setdefault(header, Loop(header, set()))
                loop.blocks |= inside
        ordered = sorted(loops.values(), key=lambda loop: len(loop.blocks))
        for i, loop in enumerate(ordered):
            parent = next((other for other in ordered[i + 1:] if loop.header in other.blocks), None)
            if parent is not None:
                parent.children.append(loop)
        return ordered  # innermost first

    def opcodes(self, loop):
        """Of a loop without those inside it."""
        own = loop.blocks - set().union(*[child.blocks for child in loop.children])
        return Counter(i.opcode for at in own for i in self.blocks[at].instructions)

    def way(self, begin, ends, inside, children, through=()):
        """The shortest way, as instructions, from a block to one of `ends` that passes the loops or blocks in `through` (their first
        blocks). Loops on the way are stepped over: what they execute is counted apart."""
        child_of = {child.header: child for child in children}
        through = frozenset(through)
        count = 0
        queue = [(0, count, begin, frozenset(), [])]
        done = set()
        while queue:
            cost, _, at, seen, path = heapq.heappop(queue)
            if at in ends and path:
                if seen >= through:
                    return [i for b in path if b is not None for i in self.blocks[b].instructions]
                continue
            if (at, seen) in done:
                continue
            done.add((at, seen))
            seen = seen | {at} if at in through else seen
            child = child_of.get(at)
            if child is not None and at != begin:
                steps = {t for b in child.blocks for t in self.blocks[b].next if t not in child.blocks}
                own, new_cost = None, cost
            else:
                steps, own, new_cost = self.blocks[at].next, at, cost + len(self.blocks[at].instructions)
            for target in steps:
                if target in inside or target in ends:
                    count += 1
                    heapq.heappush(queue, (new_cost, count, target, seen, path + [own]))
        return None

    def body(self, loop, through=()):
        """One turn of a loop, loops inside it stepped over."""
        return self.way(loop.header, {loop.header}, loop.blocks, loop.children, through) or []


def pipes_of(instructions):
    return Counter(i.pipe for i in instructions)


def cycles_of(instructions, turns=8):
    """Of one warp alone, for one turn of many."""
    if not instructions:
        return 0.0
    now, ready, begins = 0, [0] * 6, []
    for _ in range(turns):
        begins.append(now)
        for one in instructions:
            for barrier in range(6):
                if one.waits >> barrier & 1:
                    now = max(now, ready[barrier])
            latency = LATENCIES.get(one.opcode, OTHER_LATENCY)
            if one.write_barrier < 6:
                ready[one.write_barrier] = max(ready[one.write_barrier], now + latency)
            if one.read_barrier < 6:
                ready[one.read_barrier] = max(ready[one.read_barrier], now + OTHER_LATENCY)
            now += max(1, one.stall)
    return (now - begins[turns // 2]) / (turns - turns // 2)
