r"""From random weights towards the paper's table on two cores: MSRS and RoadScene.

    cddfuse train --config=configs/msrs.py --workdir=runs/msrs \
        --config.data.visible=MSRS/train/vi,RoadScene_train/vi \
        --config.data.infrared=MSRS/train/ir,RoadScene_train/ir \
        --config.held_out.names=experiments/splits/msrs_held_out.txt

Not the release's recipe but the one that went furthest in equal CPU-minutes (docs/training.md):
stage II alone, one 32x32 window an update, mirrored at random, Muon from 2e-3, and a running mean
of the params. Expect a held-out loss of 0.413 in some 20 minutes of two CPU cores. This is the
first of two runs; `experiments/msrs.sh` makes both, windows of 64x64 after it: 0.346 after some 70
minutes in all, and on TNO 1.03 times the loss of the authors' own images.
"""

from cddfuse_jax import config as base


def get_config():
    """Return the config."""
    config = base.release()
    config.reconstruction_epochs = 0
    config.fusion_epochs = 4
    config.batch_size = 1
    config.optimizer = "muon"
    config.clip_norm = 1.0
    config.ema = 0.999
    config.learning_rate.schedule = "cosine"
    config.learning_rate.initial = 2e-3
    config.learning_rate.floor = 1e-3  # the next run goes on from there
    config.learning_rate.warmup = 200
    config.data.source = "folders"
    config.data.crop = 32
    config.data.flip = True
    config.held_out.every = 2000
    config.held_out.count = 13
    config.log_every = 200
    config.checkpoint_every = 1000
    config.picture_every = 2
    return config
