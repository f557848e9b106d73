r"""The release's recipe for infrared-visible fusion, on MSRS.

    python -m cddfuse_jax.data.patches --vi MSRS/train/vi --ir MSRS/train/ir --out msrs.h5
    python -m cddfuse_jax.train --config=configs/ivf.py --workdir=runs/ivf \
        --config.data.file=msrs.h5

Patches of 128x128 with stride 200, 40 epochs of reconstruction and 80 of fusion, batch 8, one Adam
and one gradient clip for each of the four modules. The paper reports for the result, on TNO: EN
7.12, SD 46.00, SF 13.15, MI 2.19, SCD 1.76, VIF 0.77, Qabf 0.54, SSIM 1.03. MSRS was not at hand
when this was written, so that this port reaches them on it is not measured.
"""

from cddfuse_jax import config as base


def get_config():
    """Return the config."""
    return base.release()
