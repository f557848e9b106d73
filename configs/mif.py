r"""Medical fusion: MRI with CT, PET or SPECT, from two folders; the decoder adds nothing.

    cddfuse train --config=configs/mif.py --workdir=runs/mif \
        --config.data.visible=MRI --config.data.infrared=CT

MRI takes the visible image's place and CT, PET or SPECT the infrared one's, as in the release. Each
epoch takes four random 128x128 windows of every pair. Fuse with what it saves as with any weights:
the checkpoint remembers that the residual is "none". docs/weights.md has the command and the data
of the weights `mif`, which start from infrared-visible ones; the full recipe from random weights
was not run.
"""

from cddfuse_jax import config as base


def get_config():
    """Return the config."""
    config = base.release()
    config.residual = "none"
    config.data.source = "folders"
    config.data.crop = 128
    config.data.flip = True
    config.data.crops_per_pair = 4
    return config
