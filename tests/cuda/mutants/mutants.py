"""Mistakes that the tests of the CUDA kernels must find."""

from typing import NamedTuple


class Mutant(NamedTuple):
    what: str
    file: str  # under kernels/cuda, that is changed
    unit: str  # the .cu that is compiled again, without its ending
    old: str   # stands there once
    new: str
    tests: str  # that are run, as doctest's --test-case takes them
    quick: bool = False  # one of each kind


PRODUCTS = "*for odd numbers of rows*"  # a comma would end the pattern
ACROSS = "products across rows*"
EMBED = "embeddings*"
EXPERTS = "chosen experts*"
ROUTE = "routers choose*"
FORMS = "*8-bit forms of activations*"
ATTEND = "attention over pages*,in absorbed latent*"
PREFILL = "prefill attention *,in absorbed latent attention a tile*,rows of a run*,queries of any magnitude*"
TOP = "the likeliest*"

MUTANTS = [
    Mutant("the warp does not wait for its lanes", "gemv.cuh", "gemv_k",
           "      __syncwarp();  // the copies of all lanes", "      // the copies of all lanes", PRODUCTS, True),
    Mutant("copies are waited for one stage too late", "gemv.cuh", "gemv_k",
           "wait_for_copies<kGemvSlots - 2>()", "wait_for_copies<kGemvSlots - 1>()", PRODUCTS, True),
    Mutant("the ring is filled one slot too far ahead", "gemv.cuh", "gemv_q",
           "copy(next, next_slot);", "copy(next, slot_behind(next_slot));", PRODUCTS),
    Mutant("the end of a matrix is copied whole", "gemv.cuh", "gemv_q",
           "from + at + 16 <= end", "from + at < end", PRODUCTS, True),
    Mutant("the last row is copied like those inside", "gemv.cuh", "gemv_q",
           "row + 1 < a.n_outputs &&", "row < a.n_outputs &&", PRODUCTS),
    Mutant("rows shorter than a copy are copied like others", "gemv.cuh", "gemv_plain",
           "a.row_bytes >= 16", "a.row_bytes >= 1", PRODUCTS),
    Mutant("blocks of 16 bytes are taken to begin at multiples of 16", "gemv.cuh", "gemv_k",
           "if (head == 0)", "if (head >= 0)", PRODUCTS),
    Mutant("all experts have the input of the first", "gemv.cuh", "gemv_k",
           "if (i == 0 || (current.piece == 0 && n_passes > 1))", "if (i == 0)", EXPERTS),
    Mutant("a piece is taken to begin at a multiple of 8", "gemv.cuh", "gemv_k",
           "bytes_behind_16(current.begin + group * a.row_bytes)", "bytes_behind_16(current.begin + group * a.row_bytes) % 8", PRODUCTS),
    Mutant("a row behind the last is multiplied", "gemv.cuh", "gemv_q",
           "    if (row < a.n_outputs) {", "    if (row <= a.n_outputs) {", PRODUCTS),
    Mutant("lanes are added up to half", "gemv.cuh", "gemv_k",
           "if (distance < lanes)", "if (distance < lanes / 2)", PRODUCTS),
    Mutant("the bias is forgotten", "gemv.cuh", "gemv_k",
           "product + a.bias[row]", "product", PRODUCTS),
    Mutant("experts are added with the weight of the first", "gemv.cuh", "gemv_k",
           "fmaf(passes[current.pass].weight,", "fmaf(passes[0].weight,", EXPERTS),
    Mutant("gate and up change places", "gemv.cuh", "gemv_k",
           "silu(mode == GemvMode::Up ? out : kept) * product", "silu(product) * kept", EXPERTS, True),
    Mutant("absent experts leave what was there", "gemv.cuh", "gemv_k",
           "member == 0 && row < a.n_outputs) output[row] = 0;", "member == 0 && row < 0) output[row] = 0;", EXPERTS),
    Mutant("the even sub-blocks of Q4_K are the odd ones", "formats/q4_k.cuh", "gemv_k",
           ".low[i] = (packed[i] & 0x0F0F0F0Fu)", ".low[i] = (packed[i] >> 4 & 0x0F0F0F0Fu)", PRODUCTS, True),
    Mutant("the top bits of Q4_K's scales are those of the mins", "formats/q4_k.cuh", "gemv_k",
           "(s >> 2 & 0x3030u)", "(m >> 2 & 0x3030u)", PRODUCTS),
    Mutant("Q6_K takes the scale beside its own", "formats/q6_k.cuh", "gemv_k",
           "half * 8 + run + 2 * i", "half * 8 + run + 2 * i + 1", PRODUCTS),
    Mutant("the fifth bits of Q5_1 are one place off", "formats/block32.cuh", "gemv_q",
           "high >> (4 * i) & 15", "high >> (4 * i + 1) & 15", PRODUCTS),
    Mutant("IQ1_S moves its grid the wrong way", "formats/iq1.cuh", "gemv_iq1",
           "!= 0 ? -9 : -7", "!= 0 ? -7 : -9", PRODUCTS),
    Mutant("the eighth sign of IQ2 is always plus", "formats/signed_grid.cuh", "gemv_iq2",
           "& 1) << 7", "& 0) << 7", PRODUCTS),
    Mutant("a word is put together the wrong way round", "bytes.cuh", "gemv_iq3",
           "__funnelshift_r(low, high, shift)", "__funnelshift_r(high, low, shift)", PRODUCTS),
    Mutant("an embedding takes the min of the sub-block beside its own", "dequantize.cuh", "rows_as_floats",
           "min_k(block + 4, j)", "min_k(block + 4, j ^ 1)", EMBED),
    Mutant("the warps of a product across rows are added unfinished", "rows_as_floats.cu", "rows_as_floats",
           "  __syncthreads();\n  const int own", "  const int own", ACROSS, True),
    Mutant("halves are rounded away from zero", "quantize.cuh", "activations",
           "__float2int_rn(x.v[i] * inverse)", "static_cast<int>(roundf(x.v[i] * inverse))", FORMS, True),
    Mutant("the largest of 32 is that of 16", "quantize.cuh", "activations",
           "join_lanes(magnitude_of(x), 1, 2)", "join_lanes(magnitude_of(x), 1, 1)", FORMS),
    Mutant("a tie of experts goes to the higher index", "route.cu", "route",
           "return a.index < b.index ? a : b;", "return a.index < b.index ? b : a;", ROUTE, True),
    Mutant("groups are kept by their largest alone", "route.cu", "route",
           "? first : first + second", "? first : first", ROUTE),
    Mutant("NaN scores are not set behind all others", "route.cu", "route",
           "isnan(score) ? -INFINITY : score", "score", ROUTE),
    Mutant("a position behind the last is seen", "attention.cu", "attention",
           "min(a.page_positions, row.n_visible - first)", "min(a.page_positions, row.n_visible - first + 1)", ATTEND, True),
    Mutant("tiles are written while they are read", "attention.cu", "attention",
           "    __syncthreads();\n    load_tile(values,", "    load_tile(values,", ATTEND),
    Mutant("pages are joined without their largest", "attention.cu", "attention",
           "sum = fmaf(expf(pieces[p * piece_floats] - largest), pieces[p * piece_floats + 2",
           "sum = fmaf(1.0f, pieces[p * piece_floats + 2", ATTEND),
    Mutant("of a tile of positions one more is seen", "attention_prefill.cuh", "attention_prefill",
           "if (j * 8 + i >= n_seen)", "if (j * 8 + i > n_seen)", PREFILL, True),
    Mutant("sums are kept as they are when a row's largest has grown", "attention_prefill.cuh", "attention_prefill",
           "sums[m][j][i] *= shrink[m][i / 2];", "sums[m][j][i] *= 1.0f;", PREFILL, True),
    Mutant("the sum of the weights is kept as it is when a row's largest has grown", "attention_prefill.cuh", "attention_prefill",
           "fmaf(total[m][half], shrink[m][half], sum)", "total[m][half] + sum", PREFILL),
    Mutant("values and parts of scores are not waited for", "attention_prefill.cuh", "attention_prefill",
           "      __syncthreads();  // the values are there", "      // the values are there", PREFILL, True),
    Mutant("blocks are overwritten while they are read", "attention_prefill.cuh", "attention_prefill",
           "      __syncthreads();  // the tiles are there", "      // the tiles are there", PREFILL),
    Mutant("keys are overwritten while they are read", "attention_prefill.cuh", "attention_prefill",
           "    __syncthreads();  // the keys are there", "    __syncwarp();  // the keys are there", PREFILL),
    Mutant("copies are not waited for", "cache_tile.cuh", "attention_prefill",
           'asm volatile("cp.async.wait_all;" ::: "memory");', "", PREFILL),
    Mutant("positions behind the last are left as they are", "cache_tile.cuh", "attention_prefill",
           "row < n_rows ? n_columns", "row <= n_rows ? n_columns", PREFILL),
    Mutant("queries overflow 16 bits", "attention_prefill.cuh", "attention_prefill",
           "__float2half_rn(own[i][c] * power)", "__float2half_rn(own[i][c] * 1.0f)", PREFILL),
    Mutant("scores are exchanged with the warp before", "attention_prefill.cuh", "attention_prefill",
           "*partial_of(column_warp, m, j) =", "*partial_of(column_warp ^ 1, m, j) =", PREFILL),
    Mutant("the tiles of a latent cache do not take turns", "attention_prefill.cuh", "attention_prefill",
           "first / kKeys % 2", "first / kKeys % 1", PREFILL),
    Mutant("the pieces of a row lie as in another one", "fragments.cuh", "attention_prefill",
           "(first ^ (row & 7)) * 16)", "(first ^ (row & 3)) * 16)", PREFILL),
    Mutant("codes of 8 bits lose their sign", "cache_tile.cuh", "attention_prefill",
           "codes[i] ^ 0x8080u", "codes[i] ^ 0x0080u", PREFILL),
    Mutant("equal logits come by descending id", "sampling.cu", "sampling",
           "<< 32 | (0xFFFFFFFFu - id)", "<< 32 | id", TOP, True),
    Mutant("-0 comes after 0", "sampling.cu", "sampling",
           "__float_as_uint(logit == 0 ? 0.0f : logit)", "__float_as_uint(logit)", TOP),
    Mutant("a barrier of the sort is gone", "sampling.cu", "sampling",
           "      __syncthreads();\n      for (int pair", "      for (int pair", TOP),
]
