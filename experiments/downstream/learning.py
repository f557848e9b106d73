"""Training of a segmenter from scratch on one input, and its predictions."""

import time
from collections.abc import Callable
from functools import partial
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
import optax
from jaxtyping import Array, Float, UInt8
from labels import VOID
from network import Segmenter

from cddfuse_jax.console import progress
from cddfuse_jax.errors import InputError

_PREDICTED_AT_ONCE = 4
_WARM_UP = 0.05  # of the updates
_FOREGROUND = 0.5  # share of the windows that are laid around a pixel of some class


class Budget(NamedTuple):
    """How long and how one segmenter is trained; the same for every input.

    Attributes:
        updates: of the weights.
        batch: windows an update.
        crop: side of a window in pixels, at most an image's.
        rate: AdamW's highest learning rate: reached after 5 % of the updates, then a cosine to 0.
        decay: AdamW's weight decay.
        width: of `network.Segmenter`.
        balance: how much rare classes weigh more: 0 not at all, 1 as much as they are rarer. Much
            of it finds more of them, and at a low IoU: 0.5 marked twice what it hit.
    """

    updates: int = 1000
    batch: int = 8
    crop: int = 160
    rate: float = 2e-3
    decay: float = 1e-2
    width: int = 24
    balance: float = 0.25


class Trained(NamedTuple):
    """A trained segmenter.

    ``mean`` and ``deviation`` are by channel, of the training images; ``loss`` is the mean over the
    last tenth of the updates; ``seconds`` leaves compiling out.
    """

    params: Any
    mean: np.ndarray
    deviation: np.ndarray
    loss: float
    seconds: float


def class_weights(
    labels: UInt8[np.ndarray, "n h w"], classes: int, balance: float
) -> Float[np.ndarray, " k"]:
    """Weigh classes by their share to the power of -``balance``; the mean over pixels is 1.

    Of a class that no pixel has, the weight is 0, as is that of `VOID`, which stands last.
    """
    counts = np.bincount(labels.ravel(), minlength=256)[:classes].astype(float)
    share = counts / max(counts.sum(), 1)
    weights = np.divide(1, share**balance, out=np.zeros(classes), where=share > 0)
    weights /= max((weights * share).sum(), 1e-12)
    return np.append(weights, 0.0).astype(np.float32)


def loss(
    logits: Float[Array, "n h w k"],
    labels: UInt8[Array, "n h w"],
    weights: Float[Array, " c"],
) -> Float[Array, ""]:
    """Weighted mean of the cross entropy; `VOID` has the last weight.

    Written with products instead of a look-up, whose derivative is slow on CPUs.
    """
    classes = logits.shape[-1]
    one_hot = jax.nn.one_hot(jnp.minimum(labels, classes), classes + 1)
    weight = one_hot @ weights
    entropy = -(one_hot[..., :classes] * jax.nn.log_softmax(logits)).sum(-1)
    return (weight * entropy).sum() / jnp.maximum(weight.sum(), 1e-6)


def windows(images: np.ndarray, labels: np.ndarray, seed: int, update: int, budget: Budget):
    """Cut the windows of an update, a function of seed and update alone.

    Every image has its turn once an epoch, in a new order. Half of the windows lie anywhere, half
    around a pixel of a class drawn from those of the image, background and `VOID` left out. Each
    is mirrored, left and right, or not.

    Returns:
        Windows of the images and of the labels: (batch, crop, crop, 3) and (batch, crop, crop).
    """
    rng = np.random.default_rng((seed, 1, update))
    count, height, width = labels.shape
    rows, columns = min(budget.crop, height), min(budget.crop, width)
    shown, kept = [], []
    for place in range(update * budget.batch, (update + 1) * budget.batch):
        epoch, turn = divmod(place, count)
        index = np.random.default_rng((seed, 2, epoch)).permutation(count)[turn]
        top, left = rng.integers(height - rows + 1), rng.integers(width - columns + 1)
        there = np.unique(labels[index])
        there = there[(there != 0) & (there != VOID)]
        if there.size and rng.random() < _FOREGROUND:
            ys, xs = np.nonzero(labels[index] == rng.choice(there))
            one = rng.integers(len(ys))
            top = np.clip(ys[one] - rng.integers(rows), 0, height - rows)
            left = np.clip(xs[one] - rng.integers(columns), 0, width - columns)
        step = 1 if rng.random() < 0.5 else -1
        here = (index, slice(top, top + rows), slice(left, left + columns))
        shown.append(images[here][:, ::step])
        kept.append(labels[here][:, ::step])
    return np.stack(shown), np.stack(kept)


def train(
    images: UInt8[np.ndarray, "n h w 3"],
    labels: UInt8[np.ndarray, "n h w"],
    classes: int,
    seed: int,
    budget: Budget,
    label: str = "train",
) -> Trained:
    """Train a segmenter on RGB images of one size and their labels, below ``classes`` or `VOID`.

    Raises:
        InputError: the loss is not finite.
    """
    mean = images.mean((0, 1, 2), dtype=np.float64).astype(np.float32)
    deviation = np.maximum(images.std((0, 1, 2), dtype=np.float64), 1e-3).astype(np.float32)
    model = Segmenter(classes, budget.width)
    weights = jnp.asarray(class_weights(labels, classes, budget.balance))
    warm = max(1, round(_WARM_UP * budget.updates))
    rates = optax.warmup_cosine_decay_schedule(0, budget.rate, warm, max(budget.updates, warm + 1))
    optimizer = optax.chain(
        optax.clip_by_global_norm(1.0), optax.adamw(rates, weight_decay=budget.decay)
    )

    # What differs between inputs is an argument: the program is compiled once for all of them.
    @partial(jax.jit, donate_argnums=(0, 1))
    def update(params, moments, mean, deviation, weights, shown, kept):
        def total(params):
            return loss(model.apply(params, _standard(shown, mean, deviation)), kept, weights)

        value, gradient = jax.value_and_grad(total)(params)
        change, moments = optimizer.update(gradient, moments, params)
        return optax.apply_updates(params, change), moments, value

    params = jax.jit(model.init)(jax.random.key(seed), jnp.zeros((1, 16, 16, 3)))
    moments, losses, began = optimizer.init(params), [], time.monotonic()
    with progress(None, label, total=budget.updates, unit="update") as bar:
        for number in range(budget.updates):
            cut = windows(images, labels, seed, number, budget)
            params, moments, value = update(params, moments, mean, deviation, weights, *cut)
            losses.append(float(value))
            if not np.isfinite(losses[-1]):
                raise InputError(f"{label}: the loss is not finite; give a smaller --rate")
            if number == 0:  # which waited for the compiler
                began = time.monotonic()
            bar.set_postfix(loss=f"{losses[-1]:.3f}", refresh=False)
            bar.update()
    tail = losses[-max(1, budget.updates // 10) :]
    return Trained(params, mean, deviation, float(np.mean(tail)), time.monotonic() - began)


def _standard(images, mean, deviation):
    return (images.astype(jnp.float32) - mean) / deviation


def predictor(
    trained: Trained, classes: int, width: int, height_out: int, width_out: int
) -> Callable[[np.ndarray], np.ndarray]:
    """Return a function of images (n, h, w, 3) to label maps (n, height_out, width_out), uint8.

    Logits are resampled to that size, bilinear, before the largest is taken.
    """
    model = Segmenter(classes, width)

    @jax.jit
    def predict(params, mean, deviation, shown):
        logits = model.apply(params, _standard(shown, mean, deviation))
        size = (len(shown), height_out, width_out, classes)
        return jax.image.resize(logits, size, "bilinear").argmax(-1).astype(jnp.uint8)

    def whole(images: np.ndarray) -> np.ndarray:
        parts = []
        for start in range(0, len(images), _PREDICTED_AT_ONCE):
            part = images[start : start + _PREDICTED_AT_ONCE]
            missing = _PREDICTED_AT_ONCE - len(part)  # filled up, so that it compiles once
            filled = np.pad(part, ((0, missing), (0, 0), (0, 0), (0, 0)))
            labels = predict(trained.params, trained.mean, trained.deviation, filled)
            parts.append(np.asarray(labels)[: len(part)])
        return np.concatenate(parts)

    return whole
