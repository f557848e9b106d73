"""Convert weights, as ``python -m cddfuse_jax.convert`` does, in a clone.

python convert_torch_weights.py SOURCE TARGET
"""

from cddfuse_jax.convert import main
from cddfuse_jax.runtime.program import start

if __name__ == "__main__":
    start(main)
