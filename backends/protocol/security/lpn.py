#!/usr/bin/env python3
"""What the known attacks on silent OT's learning parity with noise cost: a table for every shipped
set, which it reads from ../src/ot/ferret.rs, or for any other one. See README.md.

All costs are binary logarithms of operations on bits.
"""

import argparse
import heapq
import math
import pathlib
import random
import re
import sys

# Ones in a row of the code (`DENSITY` in backends/engine/src/kernels/lpn.rs).
ONES = 10
# Exponent of dense elimination, without a constant: Strassen's, rounded down (ePrint 2022/712).
OMEGA = 2.8
# Bits of knowledge on the noise that are counted besides none.
LEAKS = (0, 40)
HERE = pathlib.Path(__file__).resolve().parent
NEVER = math.inf


# --- Arithmetic ---------------------------------------------------------------------------------


def log_binomial(n, m):
    """Binary logarithm of `n choose m`; `n` and `m` may be reals."""
    if m < 0 or m > n:
        return -NEVER
    return (math.lgamma(n + 1) - math.lgamma(m + 1) - math.lgamma(n - m + 1)) / math.log(2)


def log_sum(*logs):
    """Binary logarithm of a sum, from the terms' logarithms."""
    top = max(logs)
    if math.isinf(top):
        return top
    return top + math.log2(sum(2.0 ** (x - top) for x in logs))


def entropy(x):
    return 0.0 if x in (0, 1) else -x * math.log2(x) - (1 - x) * math.log2(1 - x)


def divergence(x, p):
    """Kullback-Leibler divergence of two coins, in bits."""
    parts = ((x, p), (1 - x, 1 - p))
    return sum(a * math.log2(a / b) for a, b in parts if a > 0)


def log_power(base, exponent):
    """`exponent * log2(base)`, of a probability `base`."""
    return exponent * math.log2(base) if base > 0 else -NEVER


class Lpn:
    """`n` samples of a secret of `k` bits, ten bits in each; one sample in each block is wrong.

    The blocks whose rows become the next round's secret count as samples too: each of their rows
    is a sample of this round in unknowns of the next.
    """

    def __init__(self, log_k, depth, trees):
        self.name = f"2^{log_k},2^{depth},{trees}"
        self.log_k, self.depth, self.t = log_k, depth, trees
        self.k, self.block = 1 << log_k, 1 << depth
        self.n = trees * self.block

    def clean(self, rows, leak=0):
        """Probability (log) that `rows` chosen samples are right.

        Spread evenly over the blocks, which is best by concavity. Knowing an event of probability
        `2^-leak` raises no probability by more than `2^leak`.
        """
        return min(0.0, log_power(1 - rows / self.n, self.t) + leak)

    def most_rows(self, part):
        """The most rows that lie within some `part * k` columns of a random code.

        First moment: `2^(k H(part))` sets of columns, each with Bin(n, part^10) rows.
        """
        p = part**ONES
        low, high = p, 1.0
        for _ in range(100):
            middle = (low + high) / 2
            if self.k * entropy(part) >= self.n * divergence(middle, p):
                low = middle
            else:
                high = middle
        return low * self.n

    def densest(self):
        """The smallest share of the columns that holds as many rows as it has columns.

        The existence bound; peeling off columns of least degree comes close to it (README.md).
        """
        low, high = 0.05, min(1.0, (self.k / self.n) ** (1 / (ONES - 1)))
        for _ in range(100):
            middle = (low + high) / 2
            if self.most_rows(middle) >= middle * self.k:
                high = middle
            else:
                low = middle
        return high


# --- Attacks as published, for a random code ----------------------------------------------------


def gauss(lpn, leak):
    """Pooled Gauss: guess as many right samples as there are unknowns, solve, compare.

    ePrint 2022/712, at the exponent there; the parities of the blocks are `t` of the equations
    (as in ePrint 2023/1568).
    """
    unknown = lpn.k - lpn.t
    return OMEGA * math.log2(unknown) - lpn.clean(unknown, leak)


def stern(lpn, leak):
    """SD-ISD of ePrint 2022/712: a Gauss step and two lists, in operations on whole rows."""
    n, k, t = lpn.n - lpn.t, lpn.k - lpn.t, lpn.t
    best = NEVER
    for p in range(0, 16, 2):
        for l in range(1, 400, 2):
            if 2 * log_binomial((k + l) / 2, p / 2) > 500:
                break
            half = log_binomial((k + l) / 2, p / 2)
            pairs = 2 * half - l
            step = math.log2(n - k - l) + math.log2(n) - math.log2(math.log2(n - k - l))
            work = math.log2(n) + log_sum(step, 1 + half, 1 + pairs)
            hit = log_binomial(n - k - l, t - p) - log_binomial(n, t) + 2 * half
            best = min(best, work - min(0, hit + leak))
    return best


def statistical(lpn, leak, unknown=None):
    """Statistical decoding: parity checks of half the weight that elimination gives.

    ePrint 2022/712: `(k + 1) ((n - t + 1) / (n - k - t))^(2 t)`.
    """
    k, n, t = unknown or lpn.k - lpn.t, lpn.n, lpn.t
    squared = 2 * t * math.log2((n - t + 1) / (n - k - t))
    return math.log2(k + 1) + max(0, squared - 2 * leak)


def permutation(lpn, leak):
    """Permutation-based regular ISD, ePrint 2023/1568: `n (n - k')^2` a guess."""
    unknown = lpn.k - lpn.t
    return math.log2(lpn.n) + 2 * math.log2(lpn.n - unknown) - lpn.clean(unknown, leak)


def enumeration(lpn, leak):
    """Enumeration-based regular ISD, ePrint 2023/1568."""
    unknown, t = lpn.k - lpn.t, lpn.t
    best = NEVER
    for p in range(0, 20, 2):
        for l in range(0, 200, 2):
            each = (unknown + l) / t
            half = log_binomial(t / 2, p / 2) + p / 2 * math.log2(each)
            work = max(2 * math.log2(lpn.n - unknown), 1 + half, 2 * half - l)
            hit = 2 * log_binomial(t / 2, p / 2) + p * math.log2(each / lpn.block)
            hit += log_power(1 - each / lpn.block, t - p)
            best = min(best, math.log2(lpn.n) + work - min(0, hit + leak))
    return best


def representation(lpn, leak):
    """Representation-based regular ISD of depth 2, ePrint 2023/1568."""
    unknown, t = lpn.k - lpn.t, lpn.t
    best = NEVER
    for p in range(0, 24, 4):
        for extra in range(0, 12, 2):
            weight = p / 2 + extra
            ways = 2 * (log_binomial(p / 2, p / 4) + log_binomial(t / 2 - p / 2, extra / 2))
            for l in range(0, 300, 2):
                each = (unknown + l) / t
                fixed = min(math.floor(ways), l)
                base = log_binomial(t / 2, weight / 2) + weight / 2 * math.log2(each)
                middle = 2 * base - fixed
                last = 2 * middle - (l - fixed)
                work = max(2 * math.log2(lpn.n - unknown), 2 + base, 1 + middle, last)
                hit = 2 * log_binomial(t / 2, p / 2) + p * math.log2(each / lpn.block)
                hit += log_power(1 - each / lpn.block, t - p)
                best = min(best, math.log2(lpn.n) + work - min(0, hit + leak))
    return best


def hybrid(lpn, leak):
    """Guess right samples, then linearise the products of two noise bits of one block.

    ePrint 2025/1284 over GF(2). `u` or `u + 1` samples of each block are guessed, the last `g`
    blocks' noise is tried out, and `v` unknowns remain: they need `v^2 / 2` of the products.
    """
    n, k, t, block = lpn.n, lpn.k, lpn.t, lpn.block
    best = NEVER
    for g in (*range(8), 16, 32, 64):
        for guessed in range(0, k - t, 64):
            u, f = divmod(guessed, t - g)
            left = k - t - guessed
            v = left - (block - 1) * g
            if v <= 0:
                break
            products = (t - g - f) * (block - u - 1) * (block - u - 2) / 2
            products += f * (block - u - 2) * (block - u - 3) / 2
            if v + 2 > math.sqrt(2 * products):
                continue
            hit = log_power(1 - (u + 1) / block, f) + log_power(1 - u / block, t - g - f)
            rest = n - k - (n - k) // (block - 1) * (block - u - 2)
            first = math.log2(max(1, rest)) + math.log2(n - k) + math.log2(max(1, rest) + left)
            second = 4 * math.log2(v) + 2 * math.log2(left) - 3 - math.log2(2 * math.log2(v) - 1)
            # The published cost divides dense cubic elimination by a logarithm; ours is no dearer.
            second = min(second, OMEGA * (2 * math.log2(v) - 1))
            third = 3 * math.log2(2.5 * v) - math.log2(math.log2(2.5 * v)) + g * math.log2(block)
            best = min(best, log_sum(first, second, third) - min(0, hit + leak))
            break
    return best


def series(t, block, checks, degree):
    """Coefficients of `(1 + block z)^t / (1 + z)^checks` up to that of `z^degree`."""
    logs = [0.0] + [(-1) ** (i + 1) * (t * block**i - checks) / i for i in range(1, degree + 1)]
    out = [1.0]
    for j in range(1, degree + 1):
        out.append(sum(i * logs[i] * out[j - i] for i in range(1, j + 1)) / j)
    return out


def regular_series(t, f, mu, block, checks, degree):
    """As `series`, with `mu` places known to be right in each of `f` blocks."""
    parts = [series(f, block - mu, 0, degree), series(t - f, block, checks, degree)]
    return [sum(parts[0][i] * parts[1][j - i] for i in range(j + 1)) for j in range(degree + 1)]


def algebraic(lpn, leak):
    """Briaud and Oygarden, EUROCRYPT 2023 (doi 10.1007/978-3-031-30589-4_14), over GF(2).

    Noise bits are the unknowns. `mu` places are guessed right in each of `f` blocks; the degree
    is the first at which the Hilbert series, summed up, is not positive; Wiedemann's algorithm on
    the Macaulay matrix takes `3 (k + 1 - f mu) M^2`.
    """
    n, k, t, block = lpn.n, lpn.k, lpn.t, lpn.block
    best = NEVER
    for f in {t, *range(t // 64, t, max(1, t // 64))}:
        for mu in range(0, min(block - 1, k // f) + 1):
            hit = log_power(1 - mu / block, f)
            sums = regular_series(t, f, mu, block - 1, n - k, 4)
            for degree in (2, 3, 4):
                if sum(sums[: degree + 1]) < 1:
                    monomials = regular_series(t, f, mu, block - 1, 0, degree)
                    size = math.log2(sum(monomials[1:]))
                    work = math.log2(3 * (k + 1 - f * mu)) + 2 * size
                    best = min(best, work - min(0, hit + leak))
                    break
    return best


def two_guesses(lpn, leak):
    """ePrint 2025/1476: one elimination serves many guesses.

    `mu'` places of each block are guessed, the Macaulay matrix is eliminated but for what its
    Hilbert series leaves, and only that is solved for each guess of the other `mu - mu'`. With
    the formulas of the authors' script (github.com/1234wangtr/Code_estimators, `agb2.py`).
    """
    n, k, t, block = lpn.n, lpn.k, lpn.t, lpn.block
    constant = math.log2(5.64)
    best = NEVER
    stages = []
    for mu in range(0, min(block - 1, k // t) + 1):
        sums = regular_series(t, t, mu, block - 1, n - k, 4)
        sizes = regular_series(t, t, mu, block - 1, 0, 4)
        stages.append((log_power(1 - mu / block, t), sums, sizes))
    for degree in (2, 3, 4):
        eliminations = []
        for hit, sums, sizes in stages:
            columns = sum(sizes[1 : degree + 1])
            left = max(1.0, sum(sums[: degree + 1]))
            rank = max(2.0, columns - left)
            dense = constant + OMEGA * math.log2(columns)
            ranked = math.log2(columns) + 2 * math.log2(rank) - math.log2(math.log2(rank))
            solve = constant + OMEGA * math.log2(min(left, rank))
            eliminations.append((hit, min(dense, ranked), max(0.0, solve), left))
        final = next((e for e in eliminations if e[3] <= 1), None)
        if final is None:
            continue
        for hit, first, second, _ in eliminations:
            if hit >= final[0]:
                total = log_sum(first - min(0, hit + leak), second - min(0, final[0] + leak))
                best = min(best, total)
    return best


# --- Attacks that use the sparse code -----------------------------------------------------------


def sparse_gauss(lpn, leak):
    """Pooled Gauss with sparse elimination: no fewer than `k` products with ten ones a row.

    Lanczos' and Wiedemann's algorithms take between `k` and `3 k` products.
    """
    return math.log2(ONES) + 2 * lpn.log_k - lpn.clean(lpn.k, leak)


def restricted_gauss(lpn, leak):
    """The same on the rows that lie within the smallest set of columns with as many rows.

    Restriction to a part of a sparse secret: Chen, Shu, Zhou, COLT 2025 (arXiv 2407.19215). Each
    guess is granted a best set for nothing.
    """
    unknown = lpn.densest() * lpn.k
    return math.log2(ONES) + 2 * math.log2(unknown) - lpn.clean(unknown, leak)


def restricted_isd(lpn, leak):
    """Information-set decoding of the restricted code: the decisive count.

    Among the guessed rows `p` may be wrong; they are found by lists of partial sums with
    representations (Becker, Joux, May, Meurer, EUROCRYPT 2012, of depth 2), of which only the
    base and the middle lists are counted, one operation for each bit of an index. Elimination
    costs what is least of sparse elimination and of a tree of guesses: guesses that share their
    first rows share their elimination, and only the last `block` rows' is paid for each.
    The leak is the best for the attacker: some of the guessed rows are known to be right.
    """
    n, t = lpn.n, lpn.t
    rows = lpn.densest() * lpn.k
    known = n * (1 - 2 ** (-leak / t))
    if known >= rows:
        return math.log2(ONES) + 2 * math.log2(rows)
    wrong = (rows - known) / (n - known)
    elimination = min(math.log2(ONES) + 2 * math.log2(rows), OMEGA * lpn.depth)
    best = NEVER
    for p in range(0, 18, 2):
        hit = log_binomial(t, p) + p * math.log2(wrong) + log_power(1 - wrong, t - p)
        for extra in range(0, 9):
            # With p = 0 nothing is listed.
            if p == 0 and extra > 0:
                continue
            weight = p // 2 + extra
            base = log_binomial(rows / 2, weight / 2)
            ways = log_binomial(p, p // 2) + log_binomial(rows - p, extra)
            middle = log_binomial(rows, weight) - ways
            lists = log_sum(base, middle)
            lists += math.log2(max(1, lists))
            best = min(best, log_sum(elimination, lists) - min(0, hit))
    return best


def restricted_statistical(lpn, leak):
    """Statistical decoding with the parity checks of the restricted code."""
    return statistical(lpn, leak, lpn.densest() * lpn.k)


def sparse_algebraic(lpn, leak):
    """The algebraic attack in the bits of the secret, on a part of them, sparse throughout.

    Guessed rows leave `v` unknowns; the products of two noise bits of one block, times all
    monomials, are solved at the first degree at which the Hilbert series is not positive. The
    cost is that of as many products with a matrix of ten ones a row as there are monomials in
    `v` unknowns: as if substitution left every row as sparse as the code's. One such elimination
    may serve many further guesses, as in `two_guesses`, that cost the square of what is left.
    """
    t = lpn.t
    smallest = lpn.densest()
    best = NEVER
    for step in range(0, 21):
        part = smallest + (1 - smallest) * step / 20
        rows = lpn.n if part == 1 else lpn.most_rows(part)
        # Parities of whole blocks are there only with all rows.
        parities = t if part == 1 else 0
        for degree in range(2, 8):

            def left(guess, part=part, rows=rows, parities=parities, degree=degree):
                """Unknowns after the guess, and the series at this degree."""
                v = part * lpn.k - parities - guess
                block = (rows - guess - parities) / t
                return v, series(t, block, t * block - v, degree)[degree]

            most = min(part * lpn.k - parities - 1, rows - parities - 1)
            points = [most * i / 300 for i in range(301)]
            low, high = 0.0, None
            for guess in points:
                if left(guess)[1] <= 0:
                    high = guess
                    break
                low = guess
            if high is None:
                continue
            for _ in range(40):
                middle = (low + high) / 2
                if left(middle)[1] <= 0:
                    high = middle
                else:
                    low = middle
            last = lpn.clean(high, leak)
            for guess in (high * i / 60 for i in range(61)):
                v, rest = left(guess)
                size = log_binomial(max(v, degree), degree)
                first = math.log2(ONES) + 2 * size - lpn.clean(guess, leak)
                second = 2 * math.log2(max(1.0, rest)) - last if guess < high else 0.0
                best = min(best, log_sum(first, second))
    return best


ATTACKS = {
    "gauss": gauss,
    "stern": stern,
    "statistical": statistical,
    "permutation": permutation,
    "enumeration": enumeration,
    "representation": representation,
    "hybrid": hybrid,
    "algebraic": algebraic,
    "two_guesses": two_guesses,
    "sparse_gauss": sparse_gauss,
    "restricted_gauss": restricted_gauss,
    "restricted_isd": restricted_isd,
    "restricted_statistical": restricted_statistical,
    "sparse_algebraic": sparse_algebraic,
}


# --- A check of the restriction -----------------------------------------------------------------


def peel(log_k, ratio, seed):
    """Peels off columns of least degree, with their rows, from a random code of `ratio k` rows.

    Returns the smallest share of the columns that still held as many rows as columns, and how
    many of its unknowns those rows leave open.
    """
    k = 1 << log_k
    rng = random.Random(seed)
    rows = [[rng.randrange(k) for _ in range(ONES)] for _ in range(int(ratio * k))]
    of_column = [[] for _ in range(k)]
    for number, row in enumerate(rows):
        for column in row:
            of_column[column].append(number)
    degree = [len(numbers) for numbers in of_column]
    queue = [(degree[column], rng.random(), column) for column in range(k)]
    heapq.heapify(queue)
    order, alive, gone = [], [True] * len(rows), [False] * k
    columns, count, smallest = k, len(rows), (k, 0)
    while queue:
        at, _, column = heapq.heappop(queue)
        if gone[column] or at != degree[column]:
            continue
        gone[column] = True
        order.append(column)
        columns -= 1
        for number in of_column[column]:
            if alive[number]:
                alive[number] = False
                count -= 1
                for other in rows[number]:
                    degree[other] -= 1
                    if not gone[other]:
                        heapq.heappush(queue, (degree[other], rng.random(), other))
        if count >= columns > 0:
            smallest = (columns, len(order))
    columns, removed = smallest
    outside = set(order[:removed])
    kept = [row for row in rows if not outside.intersection(row)]
    return columns / k, columns - rank(kept)


def rank(rows):
    """Rank over GF(2) of rows given by their columns."""
    pivots = {}
    for row in rows:
        vector = 0
        for column in row:
            vector ^= 1 << column
        while vector:
            top = vector.bit_length()
            if top not in pivots:
                pivots[top] = vector
                break
            vector ^= pivots[top]
    return len(pivots)


# --- Table --------------------------------------------------------------------------------------


def shipped():
    """The sets in the catalogue's source."""
    text = (HERE / "../src/ot/ferret.rs").read_text()
    pattern = r"Ferret = Ferret \{ log_k: (\d+), depth: (\d+), trees: ([\d_]+) \}"
    return [Lpn(*(int(x.replace("_", "")) for x in found)) for found in re.findall(pattern, text)]


def table(sets):
    """Lines of comma-separated values, rounded down to a tenth of a bit."""
    yield "log_k,depth,trees,leak," + ",".join(ATTACKS) + ",least"
    for lpn in sets:
        for leak in LEAKS:
            costs = [attack(lpn, leak) for attack in ATTACKS.values()]
            figures = [math.floor(10 * cost) / 10 for cost in [*costs, min(costs)]]
            head = f"{lpn.log_k},{lpn.depth},{lpn.t},{leak},"
            yield head + ",".join(f"{figure:.1f}" for figure in figures)


def show(lines):
    heads, *rows = [line.split(",") for line in lines]
    for row in rows:
        print(f"k = 2^{row[0]}, blocks of 2^{row[1]}, t = {row[2]}, {row[3]} bits leaked")
        for head, figure in zip(heads[4:], row[4:]):
            print(f"    {head:<24}{figure:>8}")


def arguments():
    parser = argparse.ArgumentParser(description=__doc__)
    text = "another set instead: log k, depth of a tree, trees (18 11 1170 for example)"
    parser.add_argument("set", type=int, nargs="*", metavar="NUMBER", help=text)
    task = parser.add_mutually_exclusive_group()
    task.add_argument("--write", action="store_true", help="also write lpn.csv")
    task.add_argument("--check", action="store_true", help="fail if lpn.csv is not what this script computes")
    text = "what peeling off columns finds in random codes, against `densest`"
    task.add_argument("--peel", action="store_true", help=text)
    options = parser.parse_args()
    alone = not (options.write or options.check or options.peel)
    if options.set and not (len(options.set) == 3 and alone):
        parser.error("a set is three numbers, without other options")
    return options


def main():
    options = arguments()
    if options.set:
        show(table([Lpn(*options.set)]))
        return
    sets = shipped()
    if not sets:
        sys.exit("no sets were found in ../src/ot/ferret.rs")
    if options.peel:
        for lpn in sets:
            found, open_ = peel(12, lpn.n / lpn.k, 1)
            ratio, bound = lpn.n / lpn.k, lpn.densest()
            print(f"n / k = {ratio:.2f}: peeled {found:.3f} ({open_} unknowns open), bound {bound:.3f}")
        return
    lines = list(table(sets))
    show(lines)
    file, text = HERE / "lpn.csv", "\n".join(lines) + "\n"
    if options.write:
        file.write_text(text)
    if options.check and file.read_text() != text:
        sys.exit(f"{file} is not what the sets give: run with --write")


if __name__ == "__main__":
    main()
