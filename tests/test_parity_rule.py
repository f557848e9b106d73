"""How errors of a port are judged, by hand-computed values."""

import numpy as np
import pytest

from cddfuse_jax.release.comparison import Errors, Verdict, compare, judge, table

EPSILON = 2.0**-23


def verdict(rms, maxima=1, scale=1e-3, truth=(1.0, 1.0)):
    """Of crops in which the port's errors are so many times the release's, which are ``scale``."""
    many = np.broadcast_arrays(rms, maxima)
    rows = [
        Errors("f", str(crop), (r * scale, m * scale), (scale, scale), truth)
        for crop, (r, m) in enumerate(zip(*many, strict=True))
    ]
    return judge(rows)[0]


def test_errors_are_root_mean_squares_and_maxima():
    truth = {"b": np.array([[1.0, -3.0]]), "a": np.zeros((1, 2))}
    port = {"a": np.float32([[0, 0.25]]), "b": np.float32([[1.5, -3]])}
    release = {"a": np.float32([[-0.5, 0]]), "b": np.float32([[1, -4]])}
    half = 0.5**0.5
    b, a = compare("here", port, release, truth)
    assert (b.name, a.name, b.crop, a.crop) == ("b", "a", "here", "here")
    np.testing.assert_allclose(b[2:], [(0.5 * half, 0.5), (half, 1), (5**0.5, 3)])
    np.testing.assert_allclose(a[2:], [(0.25 * half, 0.25), (0.5 * half, 0.5), (0, 0)])


def test_the_difference_is_taken_in_float64():
    truth = {"a": np.array([1 + 2.0**-30])}
    (row,) = compare("", {"a": np.float32([1])}, {"a": np.float32([1])}, truth)
    assert row.port == row.release == (2.0**-30, 2.0**-30)


def test_another_shape_is_no_match_even_where_it_broadcasts():
    truth = {"a": np.zeros((1, 2, 3, 4))}
    rows = compare("", {"a": np.zeros((1, 1, 1, 1))}, truth, truth)
    assert rows[0].port == (np.inf, np.inf)
    assert not judge(rows * 3)[0].holds


def test_ratios_over_crops():
    """Student's t of 0.975 is 4.3027 for three crops; their logarithms are 0, l and 2 l."""
    found = verdict([1, 1.1, 1.21], [3, 1, 1.2])
    assert found.rms == pytest.approx(1.1)
    half = 4.302653 * np.log(1.1) / 3**0.5
    assert (found.low, found.high) == pytest.approx((1.1 * np.exp(-half), 1.1 * np.exp(half)))
    assert (found.worst, found.max) == pytest.approx((1.21, 1.2))
    assert found.error == pytest.approx((1.21e-3, 3e-3))


@pytest.mark.parametrize(
    ("of", "holds"),
    [
        (verdict([1.0999, 1.0999]), True),
        (verdict([1.1001, 1.1001]), False),
        (verdict([0.9, 1.0, 1.1] * 8), True),
        (verdict([0.9, 1.0, 1.1]), False),  # too few crops to tell
        (verdict([1.05, 1.1, 1.15] * 8), False),
        (verdict([1, 1, 1], [1.4999, 9, 1]), True),
        (verdict([1, 1, 1], [1.5001, 9, 1]), False),
        (verdict([1, float("nan"), 1]), False),
        (verdict([1, 1, 1], [1, float("nan"), 1]), False),
        (verdict([1, float("inf"), 1]), False),
        (verdict([1, 1], truth=(float("nan"), float("nan"))), False),
    ],
)
def test_the_rule(of, holds):
    assert of.holds is holds


@pytest.mark.parametrize(
    ("port", "holds"),
    [
        ((0.0, 0.0), True),
        ((EPSILON / 4, 1.4 * EPSILON), True),
        ((EPSILON / 3, EPSILON), False),
        ((EPSILON / 4, 1.6 * EPSILON), False),
    ],
)
def test_an_error_counts_as_a_floor_where_the_release_is_exact(port, holds):
    for size in (1.0, 8.0):
        of = Errors("f", "", tuple(size * x for x in port), (0.0, 0.0), (size, size))
        assert judge([of, of])[0].holds is holds
    nothing = Errors("f", "", (0.0, 0.0), (0.0, 0.0), (0.0, 0.0))
    assert judge([nothing, nothing])[0].rms == 1


def test_the_table_ends_with_the_verdict():
    good = Verdict("good", (1e-7, 2e-7), 0.5, 0.4, 0.6, 0.9, 0.7)
    bad = Verdict("bad", (3e-5, 1e-6), 30.0, 20.0, 40.0, 50.0, 60.0)
    lines = table([good, good], 25).splitlines()
    assert lines[1].split() == [
        "good",
        "1.0e-07",
        "0.50",
        "0.40",
        "0.60",
        "0.90",
        "2.0e-07",
        "0.70",
    ]
    assert lines[-2] == "PyTorch's rule, RMS at most 2.0x on every crop: 2 of 2 hold"
    assert lines[-1].startswith("HOLDS: all 2 over 25 crops; ")
    lines = table([good, bad], 25).splitlines()
    assert lines[2].split()[0] == "bad" and lines[2].endswith("too far")
    assert lines[-2].endswith("1 of 2 hold")
    assert lines[-1] == "DOES NOT HOLD: 1 of 2: bad"
