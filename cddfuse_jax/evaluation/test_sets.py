"""Test sets, the paper's and others: where their pairs are in a folder of data."""

from pathlib import Path
from typing import NamedTuple

from cddfuse_jax.models import Residual


class ScoredSet(NamedTuple):
    """One test set; the folder names are looked for in this order."""

    folders: tuple[str, ...]
    visible: str
    infrared: str
    residual: Residual  # with weights that were trained for infrared-visible pairs
    source: str = "https://github.com/Zhaozixiang1228/MMIF-CDDFuse (test_img)"  # where to get it

    def sides(self, data: Path) -> tuple[Path, Path] | None:
        """Return the folders of visible (MRI) and infrared images; None where they are not."""
        for folder in self.folders:
            sides = data / folder / self.visible, data / folder / self.infrared
            if all(side.is_dir() for side in sides):
                return sides
        return None

    def among(self, folder: Path) -> Path | None:
        """Return the folder of this set's fused images in a folder of several sets'; or None."""
        return next((folder / n for n in self.folders if (folder / n).is_dir()), None)


# fmt: off
TEST_SETS = {
    "MSRS": ScoredSet(
        ("MSRS", "MSRS/test", "test"), "vi", "ir", "visible",
        "https://github.com/Linfeng-Tang/MSRS (361 test pairs of 640x480)",
    ),
    "TNO": ScoredSet(("TNO",), "vi", "ir", "visible"),
    "RoadScene": ScoredSet(("RoadScene",), "vi", "ir", "visible"),
    "MRI-CT": ScoredSet(("MRI_CT", "MRI-CT"), "MRI", "CT", "sum"),
    "MRI-PET": ScoredSet(("MRI_PET", "MRI-PET"), "MRI", "PET", "sum"),
    "MRI-SPECT": ScoredSet(("MRI_SPECT", "MRI-SPECT"), "MRI", "SPECT", "sum"),
    "FMB": ScoredSet(
        ("FMB/test", "FMB"), "Visible", "Infrared", "visible",
        "https://github.com/JinyuanLiu-CV/SegMiF (1,500 pairs of 800x600 in all)",
    ),
    "M3FD-300": ScoredSet(
        ("M3FD_Fusion", "M3FD_300"), "Vis", "Ir", "visible",
        "https://github.com/JinyuanLiu-CV/TarDAL (300 pairs for fusion, mostly 1024x768)",
    ),
    "LLVIP": ScoredSet(
        ("LLVIP",), "visible/test", "infrared/test", "visible",
        "https://bupt-ai-cz.github.io/LLVIP (15,488 pairs in all)",
    ),
}
