"""Slices of DICOM and NIfTI, in the units and the window of their headers."""

import numpy as np
import pytest

from cddfuse_jax.errors import InputError
from cddfuse_jax.images import medical_files
from cddfuse_jax.images.image_files import read_photo, read_size
from cddfuse_jax.images.ranges import Values
from cddfuse_jax.pairs.find import Pair, find_pairs
from cddfuse_jax.pairs.read import as_picture, read_pair

nibabel, pydicom = pytest.importorskip("nibabel"), pytest.importorskip("pydicom")
STORED = np.array([[0, 24, 1024, 1064], [1104, 1124, 2024, 3000]], np.uint16)  # HU + 1024


@pytest.fixture
def file(tmp_path):
    return tmp_path / "ct.dcm"


def write_dicom(path, pixels, **fields):
    meta = pydicom.dataset.FileMetaDataset()
    meta.TransferSyntaxUID = pydicom.uid.ExplicitVRLittleEndian
    meta.MediaStorageSOPClassUID = "1.2.840.10008.5.1.4.1.1.2"
    meta.MediaStorageSOPInstanceUID = "1.2.3"
    data = pydicom.Dataset()
    data.file_meta = meta
    data.SOPClassUID, data.SOPInstanceUID = meta.MediaStorageSOPClassUID, "1.2.3"
    colour = pixels.shape[-1] == 3
    data.Rows, data.Columns = pixels.shape[-3:-1] if colour else pixels.shape[-2:]
    data.SamplesPerPixel = 3 if colour else 1
    data.PhotometricInterpretation = "RGB" if colour else "MONOCHROME2"
    data.BitsAllocated = data.BitsStored = 8 * pixels.dtype.itemsize
    data.HighBit = data.BitsStored - 1
    data.PixelRepresentation = int(pixels.dtype.kind == "i")
    if colour:
        data.PlanarConfiguration = 0
    elif pixels.ndim == 3:
        data.NumberOfFrames = len(pixels)
    data.PixelData = pixels.tobytes()
    for name, value in fields.items():
        setattr(data, name, value)
    data.save_as(path, enforce_file_format=True)


def test_a_window_of_hounsfield_units(file):
    hounsfield = {"RescaleSlope": 1, "RescaleIntercept": -1024}
    write_dicom(file, STORED, **hounsfield, WindowCenter=40, WindowWidth=80)
    assert read_photo(file).pixels.tolist() == (STORED.astype(int) - 1024).tolist()
    assert read_size(file) == (2, 4)
    photo = as_picture(file)
    assert photo.limits == (0, 79)  # DICOM's linear window: centre - 0.5 -+ (width - 1) / 2
    expected = np.clip((STORED.astype(float) - 1024) / 79, 0, 1)
    np.testing.assert_allclose(photo.pixels, expected, atol=1e-6)
    assert photo.notes[0] == "window of its header"
    bone = as_picture(file, Values(-1000, 1000, always=True))
    np.testing.assert_allclose(bone.pixels, np.clip((STORED - 24.0) / 2000, 0, 1), atol=1e-6)
    write_dicom(file, STORED, **hounsfield, WindowCenter=[40, 400], WindowWidth=[80, 2000],
                VOILUTFunction="LINEAR_EXACT")  # fmt: skip
    assert as_picture(file).limits == (0, 80)
    write_dicom(file, STORED, **hounsfield)
    assert as_picture(file).limits == pytest.approx(
        tuple(np.percentile(STORED - 1024.0, (0.1, 99.9)))
    )


def test_monochrome1_is_inverted_and_padding_left_out(file):
    write_dicom(file, STORED, PhotometricInterpretation="MONOCHROME1", WindowCenter=1064.5,
                WindowWidth=81)  # fmt: skip
    photo = as_picture(file)
    expected = 1 - np.clip((STORED - 1024.0) / 80, 0, 1)
    np.testing.assert_allclose(photo.pixels, expected, atol=1e-6)
    assert "MONOCHROME1: inverted" in photo.notes
    write_dicom(file, STORED.astype(np.int16), PixelPaddingValue=0)
    assert np.isnan(read_photo(file).pixels).tolist() == (STORED == 0).tolist()


def test_empty_fields_and_a_range_of_padding(file):
    write_dicom(file, STORED, RescaleSlope=None, RescaleIntercept=None)
    assert read_photo(file).pixels.tolist() == STORED.tolist()
    write_dicom(file, STORED, PixelPaddingValue=24, PixelPaddingRangeLimit=0)
    assert np.isnan(read_photo(file).pixels).tolist() == (STORED <= 24).tolist()
    file.write_bytes(file.read_bytes()[132:])
    with pytest.raises(InputError, match=r"ct\.dcm: not an image .* DICOM begins with a preamble"):
        read_photo(file)


@pytest.mark.parametrize("groups", ["Shared", "PerFrame"])
def test_enhanced_files_have_units_and_window_in_groups(file, groups):
    frames = []
    for intercept in (-1024, -1000):
        units, window, group = pydicom.Dataset(), pydicom.Dataset(), pydicom.Dataset()
        units.RescaleSlope, units.RescaleIntercept, units.RescaleType = 2, intercept, "HU"
        window.WindowCenter, window.WindowWidth = 40, 81
        group.PixelValueTransformationSequence, group.FrameVOILUTSequence = [units], [window]
        frames.append(group)
    of_all = frames[1:] if groups == "Shared" else frames
    write_dicom(file, np.stack([STORED, STORED]), **{f"{groups}FunctionalGroupsSequence": of_all})
    photo = read_photo(file, 1)
    assert photo.pixels.tolist() == (2 * STORED.astype(int) - 1000).tolist()
    assert photo.limits == (-0.5, 79.5)


def test_frames_are_chosen_and_colour_is_rgb(file):
    write_dicom(file, np.stack([STORED, STORED + 1, STORED + 2]))
    with pytest.raises(InputError, match=r"ct\.dcm: has 3 slices; choose one: --slice 0 to 2$"):
        read_photo(file)
    with pytest.raises(InputError, match="--slice 0 to 2, got 3"):
        read_photo(file, 3)
    assert read_photo(file, 2).pixels.tolist() == (STORED + 2).tolist()
    assert read_size(file, 2) == (2, 4)
    colours = np.arange(24, dtype=np.uint8).reshape(2, 4, 3)
    write_dicom(file, colours)
    assert read_photo(file).pixels.tolist() == colours.tolist()
    write_dicom(file, STORED, PhotometricInterpretation="PALETTE COLOR")
    with pytest.raises(InputError, match=r"broken image file .No suitable Palette"):
        read_photo(file)


def test_without_the_extra_it_is_named(file, monkeypatch):
    def fail(*_):
        raise ImportError("No module named 'pydicom'", name="pydicom")

    write_dicom(file, STORED)
    monkeypatch.setattr(medical_files, "_dicom", fail)
    with pytest.raises(InputError, match=r"ct\.dcm: its kind needs pydicom: pip install .*medical"):
        read_photo(file)


def test_what_is_broken_is_one_line(file, tmp_path):
    write_dicom(file, STORED)
    file.write_bytes(file.read_bytes()[:-3])
    (tmp_path / "a.nii").write_bytes(b"no volume")
    for path in (file, tmp_path / "a.nii"):
        with pytest.raises(InputError, match=r"broken image file") as caught:
            read_photo(path)
        assert str(caught.value).isprintable()


@pytest.mark.parametrize(
    "place, row, spacing, apart",
    [
        ([0, 0, 40], [1, 0, 0], [1, 1], 40),
        ([0, 0, 0], [1, 0, 0], [0.5, 0.5], None),
        ([0, 0, 0], [0, 1, 0], [1, 1], None),
        ([0, 0, 0.3], [1, 0, 0], [1, 1], 0),
    ],
)
def test_slices_that_lie_apart_are_refused(tmp_path, place, row, spacing, apart):
    def write(name, place, row, spacing):
        column = [0, 1, 0] if row[0] else [-1, 0, 0]
        write_dicom(tmp_path / name, STORED, ImagePositionPatient=place, PixelSpacing=spacing,
                    ImageOrientationPatient=[*row, *column])  # fmt: skip
        return tmp_path / name

    mri = write("IM0001", [0, 0, 0], [1, 0, 0], [1, 1])
    pair = Pair("a", mri, write("IM0001.IMA", place, row, spacing))
    if apart == 0:
        assert read_pair(pair).visible.place.corners[2].tolist() == [-0.5, 1.5, 0]
    else:
        with pytest.raises(InputError, match=rf"a: the slices lie up to {apart or ''}.* mm apart"):
            read_pair(pair)


def test_slices_of_two_frames_of_reference_must_be_registered(tmp_path):
    for frame, way in (("1.2.1", "make NIfTI of both"), ("1.2.2", "register one scan to the oth")):
        for name, height, of in (("mr.dcm", 0, "1.2.1"), ("ct.dcm", 9, frame)):
            write_dicom(tmp_path / name, STORED, ImagePositionPatient=[0, 0, height],
                        ImageOrientationPatient=[1, 0, 0, 0, 1, 0], PixelSpacing=[1, 1],
                        FrameOfReferenceUID=of)  # fmt: skip
        with pytest.raises(InputError, match=rf"lie up to 9\.0 mm apart .*{way}"):
            read_pair(Pair("a", tmp_path / "mr.dcm", tmp_path / "ct.dcm"))


def test_values_in_upper_bits_are_refused(file):
    write_dicom(file, STORED << 4, BitsStored=12, HighBit=15)
    with pytest.raises(InputError, match="these end at bit 15; export it anew"):
        read_photo(file)


def test_dicom_without_ending_is_found_by_its_content(tmp_path):
    for side, names in (("MR", ["IM1", "1.2.40"]), ("CT", ["IM1", "1.2.40", "README"])):
        (tmp_path / side).mkdir()
        for name in names:
            write_dicom(tmp_path / side / name, STORED)
    (tmp_path / "CT" / "README").write_text("no image")
    found = find_pairs(tmp_path / "MR", tmp_path / "CT")
    assert [pair.name for pair in found.pairs] == ["1.2.40", "IM1"]
    assert "skipped 1 nameless file;" in found.notes[0]


def test_tables_and_palettes_are_applied(file):
    def table(first, bits, values):
        made = pydicom.Dataset()
        made.LUTDescriptor, made.LUTData = [len(values), first, bits], values
        made["LUTData"].VR = "US"
        return made

    stored = np.array([[0, 1, 2, 3]], np.uint16)
    write_dicom(file, stored, ModalityLUTSequence=[table(0, 16, [5, 50, 500, 5000])])
    assert read_photo(file).pixels.tolist() == [[5, 50, 500, 5000]]
    write_dicom(file, stored, VOILUTSequence=[table(0, 8, [0, 10, 200, 255])])
    photo = as_picture(file)
    np.testing.assert_allclose(photo.pixels * 255, [[0, 10, 200, 255]], atol=1e-3)
    palette = {}
    for colour, values in (("Red", [0, 255, 0, 9]), ("Green", [0, 0, 255, 9]), ("Blue", [7] * 4)):
        palette[f"{colour}PaletteColorLookupTableDescriptor"] = [4, 0, 16]
        palette[f"{colour}PaletteColorLookupTableData"] = (np.uint16(values) * 257).tobytes()
    write_dicom(file, stored.astype(np.uint8), PhotometricInterpretation="PALETTE COLOR", **palette)
    assert read_photo(file).pixels[0].tolist() == [[0, 0, 7], [255, 0, 7], [0, 255, 7], [9, 9, 7]]


def test_ct_of_the_whole_range_asks_for_its_window(file):
    write_dicom(file, STORED, RescaleSlope=1, RescaleIntercept=-1024)
    (warning,) = as_picture(file).warnings
    assert "its whole range is taken, -1023.83 to" in warning and "--range-ir 0:80" in warning
    assert as_picture(file, Values(0, 80, always=True)).warnings == ()
