r"""The release's recipe for infrared-visible fusion, on MSRS.

    cddfuse patches --vi MSRS/train/vi --ir MSRS/train/ir --out msrs.h5
    cddfuse train --config=configs/ivf.py --workdir=runs/ivf --config.data.file=msrs.h5

Patches of 128x128 with stride 200, 40 epochs of reconstruction and 80 of fusion, batch 8, one Adam
and one gradient clip for each of the four modules. The paper reports for the result, on TNO: EN
7.12, SD 46.00, SF 13.15, MI 2.19, SCD 1.76, VIF 0.77, Qabf 0.54, SSIM 1.03. The whole recipe was
not run here: docs/training.md has shorter ones.
"""

from cddfuse_jax import config as base


def get_config():
    """Return the config."""
    return base.release()
