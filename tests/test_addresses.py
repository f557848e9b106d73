"""Data and weights by address: copied from a bucket and then what a local path would give."""

import errno
import json
import logging
import sys
import threading
import urllib.parse
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import h5py
import jax
import numpy as np
import pytest
from PIL import Image

from cddfuse_jax import addresses, console, files, load_params, train
from cddfuse_jax.addresses import local
from cddfuse_jax.data.pipeline import make_sources
from cddfuse_jax.errors import InputError
from cddfuse_jax.weights.files import load_meta, save_params
from cddfuse_jax.weights.found import of_newest_step

fsspec = pytest.importorskip("fsspec", reason="needs the extra [buckets]")


@pytest.fixture(autouse=True)
def copies(tmp_path, monkeypatch):
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    return tmp_path / "cache" / "cddfuse_jax_copies"


@pytest.fixture
def bucket():
    """A bucket in memory, at memory://b."""
    filesystem = fsspec.filesystem("memory")
    yield filesystem
    filesystem.store.clear()


def write_patches(file: Path, count: int) -> np.ndarray:
    values = np.random.default_rng(count).random((2, count, 1, 8, 8), np.float32)
    with h5py.File(file, "w") as opened:
        for group, patches in zip(("vis_patchs", "ir_patchs"), values, strict=True):
            for number, patch in enumerate(patches):
                opened.create_group(group) if group not in opened else None
                opened[group].create_dataset(str(number), data=patch)
    return values


def test_patches_are_copied_once_and_anew_when_they_change(
    bucket, copies, tiny_config, tmp_path, capsys
):
    config = tiny_config.copy_and_resolve_references()
    config.data.source, config.data.file = "hdf5", "memory://b/data/p.h5"
    for count in (3, 3, 4):
        values = write_patches(tmp_path / "p.h5", count)
        if count == 4 or not bucket.exists("/b/data/p.h5"):
            bucket.pipe("/b/data/p.h5", (tmp_path / "p.h5").read_bytes())
        source, _ = make_sources(config)
        assert len(source) == count
        np.testing.assert_array_equal(source[2]["infrared"][..., 0], values[1, 2, 0])
    told = capsys.readouterr().err.splitlines()
    assert [line.partition(" (")[0] for line in told] == 2 * ["copying memory://b/data/p.h5"]
    assert len(list(copies.glob("*/b/data/p.h5"))) == 2
    assert not [file for file in copies.rglob(".*") if file.is_file()]


def test_folders_and_lists_of_names(bucket, tiny_config, tmp_path):
    rng = np.random.default_rng(0)
    for side in ("vi", "ir"):
        for number in range(5):
            file = tmp_path / f"{side}{number}.png"
            Image.fromarray(rng.integers(0, 256, (24, 24), np.uint8)).save(file)
            bucket.pipe(f"/b/{side}/{number}.png", file.read_bytes())
    bucket.pipe("/b/vi-notes/5.png", b"beside, not below")
    bucket.pipe("/b/names.txt", b"1\n3.png\n4\n")
    bucket.pipe("/b/out.txt", b"3\n")
    config = tiny_config.copy_and_resolve_references()
    config.data.update(
        source="folders", visible="memory://b/vi/", infrared="memory://b/ir", names=
        "memory://b/names.txt"
    )  # fmt: skip
    config.held_out.names = "memory://b/out.txt"
    source, held_out = make_sources(config)
    assert list(source.names()) == ["1", "4"]
    assert list(held_out.names()) == ["3"]
    grey = np.asarray(Image.open(tmp_path / "ir4.png"), np.float32) / np.float32(255)
    np.testing.assert_array_equal(source[1]["infrared"][..., 0], grey)


@pytest.mark.parametrize("kind", ["w.safetensors", "w.pth", "run", "run/checkpoints", "step"])
def test_weights(kind, bucket, tiny_params, tmp_path, copies):
    place = tmp_path / (kind if "." in kind else "run")
    save_params(place, tiny_params, {"config": {"residual": "sum"}})
    for file in [place] if place.is_file() else [f for f in place.rglob("*") if f.is_file()]:
        bucket.pipe(f"/b/{file.relative_to(tmp_path)}", file.read_bytes())
    bucket.pipe("/b/run/tensorboard/events", b"not needed")
    address = f"memory://b/{'run/checkpoints/0' if kind == 'step' else kind}"
    jax.tree.map(np.testing.assert_array_equal, load_params(address), load_params(str(place)))
    assert load_meta(address) == load_meta(str(place))
    assert len(list(copies.iterdir())) == 1
    assert not list(copies.rglob("events"))


def test_of_a_run_the_newest_step_is_copied_without_its_optimiser():
    names = [f"checkpoints/{step}/{item}/d/0" for step in (8, 12) for item in ("params", "ema")]
    names += ["checkpoints/12/optimizer/d/0", "checkpoints/13.orbax-checkpoint-tmp-1/params/d/0"]
    assert of_newest_step([*names, "99/params/d/0", "pictures/99.png"]) == names[2:4]
    assert of_newest_step(["9/params/a", "10/meta/metadata"]) == ["10/meta/metadata"]
    assert of_newest_step(["params/a", "meta/b", "optimizer/c"]) == ["params/a", "meta/b"]
    assert of_newest_step(["notes.txt"]) == []


@pytest.mark.parametrize(
    ("address", "line"),
    [
        ("memory://b/none.h5", "nothing there; check the name"),
        ("memory://b/only", "nothing of use among its 1 files"),
        ("nosuch://b/w.pth", r"for gs:// pip install -e '.\[buckets\]'"),
    ],
)
def test_what_cannot_be_had_is_a_line(address, line, bucket, copies):
    bucket.pipe("/b/only/readme.txt", b"hello")
    with pytest.raises(InputError, match=f"^{address}: .*{line}"):
        load_params(address)
    assert not copies.exists()


def test_what_gcsfs_logs_of_its_errors_is_not_shown(copies, monkeypatch, caplog):
    logger, before = logging.getLogger("gcsfs"), logging.getLogger("gcsfs").level

    def failing(address):
        logger.exception("out of retries")
        raise ConnectionError("no such host")

    monkeypatch.setattr(addresses, "_opened", failing)
    with pytest.raises(InputError, match=r"^gs://b/x: cannot be read \(ConnectionError: no such"):
        local("gs://b/x")
    assert caplog.records == []
    assert logger.level == before


def test_without_the_extra_the_line_says_how_to_install_it(monkeypatch):
    monkeypatch.setitem(sys.modules, "gcsfs", None)
    monkeypatch.delitem(sys.modules["fsspec.registry"]._registry, "gs", raising=False)
    with pytest.raises(InputError, match=r"^gs://b/w.pth: .*pip install -e '.\[buckets\]'"):
        load_params("gs://b/w.pth")


@pytest.mark.parametrize("failure", ["short", "broken", "full"])
def test_a_copy_that_fails_leaves_nothing_and_goes_on_where_it_was(
    failure, bucket, copies, monkeypatch
):
    for name in "abc":
        bucket.pipe(f"/b/set/{name}", 1000 * name.encode())
    whole = type(bucket).get_file

    def get_file(self, source, target, **options):
        if not source.endswith("b"):
            return whole(self, source, target, **options)
        Path(target).write_bytes(b"half")
        if failure == "broken":
            raise ConnectionError("reset by\npeer")
        if failure == "full":
            raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr(type(bucket), "get_file", get_file)
    monkeypatch.setattr(addresses, "THREADS", 1)  # a, then b
    line = {"short": "has 1000 bytes, 4 came", "broken": r"ConnectionError: reset by peer\)",
            "full": "could not be written: No space left"}[failure]  # fmt: skip
    with pytest.raises(InputError, match=line) as error:
        local("memory://b/set")
    assert error.value.exit_code == (1 if failure == "full" else 2)
    held = {file.name for file in copies.rglob("*") if file.is_file()}
    assert held in ({"a"}, {"a", "c"})  # c, where it began before b's failure was noticed
    monkeypatch.setattr(type(bucket), "get_file", whole)
    copy = local("memory://b/set")
    assert {file.name: file.read_bytes()[:1] for file in copy.iterdir()} == {
        "a": b"a", "b": b"b", "c": b"c"
    }  # fmt: skip


def test_a_name_that_leads_out_of_the_copy_is_refused(bucket, copies, monkeypatch):
    bucket.pipe("/b/set/a", b"a")
    told = {"/b/set/../../../../x": {"type": "file", "size": 1}}
    monkeypatch.setattr(type(bucket), "find", lambda *_, **__: told)
    with pytest.raises(InputError, match=r"must hold no '\.\.'"):
        local("memory://b/set")
    assert not [file for file in copies.rglob("*") if file.is_file()]


@pytest.mark.parametrize("path", ["gs://b/run", Path("gs://b/run")])
def test_nothing_is_written_to_a_folder_of_an_addresss_name(path, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    for attempt in (
        lambda: files.replacing(path).__enter__(),
        lambda: files.alone_in(path, "train").__enter__(),
        lambda: files.check_outputs([path]),
        lambda: save_params(path, {}, {}),
    ):
        with pytest.raises(InputError, match="mount the bucket"):
            attempt()
    assert not list(tmp_path.iterdir())


def test_train_reads_from_a_bucket_and_writes_to_no_address(bucket, tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    for workdir, line in (
        ("gs://b/run", "error: gs://b/run: an output must be a file or folder"),
        ("here", "error: memory://b/none.h5: nothing there; check the name"),
    ):
        given = ["--config.data.file=memory://b/none.h5", f"--workdir={workdir}"]
        monkeypatch.setattr(sys, "argv", ["train", "--config=ivf", *given])
        with pytest.raises(SystemExit) as end:
            console.run(train.main)
        assert end.value.code == 2
        assert line in capsys.readouterr().err
    assert [entry.name for entry in tmp_path.iterdir()] == []


class Storage(BaseHTTPRequestHandler):
    """As much of Cloud Storage's JSON interface as listing and reading take."""

    held: dict[str, bytes]

    def do_GET(self):
        url = urllib.parse.urlsplit(self.path)
        asked = dict(urllib.parse.parse_qsl(url.query))
        place, _, name = url.path.partition("/o")
        name = urllib.parse.unquote(name.removeprefix("/"))
        if name:
            found = None if name not in self.held else self._item(name)
            if found and asked.get("alt") == "media":
                return self._answer(200, self.held[name])
        else:
            prefix, cut = asked.get("prefix", ""), asked.get("delimiter")
            below = [name for name in self.held if name.startswith(prefix)]
            rest = [name[len(prefix) :] for name in below]
            deeper = {prefix + name.split("/")[0] + "/" for name in rest if cut and "/" in name}
            items = [self._item(name) for name, end in zip(below, rest, strict=True)
                     if not (cut and "/" in end)]  # fmt: skip
            found = {"kind": "storage#objects", "items": items, "prefixes": sorted(deeper)}
        answer = found or {"error": {"code": 404, "message": f"no {name} in {place}"}}
        return self._answer(200 if found else 404, json.dumps(answer).encode())

    def _item(self, name):
        size = str(len(self.held[name]))
        return {"bucket": "b", "name": name, "size": size, "generation": "1", "etag": "e",
                "kind": "storage#object"}  # fmt: skip

    def _answer(self, code, body):
        self.send_response(code)
        self.send_header("Content-Type", "application/octet-stream")
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def log_message(self, *_):
        pass


def test_gs_by_gcsfs_from_a_server_on_this_machine(tiny_params, tmp_path, monkeypatch, copies):
    gcsfs = pytest.importorskip("gcsfs", reason="needs the extra [buckets]")
    save_params(tmp_path / "run", tiny_params, {"config": {"residual": "sum"}})
    Storage.held = {
        str(file.relative_to(tmp_path)): file.read_bytes()
        for file in (tmp_path / "run").rglob("*") if file.is_file()
    } | {"run-notes/a": b"beside", "data/p.h5": b"patches", "data/": b""}  # fmt: skip
    with ThreadingHTTPServer(("127.0.0.1", 0), Storage) as server:
        threading.Thread(target=server.serve_forever, daemon=True).start()
        monkeypatch.setenv("STORAGE_EMULATOR_HOST", f"http://127.0.0.1:{server.server_port}")
        gcsfs.GCSFileSystem.clear_instance_cache()
        try:
            params, meta = load_params("gs://b/run"), load_meta("gs://b/run")
            assert Path(local("gs://b/data/p.h5")).read_bytes() == b"patches"
            assert [file.name for file in Path(local("gs://b/data")).iterdir()] == ["p.h5"]
            with pytest.raises(InputError, match=r"^gs://b/none: nothing there"):
                local("gs://b/none")
        finally:
            server.shutdown()
            gcsfs.GCSFileSystem.clear_instance_cache()
    jax.tree.map(np.testing.assert_array_equal, params, load_params(tmp_path / "run"))
    assert meta["config"] == {"residual": "sum"}
