"""What pyproject.toml cannot say: the package takes in configs/, which lies beside it."""

from setuptools import find_packages, setup

setup(
    packages=[*find_packages(include=["cddfuse_jax", "cddfuse_jax.*"]), "cddfuse_jax.configs"],
    package_dir={"cddfuse_jax.configs": "configs"},
)
