"""The gradient of a convolution by its weights, on a CPU that multiplies bfloat16 numbers but has no matrix unit.

What torch calls there (oneDNN) reaches two thirds of the rate at which it convolves, because it has to turn one of the
two factors. Here both are laid out by pairs of images: the processor's instruction adds the products of two pairs of
bfloat16 numbers to a sum in float32, and the sum over images is one that the gradient needs anyway.

Compiled and kept as the kernels of `kernels.py` are; of its helpers only such are used here as can't change.
"""
# Numba gives an intrinsic its first argument, and its config its names, which pyright doesn't know:
# pyright: reportCallIssue=false, reportAttributeAccessIssue=false

import llvmlite.binding as llvm
import numpy as np
from llvmlite import ir
from numba import config, njit, types
from numba.core.cgutils import alloca_once_value, for_range
from numba.core.codegen import get_host_cpu_features
from numba.extending import intrinsic

from model.kernels import FLOAT, INT, KERNEL, PART, narrow, view

LANES = 16  # float32 numbers in a vector
VECTORS = 2
WIDE, HIGH = VECTORS * LANES, 8  # channels in and out of a tile: its sums leave half of the registers free
NUMBER, PAIR, SUM, LINE = 2, 4, 4, 64  # bytes of a stored number, a pair of them, a sum, a line of the cache
CACHED = 1 << 18  # bytes that are laid out at a time: they stay in a core's own cache
ONES = np.uint32(0x3F803F80)  # a pair of them
SUMS, PAIRS, ADDRESS = ir.VectorType(FLOAT, LANES), ir.VectorType(INT, LANES), ir.IntType(64)

llvm.initialize_native_asmparser()


def compiled_for(feature: str) -> bool:
    """Whether Numba compiles for a processor with this feature, as LLVM calls it."""
    features = get_host_cpu_features() if config.CPU_FEATURES is None else config.CPU_FEATURES
    return f"+{feature}" in features.split(",")


def pays() -> bool:
    """Whether this processor has the instruction; with a matrix unit, oneDNN's way is the quicker one."""
    return compiled_for("avx512bf16") and not compiled_for("amx-bf16")


@intrinsic
def tile(
    typing, above, x, sums, images, rows, columns,
    above_image, above_row, x_image, x_row, x_column, sums_row,
):  # fmt: skip
    """Adds to each of HIGH rows of sums, over images, rows and columns, above[..., row] times WIDE numbers of x.

    Addresses and steps are in bytes.

    Args:
        typing: Numba's.
        above: address of HIGH pairs for each place, one place after the other.
        x: address of WIDE pairs for each place, which begin at a line of the cache.
        sums: address of WIDE float32 numbers in each row.
        images: pairs of images.
        rows: of an image.
        columns: of a row.
        above_image: from one pair of images to the next.
        above_row: from one row to the next.
        x_image: from one pair of images to the next.
        x_row: from one row to the next.
        x_column: from one column to the next.
        sums_row: from one row of sums to the next.
    """

    def emit(context, builder, signature, args):
        above, x, sums, images, rows, columns, above_image, above_row, x_image, x_row, x_column, sums_row = args

        def on(address, index, step):
            return builder.add(address, builder.mul(index, step))

        def at(address, kind):
            return builder.inttoptr(address, kind.as_pointer())

        def read(pointer, i, align):
            return builder.load(builder.gep(pointer, [INT(i)]), align=align)

        add_products = ir.InlineAsm(ir.FunctionType(SUMS, [SUMS, PAIRS, PAIRS]), "vdpbf16ps $3, $2, $0", "=v,0,v,v")
        first, nothing = ir.Constant(PAIRS, [0] * LANES), ir.Constant(PAIRS, ir.Undefined)
        kept = [at(on(sums, ADDRESS(o), sums_row), SUMS) for o in range(HIGH)]
        totals = [[alloca_once_value(builder, read(row, j, SUM)) for j in range(VECTORS)] for row in kept]
        with (
            for_range(builder, images) as image,
            for_range(builder, rows) as row,
            for_range(builder, columns) as column,
        ):
            ours = on(on(above, image.index, above_image), row.index, above_row)
            ours = at(on(ours, column.index, ADDRESS(HIGH * PAIR)), INT)
            theirs = on(on(x, image.index, x_image), row.index, x_row)
            theirs = at(on(theirs, column.index, x_column), PAIRS)
            vectors = [read(theirs, j, LINE) for j in range(VECTORS)]
            for o in range(HIGH):
                pair = builder.insert_element(nothing, read(ours, o, PAIR), INT(0))
                pair = builder.shuffle_vector(pair, nothing, first)
                for total, vector in zip(totals[o], vectors, strict=True):
                    builder.store(builder.call(add_products, [builder.load(total), pair, vector]), total)
        for row, found in zip(kept, totals, strict=True):
            for j, total in enumerate(found):
                builder.store(builder.load(total), builder.gep(row, [INT(j)]), align=SUM)
        return context.get_dummy_value()

    return types.void(*[types.int64] * 12), emit


@njit(**PART)
def room(blocks, pairs, places, width):
    """Room for (blocks, pairs of images, places, width) pairs of numbers that begins at a line of the cache."""
    size = blocks * pairs * places * width
    found = np.empty(size + LINE // PAIR, np.uint32)
    start = (-found.ctypes.data % LINE) // PAIR
    return found[start : start + size].reshape(blocks, pairs, places, width)


@njit(**PART)
def pair_up(x, n, first, width, out):
    """Lays blocks of `width` channels, from the `first` block on, of (n * places, channels) out by pairs of images.

    The last one of an odd number has zeros beside it.
    """
    blocks, _, places, _ = out.shape
    for pair in range(n // 2):
        for place in range(places):
            for block in range(blocks):
                start, to = (first + block) * width, out[block, pair, place]
                one = x[2 * pair * places + place, start : start + width]
                two = x[(2 * pair + 1) * places + place, start : start + width]
                for c in range(width):
                    to[c] = np.uint32(one[c]) | (np.uint32(two[c]) << np.uint32(16))
    if n % 2:
        for place in range(places):
            for block in range(blocks):
                start, to = (first + block) * width, out[block, n // 2, place]
                for c in range(width):
                    to[c] = np.uint32(x[(n - 1) * places + place, start + c])


@njit(**PART)
def under(tap, stride, padding, length, out_length):
    """From which to before which place out a tap of the kernel lies on the image, not on its padding."""
    first = max(0, -((tap - padding) // stride))
    return first, min(out_length, (length - 1 + padding - tap) // stride + 1)


@njit(**PART)
def add_up(ours, theirs, pairs, h, w, out_h, out_w, side, stride, padding, sums, bias_sums):
    """Adds what some images give to (channels out, side, side, channels) sums, and to those for the bias."""
    row, x_row, x_column = out_w * HIGH * PAIR, w * WIDE * PAIR, WIDE * PAIR
    channels = len(theirs) * WIDE
    ones = room(1, 1, 1, WIDE)
    ones[:] = ONES
    for o in range(len(ours)):
        above = ours[o].ctypes.data
        to, to_bias, to_row = sums[o * HIGH].ctypes.data, bias_sums[o * HIGH].ctypes.data, side * side * channels * SUM
        tile(above, ones.ctypes.data, to_bias, pairs, out_h, out_w, out_h * row, row, 0, 0, 0, WIDE * SUM)
        for block in range(len(theirs)):
            for tap in range(side * side):
                i, j = tap // side, tap % side
                top, bottom = under(i, stride, padding, h, out_h)
                left, right = under(j, stride, padding, w, out_w)
                beside = (top * stride + i - padding) * x_row + (left * stride + j - padding) * x_column
                tile(
                    above + top * row + left * HIGH * PAIR, theirs[block].ctypes.data + beside,
                    to + (tap * channels + block * WIDE) * SUM, pairs, bottom - top, right - left,
                    out_h * row, row, h * x_row, stride * x_row, stride * x_column, to_row,
                )  # fmt: skip


@njit(**KERNEL)
def weight_gradient(
    first, last, stored, x, dy, dweight, dbias, n, h, w, channels, out_channels, side, stride, padding
):  # fmt: skip
    """The gradients of a convolution by its weights and its bias.

    Args:
        first: block of HIGH channels out to begin with.
        last: block to end before.
        stored: the type of all that have addresses; bfloat16.
        x: address of (n, h, w, channels), channels a multiple of WIDE.
        dy: address of (n, h out, w out, channels out), channels out a multiple of HIGH.
        dweight: address of (channels out, side, side, channels), which is written.
        dbias: address of (channels out,), which is written.
        n: images.
        h: rows.
        w: columns.
        channels: in.
        out_channels: out.
        side: of the kernel.
        stride: from one place to the next.
        padding: zeros at each border.
    """
    out_h, out_w = (h + 2 * padding - side) // stride + 1, (w + 2 * padding - side) // stride + 1
    places, out_places, high = h * w, out_h * out_w, (last - first) * HIGH
    pairs = max(1, min((n + 1) // 2, CACHED // (PAIR * (places * channels + out_places * high))))
    theirs, ours = room(channels // WIDE, pairs, places, WIDE), room(last - first, pairs, out_places, HIGH)
    sums, bias_sums = np.zeros((high, side * side * channels), np.float32), np.zeros((high, WIDE), np.float32)
    for start in range(0, n, 2 * pairs):
        count = min(2 * pairs, n - start)
        images = view(x + start * places * channels * NUMBER, stored, count * places, channels)
        slopes = view(dy + start * out_places * out_channels * NUMBER, stored, count * out_places, out_channels)
        pair_up(images, count, 0, WIDE, theirs)
        pair_up(slopes, count, first, HIGH, ours)
        add_up(ours, theirs, (count + 1) // 2, h, w, out_h, out_w, side, stride, padding, sums, bias_sums)
    weights, biases = view(dweight, stored, out_channels, side * side * channels), view(dbias, stored, 1, out_channels)
    for o in range(high):
        to = weights[first * HIGH + o]
        for c in range(len(to)):
            to[c] = narrow(sums[o, c], stored)
        biases[0, first * HIGH + o] = narrow(bias_sums[o, 0], stored)
