r"""What the paper states (CVPR 2023, section 4.1), where it differs from the release's code.

    cddfuse train --config=configs/ivf_paper.py --workdir=runs/ivf_paper --config.data.file=msrs.h5

|                              | paper (this config) | release (`ivf`)          |
|------------------------------|---------------------|--------------------------|
| batch size                   | 16                  | 8                        |
| stage I, gradient term       | none                | 5 · L1 of gradients      |

Both: stage I = infrared + 1 · visible + 2 · decomposition, each modality MSE + 5 · SSIM; stage II =
intensity + 10 · gradient + 2 · decomposition. Two more differences are in the network, and this
port follows the release in both, or official weights would not fit: the decoder adds its input
before the sigmoid, which the paper does not mention, and the base branch is attention between
channels with a gated convolution, where the paper cites the Lite Transformer block. Not measured.
"""

from cddfuse_jax import config as base


def get_config():
    """Return the config."""
    config = base.release()
    config.batch_size = 16
    config.loss.reconstruction_gradient = 0.0
    return config
