import io
import struct
import zlib
from concurrent.futures import ThreadPoolExecutor

import numpy as np
import pytest
import tifffile
import torch
from PIL import Image

from medlora.data.image import decode_image, normalise_batch, prepare_image
from medlora.data.stretch import stretch_to_uint8
from medlora.errors import UnreadableImageError
from medlora.preprocessing import Contrast, CropMode, Preprocessing

# 4 rows and 6 columns whose three channels, rows and columns all differ.
COLOUR = np.arange(72, dtype=np.uint8).reshape(4, 6, 3) * 3
RAMP = np.linspace(1000, 30000, 24).reshape(4, 6)
STRETCHED = np.rint((RAMP.astype(int) - 1000) / 29000 * 255)
DEEP = np.stack([RAMP, RAMP[::-1], RAMP / 2], axis=2).astype(np.uint16)
DEEP_STRETCHED = np.rint((DEEP - 500.0) / 29500 * 255)


def encode(image: Image.Image, fmt: str, **options: object) -> bytes:
    stream = io.BytesIO()
    image.save(stream, fmt, **options)
    return stream.getvalue()


def encode_npy(values: np.ndarray) -> bytes:
    stream = io.BytesIO()
    np.save(stream, values)
    return stream.getvalue()


def encode_tiff(values: np.ndarray, **options: object) -> bytes:
    stream = io.BytesIO()
    tifffile.imwrite(stream, values, **options)  # type: ignore[arg-type]
    return stream.getvalue()


def encode_png16(values: np.ndarray, colour_type: int, extra: bytes = b"") -> bytes:
    """A PNG of 16 bits with several channels, which Pillow cannot write."""
    height, width = values.shape[:2]
    rows = b"".join(b"\0" + row.astype(">u2").tobytes() for row in values)
    header = struct.pack(">IIBBBBB", width, height, 16, colour_type, 0, 0, 0)
    chunks = png_chunk(b"IHDR", header) + extra + png_chunk(b"IDAT", zlib.compress(rows))
    return b"\x89PNG\r\n\x1a\n" + chunks + png_chunk(b"IEND", b"")


def png_chunk(name: bytes, content: bytes) -> bytes:
    return (
        struct.pack(">I", len(content))
        + name
        + content
        + struct.pack(">I", zlib.crc32(name + content))
    )


@pytest.mark.parametrize("fmt", ["PNG", "TIFF", "BMP", "WEBP"])
def test_lossless_colour_is_exact(fmt: str) -> None:
    options = {"lossless": True} if fmt == "WEBP" else {}
    # The name says nothing: the content does.
    decoded = decode_image(encode(Image.fromarray(COLOUR), fmt, **options), "scan.jpg")
    np.testing.assert_array_equal(decoded, COLOUR)
    assert decoded.dtype == np.uint8


def test_jpeg_is_close() -> None:
    smooth = np.repeat(np.arange(0, 240, 5, dtype=np.uint8)[:, None], 40, axis=1)
    content = encode(Image.fromarray(smooth), "JPEG", quality=95)
    decoded = decode_image(content, "scan")
    assert decoded.shape == (48, 40, 3)
    assert np.abs(decoded.astype(int) - smooth[:, :, None]).max() <= 4


@pytest.mark.parametrize("compression", [None, "tiff_lzw", "tiff_adobe_deflate", "packbits"])
def test_tiff_compressions(compression: str | None) -> None:
    content = encode(Image.fromarray(COLOUR), "TIFF", compression=compression)
    np.testing.assert_array_equal(decode_image(content, "scan.tif"), COLOUR)


def test_grey_becomes_three_equal_channels() -> None:
    decoded = decode_image(encode(Image.fromarray(COLOUR[..., 0]), "PNG"), "scan.png")
    np.testing.assert_array_equal(decoded, np.repeat(COLOUR[..., :1], 3, axis=2))


@pytest.mark.parametrize("fmt", ["PNG", "TIFF", "BMP"])
def test_one_bit_is_black_and_white(fmt: str) -> None:
    decoded = decode_image(encode(Image.fromarray(RAMP > 9000), fmt), "mask")
    np.testing.assert_array_equal(decoded[..., 0], (RAMP > 9000) * 255)


@pytest.mark.parametrize(
    "content",
    [
        encode(Image.fromarray(RAMP.astype(np.uint16)), "PNG"),
        encode(Image.fromarray(RAMP.astype(np.uint16)), "TIFF"),
        encode(Image.fromarray(RAMP.astype(int).astype(np.float32)), "TIFF"),
        encode_tiff(RAMP.astype(np.int16)),
        encode_tiff(RAMP.astype(np.uint32)),
        encode_tiff(RAMP.astype(int).astype(np.float64)),
        encode_tiff(RAMP.astype(np.uint16), bigtiff=True),
        encode_tiff(RAMP.astype(np.uint16), byteorder=">"),
        encode_png16(np.stack([RAMP, np.full_like(RAMP, 65535)], axis=2), colour_type=4),
        encode_npy(RAMP.astype(np.uint16)),
        encode_npy(RAMP.astype(int)[:, :, None].astype(np.float64)),
    ],
    ids=range(11),
)
def test_deep_grey_is_stretched(content: bytes) -> None:
    np.testing.assert_array_equal(decode_image(content, "scan")[..., 1], STRETCHED)


@pytest.mark.parametrize("dtype", [np.uint16, np.int16, np.uint32])
def test_deep_grey_in_which_zero_is_white(dtype: type) -> None:
    content = encode_tiff(RAMP.astype(dtype), photometric="miniswhite")
    decoded = decode_image(content, "scan.tif")[..., 0]
    assert np.abs(decoded - (255 - STRETCHED)).max() <= 1
    assert decoded[0, 0] == 255


@pytest.mark.parametrize(
    "content",
    [
        encode_png16(DEEP, colour_type=2),
        encode_png16(np.dstack([DEEP, np.full_like(DEEP[..., 0], 65535)]), colour_type=6),
        encode_tiff(DEEP, photometric="rgb"),
        encode_tiff(DEEP.transpose(2, 0, 1), photometric="rgb", planarconfig="separate"),
        encode_tiff(DEEP.astype(np.float32), photometric="rgb", compression="zlib"),
        encode_npy(DEEP),
    ],
    ids=["png", "png-alpha", "tiff", "tiff-planes", "tiff-float", "npy"],
)
def test_deep_colour_is_stretched_alike_in_all_channels(content: bytes) -> None:
    np.testing.assert_array_equal(decode_image(content, "scan"), DEEP_STRETCHED)


@pytest.mark.parametrize("byteorder", ["<", ">"])
@pytest.mark.parametrize("dtype", [np.int8, np.uint32, np.int32, np.uint64])
def test_the_whole_range_of_a_tiff_is_kept_in_order(dtype: type, byteorder: str) -> None:
    low, high = np.iinfo(dtype).min, np.iinfo(dtype).max
    quarter = (int(high) - int(low)) // 4
    values = np.array([[low + step * quarter for step in range(5)]], dtype=dtype)
    content = encode_tiff(values, byteorder=byteorder)
    np.testing.assert_array_equal(decode_image(content, "a.tif")[0, :, 0], [0, 64, 128, 191, 255])
    turned = encode_tiff(values, byteorder=byteorder, extratags=[(274, "H", 1, 6, True)])
    np.testing.assert_array_equal(decode_image(turned, "a.tif")[:, 0, 0], [0, 64, 128, 191, 255])


@pytest.mark.parametrize("kind", ["unspecified", "assocalpha"])
def test_a_fourth_channel_that_is_no_opacity_leaves_the_colours(kind: str) -> None:
    values = np.dstack([DEEP, np.zeros_like(DEEP[..., 0])])
    content = encode_tiff(values, photometric="rgb", extrasamples=[kind])
    np.testing.assert_array_equal(decode_image(content, "a.tif"), DEEP_STRETCHED)


@pytest.mark.parametrize("dtype", [np.uint16, np.float32])
def test_deep_tiff_is_laid_over_black(dtype: type) -> None:
    full = 1 if dtype is np.float32 else 65535
    values = np.full((2, 3, 4), full, dtype=dtype)
    values[0, :, 3] = 0
    content = encode_tiff(values, photometric="rgb", extrasamples=["unassalpha"])
    assert decode_image(content, "a.tif")[:, 0].tolist() == [[0] * 3, [255] * 3]
    grey = encode_tiff(
        values[..., 2:], photometric="minisblack", planarconfig="contig", extrasamples=[2]
    )
    assert decode_image(grey, "a.tif")[:, 0].tolist() == [[0] * 3, [255] * 3]


@pytest.mark.parametrize(
    ("options", "reason"),
    [
        ({"photometric": "separated"}, "a TIFF page of uint16 SEPARATED is not grey or RGB"),
        ({"photometric": "minisblack", "planarconfig": "contig"}, r"shape \(3, 4, 4\) is not an"),
    ],
)
def test_deep_tiff_of_other_colours_is_refused(options: dict[str, object], reason: str) -> None:
    content = encode_tiff(np.ones((3, 4, 4), dtype=np.uint16), **options)
    with pytest.raises(UnreadableImageError, match=reason):
        decode_image(content, "a.tif")


def test_npy_of_bytes_is_exact_and_of_truth_black_and_white() -> None:
    np.testing.assert_array_equal(decode_image(encode_npy(COLOUR), "a.npy"), COLOUR)
    decoded = decode_image(encode_npy(RAMP > 9000), "a.npy")
    np.testing.assert_array_equal(decoded[..., 2], (RAMP > 9000) * 255)


def test_transparency_is_laid_over_black() -> None:
    half = Image.new("RGBA", (3, 2), (200, 100, 50, 128))
    assert decode_image(encode(half, "PNG"), "a")[0, 0].tolist() == [100, 50, 25]
    grey = Image.new("LA", (3, 2), (200, 0))
    assert decode_image(encode(grey, "PNG"), "a")[0, 0].tolist() == [0, 0, 0]
    palette = Image.new("P", (3, 2), 1)
    palette.putpalette([1, 2, 3, 10, 200, 30])
    assert decode_image(encode(palette, "PNG"), "a")[0, 0].tolist() == [10, 200, 30]
    clear = encode(palette, "PNG", transparency=1)
    assert decode_image(clear, "a")[0, 0].tolist() == [0, 0, 0]
    deep = encode_png16(np.dstack([DEEP, np.full_like(DEEP[..., 0], 0)]), colour_type=6)
    assert decode_image(deep, "a").max() == 0


def test_cmyk_becomes_rgb() -> None:
    red = encode(Image.new("CMYK", (8, 8), (0, 255, 255, 0)), "JPEG")
    assert np.abs(decode_image(red, "a").astype(int) - [255, 0, 0]).max() <= 3


@pytest.mark.parametrize("orientation", range(1, 9))
def test_exif_orientation_is_undone(orientation: int) -> None:
    # What a camera that was held so would have stored: the inverse of each turn.
    turn = {
        2: Image.Transpose.FLIP_LEFT_RIGHT,
        3: Image.Transpose.ROTATE_180,
        4: Image.Transpose.FLIP_TOP_BOTTOM,
        5: Image.Transpose.TRANSPOSE,
        6: Image.Transpose.ROTATE_90,
        7: Image.Transpose.TRANSVERSE,
        8: Image.Transpose.ROTATE_270,
    }
    stored = Image.fromarray(COLOUR)
    if orientation in turn:
        stored = stored.transpose(turn[orientation])
    exif = Image.Exif()
    exif[0x0112] = orientation
    content = encode(stored, "PNG", exif=exif)
    np.testing.assert_array_equal(decode_image(content, "a.png"), COLOUR)
    deep = np.asarray(stored).astype(np.uint16) * 257
    chunk = png_chunk(b"eXIf", exif.tobytes().removeprefix(b"Exif\0\0"))
    content = encode_png16(deep, 2, extra=chunk)
    np.testing.assert_array_equal(decode_image(content, "a.png"), stretch_to_uint8(COLOUR))


def test_a_page_is_chosen_by_its_frame() -> None:
    pages = [Image.new("L", (4, 4), value) for value in (10, 20, 30)]
    content = encode(pages[0], "TIFF", save_all=True, append_images=pages[1:])
    assert decode_image(content, "a.tif").max() == 10
    assert decode_image(content, "a.tif#frame=2").max() == 30
    with pytest.raises(UnreadableImageError, match=r"#frame=3: .*no such frame"):
        decode_image(content, "a.tif#frame=3")


NOISE = np.random.default_rng(0).integers(0, 256, (64, 64, 3)).astype(np.uint8)


@pytest.mark.parametrize(
    "content",
    [
        encode(Image.fromarray(NOISE), "PNG"),
        encode(Image.fromarray(NOISE), "JPEG"),
        encode(Image.fromarray(NOISE), "TIFF"),
        encode(Image.fromarray(NOISE), "TIFF", compression="tiff_lzw"),
        encode(Image.fromarray(NOISE), "BMP"),
        encode(Image.fromarray(NOISE), "WEBP"),
        encode_png16(NOISE.astype(np.uint16) * 257, 2),
        encode_tiff(NOISE.astype(np.uint16), photometric="rgb"),
        encode_tiff(NOISE[..., 0].astype(np.float64)),
        encode_npy(NOISE),
    ],
    ids=["png", "jpeg", "tiff", "lzw", "bmp", "webp", "png16", "tiff16", "tiff-f8", "npy"],
)
@pytest.mark.parametrize("share", [0.02, 0.5, 0.9])
@pytest.mark.filterwarnings("ignore:Truncated File Read:UserWarning")
def test_a_truncated_file_is_named(content: bytes, share: float) -> None:
    assert decode_image(content, "whole").shape == (64, 64, 3)
    with pytest.raises(UnreadableImageError, match=r"^ward-3/scan\.x: ") as caught:
        decode_image(content[: int(len(content) * share)], "ward-3/scan.x")
    assert caught.value.location == "ward-3/scan.x"
    assert len(caught.value.reason) > 10


@pytest.mark.parametrize(
    ("content", "location", "reason"),
    [
        (b"", "a.png", "it is no PNG, JPEG"),
        (b"%PDF-1.4 a report", "a.png", "it is no PNG, JPEG"),
        (b"just some text that is long enough" * 9, "IM0001", "it is no PNG, JPEG"),
        (b"just some text that is long enough" * 9, "a.dcm", "it is not DICOM"),
        (encode(Image.new("L", (3, 3)), "GIF"), "a.gif", "it is no PNG, JPEG"),
        (encode_npy(np.zeros((0, 5))), "a.npy", "no pixel value is a finite number"),
        (encode_npy(np.zeros((0, 5), np.uint8)), "a.npy", "has no pixels"),
        (encode_npy(np.zeros((4, 5, 2))), "a.npy", r"shape \(4, 5, 2\) is not an image"),
        (encode_npy(np.zeros(7)), "a.npy", r"shape \(7,\) is not an image"),
        (encode_npy(np.full((4, 5), np.nan)), "a.npy", "no pixel value is a finite number"),
        (encode_npy(np.zeros((4, 5), complex)), "a.npy", "complex128 are not real numbers"),
        (encode_npy(np.zeros((4, 5), object)), "a.npy", "allow_pickle=False"),
    ],
    ids=range(12),
)
def test_what_is_no_image_is_named(content: bytes, location: str, reason: str) -> None:
    with pytest.raises(UnreadableImageError, match=f"^{location}: .*{reason}"):
        decode_image(content, location)


def test_a_decompression_bomb_is_refused() -> None:
    header = struct.pack(">IIBBBBB", 60_000, 60_000, 8, 0, 0, 0, 0)
    bomb = b"\x89PNG\r\n\x1a\n" + png_chunk(b"IHDR", header) + png_chunk(b"IDAT", b"x")
    with pytest.raises(UnreadableImageError, match=r"^bomb\.png: it is too large"):
        decode_image(bomb, "bomb.png")
    tiff = bytearray(encode_tiff(np.zeros((4, 6))))
    for tag in (256, 257):
        place = tiff.index(struct.pack("<H", tag), 8)
        tiff[place + 8 : place + 12] = struct.pack("<I", 60_000)
    with pytest.raises(UnreadableImageError, match=r"^bomb\.tif: it is too large"):
        decode_image(bytes(tiff), "bomb.tif")


def test_threads_decode_alike() -> None:
    content = encode(Image.fromarray(NOISE), "WEBP", lossless=True)
    with ThreadPoolExecutor(8) as pool:
        decoded = list(pool.map(lambda _: decode_image(content, "a"), range(32)))
    assert all((image == NOISE).all() for image in decoded)


def test_prepare_fills_the_border_with_the_mean_colour() -> None:
    wide = np.full((10, 40, 3), 200, dtype=np.uint8)
    squares = {
        mode: prepare_image(
            wide, Preprocessing((20, 20), (0.5, 0.25, 1.0), (0.5,) * 3, crop_mode=mode)
        )
        for mode in ("center", "squash", "border")
    }
    assert squares["border"][:, 0, 0].tolist() == [128, 64, 255]
    assert squares["border"][:, 10, 10].tolist() == [200, 200, 200]
    assert (squares["center"] == 200).all()
    assert (squares["squash"] == 200).all()


@pytest.mark.parametrize("mode", ["center", "squash", "border"])
def test_prepare_survives_a_line_of_pixels(mode: CropMode) -> None:
    preprocessing = Preprocessing((8, 8), (0.5,) * 3, (0.5,) * 3, crop_mode=mode)
    for shape in ((1, 300), (300, 1), (1, 1)):
        assert prepare_image(np.full((*shape, 3), 9, np.uint8), preprocessing).shape == (3, 8, 8)


@pytest.mark.parametrize("contrast", ["equalize", "clahe"])
def test_prepare_enhances_contrast_before_resizing(contrast: Contrast) -> None:
    plain = Preprocessing((16, 16), (0.5,) * 3, (0.5,) * 3)
    enhanced = Preprocessing((16, 16), (0.5,) * 3, (0.5,) * 3, contrast=contrast)
    dull = (NOISE // 8 + 100).astype(np.uint8)
    assert prepare_image(dull, enhanced).std() > 2 * prepare_image(dull, plain).std()


def test_prepare_gives_an_array_of_its_own() -> None:
    preprocessing = Preprocessing((64, 64), (0.5,) * 3, (0.5,) * 3)
    before = NOISE.copy()
    prepared = prepare_image(NOISE, preprocessing)
    np.testing.assert_array_equal(prepared, NOISE.transpose(2, 0, 1))
    prepared[:] = 0
    np.testing.assert_array_equal(NOISE, before)


def test_normalise_agrees_with_the_formula_and_keeps_its_input() -> None:
    preprocessing = Preprocessing((64, 64), (0.5, 0.4, 0.3), (0.2, 0.25, 1.0))
    images = torch.from_numpy(NOISE.transpose(2, 0, 1).copy())[None]
    mean, std = np.array(preprocessing.mean), np.array(preprocessing.std)
    expected = (NOISE / 255 - mean) / std
    result = normalise_batch(images, preprocessing)
    assert result.dtype == torch.float32
    assert np.abs(result[0].numpy().transpose(1, 2, 0) - expected).max() < 1e-6
    shares = images.to(torch.float32) / 255
    before = shares.clone()
    torch.testing.assert_close(normalise_batch(shares, preprocessing), result, rtol=0, atol=0)
    torch.testing.assert_close(shares, before, rtol=0, atol=0)
    half = normalise_batch(images, preprocessing, torch.bfloat16)
    torch.testing.assert_close(half, result.to(torch.bfloat16), rtol=0, atol=0)
