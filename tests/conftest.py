from pathlib import Path

import pytest


@pytest.fixture(scope="session")
def shared() -> Path:
    """Data and golden values beside the repository; tests that need them are skipped elsewhere."""
    folder = Path(__file__).resolve().parents[2] / "shared"
    if not folder.is_dir():
        pytest.skip("../shared, with data and golden values, is not beside this repository")
    return folder
