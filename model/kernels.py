"""Group norm with SiLU, and softmax, each in one go, on a CPU and with the channels last.

Torch has no quick group norm for that layout on a CPU, and convolutions are quickest in it. Numba compiles these at
the first call, which takes seconds, and keeps them beside this file, until this file changes: it doesn't look at
others, so helpers stay here. They work on a range of samples, without the interpreter's lock; what they give doesn't
depend on how samples are divided among threads.

A number is stored as bfloat16, seen as uint16, or as float32; `stored` is an empty array of the type that says which.
All sums are in float32.
"""
# Numba gives an intrinsic its first argument, and exports carray, which pyright doesn't know:
# pyright: reportCallIssue=false, reportPrivateImportUsage=false

import numpy as np
from llvmlite import ir
from numba import carray, njit, types
from numba.extending import intrinsic

FLOAT, INT = ir.FloatType(), ir.IntType(32)
F = np.float32
LOG2_E = F(1.4426950408889634)
EXP2 = tuple(F(np.log(2) ** k / float(np.prod(np.arange(1, k + 1)))) for k in range(1, 7))  # the series of 2^x
ROW = 256  # numbers in a row of work: whole places, so that a channel's numbers lie where its coefficients do
FAST = {"fastmath": {"contract", "reassoc", "arcp", "nsz"}, "error_model": "numpy"}  # but infinite and nan stay theirs
PART = {**FAST, "forceinline": True}  # else a process that compiles calls other copies than one that reads them
KERNEL = {**FAST, "nogil": True, "cache": True}


@intrinsic
def at(typing, address, stored):
    """The pointer to numbers of the type of `stored` at an address."""

    def emit(context, builder, signature, args):
        return builder.inttoptr(args[0], context.get_value_type(signature.return_type))

    return types.CPointer(stored.dtype)(address, stored), emit


@intrinsic
def widen(typing, number):
    """A stored number as float32."""

    def emit(context, builder, signature, args):
        if number == types.float32:
            return args[0]
        return builder.bitcast(builder.shl(builder.zext(args[0], INT), INT(16)), FLOAT)

    return types.float32(number), emit


@intrinsic
def narrow(typing, number, stored):
    """A float32 as it is stored, rounded to the nearest, ties to even."""

    def emit(context, builder, signature, args):
        if stored.dtype == types.float32:
            return args[0]
        bits = builder.bitcast(args[0], INT)
        odd = builder.and_(builder.lshr(bits, INT(16)), INT(1))
        rounded = builder.add(builder.add(bits, INT(0x7FFF)), odd)
        return builder.trunc(builder.lshr(rounded, INT(16)), ir.IntType(16))

    return stored.dtype(types.float32, stored), emit


@intrinsic
def ordered(typing, number):
    """The bits of a float32 as an integer that is greater where the float is."""

    def emit(context, builder, signature, args):
        return _flipped(builder, builder.bitcast(args[0], INT))

    return types.int32(types.float32), emit


@intrinsic
def from_ordered(typing, number):
    """The float32 of which `ordered` made an integer."""

    def emit(context, builder, signature, args):
        return builder.bitcast(_flipped(builder, args[0]), FLOAT)

    return types.float32(types.int32), emit


def _flipped(builder, bits):
    return builder.xor(bits, builder.and_(builder.ashr(bits, INT(31)), INT(0x7FFFFFFF)))


@intrinsic
def nearest(typing, number):
    """The nearest whole number, as float32."""

    def emit(context, builder, signature, args):
        return builder.call(builder.module.declare_intrinsic("llvm.rint", [FLOAT]), args)

    return types.float32(types.float32), emit


@intrinsic
def times_power_of_2(typing, number, power):
    """A positive float32 times 2^power, a whole number that keeps the result in range."""

    def emit(context, builder, signature, args):
        exponent = builder.shl(builder.fptosi(args[1], INT), INT(23))
        return builder.bitcast(builder.add(builder.bitcast(args[0], INT), exponent), FLOAT)

    return types.float32(types.float32, types.float32), emit


@njit(**PART)
def exp(x):
    """To 2e-7 of it between e^-87 and e^87, and no farther; in a form that the compiler makes vectors of."""
    x = min(max(x * LOG2_E, F(-126)), F(126))
    whole = nearest(x)
    x -= whole
    series = EXP2[0] + x * (EXP2[1] + x * (EXP2[2] + x * (EXP2[3] + x * (EXP2[4] + x * EXP2[5]))))
    return times_power_of_2(F(1) + x * series, whole)


@njit(**PART)
def sigmoid(x):
    """1 / (1 + e^-x)."""
    return F(1) / (F(1) + exp(-x))


@njit(**PART)
def view(address, stored, rows, columns):
    """The (rows, columns) numbers of the type of `stored` at an address."""
    return carray(at(address, stored), (rows, columns))


@njit(**PART)
def row_of(places, channels):
    """How long a row of work is best."""
    length = channels
    while 2 * length <= ROW and places % (2 * length // channels) == 0:
        length *= 2
    return length


@njit(**PART)
def repeat(row, channels):
    """Repeats the first `channels` numbers of a row to its end."""
    for c in range(channels, len(row)):
        row[c] = row[c - channels]


@njit(**PART)
def fold(row, channels):
    """Adds up what a row holds of each channel, in its first `channels` numbers."""
    for start in range(channels, len(row), channels):
        for c in range(channels):
            row[c] += row[start + c]


@njit(**PART)
def total(row, group, of_group):
    """The sum over the channels of a group."""
    found = F(0)
    for c in range(group * of_group, (group + 1) * of_group):
        found += row[c]
    return found


@njit(**PART)
def add_up(x, shift, channels, out):
    """Sums x + shift over the places of a sample, by channel."""
    length = len(out)
    out[:] = F(0)
    for start in range(0, len(x), length):
        row = x[start : start + length]
        for c in range(length):
            out[c] += widen(row[c]) + shift[c]
    fold(out, channels)


@njit(**PART)
def add_squares(x, shift, channels, out):
    """Sums (x + shift)^2 over the places of a sample, by channel."""
    length = len(out)
    out[:] = F(0)
    for start in range(0, len(x), length):
        row = x[start : start + length]
        for c in range(length):
            shifted = widen(row[c]) + shift[c]
            out[c] += shifted * shifted
    fold(out, channels)


@njit(**PART)
def write(x, a, b, silu, stored, y):
    """y = SiLU(a x + b) of a sample, or without SiLU."""  # noqa: D403
    length = len(a)
    for start in range(0, len(x), length):
        row, out = x[start : start + length], y[start : start + length]
        for c in range(length):
            normed = widen(row[c]) * a[c] + b[c]
            out[c] = narrow(normed * sigmoid(normed) if silu else normed, stored)


@njit(**KERNEL)
def norm(first, last, stored, x, shift, y, weight, bias, moments, places, channels, groups, eps, silu):
    """Group norm of x + shift, then SiLU.

    Args:
        first: sample to begin with.
        last: sample to end before.
        stored: the type of x, shift and y.
        x: address of (n, places, channels).
        shift: address of (n, channels); 0 for none.
        y: address of (n, places, channels), which is written.
        weight: address of (channels,) float32.
        bias: address of (channels,) float32.
        moments: address of (n, 2, groups) float32, where each group's mean and 1 / standard deviation are left.
        places: of a sample.
        channels: at a place.
        groups: of channels.
        eps: added to the variance.
        silu: False to leave SiLU out.
    """
    floats = np.empty(0, np.float32)
    size, of_group, length = places * channels, channels // groups, row_of(places, channels)
    xs, ys, shifts = view(x, stored, last, size), view(y, stored, last, size), view(shift, stored, last, channels)
    weights, biases = view(weight, floats, 1, channels)[0], view(bias, floats, 1, channels)[0]
    kept = view(moments, floats, 2 * last, groups)
    shifted, a, b = np.zeros(length, np.float32), np.empty(length, np.float32), np.empty(length, np.float32)
    for i in range(first, last):
        if shift != 0:
            for c in range(channels):
                shifted[c] = widen(shifts[i, c])
            repeat(shifted, channels)
        add_up(xs[i], shifted, channels, a)
        for group in range(groups):
            mean = total(a, group, of_group) / F(places * of_group)
            kept[2 * i, group] = mean
            for c in range(group * of_group, (group + 1) * of_group):
                a[c] = shifted[c] - mean
        repeat(a, channels)
        add_squares(xs[i], a, channels, b)
        for group in range(groups):
            scale = F(1) / np.sqrt(total(b, group, of_group) / F(places * of_group) + F(eps))
            kept[2 * i + 1, group] = scale
            for c in range(group * of_group, (group + 1) * of_group):
                b[c] = a[c] * scale * weights[c] + biases[c]
                a[c] = scale * weights[c]
        repeat(a, channels)
        repeat(b, channels)
        write(xs[i], a, b, silu, stored, ys[i])


@njit(**PART)
def slopes_of(x, a, b, weights, biases, dy, silu, channels, slope, by_bias, by_weight):
    """The loss's slopes by what the norm gives for a sample, and their sums over places by channel.

    a x + b is of mean 0 and variance 1 in its group.
    """
    length = len(a)
    by_bias[:] = F(0)
    by_weight[:] = F(0)
    for start in range(0, len(x), length):
        stop = start + length
        row, above, out = x[start:stop], dy[start:stop], slope[start:stop]
        for c in range(length):
            unit = widen(row[c]) * a[c] + b[c]
            found = widen(above[c])
            if silu:
                normed = unit * weights[c] + biases[c]
                gate = sigmoid(normed)
                found *= gate * (F(1) + normed * (F(1) - gate))
            out[c] = found
            by_bias[c] += found
            by_weight[c] += found * unit
    fold(by_bias, channels)
    fold(by_weight, channels)


@njit(**PART)
def write_gradient(x, slope, a, b, c0, channels, stored, dx, sums):
    """dx = a slope + b x + c0 of a sample, and its sums over places by channel."""  # noqa: D403
    length = len(a)
    sums[:] = F(0)
    for start in range(0, len(x), length):
        stop = start + length
        row, above, out = x[start:stop], slope[start:stop], dx[start:stop]
        for c in range(length):
            found = above[c] * a[c] + widen(row[c]) * b[c] + c0[c]
            out[c] = narrow(found, stored)
            sums[c] += found
    fold(sums, channels)


@njit(**KERNEL)
def norm_backward(
    first, last, stored, x, shift, dy, dx, dshift, weight, bias, moments, dweight, dbias,
    places, channels, groups, silu,
):  # fmt: skip
    """The gradients of `norm`; those of weight and bias sample by sample.

    Args:
        first: sample to begin with.
        last: sample to end before.
        stored: the type of x, shift, dy, dx and dshift.
        x: address of (n, places, channels).
        shift: address of (n, channels); 0 for none.
        dy: address of (n, places, channels).
        dx: address of (n, places, channels), which is written.
        dshift: address of (n, channels), which is written; 0 for none.
        weight: address of (channels,) float32.
        bias: address of (channels,) float32.
        moments: address of (n, 2, groups) float32, as `norm` left them.
        dweight: address of (n, channels) float32, which is written.
        dbias: address of (n, channels) float32, which is written.
        places: of a sample.
        channels: at a place.
        groups: of channels.
        silu: as `norm` was given.
    """
    floats = np.empty(0, np.float32)
    size, of_group, length = places * channels, channels // groups, row_of(places, channels)
    xs, dys, dxs = view(x, stored, last, size), view(dy, stored, last, size), view(dx, stored, last, size)
    shifts, dshifts = view(shift, stored, last, channels), view(dshift, stored, last, channels)
    kept = view(moments, floats, 2 * last, groups)
    dweights, dbiases = view(dweight, floats, last, channels), view(dbias, floats, last, channels)
    weights, biases = np.empty(length, np.float32), np.empty(length, np.float32)
    weights[:channels] = view(weight, floats, 1, channels)[0]
    biases[:channels] = view(bias, floats, 1, channels)[0]
    repeat(weights, channels)
    repeat(biases, channels)
    a, b, c0 = np.empty(length, np.float32), np.empty(length, np.float32), np.empty(length, np.float32)
    by_bias, by_weight, slope = np.empty(length, np.float32), np.empty(length, np.float32), np.empty(size, np.float32)
    for i in range(first, last):
        for c in range(channels):
            mean, a[c] = kept[2 * i, c // of_group], kept[2 * i + 1, c // of_group]
            b[c] = ((widen(shifts[i, c]) if shift != 0 else F(0)) - mean) * a[c]
        repeat(a, channels)
        repeat(b, channels)
        slopes_of(xs[i], a, b, weights, biases, dys[i], silu, channels, slope, by_bias, by_weight)
        for c in range(channels):
            dbiases[i, c], dweights[i, c] = by_bias[c], by_weight[c]
            by_bias[c] *= weights[c]
            by_weight[c] *= weights[c]
        for group in range(groups):
            mean = total(by_bias, group, of_group) / F(places * of_group)
            tilt = total(by_weight, group, of_group) / F(places * of_group)
            for c in range(group * of_group, (group + 1) * of_group):
                c0[c] = -a[c] * (mean + tilt * b[c])
                b[c] = -a[c] * a[c] * tilt
                a[c] *= weights[c]
        repeat(a, channels)
        repeat(b, channels)
        repeat(c0, channels)
        write_gradient(xs[i], slope, a, b, c0, channels, stored, dxs[i], by_bias)
        if shift != 0:
            for c in range(channels):
                dshifts[i, c] = narrow(by_bias[c], stored)


@njit(**PART)
def greatest(row):
    """The greatest of some numbers."""
    found = ordered(F(-np.inf))
    for c in range(len(row)):
        found = max(found, ordered(widen(row[c])))
    return from_ordered(found)


@njit(**PART)
def exps(row, scale, least, out):
    """Writes e^(scale * x - least) of a row and gives their sum."""
    found = F(0)
    for c in range(len(row)):
        out[c] = exp(widen(row[c]) * scale - least)
        found += out[c]
    return found


@njit(**KERNEL)
def softmax(first, last, stored, x, columns, scale):
    """The softmax of scale times each row of x, in place.

    Args:
        first: row to begin with.
        last: row to end before.
        stored: the type of x.
        x: address of (rows, columns).
        columns: of a row.
        scale: over 0.
    """
    xs, found = view(x, stored, last, columns), np.empty(columns, np.float32)
    for i in range(first, last):
        row = xs[i]
        share = F(1) / exps(row, F(scale), greatest(row) * F(scale), found)
        for c in range(columns):
            row[c] = narrow(found[c] * share, stored)


@njit(**KERNEL)
def softmax_backward(first, last, stored, y, dy, columns, scale):
    """Makes the gradient by what `softmax` gave that by what it was given, in place.

    Args:
        first: row to begin with.
        last: row to end before.
        stored: the type of y and dy.
        y: address of (rows, columns), what `softmax` gave.
        dy: address of (rows, columns).
        columns: of a row.
        scale: as `softmax` was given.
    """
    ys, dys = view(y, stored, last, columns), view(dy, stored, last, columns)
    for i in range(first, last):
        shares, slopes, mean = ys[i], dys[i], F(0)
        for c in range(columns):
            mean += widen(shares[c]) * widen(slopes[c])
        for c in range(columns):
            slopes[c] = narrow(widen(shares[c]) * (widen(slopes[c]) - mean) * F(scale), stored)
