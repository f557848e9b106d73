"""What a video file says of itself is honoured, or the file is refused with what makes it plain."""

from fractions import Fraction

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as any_of
from programs import ends

from cddfuse_jax.errors import InputError
from cddfuse_jax.fuse import main
from cddfuse_jax.fusing.frame_pairs import open_videos
from cddfuse_jax.images import image_files
from cddfuse_jax.images.video_frames import VideoFrames

av = pytest.importorskip("av", reason="videos need the extra [video]")

SIZE = (32, 48)
EVEN, UNEVEN = (0, 1, 2, 3), (0, 1, 3, 3.5)  # times in frames
# What the 3x3 matrix of an MP4 (a, b, c, d: x' = ax + cy, y' = bx + dy, y down) does to a picture.
TURNS = {
    (1, 0, 0, 1): lambda image: image,
    (0, 1, -1, 0): lambda image: np.rot90(image, -1),  # clockwise
    (0, -1, 1, 0): lambda image: np.rot90(image, 1),
    (-1, 0, 0, -1): lambda image: np.rot90(image, 2),
    (-1, 0, 0, 1): np.fliplr,
    (1, 0, 0, -1): np.flipud,
    (0, 1, 1, 0): lambda image: image.swapaxes(0, 1),
    (0, -1, -1, 0): lambda image: image[::-1, ::-1].swapaxes(0, 1),
}
ANGLED = (0.8, 0.6, -0.6, 0.8)
DEEP = {"gray12le": 16, "gray16le": 257}  # what a level of 8 bits is written as
SDR, HDR = (2, 1, 6, 13), (16, 18, 8)  # transfers


def scene(number):
    """Four greys, one of them brighter from frame to frame."""
    image = np.repeat(np.repeat([[40, 100], [160, 220]], SIZE[0] // 2, 0), SIZE[1] // 2, 1)
    image[:16, :24] += 12 * number % 48
    return image.astype(np.uint8)


def write(path, times=EVEN, rate=10, start=0, aspect=1, form="yuv420p", transfer=2, sound=False,
          **metadata):  # fmt: skip
    """Write four frames; those of grey formats without loss."""
    grey = form.startswith("gray")
    with av.open(str(path), "w") as container:
        stream = container.add_stream("ffv1" if grey else "libx264", rate=rate)
        stream.height, stream.width, stream.pix_fmt = *SIZE, form
        stream.options = {} if grey else {"crf": "4", "bf": "0", "sc_threshold": "0"}
        stream.metadata.update(metadata)
        codec = stream.codec_context
        codec.time_base, codec.sample_aspect_ratio = Fraction(1, 90000), Fraction(aspect)
        codec.color_trc, codec.gop_size = transfer, 12
        if sound:
            audio = container.add_stream("aac", rate=8000, layout="mono")
            frame = av.AudioFrame.from_ndarray(np.zeros((1, 8000), np.float32), "fltp", "mono")
            frame.sample_rate = 8000
            container.mux([*audio.encode(frame), *audio.encode()])
        for number, time in enumerate(times):
            image = scene(number)
            if form in DEEP:
                frame = av.VideoFrame.from_ndarray(image.astype(np.uint16) * DEEP[form], form)
            else:
                frame = av.VideoFrame.from_ndarray(image, "gray").reformat(format=form)
            frame.time_base, frame.pts = codec.time_base, round(90000 * (start + time / rate))
            frame.color_trc = transfer
            container.mux(stream.encode(frame))
        container.mux(stream.encode())
    return path


def turn(path, matrix):
    content = bytearray(path.read_bytes())
    place = content.index(b"tkhd") + 44
    for step, value in zip((0, 4, 12, 16), matrix, strict=True):
        whole = round(value * 65536)
        content[place + step : place + step + 4] = whole.to_bytes(4, "big", signed=True)
    path.write_bytes(content)


@settings(
    max_examples=120,
    deadline=None,
    derandomize=True,
    suppress_health_check=[HealthCheck.function_scoped_fixture],
)
@given(
    rate=any_of.sampled_from([Fraction(10), Fraction(25), Fraction(30000, 1001)]),
    start=any_of.sampled_from([0, Fraction(2, 5), 7]),
    times=any_of.sampled_from([EVEN, EVEN, UNEVEN]),
    aspect=any_of.sampled_from([Fraction(1), Fraction(4, 3), Fraction(8, 9)]),
    form=any_of.sampled_from(["yuv420p", "yuv420p10le", "gray", "gray12le", "gray16le"]),
    transfer=any_of.sampled_from(SDR + HDR),
    matrix=any_of.sampled_from([*TURNS, ANGLED]),
)
def test_no_property_of_a_video_is_lost(
    tmp_path, capsys, rate, start, times, aspect, form, transfer, matrix
):
    grey = form.startswith("gray")
    path = tmp_path / ("a.mkv" if grey else "a.mp4")
    write(path, times, rate, start, aspect, form, transfer)
    if grey:  # PyAV writes these two into MP4 alone
        matrix, aspect = (1, 0, 0, 1), 1
    else:
        turn(path, matrix)
    if transfer in HDR or matrix == ANGLED:
        with pytest.raises(InputError, match=r"a\.m[pk][4v]: is .*; first ffmpeg .*-plain\.mp4"):
            VideoFrames(path)
        return
    capsys.readouterr()
    found = VideoFrames(path)
    assert "was it cut" not in capsys.readouterr().err
    expected = [float(start + Fraction(time) / rate) for time in times]
    assert [float(time) for time in found.times] == pytest.approx(expected, abs=1.1e-3)
    assert found.aspect == (aspect if matrix[0] else 1 / aspect)
    frames = list(found)
    assert [frame.seconds for frame in frames] == [float(time) for time in found.times]
    for number, frame in enumerate(frames):
        shown = TURNS[matrix](scene(number))
        assert frame.pixels.shape[:2] == found.size == shown.shape
        values = frame.pixels.astype(float) / DEEP.get(form, 1)
        values = values if grey else values.mean(-1)
        # By levels; 0.2 from one frame to the next tell frames apart.
        assert np.abs(values - shown).mean() < (0.01 if grey else 1.5)


@pytest.mark.parametrize("parameters", ["interlaced=1", "tff=1"])
def test_interlaced_frames_are_refused(tmp_path, parameters):
    with av.open(str(tmp_path / "a.mkv"), "w") as container:
        stream = container.add_stream("libx264", rate=25)
        stream.height, stream.width, stream.pix_fmt = 64, 96, "yuv420p"
        stream.options = {"x264-params": parameters}
        stream.codec_context.flags |= 0x20040000  # interlaced DCT and motion estimation
        frame = av.VideoFrame.from_ndarray(np.zeros((64, 96), np.uint8), "gray")
        container.mux([*stream.encode(frame.reformat(format="yuv420p")), *stream.encode()])
    with pytest.raises(InputError, match=r"is interlaced, .* -vf bwdif=send_frame"):
        VideoFrames(tmp_path / "a.mkv")


def test_frames_that_hold_more_than_is_shown_are_refused(tmp_path):
    file = write(tmp_path / "a.mkv", stereo_mode="left_right")
    with pytest.raises(InputError, match=r"is stereo, .* -vf crop=iw/2:"):
        VideoFrames(file)
    one, left = b"\x53\xb8\x81\1", b"\x54\xcc\x81\x10"  # StereoMode, PixelCropLeft of Matroska
    file.write_bytes(file.read_bytes().replace(one, left, 1))
    if hasattr(av.CodecContext, "coded_side_data"):
        with pytest.raises(InputError, match=r"a\.mkv: is cropped by its container, .* ffmpeg -i"):
            VideoFrames(file)


def test_times_and_sound_stay_as_far_apart_as_they_were(tmp_path, tiny_weights):
    """Frames from 0.4 s on at uneven times; sound from 0 s."""
    visible = write(tmp_path / "vi.mp4", UNEVEN, start=Fraction(2, 5), aspect="4/3", sound=True)
    infrared = write(tmp_path / "ir.mp4", UNEVEN, start=Fraction(2, 5), aspect="4/3")
    out = tmp_path / "out.mp4"
    words = ["--weights", tiny_weights, "--vi", visible, "--ir", infrared, "--out", out]
    assert ends(main, *words) == 0
    fused = VideoFrames(out)
    assert [float(t - fused.times[0]) for t in fused.times] == pytest.approx([0, 0.1, 0.3, 0.35])
    assert fused.aspect == Fraction(4, 3)

    def sound(path):
        with av.open(str(path)) as container:
            stream = container.streams.audio[0]
            packets = [packet for packet in container.demux(stream) if packet.size]
            return {bytes(p): p.pts * p.time_base for p in packets if p.duration}

    before, after = sound(visible), sound(out)
    kept = [packet for packet in before if packet in after and len(packet) > 8]
    starts = VideoFrames(visible).times[0], fused.times[0]
    for packet in kept:
        apart = before[packet] - starts[0], after[packet] - starts[1]
        assert float(apart[0] - apart[1]) == pytest.approx(0, abs=1e-3)
    assert all(time >= starts[0] - Fraction(1, 3) for p, time in before.items() if p in kept)


def test_what_cannot_be_put_together_is_refused_before_any_work(tmp_path, capsys):
    plain = write(tmp_path / "plain.mp4")
    late = write(tmp_path / "late.mkv", start=1)
    wide = write(tmp_path / "wide.mp4", aspect="4/3")
    two = tmp_path / "two.mp4"
    with av.open(str(two), "w") as container:
        streams = [container.add_stream("libx264", rate=10) for _ in range(2)]
        for stream in streams:
            stream.height, stream.width, stream.pix_fmt = *SIZE, "yuv420p"
        for stream in streams:
            frame = av.VideoFrame.from_ndarray(scene(0), "gray").reformat(format="yuv420p")
            container.mux([*stream.encode(frame), *stream.encode()])
    out = tmp_path / "out.mp4"
    for sides, options, message in (
        ((plain, late), {}, "--offset 0 puts equal times together, --offset=-1 the first frames"),
        ((plain, late), {"sync": True}, "in files of two kinds, whose clocks need not be one"),
        ((plain, late), {"offset": Fraction(3)}, "no frames are of one time"),
        ((plain, wide), {}, "wide.mp4: its pixels are 4/3 as wide as high, .*scale=64:32,setsar=1"),
        ((plain, two), {}, "two.mp4: has 2 video streams; first take one out, as ffmpeg"),
        ((plain, late), {"fps": Fraction(5)}, "--fps is for folders of frames"),
    ):
        with pytest.raises(InputError, match=message):
            open_videos(*sides, out, **options)
    pairs = open_videos(plain, late, out, offset=Fraction(-1))
    assert pairs.matches == [(0, 0), (1, 1), (2, 2), (3, 3)]
    told = f"note: {plain} at 0 to 0.3 s with {late} at 1 to 1.3 s\n"
    assert capsys.readouterr().err == told


def test_packets_before_the_first_key_frame_shift_nothing(tmp_path, capsys):
    """Cut within a group of pictures, as what is recorded from a stream."""
    whole = write(tmp_path / "whole.ts", times=range(30))
    with av.open(str(whole)) as source, av.open(str(tmp_path / "cut.ts"), "w") as cut:
        stream = source.streams.video[0]
        copy = cut.add_stream_from_template(stream)
        for number, packet in enumerate(source.demux(stream)):
            if number > 4 and packet.size:
                packet.stream = copy
                cut.mux(packet)
    assert VideoFrames(whole).times[12:] == VideoFrames(tmp_path / "cut.ts").times
    assert "cut.ts: 7 packets without a frame" in capsys.readouterr().err


def test_a_file_that_was_cut_off_is_noted(tmp_path, capsys):
    content = write(tmp_path / "a.mkv", times=range(30)).read_bytes()
    assert len(VideoFrames(tmp_path / "a.mkv").times) == 30
    assert "header" not in capsys.readouterr().err
    (tmp_path / "a.mkv").write_bytes(content[: len(content) // 2])
    left = len(VideoFrames(tmp_path / "a.mkv").times)
    assert 0 < left < 25
    note = f"a.mkv: ends {3 - left / 10:.1f} s before its header says; was it cut?"
    assert note in capsys.readouterr().err


@pytest.mark.parametrize("number", [0, 2])
def test_damaged_frames_are_refused_and_not_painted_over(tmp_path, number):
    with av.open(str(tmp_path / "a.mp4"), "w") as container:
        stream = container.add_stream("libx264", rate=10, options={"bf": "0", "crf": "10"})
        stream.height, stream.width, stream.pix_fmt = *SIZE, "yuv420p"
        packets = []
        for k in range(4):
            image = np.random.default_rng(k).integers(0, 255, (*SIZE, 3), np.uint8)
            packets += stream.encode(av.VideoFrame.from_ndarray(image, "rgb24"))
        packets += stream.encode()
        data = bytes(packets[number])
        container.mux(packets)
    assert len(VideoFrames(tmp_path / "a.mp4").times) == 4
    content = (tmp_path / "a.mp4").read_bytes()
    lost = len(data) // 3  # the end of a packet reads as nothing
    place = content.index(data[-lost:])
    (tmp_path / "a.mp4").write_bytes(content[:place] + bytes(lost) + content[place + lost :])
    with pytest.raises(InputError, match=r"a\.mp4: is damaged \("):
        VideoFrames(tmp_path / "a.mp4")


def test_frames_of_folders_go_by_name_and_keep_their_times(tmp_path, capsys):
    for side, names in (("vi", (1, 2, 3, 10, 11)), ("ir", (2, 3, 10, 11, 12))):
        for name in names:
            image_files.write_png(tmp_path / side / f"{name}.png", np.full((4, 4), name, np.uint8))
    out = tmp_path / "out.mp4"
    pairs = open_videos(tmp_path / "vi", tmp_path / "ir", out, Fraction(4))
    assert [int(frame.pixels[0, 0]) for frame in pairs.visible] == [2, 3, 10, 11]
    assert [int(frame.pixels[0, 0]) for frame in pairs.infrared] == [2, 3, 10, 11]
    assert "2 frames without a partner left out: " in capsys.readouterr().err
    # Where the names count frames, those that are missing leave a gap.
    for name in (4, 5, 6, 7, 8, 9):
        image_files.write_png(tmp_path / "vi" / f"{name}.png", np.full((4, 4), name, np.uint8))
    pairs = open_videos(tmp_path / "vi", tmp_path / "ir", out, Fraction(4))
    assert [4 * frame.seconds for frame in pairs.visible] == [1, 2, 9, 10]


def test_pages_of_a_tiff_are_frames(tmp_path):
    tifffile = pytest.importorskip("tifffile")
    pages = np.arange(4, dtype=np.uint8)[:, None, None] * np.ones((1, 32, 48), np.uint8)
    tifffile.imwrite(tmp_path / "ir.tif", pages, photometric="minisblack")
    video = write(tmp_path / "vi.mp4", UNEVEN, start=2)
    pairs = open_videos(video, tmp_path / "ir.tif", tmp_path / "out.mp4")
    assert [int(frame.pixels[0, 0]) for frame in pairs.infrared] == [0, 1, 2, 3]
    assert pairs.infrared.times == pairs.visible.times
