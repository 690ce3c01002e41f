// How many instructions products of matrices take, which on the emulator is exact and the same every time.
#pragma once

namespace sluice::test {

// Prints a line for each operation on rows and for attention, "operation NAME COUNT": instructions for a value (for attention, for a
// position, a query and a column of its key).
void print_operation_counts();

// Prints a line for each format that is multiplied by, "count NAME ROWS TILES FORM": instructions for a weight and an input, with
// one input, with 16, and with one and the resident form ("-" where there is none). Only there, where the time-stamp counter
// counts instructions.
void print_instruction_counts();

}  // namespace sluice::test
