"""The paper's test sets: where their pairs lie in a folder of data."""

from pathlib import Path
from typing import NamedTuple

from cddfuse_jax.models import Residual


class ScoredSet(NamedTuple):
    """One test set; the folder names are looked for in this order."""

    folders: tuple[str, ...]
    visible: str
    infrared: str
    residual: Residual  # with weights that were trained for infrared-visible pairs

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


TEST_SETS = {
    "MSRS": ScoredSet(("MSRS", "MSRS/test", "test"), "vi", "ir", "visible"),
    "TNO": ScoredSet(("TNO",), "vi", "ir", "visible"),
    "RoadScene": ScoredSet(("RoadScene",), "vi", "ir", "visible"),
    "MRI-CT": ScoredSet(("MRI_CT", "MRI-CT"), "MRI", "CT", "sum"),
    "MRI-PET": ScoredSet(("MRI_PET", "MRI-PET"), "MRI", "PET", "sum"),
    "MRI-SPECT": ScoredSet(("MRI_SPECT", "MRI-SPECT"), "MRI", "SPECT", "sum"),
}
