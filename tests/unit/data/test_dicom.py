import io
from pathlib import Path

import numpy as np
import pydicom
import pytest
from pydicom import Dataset, Sequence, uid
from pydicom.dataset import FileMetaDataset
from pydicom.encaps import encapsulate, generate_frames
from pydicom.pixels.processing import apply_modality_lut, apply_voi_lut

from medlora.data.dicom import count_frames, decode_dicom, has_preamble
from medlora.data.image import decode_image
from medlora.errors import UnreadableImageError

RAMP = np.arange(24, dtype=np.uint16).reshape(4, 6) * 100
READABLE = {
    "CT_small.dcm": (128, 128),
    "JPEG-LL.dcm": (1024, 256),
    "MR_small.dcm": (64, 64),
    "MR_small_RLE.dcm": (64, 64),
    "chest_cr_monochrome1_j2k.dcm": (1955, 1841),
    "chest_rsna_monochrome2_jpeg.dcm": (1024, 1024),
    "examples_rgb_color.dcm": (240, 320),
    "image_dfl.dcm": (512, 512),
    "mlut_18.dcm": (512, 512),
    "vlut_04.dcm": (512, 512),
}
BROKEN = {"no_meta.dcm", "MR_truncated.dcm"}


def make_dataset(values: np.ndarray, n_frames: int = 1, **elements: object) -> Dataset:
    """A data set around stored values of shape ([frame,] row, column[, sample])."""
    shape = values.shape[1:] if n_frames > 1 else values.shape
    dataset = Dataset()
    dataset.SOPClassUID = uid.SecondaryCaptureImageStorage
    dataset.SOPInstanceUID = "1.2.3.4"
    dataset.PatientName = "Hidden^Name"
    dataset.PatientID = "secret-17"
    dataset.Rows, dataset.Columns = shape[:2]
    dataset.SamplesPerPixel = shape[2] if len(shape) == 3 else 1
    dataset.PhotometricInterpretation = "RGB" if len(shape) == 3 else "MONOCHROME2"
    dataset.PlanarConfiguration = 0
    dataset.BitsAllocated = dataset.BitsStored = 8 * values.dtype.itemsize
    dataset.HighBit = dataset.BitsStored - 1
    dataset.PixelRepresentation = int(values.dtype.kind == "i")
    if n_frames > 1:
        dataset.NumberOfFrames = n_frames
    dataset.PixelData = values.tobytes()
    for keyword, value in elements.items():
        setattr(dataset, keyword, value)
    return dataset


def encode(dataset: Dataset, syntax: uid.UID = uid.ExplicitVRLittleEndian) -> bytes:
    dataset.file_meta = FileMetaDataset()
    dataset.file_meta.TransferSyntaxUID = syntax
    stream = io.BytesIO()
    dataset.save_as(stream, enforce_file_format=True)
    return stream.getvalue()


def strip_meta(dataset: Dataset, *, implicit: bool, little_endian: bool) -> bytes:
    stream = io.BytesIO()
    dataset.save_as(stream, implicit_vr=implicit, little_endian=little_endian)
    return stream.getvalue()


def show(dataset: Dataset, frame: int = 0) -> np.ndarray:
    """The grey levels of a grey frame; its three channels are alike."""
    decoded = decode_dicom(encode(dataset), "scan.dcm", frame)
    assert decoded.dtype == np.uint8
    assert (decoded == decoded[:, :, :1]).all()
    return decoded[:, :, 0]


def make_table(first: int, n_bits: int, entries: list[int]) -> Sequence:
    item = Dataset()
    item.add_new("LUTDescriptor", "SS" if first < 0 else "US", [len(entries), first, n_bits])
    item.add_new("LUTData", "US", entries)
    return Sequence([item])


def read_shared(shared_dir: Path, name: str) -> bytes:
    return (shared_dir / "data" / "dicom" / name).read_bytes()


def test_every_shared_file_is_accounted_for(shared_dir: Path) -> None:
    files = {path.name for path in (shared_dir / "data" / "dicom").glob("*.dcm")}
    assert files == READABLE.keys() | BROKEN


@pytest.mark.parametrize("name", sorted(READABLE))
def test_readable_files_have_their_size_and_use_the_range(shared_dir: Path, name: str) -> None:
    decoded = decode_image(read_shared(shared_dir, name), name)
    assert decoded.shape == (*READABLE[name], 3)
    assert decoded.max() > 240
    assert decoded.min() < 60


@pytest.mark.parametrize(
    "name", ["MR_small.dcm", "MR_small_RLE.dcm", "chest_cr_monochrome1_j2k.dcm", "vlut_04.dcm"]
)
def test_windows_and_tables_agree_with_pydicom(shared_dir: Path, name: str) -> None:
    content = read_shared(shared_dir, name)
    dataset = pydicom.dcmread(io.BytesIO(content))
    shown = apply_voi_lut(apply_modality_lut(dataset.pixel_array, dataset), dataset)
    if name == "vlut_04.dcm":
        low, high = 0, 2**16 - 1
    elif dataset.PixelRepresentation:
        low, high = -(2 ** (dataset.BitsStored - 1)), 2 ** (dataset.BitsStored - 1) - 1
    else:
        low, high = 0, 2**dataset.BitsStored - 1
    expected = (shown - low) / (high - low) * 255
    if dataset.PhotometricInterpretation == "MONOCHROME1":
        expected = 255 - expected
    decoded = decode_dicom(content, name)[:, :, 0]
    assert np.abs(decoded - expected).max() < 0.51


@pytest.mark.parametrize("name", ["CT_small.dcm", "mlut_18.dcm", "image_dfl.dcm", "JPEG-LL.dcm"])
def test_without_a_window_the_values_own_range_is_shown(shared_dir: Path, name: str) -> None:
    content = read_shared(shared_dir, name)
    dataset = pydicom.dcmread(io.BytesIO(content))
    values = apply_modality_lut(dataset.pixel_array, dataset).astype(float)
    expected = (values - values.min()) / (values.max() - values.min()) * 255
    assert np.abs(decode_dicom(content, name)[:, :, 0] - expected).max() < 0.51


def test_lungs_are_darker_than_the_heart(shared_dir: Path) -> None:
    for name in ("chest_cr_monochrome1_j2k.dcm", "chest_rsna_monochrome2_jpeg.dcm"):
        decoded = decode_dicom(read_shared(shared_dir, name), name)[:, :, 0]
        height, width = decoded.shape
        lung = decoded[int(height * 0.35), int(width * 0.3)]
        mediastinum = decoded[int(height * 0.35), int(width * 0.5)]
        assert int(lung) + 20 < int(mediastinum)


def test_lossless_compression_changes_nothing(shared_dir: Path) -> None:
    plain = decode_dicom(read_shared(shared_dir, "MR_small.dcm"), "plain")
    packed = decode_dicom(read_shared(shared_dir, "MR_small_RLE.dcm"), "packed")
    np.testing.assert_array_equal(plain, packed)


def test_colours_are_kept(shared_dir: Path) -> None:
    content = read_shared(shared_dir, "examples_rgb_color.dcm")
    stored = pydicom.dcmread(io.BytesIO(content)).pixel_array
    np.testing.assert_array_equal(decode_dicom(content, "us.dcm"), stored)
    assert (stored[..., 0] != stored[..., 2]).any()


def test_a_truncated_file_is_named(shared_dir: Path) -> None:
    content = read_shared(shared_dir, "MR_truncated.dcm")
    reason = (
        r"^ward/MR_truncated\.dcm: its pixel data .*less than expected \(8130 vs 8192 bytes\)\)$"
    )
    with pytest.raises(UnreadableImageError, match=reason):
        decode_image(content, "ward/MR_truncated.dcm")


def test_a_file_that_begins_in_the_middle_is_named(shared_dir: Path) -> None:
    # Its preamble, meta information and the first byte of its data set do not fit together:
    # one stray byte stands before the first element.
    content = read_shared(shared_dir, "no_meta.dcm")
    reason = r"^no_meta\.dcm: it is not DICOM: its file meta information is missing, and .*element"
    with pytest.raises(UnreadableImageError, match=reason):
        decode_image(content, "no_meta.dcm")
    assert decode_image(content[1:], "mended.dcm").shape == (128, 128, 3)


@pytest.mark.parametrize(
    "name", ["JPEG-LL.dcm", "MR_small_RLE.dcm", "chest_rsna_monochrome2_jpeg.dcm"]
)
@pytest.mark.parametrize("share", [0.1, 0.6, 0.97])
def test_truncated_compressed_data_are_named(shared_dir: Path, name: str, share: float) -> None:
    dataset = pydicom.dcmread(io.BytesIO(read_shared(shared_dir, name)))
    frame = next(generate_frames(dataset.PixelData, number_of_frames=1))
    dataset.PixelData = encapsulate([frame[: int(len(frame) * share)]])
    stream = io.BytesIO()
    dataset.save_as(stream)
    with pytest.raises(UnreadableImageError, match=r"^cut\.dcm: its pixel data \(.*cannot be"):
        decode_dicom(stream.getvalue(), "cut.dcm")


@pytest.mark.filterwarnings("ignore:End of file reached before delimiter:UserWarning")
def test_a_compressed_file_that_was_cut_off_is_named(shared_dir: Path) -> None:
    content = read_shared(shared_dir, "JPEG-LL.dcm")
    with pytest.raises(UnreadableImageError, match=r"^cut\.dcm: .*without pixel data: .*truncated"):
        decode_dicom(content[: len(content) // 2], "cut.dcm")


@pytest.mark.parametrize("photometric", ["MONOCHROME1", "MONOCHROME2"])
def test_polarity(photometric: str) -> None:
    grey = show(make_dataset(RAMP, PhotometricInterpretation=photometric))
    expected = np.rint(RAMP / 2300 * 255)
    if photometric == "MONOCHROME1":
        expected = 255 - expected
    np.testing.assert_array_equal(grey, expected)


def test_the_first_window_is_applied_to_rescaled_values() -> None:
    signed = RAMP.astype(np.int16) - 1000
    grey = show(
        make_dataset(
            signed,
            RescaleSlope=2,
            RescaleIntercept=100,
            WindowCenter=[0, 5000],
            WindowWidth=[1000, 7],
        )
    )
    shares = np.clip((signed * 2.0 + 100 + 0.5) / 999 + 0.5, 0, 1)
    np.testing.assert_array_equal(grey, np.rint(shares * 255))
    assert 0 < grey[1, 3] < 255


@pytest.mark.parametrize("width", [0, -5, None])
def test_a_window_without_width_is_no_window(width: int | None) -> None:
    grey = show(make_dataset(RAMP, WindowCenter=100, WindowWidth=width))
    np.testing.assert_array_equal(grey, np.rint(RAMP / 2300 * 255))


def test_window_function_that_is_not_known() -> None:
    dataset = make_dataset(RAMP, WindowCenter=5, WindowWidth=5, VOILUTFunction="WAVY")
    with pytest.raises(
        UnreadableImageError, match=r"scan\.dcm: .*VOI LUT function '...' is not known"
    ):
        show(dataset)


def test_a_voi_table_goes_before_the_window_and_clips_at_its_ends() -> None:
    stored = np.array([[-300, -2, -1, 0, 1, 2, 300]], dtype=np.int16)
    dataset = make_dataset(stored, WindowCenter=0, WindowWidth=1)
    dataset.VOILUTSequence = make_table(-2, 8, [0, 10, 30, 70, 255])
    assert show(dataset).tolist() == [[0, 0, 10, 30, 70, 255, 255]]


def test_a_table_that_uses_fewer_bits_than_it_declares_is_not_shown_dark() -> None:
    dataset = make_dataset(np.arange(4, dtype=np.uint8)[None])
    dataset.VOILUTSequence = make_table(0, 16, [0, 1000, 3000, 4095])
    assert show(dataset).tolist() == [[0, 62, 187, 255]]


def test_a_modality_table_goes_before_the_window() -> None:
    dataset = make_dataset(np.arange(4, dtype=np.uint8)[None], WindowCenter=20, WindowWidth=21)
    dataset.ModalityLUTSequence = make_table(1, 16, [30, 20, 10])
    dataset.ModalityLUTSequence[0].ModalityLUTType = "US"
    shares = np.clip((np.array([[30, 30, 20, 10]]) - 19.5) / 20 + 0.5, 0, 1)
    np.testing.assert_array_equal(show(dataset), np.rint(shares * 255))


@pytest.mark.parametrize("photometric", ["MONOCHROME1", "MONOCHROME2"])
def test_padding_is_black_and_does_not_count_for_the_range(photometric: str) -> None:
    stored = RAMP.astype(np.int16)
    stored[0, :2] = -2000
    dataset = make_dataset(stored, PhotometricInterpretation=photometric)
    dataset.add_new("PixelPaddingValue", "SS", -2000)
    shares = (stored - 200.0) / 2100
    expected = np.rint((shares if photometric == "MONOCHROME2" else 1 - shares) * 255)
    expected[0, :2] = 0
    assert np.abs(show(dataset) - expected).max() <= 1


def test_padding_may_be_a_range_and_may_be_everything() -> None:
    dataset = make_dataset(RAMP)
    dataset.add_new("PixelPaddingValue", "US", 2000)
    dataset.add_new("PixelPaddingRangeLimit", "US", 65535)
    grey = show(dataset)
    assert grey[RAMP >= 2000].max() == 0
    assert grey[RAMP == 1900].item() == 255
    dataset.PixelPaddingValue = 0
    assert show(dataset).max() == 0


def test_float_pixels() -> None:
    dataset = make_dataset(RAMP)
    del dataset.PixelData, dataset.BitsStored, dataset.HighBit, dataset.PixelRepresentation
    dataset.BitsAllocated = 32
    dataset.FloatPixelData = (RAMP / 7).astype(np.float32).tobytes()
    assert np.abs(show(dataset) - RAMP / 2300 * 255).max() < 0.51


def test_ybr_becomes_rgb() -> None:
    # Pure red in YBR_FULL by PS3.3 C.7.6.3.1.2.
    stored = np.full((4, 6, 3), (76, 85, 255), dtype=np.uint8)
    dataset = make_dataset(stored, PhotometricInterpretation="YBR_FULL")
    decoded = decode_dicom(encode(dataset), "us.dcm")
    assert np.abs(decoded.astype(int) - (255, 0, 0)).max() <= 2


@pytest.mark.parametrize(("n_bits", "full"), [(8, 255), (16, 65535)])
def test_palette_becomes_rgb(n_bits: int, full: int) -> None:
    dataset = make_dataset(np.array([[0, 1, 2]], dtype=np.uint8))
    dataset.PhotometricInterpretation = "PALETTE COLOR"
    dtype = np.uint8 if n_bits == 8 else np.uint16
    for colour, entries in (
        ("Red", [0, full, 0, 0]),
        ("Green", [0, 0, full, 0]),
        ("Blue", [0, 0, full // 2, 0]),
    ):
        name = f"{colour}PaletteColorLookupTable"
        dataset.add_new(f"{name}Descriptor", "US", [4, 0, n_bits])
        dataset.add_new(f"{name}Data", "OW", np.array(entries, dtype).tobytes())
    decoded = decode_dicom(encode(dataset), "map.dcm")
    assert decoded.tolist() == [[[0, 0, 0], [255, 0, 0], [0, 255, 127]]]


def test_deep_colour_is_stretched() -> None:
    stored = np.arange(72, dtype=np.uint16).reshape(4, 6, 3) * 50
    decoded = decode_dicom(encode(make_dataset(stored)), "a.dcm")
    np.testing.assert_array_equal(decoded, np.rint(stored / 3550 * 255))


@pytest.mark.parametrize("high_bit", [11, 13, 15])
@pytest.mark.parametrize("syntax", [uid.ExplicitVRLittleEndian, uid.RLELossless])
@pytest.mark.parametrize("is_signed", [False, True])
def test_bits_around_the_stored_ones_are_none_of_the_value(
    high_bit: int, syntax: uid.UID, is_signed: bool
) -> None:
    values = RAMP - 1000 * is_signed
    shift = high_bit - 11
    around = 2 ** (high_bit + 1) % 2**16 + 2**shift - 1
    stored = (((values & 0xFFF) << shift) + around).astype(np.uint16)
    dataset = make_dataset(
        stored,
        BitsStored=12,
        HighBit=high_bit,
        PixelRepresentation=int(is_signed),
        WindowCenter=1000 - 1000 * is_signed,
        WindowWidth=2001,
    )
    if syntax == uid.RLELossless:
        dataset.file_meta = FileMetaDataset()
        dataset.file_meta.TransferSyntaxUID = uid.ExplicitVRLittleEndian
        dataset.compress(syntax)
    decoded = decode_dicom(encode(dataset, syntax), "a.dcm")[:, :, 0]
    expected = np.rint(np.clip((RAMP + 0.5) / 2000, 0, 1) * 255)
    np.testing.assert_array_equal(decoded, expected)


def test_bits_below_the_stored_ones_are_refused_where_compression_hides_them() -> None:
    dataset = make_dataset(np.kron(RAMP, np.ones((16, 16), dtype=np.uint16)))
    dataset.file_meta = FileMetaDataset()
    dataset.file_meta.TransferSyntaxUID = uid.ExplicitVRLittleEndian
    dataset.compress(uid.JPEG2000Lossless)
    dataset.BitsStored = 12
    with pytest.raises(UnreadableImageError, match="highest bit 15 contradicts its 12 stored bits"):
        decode_dicom(encode(dataset, uid.JPEG2000Lossless), "a.dcm")


def test_frames_are_counted_and_decoded_one_by_one() -> None:
    stored = np.stack([RAMP, RAMP[::-1], RAMP.T.reshape(4, 6)]).astype(np.uint16)
    content = encode(make_dataset(stored, n_frames=3))
    assert count_frames(content) == 3
    for frame in range(3):
        decoded = decode_image(content, f"loop.dcm#frame={frame}")[:, :, 1]
        np.testing.assert_array_equal(decoded, np.rint(stored[frame] / 2300 * 255))
    np.testing.assert_array_equal(
        decode_image(content, "loop.dcm"), decode_image(content, "loop.dcm#frame=0")
    )
    with pytest.raises(UnreadableImageError, match=r"frame=3: frame 3 was .* frames 0 to 2$"):
        decode_image(content, "loop.dcm#frame=3")


@pytest.mark.parametrize("syntax", [uid.RLELossless, uid.JPEG2000Lossless])
def test_frames_of_compressed_files(syntax: uid.UID) -> None:
    # JPEG 2000 halves the image five times.
    large = np.kron(RAMP, np.ones((16, 16), dtype=np.uint16))
    stored = np.stack([large, large[::-1]])
    dataset = make_dataset(stored, n_frames=2)
    dataset.file_meta = FileMetaDataset()
    dataset.file_meta.TransferSyntaxUID = uid.ExplicitVRLittleEndian
    dataset.compress(syntax)
    content = encode(dataset, syntax)
    for frame in range(2):
        decoded = decode_dicom(content, "loop.dcm", frame)[:, :, 0]
        np.testing.assert_array_equal(decoded, np.rint(stored[frame] / 2300 * 255))


def test_frames_of_enhanced_files_have_windows_of_their_own() -> None:
    shared, first, second, window, rescale = (Dataset() for _ in range(5))
    rescale.RescaleSlope, rescale.RescaleIntercept = 1, -1000
    shared.PixelValueTransformationSequence = Sequence([rescale])
    window.WindowCenter, window.WindowWidth = -499.5, 1001
    first.FrameVOILUTSequence = Sequence([window])
    dataset = make_dataset(np.stack([RAMP, RAMP]), n_frames=2)
    dataset.SharedFunctionalGroupsSequence = Sequence([shared])
    dataset.PerFrameFunctionalGroupsSequence = Sequence([first, second])
    # The window runs from -1000 to 0, that is from the stored 0 to 1000.
    assert np.abs(show(dataset, 0) - np.clip(RAMP / 1000, 0, 1) * 255).max() < 0.51
    np.testing.assert_array_equal(show(dataset, 1), np.rint(RAMP / 2300 * 255))


@pytest.mark.parametrize(("n_frames", "expected"), [("", 1), (0, 1), (2, 2)])
def test_count_frames_of_odd_headers(n_frames: object, expected: int) -> None:
    assert count_frames(encode(make_dataset(RAMP, NumberOfFrames=n_frames))) == expected


def test_count_frames_of_what_is_not_dicom() -> None:
    with pytest.raises(UnreadableImageError, match=r"^a\.dcm: it is not DICOM"):
        count_frames(b"text " * 100, "a.dcm")


@pytest.mark.parametrize(
    ("implicit", "little_endian"), [(True, True), (False, True), (False, False)]
)
@pytest.mark.parametrize("location", ["scan.dcm", "IM0001", "scan.png"])
def test_missing_file_meta(location: str, *, implicit: bool, little_endian: bool) -> None:
    values = RAMP if little_endian else RAMP.astype(">u2")
    content = strip_meta(make_dataset(values), implicit=implicit, little_endian=little_endian)
    assert not has_preamble(content)
    decoded = decode_image(content, location)[:, :, 0]
    np.testing.assert_array_equal(decoded, np.rint(RAMP / 2300 * 255))


def test_missing_transfer_syntax() -> None:
    content = encode(make_dataset(RAMP))
    dataset = pydicom.dcmread(io.BytesIO(content))
    del dataset.file_meta.TransferSyntaxUID
    stream = io.BytesIO()
    stream.write(bytes(128) + b"DICM")
    dataset.save_as(body := io.BytesIO(), implicit_vr=False, little_endian=True)
    stream.write(body.getvalue().removeprefix(bytes(128) + b"DICM"))
    decoded = decode_dicom(stream.getvalue(), "scan.dcm")[:, :, 0]
    np.testing.assert_array_equal(decoded, np.rint(RAMP / 2300 * 255))


def test_missing_file_meta_of_a_compressed_file() -> None:
    dataset = make_dataset(RAMP)
    dataset.PixelData = encapsulate([b"\xff\xd8 some JPEG"])
    dataset["PixelData"].is_undefined_length = True
    content = strip_meta(dataset, implicit=False, little_endian=True)
    with pytest.raises(UnreadableImageError, match=r"^a\.dcm: .*its pixels are compressed"):
        decode_dicom(content, "a.dcm")


def test_a_preamble_may_look_like_another_format() -> None:
    content = b"II*\0" + encode(make_dataset(RAMP))[4:]
    assert decode_image(content, "a.tif").shape == (4, 6, 3)


def test_an_unsupported_syntax_is_named() -> None:
    dataset = make_dataset(RAMP)
    dataset.PixelData = encapsulate([b"film"])
    with pytest.raises(UnreadableImageError, match=r"^a\.dcm: .*MPEG2 .*not supported\. Convert"):
        decode_dicom(encode(dataset, uid.MPEG2MPML), "a.dcm")


@pytest.mark.parametrize(
    ("change", "reason"),
    [
        ({"Rows": 0}, "header lacks Rows"),
        ({"PhotometricInterpretation": ""}, "header lacks PhotometricInterpretation"),
        ({"Rows": 65535, "Columns": 65535}, "frames of 65535 x 65535 pixels are too large"),
        ({"Rows": 5}, "number of bytes of pixel data is less than expected"),
        ({"BitsAllocated": 13}, "cannot be decoded"),
        ({"NumberOfFrames": 7}, "less than expected"),
        ({"HighBit": 11}, "its highest bit 11 contradicts its 16 stored bits"),
        ({"HighBit": 16}, "cannot be decoded"),
    ],
    ids=str,
)
def test_a_contradictory_header_is_named(change: dict[str, object], reason: str) -> None:
    content = encode(make_dataset(RAMP, **change))
    with pytest.raises(UnreadableImageError, match=rf"^a\.dcm: .*{reason}") as caught:
        decode_dicom(content, "a.dcm")
    assert "\n" not in str(caught.value)


def test_a_file_without_an_image_is_named() -> None:
    dataset = make_dataset(RAMP)
    del dataset.PixelData
    with pytest.raises(UnreadableImageError, match=r"^sr\.dcm: it is DICOM without pixel data"):
        decode_dicom(encode(dataset), "sr.dcm")


def test_damaged_files_never_show_a_patient_or_crash() -> None:
    dataset = make_dataset(RAMP, WindowCenter=1000, WindowWidth=2000)
    dataset.RequestingPhysician = "Hidden^Physician"
    content = encode(dataset)
    rng = np.random.default_rng(0)
    n_unreadable = 0
    for _ in range(400):
        damaged = bytearray(content)
        for place in rng.integers(132, len(content) - 48, 3):
            damaged[place] = rng.integers(256)
        try:
            assert decode_dicom(bytes(damaged), "a.dcm").ndim == 3
        except UnreadableImageError as error:
            n_unreadable += 1
            assert "Hidden" not in str(error)
            assert "secret" not in str(error)
            assert "\n" not in str(error)
    assert 40 < n_unreadable < 400


@pytest.mark.parametrize("keyword", ["PhotometricInterpretation", "WindowCenter"])
def test_an_error_does_not_quote_what_an_element_has_swallowed(keyword: str) -> None:
    dataset = make_dataset(RAMP, WindowCenter=5, WindowWidth=5)
    dataset[keyword]._value = "ODD\nHidden^Name O'Brien"
    with pytest.raises(UnreadableImageError, match=r"^a\.dcm: its .*cannot be") as caught:
        decode_dicom(encode(dataset), "a.dcm")
    assert "Hidden" not in str(caught.value)
    assert "Brien" not in str(caught.value)
