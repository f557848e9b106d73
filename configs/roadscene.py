"""The release's recipe on RoadScene's pairs, read from two folders.

    cddfuse train --config=configs/roadscene.py --workdir=runs/roadscene

The pairs are looked for in data/RoadScene_train/{vi,ir}; other places are named with
--config.data.visible=DIR --config.data.infrared=DIR.

Each epoch takes three random 128x128 windows, mirrored at random, of every pair: with the 171 pairs
that are not in the paper's test set, 64 updates an epoch and 7,680 in all, about what the release
makes on MSRS. docs/training.md has the command for pairs of your own camera.
"""

from cddfuse_jax import config as base


def get_config():
    """Return the config."""
    config = base.release()
    config.data.source = "folders"
    config.data.visible = "data/RoadScene_train/vi"
    config.data.infrared = "data/RoadScene_train/ir"
    config.data.crop = 128
    config.data.flip = True
    config.data.crops_per_pair = 3
    config.picture_every = 5
    return config
