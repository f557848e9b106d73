"""A first run that downloads nothing: procedural pairs and a small network.

python -m cddfuse_jax.train --config=configs/quickstart.py --workdir=runs/quickstart
"""

from cddfuse_jax import config as base


def get_config():
    """Return the config."""
    config = base.release()
    config.batch_size = 4
    config.reconstruction_epochs = 4
    config.fusion_epochs = 8
    config.clip_norm = 1.0
    config.learning_rate.initial = 1e-3
    config.learning_rate.decay_epochs = 4
    config.model.features = 16
    config.model.heads = 4
    config.model.blocks = 2
    config.model.coupling_layers = 1
    config.data.source = "synthetic"
    config.data.count = 96
    config.data.height = config.data.width = 128
    config.data.crop = 64
    config.log_every = 8
    config.picture_every = 2
    return config
