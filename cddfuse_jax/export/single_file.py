"""The network as one HTML file that fuses in the browser: opened from a disk, it asks no server."""

import base64
import html
import shutil
import string
import subprocess
import tarfile
import tempfile
from importlib import resources
from pathlib import Path
from typing import NamedTuple

from cddfuse_jax.errors import InputError

RUNTIME = "onnxruntime-web"
VERSION = "1.30.0"
# Of that package: the runtime for one thread, and its WebAssembly.
SCRIPT = "package/dist/ort.wasm.bundle.min.mjs"
WASM = "package/dist/ort-wasm-simd-threaded.wasm"
MOST_PIXELS = 2_000_000


class Runtime(NamedTuple):
    """What runs an ONNX file in a browser."""

    script: bytes
    wasm: bytes


def runtime_parts(archive: Path | None = None) -> Runtime:
    """Return what a page needs of npm's archive of `RUNTIME`; None lets npm fetch it."""
    if archive is not None:
        return _parts(archive)
    with tempfile.TemporaryDirectory() as folder:
        return _parts(_fetched(Path(folder)))


def single_file(model: bytes, name: str, runtime: Runtime) -> bytes:
    """Return the page, an HTML file."""
    page = resources.files(__package__).joinpath("single_file.html").read_text(encoding="utf-8")
    parts = runtime._asdict() | {"model": model}
    return (
        string.Template(page)
        .substitute(
            {part: base64.b64encode(data).decode() for part, data in parts.items()},
            name=html.escape(name),
            version=VERSION,
            most=MOST_PIXELS,
        )
        .encode()
    )


def _fetched(folder: Path) -> Path:
    npm = shutil.which("npm")
    if npm is None:
        raise InputError(
            f"a page holds the npm package {RUNTIME}, which npm fetches: install Node.js, or give "
            "the package's archive as --runtime FILE"
        )
    command = [npm, "pack", f"{RUNTIME}@{VERSION}", "--silent"]
    done = subprocess.run(command, cwd=folder, capture_output=True, text=True)
    found = list(folder.glob("*.tgz"))
    if done.returncode or not found:
        lines = [line for line in done.stderr.splitlines() if line.strip()]
        raise InputError(
            f"npm could not fetch {RUNTIME}@{VERSION} ({lines[0] if lines else 'it said nothing'})"
            "; give the package's archive as --runtime FILE"
        )
    return found[0]


def _parts(archive: Path) -> Runtime:
    try:
        with tarfile.open(archive) as files:
            opened = [files.extractfile(part) for part in (SCRIPT, WASM)]
            return Runtime(*(file.read() for file in opened if file))
    except (OSError, tarfile.TarError, KeyError, EOFError, TypeError) as error:
        raise InputError(
            f"{archive}: not npm's archive of {RUNTIME} {VERSION} ({error}); fetch it by "
            f"npm pack {RUNTIME}@{VERSION}"
        ) from None
