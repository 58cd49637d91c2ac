"""Look into the built library: the hot loops must keep their sums in registers.

A tile's sums fill the registers but for a few. One more value, and the compiler keeps some of them
on the stack, which makes the loop take twice the time and changes no result: no test would notice.

    python tests/check_registers.py [LIBRARY]

Without LIBRARY, it looks into the installed one.
"""

from __future__ import annotations

import platform
import re
import shutil
import subprocess
import sys
from collections.abc import Iterator

from recurrust import _core

# An innermost loop with so many fused multiplications and additions is the sweep of a tile.
FEWEST_SUMS = 8
LONGEST_LOOP = 100  # instructions
# So many there are at least: forward, backward and products, on two sets, in two precisions.
FEWEST_LOOPS = 40

INSTRUCTION = re.compile(r"^\s*([0-9a-f]+):\s+(\S+)\s*(.*)$")
TARGET = re.compile(r"(?:0x)?([0-9a-f]+)\b")
# A sum that doesn't stay in a register is written to the stack. What is only read there is a
# constant of a rare option, which costs next to nothing.
VECTOR_TO_STACK = re.compile(r"%[xyz]mm\d+,.*\(%rsp[^,]*\)$")

Instruction = tuple[int, str, str]


def instructions(library: str) -> list[Instruction]:
    """Address, name and operands of everything in the library."""
    command = ["objdump", "--disassemble", "--no-show-raw-insn", library]
    text = subprocess.run(command, capture_output=True, text=True, check=True).stdout
    found = map(INSTRUCTION.match, text.splitlines())
    return [(int(m[1], 16), m[2], m[3]) for m in found if m]


def target_of(instruction: Instruction) -> int | None:
    """Where a jump goes to; nothing for other instructions."""
    _, name, operands = instruction
    target = TARGET.match(operands) if name.startswith("j") else None
    return int(target[1], 16) if target else None


def jumps_back(instruction: Instruction) -> bool:
    """Whether it is a jump to something before it."""
    target = target_of(instruction)
    return target is not None and target <= instruction[0]


def innermost_loops(code: list[Instruction]) -> Iterator[list[Instruction]]:
    """Short stretches that end with a jump back to their start and hold no other jump back."""
    places: dict[int | None, int] = {address: index for index, (address, _, _) in enumerate(code)}
    for end, instruction in enumerate(code):
        start = places.get(target_of(instruction))
        if start is None or not 0 <= end - start < LONGEST_LOOP:
            continue
        body = code[start : end + 1]
        # A jump back inside means that there is a loop in the loop.
        if not any(jumps_back(instruction) for instruction in body[:-1]):
            yield body


def main(library: str) -> int:
    """Check one library; return how the program ends."""
    if shutil.which("objdump") is None or platform.machine() not in {"x86_64", "AMD64"}:
        print("registers: not checked, this needs objdump and an x86-64 processor")
        return 0
    hot = [
        body
        for body in innermost_loops(instructions(library))
        if sum(name.startswith("vfmadd") for _, name, _ in body) >= FEWEST_SUMS
    ]
    failed = 0
    for body in hot:
        spilled = [i for i in body if VECTOR_TO_STACK.search(i[2])]
        if spilled:
            failed += 1
            print(f"registers: the loop at {body[0][0]:x} has {len(spilled)} sums on the stack:")
            for address, name, operands in spilled:
                print(f"  {address:x}: {name} {operands}")
    if len(hot) < FEWEST_LOOPS:
        print(f"registers: found {len(hot)} hot loops, there must be {FEWEST_LOOPS} at least")
        return 1
    return 1 if failed else 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1] if len(sys.argv) > 1 else _core.__file__))
