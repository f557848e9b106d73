"""Build `cddfuse_metrics` from the scores in cddfuse_jax/: the same files under another name."""

import re
import shutil
from pathlib import Path

from setuptools import setup
from setuptools.command.build_py import build_py

TREE = Path(__file__).resolve().parents[2] / "cddfuse_jax"
TAKEN = ("_version.py", "errors.py", "metrics/**/*.py")


def take(target: Path) -> None:
    """Write the files into the package ``target``; it may be next to cddfuse_jax, so renamed."""
    for pattern in TAKEN:
        for file in TREE.glob(pattern):
            written = target / file.relative_to(TREE)
            written.parent.mkdir(parents=True, exist_ok=True)
            text = file.read_text(encoding="utf-8")
            written.write_text(text.replace("cddfuse_jax", "cddfuse_metrics"), encoding="utf-8")


class Build(build_py):
    """The package's own files, and those of the tree."""

    def run(self):
        """Build anew: what an earlier build left is not the tree's."""
        shutil.rmtree(self.build_lib, ignore_errors=True)
        super().run()
        take(Path(self.build_lib) / "cddfuse_metrics")


if __name__ == "__main__":
    if not TREE.is_dir():
        raise SystemExit(f"cddfuse-metrics is built in a checkout of cddfuse-jax, no {TREE}")
    version = re.search('= "(.+)"', (TREE / "_version.py").read_text(encoding="utf-8"))
    setup(version=version[1], cmdclass={"build_py": Build})
