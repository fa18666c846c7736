"""`medlora features` on images."""

from PIL import Image

from run_samples import run_command, write_images

FAST = ("--backbone", "test_vit", "--weights", "random", "--precision", "fp32")


def test_a_picture_of_features(monkeypatch, own_cache, tmp_path, capsys) -> None:
    data, out = write_images(tmp_path / "data"), tmp_path / "map.png"
    assert run_command(monkeypatch, "features", data, *FAST, "-o", out) == 0
    assert "28 images with 64 features each" in capsys.readouterr().out
    with Image.open(out) as image:
        assert image.width > 800
    first = out.read_bytes()
    assert run_command(monkeypatch, "features", data, *FAST, "-o", out) == 0
    assert out.read_bytes() == first
    assert run_command(monkeypatch, "features", data, *FAST, "-o", tmp_path / "map.gif") == 2
    assert run_command(monkeypatch, "features", data, *FAST, "--method", "tsne") == 2
    assert "--method must be pca or umap" in capsys.readouterr().err
