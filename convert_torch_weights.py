"""Convert weights, as ``python -m cddfuse_jax.convert`` does, in a clone.

python convert_torch_weights.py SOURCE TARGET
"""

from cddfuse_jax.console import run
from cddfuse_jax.convert import main

if __name__ == "__main__":
    run(main)
