import argparse
import resource
from fractions import Fraction

import numpy as np
import pytest
from programs import ends

from cddfuse_jax.errors import InputError
from cddfuse_jax.fuse import main
from cddfuse_jax.fusing import video
from cddfuse_jax.fusing.frame_pairs import match, open_videos
from cddfuse_jax.fusing.fuser import Fuser
from cddfuse_jax.fusing.options import _rate
from cddfuse_jax.fusing.video import SmoothedRange, fuse_video
from cddfuse_jax.images import image_files
from cddfuse_jax.images.video_frames import VideoFrames

av = pytest.importorskip("av", reason="videos need the extra [video]")

SIZE = (44, 48)


def scene(number, colour):
    """A ramp with a square that moves by two pixels per frame."""
    image = np.tile(np.linspace(60, 160, SIZE[1]), (SIZE[0], 1))
    image[10:20, 2 * number : 2 * number + 10] = 230
    image = image.astype(np.uint8)
    return np.stack([image, image // 2, image // 3], -1) if colour else image


def write_video(path, count, rate=25, colour=True, sound=False):
    with av.open(str(path), "w") as container:
        stream = container.add_stream("libx264", rate=rate)
        stream.height, stream.width, stream.pix_fmt = *SIZE, "yuv420p"
        stream.options = {"crf": "4"}
        if sound:
            audio = container.add_stream("aac", rate=8000, layout="mono")
            time = np.arange(8000 * count // rate) / 8000
            tone = np.float32(0.3 * np.sin(2 * np.pi * 440 * time))[None]
            frame = av.AudioFrame.from_ndarray(tone, format="fltp", layout="mono")
            frame.sample_rate = 8000
            container.mux([*audio.encode(frame), *audio.encode()])
        for number in range(count):
            image = scene(number, colour)
            rgb = image if colour else np.repeat(image[..., None], 3, -1)
            container.mux(stream.encode(av.VideoFrame.from_ndarray(rgb, "rgb24")))
        container.mux(stream.encode())
    return path


def packets(path, kind):
    with av.open(str(path)) as container:
        stream = getattr(container.streams, kind)[0]
        return [bytes(packet) for packet in container.demux(stream) if packet.size]


class Numbers:
    """The times of frames alone."""

    def __init__(self, count, rate, start=0):
        self.path, self.rate = f"{count}@{rate}", Fraction(rate)
        self.times = [start + number / self.rate for number in range(count)]


@pytest.fixture
def fuse(tiny_weights):
    def command(visible, infrared, out, *more):
        words = ["--weights", tiny_weights, "--vi", visible, "--ir", infrared, "--out", out]
        return ends(main, *words, *more)

    return command


def test_two_videos_become_one_with_the_sound_of_the_visible(fuse, tmp_path, capsys):
    visible = write_video(tmp_path / "vi.mp4", 8, sound=True)
    infrared = write_video(tmp_path / "ir.mp4", 8, colour=False)
    assert fuse(visible, infrared, tmp_path / "out.mp4") == 0
    assert "8 frames at 25 per second" in capsys.readouterr().out
    fused = VideoFrames(tmp_path / "out.mp4")
    assert (len(fused.times), fused.rate, fused.has_sound) == (8, 25, True)
    frames = list(fused)
    assert [frame.seconds for frame in frames] == pytest.approx([n / 25 for n in range(8)])
    assert all(frame.pixels.shape == (*SIZE, 3) for frame in frames)
    # The tint is the visible video's: red is above green above blue.
    means = frames[4].pixels.mean((0, 1))
    assert means[0] > means[1] + 5 > means[2] + 5
    assert packets(tmp_path / "out.mp4", "audio") == packets(visible, "audio")
    assert sorted(file.name for file in tmp_path.iterdir()) == ["ir.mp4", "out.mp4", "vi.mp4"]


@pytest.mark.parametrize("batch", [1, 2])  # several with an accelerator
def test_frames_are_fused_as_images_are_apart_from_the_stretch(
    tmp_path, tiny_params, monkeypatch, batch
):
    for number in range(3):
        image_files.write_png(tmp_path / "vi" / f"{number}.png", scene(number, True))
        image_files.write_png(tmp_path / "ir" / f"{number}.png", scene(number, False))
    out = tmp_path / "out.mkv"
    pairs = open_videos(tmp_path / "vi", tmp_path / "ir", out, Fraction(10))
    fuser = Fuser(tiny_params, stretch=False, color="none")
    monkeypatch.setattr(video, "batch_size", lambda device, sizes: batch)
    assert fuse_video(fuser, pairs, out) == 3
    for number, frame in enumerate(VideoFrames(out)):
        expected = fuser(scene(number, True), scene(number, False)).astype(float)
        # Lossy coding: off by 1.6 to 1.9 levels on average, in a picture whose deviation is 60.
        assert np.abs(frame.pixels.mean(-1) - expected).mean() < 3


def test_grey_of_limited_range_is_from_black_to_white(tmp_path):
    stored = np.tile(np.uint8([0, 16, 100, 235, 255, 235]), (32, 8))
    for limited, shown in ((1, [0, 0, 98, 255, 255, 255]), (2, stored[0, :6].tolist())):
        with av.open(str(tmp_path / "a.mkv"), "w") as container:
            stream = container.add_stream("ffv1", rate=10)
            stream.height, stream.width, stream.pix_fmt = 32, 48, "gray"
            stream.codec_context.color_range = limited
            frame = av.VideoFrame.from_ndarray(stored, "gray")
            frame.color_range = limited
            container.mux([*stream.encode(frame), *stream.encode()])
        (frame,) = VideoFrames(tmp_path / "a.mkv")
        assert frame.pixels[0, :6].tolist() == shown


def test_the_stretch_does_not_flicker():
    rng = np.random.default_rng(0)
    rate = Fraction(25)
    lows, highs = 0.3 + 0.05 * rng.standard_normal(200), 0.7 + 0.05 * rng.standard_normal(200)
    smoothed = SmoothedRange(rate)
    ranges = np.array([smoothed.update(*pair) for pair in zip(lows, highs, strict=True)])
    jumps = np.abs(np.diff(ranges[:, 1])).mean() / np.abs(np.diff(highs)).mean()
    assert jumps < 0.04  # 1/25 of the light comes in per frame
    assert abs(ranges[50:, 0].mean() - 0.3) < 0.02 and abs(ranges[50:, 1].mean() - 0.7) < 0.02
    # A lasting change is followed by 63 % within a second.
    smoothed = SmoothedRange(rate)
    smoothed.update(0, 0.4)
    for _ in range(25):
        low, high = smoothed.update(0, 0.8)
    assert (low, high) == pytest.approx((0, 0.8 - 0.4 / np.e))


def test_frames_go_together_by_their_times(capsys):
    assert match(Numbers(3, 25), Numbers(3, 25)) == [(0, 0), (1, 1), (2, 2)]
    # 30 and 10 per second: each infrared frame serves the three that are nearest, up to half of an
    # infrared frame after the last.
    slow = [(0, 0), (1, 0), (2, 1), (3, 1), (4, 1), (5, 2), (6, 2), (7, 2)]
    assert match(Numbers(20, 30), Numbers(3, 10), True) == slow
    note = "note: 20@30 at 0 to 0.233333 s with 3@10 at 0 to 0.2 s; 12 visible frames without a"
    assert capsys.readouterr().err == f"{note} partner left out\n"
    assert match(Numbers(2, 10), Numbers(9, 30), True) == [(0, 0), (1, 3)]
    # Halfway between two the later one is taken.
    assert match(Numbers(3, 20), Numbers(2, 10), True) == [(0, 0), (1, 1), (2, 1)]
    # One clock: the infrared stream begins a second later. And infrared times that are late by it.
    assert match(Numbers(12, 10), Numbers(12, 10, 1), True) == [(10, 0), (11, 1)]
    assert match(Numbers(3, 10), Numbers(3, 10, 1), True, Fraction(-1)) == [(0, 0), (1, 1), (2, 2)]
    with pytest.raises(InputError, match=r"no frames are of one time, .* give --offset"):
        match(Numbers(3, 10), Numbers(3, 10, 5), True)


@pytest.mark.parametrize("other", [Numbers(7, 25), Numbers(8, 30), Numbers(8, 25, 1)])
def test_different_times_are_refused_unless_they_are_to_be_matched(other):
    with pytest.raises(InputError, match=r"8@25 has 8 at 25 per second and .*give --sync"):
        match(Numbers(8, 25), other)


def test_rates_that_are_written_differently_are_one_and_near_ones_are_two():
    ntsc, rounded = Numbers(900, Fraction(30000, 1001)), Numbers(900, Fraction(2997, 100))
    assert match(ntsc, rounded) == match(rounded, ntsc) == [(n, n) for n in range(900)]
    for other in (ntsc, rounded):  # nearly a frame apart at the end
        for pair in ((other, Numbers(900, 30)), (Numbers(900, 30), other)):
            with pytest.raises(InputError, match="give --sync"):
                match(*pair)


def test_odd_sizes_are_extended_and_other_cases_are_told(fuse, tmp_path, capsys):
    for side, shape in (("vi", (21, 23, 3)), ("ir", (21, 23))):
        for number in range(2):
            image = np.random.default_rng(number).integers(0, 256, shape, np.uint8)
            image_files.write_png(tmp_path / side / f"{number}.png", image)
    folders = tmp_path / "vi", tmp_path / "ir"
    assert fuse(*folders, tmp_path / "out.mp4", "--fps", "12") == 0
    frames = list(VideoFrames(tmp_path / "out.mp4"))
    assert len(frames) == 2 and frames[0].pixels.shape == (22, 24, 3)
    before = (tmp_path / "out.mp4").read_bytes()
    capsys.readouterr()
    text = tmp_path / "text.mp4"
    text.write_text("no video")
    (tmp_path / "a.png").write_bytes(b"\0\0\0\x18ftypisom" + bytes(200))
    short, twin = (write_video(tmp_path / f"{name}.mp4", 3) for name in ("short", "twin"))
    for arguments, message in (
        ((*folders, tmp_path / "new.mp4"), "images have no frame rate; give --fps"),
        ((*folders, tmp_path / "out.mp4", "--fps", "12"), "the output exists already"),
        ((*folders, tmp_path / "new.mp4", "--fps", "0"), "a rate is above 0"),
        ((text, short, tmp_path / "new.mp4"), "text.mp4: not a video that can be read"),
        ((short, tmp_path / "ir", tmp_path / "new.mp4"), "ir has 2 at 25 per second; give --sync"),
        ((short, short, tmp_path), "--out must be a video"),
        ((short, twin, short, "--overwrite"), "would overwrite an input"),
        ((short, tmp_path / "none.mp4", tmp_path / "new.mp4"), "none.mp4: no such file"),
        ((tmp_path / "vi/0.png", short, tmp_path / "new.mp4"), "0.png: one image; a video is made"),
        ((tmp_path / "a.png", short, tmp_path / "new.mp4"), "can be read; a video: give it that"),
        ((short, twin, tmp_path / "new.mp4", "--fps", "25"), "--fps is for folders of frames"),
        ((short, short, tmp_path / "new.mp4", "--offset", "1s"), "a number of seconds, got 1s"),
        ((short, short, tmp_path / "new.mp4"), "the same file for both sides"),
        ((*folders, tmp_path / "frames", "--sync"), "--sync, --offset and --fps are for videos"),
        ((*folders, tmp_path / "new.mp4", "--align"), "leave it out for videos"),
    ):
        assert fuse(*arguments) == 2
        err = capsys.readouterr().err
        assert message in err and len(err.splitlines()) == 1, err
    assert (tmp_path / "out.mp4").read_bytes() == before
    names = ["a.png", "ir", "out.mp4", "short.mp4", "text.mp4", "twin.mp4", "vi"]
    assert sorted(file.name for file in tmp_path.iterdir()) == names
    more = "--sync", "--resize", "infrared"
    assert fuse(short, tmp_path / "ir", tmp_path / "new.mp4", *more) == 0
    assert len(VideoFrames(tmp_path / "new.mp4").times) == 2


@pytest.mark.parametrize("text", ["1e99999999", "0", "-5", "1/0", "9" * 5000, "nan", "fast"])
def test_rates_that_are_none_are_refused_at_once(text):
    with pytest.raises(argparse.ArgumentTypeError, match="a rate is above 0"):
        _rate(text)
    assert _rate("30000/1001") == Fraction(30000, 1001)


def test_a_full_disk_leaves_no_video_and_is_no_fault_of_the_input(fuse, tmp_path, capsys):
    visible = write_video(tmp_path / "vi.mp4", 8)
    infrared = write_video(tmp_path / "ir.mp4", 8, colour=False)
    soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (1000, hard))  # bytes, of any file
    try:
        assert fuse(visible, infrared, tmp_path / "out.mp4") == 1
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))
    told = [x for x in capsys.readouterr().err.splitlines() if x.startswith("error: ")]
    assert told == [f"error: {tmp_path / 'out.mp4'} could not be written: File too large"]
    assert sorted(file.name for file in tmp_path.iterdir()) == ["ir.mp4", "vi.mp4"]


def test_values_and_errors_of_frames_name_their_file(fuse, tmp_path, capsys):
    for side in ("vi", "ir"):
        (tmp_path / side).mkdir()
    for number in range(2):
        image_files.write_png(tmp_path / "vi" / f"{number}.png", scene(number, True))
        counts = 7000 + 10.0 * scene(number, False)
        np.save(tmp_path / "ir" / f"{number}.npy", counts if number == 0 else counts * np.nan)
    low, high = np.percentile(7000 + 10.0 * scene(0, False), (0.1, 99.9))
    assert fuse(tmp_path / "vi", tmp_path / "ir", tmp_path / "out.mp4", "--fps", "5") == 2
    note, error = capsys.readouterr().err.splitlines()
    assert note.endswith(f"0.npy: its values {low:.6g} to {high:.6g} become 0 and 1 at first")
    assert error.startswith(f"error: {tmp_path / 'ir' / '1.npy'}: pixels must be finite")
    assert not (tmp_path / "out.mp4").exists()
