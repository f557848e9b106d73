"""The scores written down plainly in NumPy, as one would from the papers, to time ours beside.

Filters are sums over sliding windows, histograms are ``np.histogram``, Fourier planes are whole.
Each takes (fused, visible, infrared), float64, 0-255; the values agree with ours.
"""

# ruff: noqa: D103 - the names are those of the scores, whose records say what they compute
import numpy as np
from numpy.lib.stride_tricks import sliding_window_view

SOBEL = np.outer([1, 2, 1], [-1, 0, 1])
PREWITT = np.outer([1, 1, 1], [-1, 0, 1])


def fit(x, window):
    return np.einsum("hwij,ij->hw", sliding_window_view(x, window.shape), window)


def same(x, window, mode="constant"):
    return fit(np.pad(x, [(n // 2, n // 2) for n in window.shape], mode=mode), window)


def gaussian(taps, sigma):
    w = np.exp(-((np.arange(taps) - taps // 2) ** 2) / (2 * sigma**2))
    return np.outer(w, w) / w.sum() ** 2


def entropy(*images):
    counts = np.histogramdd([x.ravel() for x in images], [np.arange(257) - 0.5] * len(images))[0]
    p = counts[counts > 0] / counts.sum()
    return -(p * np.log(p)).sum()


def stretched(x):
    return np.floor((x - x.min()) / np.ptp(x) * 255 + 0.5)


def both(score):
    return lambda f, v, i: score(f, v) + score(f, i)


def mi(f, s):
    return entropy(f) + entropy(s) - entropy(f, s)


def r(x, y):
    return np.corrcoef(x.ravel(), y.ravel())[0, 1]


def sf(f, *_):
    return np.sqrt(np.mean(np.diff(f, axis=0) ** 2) + np.mean(np.diff(f, axis=1) ** 2))


def ag(f, *_):
    y, x = np.gradient(f)
    return np.sqrt((x**2 + y**2) / 2).mean()


def mse(f, v, i):
    return (np.mean((f - v) ** 2) + np.mean((f - i) ** 2)) / 2


def local(x, y, window):
    m, n = fit(x, window), fit(y, window)
    v, w = fit(x * x, window) - m * m, fit(y * y, window) - n * n
    return m, n, v, w, fit(x * y, window) - m * n


def ssim(x, y, window, c1=2.55**2, c2=7.65**2, unbiased=1.0):
    m, n, v, w, c = local(x, y, window)
    v, w, c = v * unbiased, w * unbiased, c * unbiased
    return (2 * m * n + c1) * (2 * c + c2) / ((m**2 + n**2 + c1) * (v + w + c2))


def ssim_release(f, s):
    return ssim(f, s, np.full((7, 7), 1 / 49), 0.02**2, 0.06**2, 49 / 48).mean()


def channel(x, f, window):
    _, _, v, w, c = local(x, f, window)
    v, w = np.maximum(v, 0), np.maximum(w, 0)
    g = np.where((v < 1e-10) | (w < 1e-10), 0, np.maximum(c / (v + 1e-10), 0))
    return g, v, np.maximum(w - g * c, 1e-10)


def scales(f, s):
    for k, n in enumerate((17, 9, 5, 3)):
        window = gaussian(n, n / 5)
        if k:
            f, s = (fit(x, window)[::2, ::2] for x in (f, s))
        yield channel(s, f, window)


def vif(f, s):
    found = [(np.log(1 + g * g * v / (e + 2)).sum(), np.log(1 + v / 2).sum())
             for g, v, e in scales(f, s)]  # fmt: skip
    return sum(a for a, _ in found) / sum(b for _, b in found)


def viff(f, v, i):
    total, n = 0.0, 0.005 * 255**2
    for weight, one, two in zip((1, 0, 0.15, 1), scales(f, v), scales(f, i), strict=True):
        first = one[0] < two[0]
        g, s, e = (np.where(first, a, b) for a, b in zip(one, two, strict=True))
        kept, there = np.log10(1 + g * g * s / (e + n)) + 1e-7, np.log10(1 + s / n) + 1e-7
        total += weight / 2.15 * kept.sum() / there.sum()
    return total


def edges(x, mode, scale=1.0):
    sx, sy = (same(x, s, mode) * scale for s in (SOBEL, SOBEL.T))
    with np.errstate(divide="ignore", invalid="ignore"):
        return np.hypot(sx, sy), np.where(sx == 0, np.pi / 2, np.arctan(-sy / sx))


def qabf(f, v, i):
    (gf, af), kept, there = edges(f, "constant"), 0.0, 0.0
    for s in (v, i):
        g, a = edges(s, "constant")
        with np.errstate(invalid="ignore"):
            ratio = np.where(g == gf, gf, np.minimum(g, gf) / np.maximum(g, gf))
        alike = 1 - np.abs(a - af) / (np.pi / 2)
        q = 0.9994 / (1 + np.exp(-15 * (ratio - 0.5))) * 0.9879 / (1 + np.exp(-22 * (alike - 0.8)))
        kept, there = kept + (q * g).sum(), there + g.sum()
    return kept / there


def nabf(f, v, i):
    (gf, af), new, lost, total = edges(f, "reflect", 1 / 8), True, 0.0, 0.0
    for s in (v, i):
        g, a = edges(s, "reflect", 1 / 8)
        with np.errstate(invalid="ignore"):
            ratio = np.nan_to_num(np.minimum(g, gf) / np.maximum(g, gf))
        alike = np.abs(1 - np.abs(a - af) / (np.pi / 2))
        q = 0.9999 / (1 + np.exp(-19 * (ratio - 0.5))) * 0.9995 / (1 + np.exp(-22 * (alike - 0.5)))
        w = np.where(g >= 2, g**1.5, 0.001)
        new, lost, total = new & (gf > g), lost + (1 - np.sqrt(q)) * w, total + w.sum()
    return (lost * new).sum() / total


def ncie(f, v, i):
    x, m = [stretched(y) for y in (v, i, f)], np.eye(3)
    for a in range(3):
        for b in range(a):
            m[a, b] = m[b, a] = mi(x[a], x[b]) / np.log(256)
    e = np.linalg.eigvalsh(m) / 3
    return 1 + (e * np.log(e)).sum() / np.log(256)


def qw(f, v, i):
    w = gaussian(11, 1.5)
    a, b = (np.maximum(local(x, f, w)[2], 0) for x in (v, i))
    likeness = (a * ssim(v, f, w) + b * ssim(i, f, w)) / (a + b)
    return (np.maximum(a, b) * likeness).sum() / np.maximum(a, b).sum()


def qe(f, v, i):
    strong = [np.hypot(same(x, PREWITT), same(x, PREWITT.T)) for x in (f, v, i)]
    return qw(f, v, i) * qw(*strong)


def qy(f, v, i):
    w = gaussian(7, 1.5)
    _, _, a, b, _ = local(v, i, w)
    one, two = (ssim(x, f, w, 2e-16, 2e-16) for x in (v, i))
    mixed = (a * one + b * two) / (a + b)
    return np.where(ssim(v, i, w, 2e-16, 2e-16) >= 0.75, mixed, np.maximum(one, two)).mean()


def qc(f, v, i):
    w = gaussian(7, 1.5)
    a, b = (local(x, f, w)[4] for x in (v, i))
    share = np.clip(a / (a + b), 0, 1)
    one, two = (ssim(x, f, w, 2e-16, 2e-16) for x in (v, i))
    return (share * one + (1 - share) * two).mean()


def in_frequencies(x, part, gain):
    fy, fx = (2 * np.fft.fftfreq(n) * n / part for n in x.shape)
    return np.fft.ifft2(np.fft.fft2(x) * gain(np.hypot(fy[:, None], fx))).real


def qcb(f, v, i):
    def contrast(x):
        x = in_frequencies(stretched(x), 30, lambda r: np.exp(-((r / 15.387) ** 2))
                           - 0.7622 * np.exp(-((r / 1.3456) ** 2)))  # fmt: skip
        y, z = np.mgrid[-15:16, -15:16]
        two, four = (np.exp(-(y**2 + z**2) / (2 * s * s)) / (2 * np.pi * s * s) for s in (2, 4))
        c = np.abs(same(x, two) / same(x, four) - 1)
        return c**3 / (c**2 + 1e-4)

    cf, *c = map(contrast, (f, v, i))
    kept = [np.minimum(x, cf) / np.maximum(x, cf) * x**2 for x in c]
    return (sum(kept) / (c[0] ** 2 + c[1] ** 2)).mean()


def qcv(f, v, i):
    f, *sources = map(stretched, (f, v, i))
    total = weights = 0.0
    for s in sources:
        strong = edges(s, "constant")[0] ** 5
        seen = in_frequencies(s - f, 8, lambda r: 2.6 * (0.0192 + 0.144 * r)
                              * np.exp(-((0.144 * r) ** 1.1)))  # fmt: skip
        for top in range(0, f.shape[0], 16):
            for left in range(0, f.shape[1], 16):
                block = slice(top, top + 16), slice(left, left + 16)
                total += strong[block].sum() * (seen[block] ** 2).sum() / 256
                weights += strong[block].sum()
    return total / weights


def ms_ssim(f, s):
    w, product = gaussian(11, 1.5), 1.0
    for k, power in enumerate((0.0448, 0.2856, 0.3001, 0.2363, 0.1333)):
        if k:
            f, s = (np.pad(x, [(0, n % 2) for n in x.shape], mode="edge") for x in (f, s))
            f, s = ((x[::2, ::2] + x[1::2, ::2] + x[::2, 1::2] + x[1::2, 1::2]) / 4 for x in (f, s))
        _, _, a, b, c = local(f, s, w)
        likeness = ssim(f, s, w) if k == 4 else (2 * c + 7.65**2) / (a + b + 7.65**2)
        product *= likeness.mean() ** power
    return product


def fmi(f, s):
    total = 0.0
    pairs = zip(*(sliding_window_view(x, (3, 3)).reshape(-1, 3, 3) for x in (f, s)), strict=True)
    for a, b in pairs:
        if (a == b).all():
            total += 1
            continue
        p, q = (x.T.ravel() - x.min() for x in (a, b))
        if not p.any() or not q.any():
            total += not (p.any() or q.any())
            continue
        p, q = p / p.sum(), q / q.sum()
        c = np.corrcoef(p, q)[0, 1]
        low, high = np.cumsum(p)[:, None], np.cumsum(q)[None]
        bound = np.minimum(low, high) if c >= 0 else np.maximum(low + high - 1, 0)
        n = np.arange(9)
        spread = np.sqrt((n**2 @ p - (n @ p) ** 2) * (n**2 @ q - (n @ q) ** 2))
        whole = (bound - low * high).sum()
        weight = c * spread / whole if spread > 0 else 0.0
        joint = np.diff(np.diff(bound, axis=0, prepend=0), axis=1, prepend=0)
        joint = weight * joint + (1 - weight) * np.outer(p, q)
        hp, hq, hj = (-(x[x != 0] * np.log2(np.abs(x[x != 0]))).sum() for x in (p, q, joint))
        total += 2 - 2 * hj / (hp + hq)
    return total / ((f.shape[0] - 2) * (f.shape[1] - 2))


def ce(f, s):
    p, q = (np.histogram(x, np.arange(257) - 0.5)[0] / x.size for x in (s, f))
    n = (p > 0) & (q > 0)
    return (p[n] * np.log2(p[n] / q[n])).sum()


def halved(score):
    return lambda f, v, i: both(score)(f, v, i) / 2


# Qp has none: its filters are Fourier planes, which a plain form computes as ours does.
PLAIN = {
    "EN": lambda f, v, i: entropy(f) / np.log(2),
    "SD": lambda f, v, i: f.std(),
    "SF": sf,
    "MI": both(mi),
    "SCD": lambda f, v, i: r(f - i, v) + r(f - v, i),
    "VIF": both(vif),
    "Qabf": qabf,
    "SSIM": both(ssim_release),
    "AG": ag,
    "CC": halved(r),
    "MSE": mse,
    "PSNR": lambda f, v, i: 10 * np.log10(f.max() ** 2 / mse(f, v, i)),
    "definition": lambda f, v, i: np.sqrt(
        (np.diff(f, axis=1)[:-1] ** 2 + np.diff(f, axis=0)[:, :-1] ** 2) / 2
    ).mean(),
    "EI": lambda f, v, i: edges(f, "edge")[0].mean(),
    "FMI_pixel": halved(fmi),
    "MS-SSIM": halved(ms_ssim),
    "Nabf": nabf,
    "NCIE": ncie,
    "Qc": qc,
    "Qcb": qcb,
    "Qcv": qcv,
    "Qe": qe,
    "Qw": qw,
    "Qy": qy,
    "RMSE": halved(lambda f, s: np.sqrt(np.mean((f - s) ** 2))),
    "VIFF": viff,
    "CE": halved(ce),
}
