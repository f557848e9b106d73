"""The protocols `tang` and `ivif_zoo`: what their own programs gave for the same images."""

import json
from pathlib import Path

import numpy as np
import pytest
from evaluator_images import evaluator_images

from cddfuse_jax.metrics import PROTOCOLS
from cddfuse_jax.metrics.record import Metric

GOLDEN = json.loads((Path(__file__).parent / "golden" / "evaluators.json").read_text())
IMAGES = evaluator_images()
# IVIF_ZOO adds 1e-7 to every histogram share before the logarithm, and 1e-10 in TE and NMI; its CE
# is of float32, Qabf of ours, and Qcb of noise where an image is black.
TOLERANCE = {"EN": 1e-5, "CE": 1e-6, "Qabf": 1e-6, "TE": 1e-7, "NMI": 1e-7, "Qcb": 1e-6}


@pytest.mark.parametrize(
    ("protocol", "name"), [(p, n) for p in ("tang", "ivif_zoo") for n in PROTOCOLS[p].metrics]
)
def test_scores_are_the_evaluators(protocol, name):
    region = GOLDEN["regions"].get(f"{protocol} {name}") or GOLDEN["regions"][protocol]
    top, bottom, left, right = region
    images = [image[top:bottom, left:right] for image in IMAGES]
    value = PROTOCOLS[protocol].metrics[name](*images)
    assert value == pytest.approx(GOLDEN[protocol][name], rel=TOLERANCE.get(name, 1e-9))


def test_each_score_is_the_one_that_its_protocol_names():
    tang, zoo, release = (PROTOCOLS[p].metrics for p in ("tang", "ivif_zoo", "release"))
    images = IMAGES
    shared: dict[str, Metric] = {n: m for n, m in tang.items() if zoo.get(n) is m}
    assert list(shared) == ["EN", "SD", "SF", "MSE", "PSNR", "SCD", "CC", "Qabf"]
    assert tang["MSE"](*images) * 255**2 == pytest.approx(release["MSE"](*images))
    assert zoo["MI"](*images) * np.log(2) == pytest.approx(release["MI"](*images))
