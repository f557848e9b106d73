"""Maps of one place are fused, and what says where and when an image was taken is kept."""

import numpy as np
import pytest
import tifffile
from PIL import Image

from cddfuse_jax.errors import InputError
from cddfuse_jax.images.image_files import read_photo, write_png
from cddfuse_jax.images.output_files import FORMATS, write_image
from cddfuse_jax.pairs.find import Pair
from cddfuse_jax.pairs.read import as_picture, read_pair

IMAGE = np.tile(np.arange(0, 240, 6, dtype=np.uint8), (20, 1))  # 40x20


def write_map(path, image=IMAGE, left=5e5, top=4e6, pixel=0.5, system=32633, projection=1,
              orientation=1):  # fmt: skip
    keys = (1, 1, 0, 4, 1024, 0, 1, 1, 1025, 0, 1, 1, 3072, 0, 1, system, 3075, 0, 1, projection)
    tags = [
        (33550, "d", 3, (pixel, pixel, 0.0), True),
        (33922, "d", 6, (0.0, 0.0, 0.0, left, top, 0.0), True),
        (34735, "H", len(keys), keys, True),
        (274, "H", 1, orientation, True),
    ]
    tifffile.imwrite(path, image, extratags=tags, metadata=None)
    return path


@pytest.mark.parametrize(
    "other, message",
    [
        ({}, None),
        ({"left": 5e5 + 0.2}, None),  # less than half of a pixel
        ({"orientation": 3}, None),  # the rows of a map are not turned
        ({"left": 5e5 + 300, "orientation": 3}, "up to 300 apart"),
        ({"left": 5e5 + 300}, "up to 300 apart in EPSG:32633"),
        ({"pixel": 1.0}, r"first gdalwarp -t_srs EPSG:32633 -te 500000 3999990 500020 4000000 "),
        ({"system": 32634}, "tags EPSG:32633 and EPSG:32634; .* -ts 40 20 .*ir.tif warped.tif"),
        (
            {"system": 32767},
            "EPSG:32633 and user-defined system .*; first gdalwarp -t_srs EPSG:32633",
        ),
        ({"image": IMAGE[::2, ::2], "pixel": 1.0}, "one size, .* 40x20 .* 20x10"),
    ],
)
def test_maps_of_other_places_are_refused(tmp_path, other, message):
    pair = Pair("a", write_map(tmp_path / "vi.tif"), write_map(tmp_path / "ir.tif", **other))
    if message:
        with pytest.raises(InputError, match=message):
            read_pair(pair)
    else:
        read = read_pair(pair)
        assert read.visible.place.corners[0].tolist() == [5e5, 4e6]
        assert (read.infrared.pixels == IMAGE).all()
        # Of an image that does not say where it lies nothing is known.
        write_png(tmp_path / "ir.png", IMAGE)
        read_pair(pair._replace(infrared=tmp_path / "ir.png"))


def test_user_defined_systems_are_compared_by_their_parameters(tmp_path):
    vi, same = (write_map(tmp_path / name, system=32767) for name in ("vi.tif", "ir.tif"))
    assert read_pair(Pair("a", vi, same)).infrared.place.system.startswith("user-defined system")
    other = write_map(tmp_path / "ir.tif", system=32767, projection=8)
    with pytest.raises(InputError, match=r"tags user-.* and user-.*; first gdalwarp both with one"):
        read_pair(Pair("a", vi, other))


def test_maps_of_other_kinds_are_named(tmp_path):
    map_ = write_map(tmp_path / "vi.tif")
    with tifffile.TiffFile(map_) as file:
        tags = {code: file.pages[0].tags[code] for code in (33550, 33922, 34735)}
        stored = {code: tag.value for code, tag in tags.items()}

    def write(changed):
        values = stored | changed
        extra = [
            (code, int(tags[code].dtype), len(value), value, True)
            for code, value in values.items()
            if value
        ]
        tifffile.imwrite(tmp_path / "ir.tif", IMAGE, extratags=extra, metadata=None)
        return tmp_path / "ir.tif"

    points = (0.0, 0, 0, 5e5, 4e6, 0, 40, 20, 0, 5e5 + 30, 4e6 - 9, 0)
    with pytest.raises(InputError, match=r"points of control.* first gdalwarp .*ir\.tif .*ir-map"):
        read_photo(write({33550: (), 33922: points}))
    wide = as_picture(write({33550: (1.0, 0.5, 0.0)}))
    assert wide.notes == ("its pixels are 2 times as wide as high, and stay so",)


def test_a_map_keeps_its_georeference_where_the_pixels_are_the_same(tmp_path):
    source, out = write_map(tmp_path / "vi.tif"), tmp_path / "out.tif"
    for image, kept in ((IMAGE / 255, True), (IMAGE[:10] / 255, False)):
        write_image(out, image, FORMATS["tif"], metadata=read_photo(source).metadata)
        with tifffile.TiffFile(out) as written:
            tags = written.pages[0].geotiff_tags
        assert bool(tags) == kept
    assert tifffile.TiffFile(source).pages[0].geotiff_tags["ProjectedCSTypeGeoKey"] == 32633


@pytest.mark.parametrize("name", ["jpg", "png"])
def test_place_and_time_are_kept_and_the_orientation_is_not(tmp_path, name):
    exif = Image.Exif()
    exif[0x0112], exif[0x0132], exif[0x010F] = 6, "2024:01:01 12:00:00", "a camera"
    exif[0x8825] = {1: "N", 2: (10.0, 30.0, 0.0)}
    exif[0x8769] = {0x9003: "2024:01:01 11:59:59", 0x829A: 0.01}
    Image.fromarray(IMAGE).save(tmp_path / "vi.jpg", exif=exif)
    metadata = read_photo(tmp_path / "vi.jpg").metadata
    write_image(tmp_path / "out", IMAGE / 255, FORMATS[name], metadata=metadata)
    with Image.open(tmp_path / "out") as image:
        found = image.getexif()
    assert found[0x0132] == "2024:01:01 12:00:00" and 0x0112 not in found
    assert found.get_ifd(0x8825) == {1: "N", 2: (10.0, 30.0, 0.0)}
    assert found.get_ifd(0x8769) == {0x9003: "2024:01:01 11:59:59"}
    write_image(tmp_path / "out", IMAGE / 255, FORMATS[name])
    with Image.open(tmp_path / "out") as image:
        assert not image.getexif().get_ifd(0x8825)
