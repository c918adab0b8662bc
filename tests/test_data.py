"""Data sets: the fixed split, the pinned files, augmentation, and every file format a loader reads."""

import csv
import gzip
import hashlib
import shutil

import numpy as np
import pytest
import torch
from PIL import Image

from survey_lib.experiment.data import loaders as data
from survey_lib.experiment.data import sources


@pytest.fixture
def empty(tmp_path, monkeypatch):
    monkeypatch.setenv("SURVEY_DATA", str(tmp_path))
    monkeypatch.setattr(sources, "DEBIAN_FASHION", tmp_path / "nowhere")
    monkeypatch.setattr(sources, "REPOSITORY", tmp_path / "nowhere")
    return tmp_path


@pytest.mark.parametrize(
    "name, shape, counts, first, last",
    [
        ("eurosat32-mini", (3, 32, 32), (2500, 500, 1000), "AnnualCrop", "SeaLake"),
        ("fashion-mini", (1, 28, 28), (1600, 400, 1000), "T-shirt/top", "Ankle boot"),
    ],
)
def test_data_of_the_repository_are_split_evenly_by_class_and_normalised(name, shape, counts, first, last):
    loaded = data.load(name)
    for (x, y), count in zip((loaded.train, loaded.validation, loaded.test), counts, strict=True):
        assert x.shape == (count, *shape) and y.bincount().tolist() == [count // 10] * 10
    assert torch.allclose(loaded.train[0].mean((0, 2, 3)), torch.zeros(shape[0]), atol=0.02)
    assert torch.allclose(loaded.train[0].std((0, 2, 3)), torch.ones(shape[0]), atol=0.02)
    assert (loaded.classes[0], loaded.classes[-1]) == (first, last)


def test_data_of_the_repository_are_found_where_survey_data_names_another_folder(tmp_path, monkeypatch):
    monkeypatch.setenv("SURVEY_DATA", str(tmp_path))
    assert len(data.load("fashion-mini").test[1]) == 1000


def test_the_three_parts_share_no_image_and_are_the_same_each_time():
    first, second = data.load("digits"), data.load("digits")
    assert all(torch.equal(a[0], b[0]) for a, b in ((first.train, second.train), (first.test, second.test)))
    rows = [
        tuple(image.flatten().tolist())
        for part in (first.train, first.validation, first.test)
        for image in part[0]
    ]
    assert len(rows) == 1797 and len(set(rows)) == 1797


def test_a_changed_file_of_eurosat32_mini_is_refused(tmp_path, monkeypatch):
    monkeypatch.setenv("SURVEY_DATA", str(tmp_path))
    shutil.copytree(sources.REPOSITORY / "data" / "eurosat32_mini", tmp_path / "eurosat32_mini")
    with open(tmp_path / "eurosat32_mini" / "labels.csv", "a", encoding="utf-8") as file:
        file.write("test,1000,1,Forest,Forest_1.jpg\n")
    with pytest.raises(ValueError, match="labels.csv has sha256"):
        data.load("eurosat32-mini")


@pytest.mark.parametrize("name", sorted(set(sources.SOURCES) - {"digits"}))
def test_missing_data_names_every_way_to_get_it(name, empty):
    with pytest.raises(FileNotFoundError) as error:
        data.load(name)
    assert str(empty) in str(error.value) and "SURVEY_DATA" in str(error.value)
    assert ("git checkout" if name.endswith("-mini") else "download=True") in str(error.value)


def test_fashion_mnist_can_come_from_debian_without_a_network(empty):
    with pytest.raises(FileNotFoundError, match="apt install dataset-fashion-mnist"):
        data.load("fashion-mnist")


def test_an_unknown_name_lists_near_matches():
    with pytest.raises(ValueError, match="near: eurosat32, eurosat32-mini"):
        data.load("eurosat3")


def _write_idx(path, array, packed):
    header = np.array([0], ">i4").tobytes() + b"".join(np.array([n], ">i4").tobytes() for n in array.shape)
    opened = gzip.open(f"{path}.gz", "wb") if packed else open(path, "wb")
    with opened as file:
        file.write(header + array.tobytes())


@pytest.mark.parametrize(
    "name, last, place, packed",
    [
        ("fashion-mnist", "Ankle boot", "debian", True),
        ("fashion-mnist", "Ankle boot", "downloads/FashionMNIST/raw", False),
        ("mnist", "9", "downloads/MNIST/raw", False),
    ],
)
def test_mnists_file_format_is_read_packed_and_unpacked(name, last, place, packed, empty, monkeypatch):
    base = empty / place
    base.mkdir(parents=True)
    monkeypatch.setattr(sources, "DEBIAN_FASHION", empty / "debian")
    for part, count in (("train", 100), ("t10k", 20)):
        images = np.zeros((count, 28, 28), np.uint8)
        images[:, 3, 5] = np.arange(count)  # the pixel tells which image it is
        _write_idx(base / f"{part}-images-idx3-ubyte", images, packed)
        _write_idx(base / f"{part}-labels-idx1-ubyte", np.arange(count, dtype=np.uint8) % 10, packed)
    loaded = data.load(name)
    assert loaded.classes[9] == last and len(loaded.train[1]) + len(loaded.validation[1]) == 100
    pixel = (loaded.test[0][7, 0, 3, 5] * loaded.std[0] + loaded.mean[0]) * 255
    assert pixel.item() == pytest.approx(7, abs=1e-3) and loaded.test[1][7] == 7


def _eurosat_files():
    sizes = dict.fromkeys(data.load("eurosat32-mini").classes, 3000)
    sizes |= dict.fromkeys(("Highway", "Industrial", "PermanentCrop", "River"), 2500) | {"Pasture": 2000}
    return [f"{name}_{number}.jpg" for name, size in sizes.items() for number in range(1, size + 1)]


def test_no_image_of_eurosat32_mini_changes_its_part_in_eurosat32():
    found = sources.nested(_eurosat_files(), sources.mini_parts(data.folder()))
    with open(sources.REPOSITORY / "data" / "eurosat32_mini" / "labels.csv", encoding="utf-8") as file:
        rows = list(csv.DictReader(file))
    assert {found[row["source_file"]] for row in rows if row["split"] == "test"} == {"test"}
    trained = [found[row["source_file"]] for row in rows if row["split"] == "train"]
    assert (trained.count("train"), trained.count("validation"), len(trained)) == (2500, 500, 3000)


def test_eurosat32_takes_70_10_20_percent_of_each_class_and_never_changes():
    files = _eurosat_files()
    found = sources.nested(files, sources.mini_parts(data.folder()))
    for name, size in (("Forest", 3000), ("River", 2500), ("Pasture", 2000)):
        own = [part for file, part in found.items() if file.startswith(f"{name}_")]
        assert [own.count(part) / size for part in ("train", "validation", "test")] == [0.7, 0.1, 0.2]
    reordered = sources.nested(files[::-1], sources.mini_parts(data.folder()))
    assert reordered == found and len(found) == 27_000
    listed = "".join(f"{file} {found[file]}\n" for file in sorted(files))
    assert hashlib.sha256(listed.encode()).hexdigest() == (
        "d0a0bc866baf8ae6a8e3e2cbc7e4f00dffda4bff7d00eb6d487aed598b176ef7"
    )


@pytest.fixture
def small_eurosat(tmp_path, monkeypatch):
    """Two classes of ten JPEG files; Forest_1 to 10 are grey 10 to 100, River's 101 to 110."""
    monkeypatch.setenv("SURVEY_DATA", str(tmp_path))
    monkeypatch.setattr(sources, "COUNT", 20)
    for name, first, step in (("Forest", 0, 10), ("River", 100, 1)):
        folder = tmp_path / "downloads" / "eurosat" / "2750" / name
        folder.mkdir(parents=True)
        for number in range(1, 11):
            grey = (first + step * number,) * 3
            Image.new("RGB", (64, 64), grey).save(folder / f"{name}_{number}.jpg", quality=100)
    return tmp_path


def test_eurosat32_averages_once_and_needs_the_jpeg_files_no_more(small_eurosat):
    first = data.load("eurosat32")
    shutil.rmtree(small_eurosat / "downloads" / "eurosat")
    second = data.load("eurosat32")
    assert first.classes == ("Forest", "River") and first.train[0].shape[1:] == (3, 32, 32)
    assert torch.equal(first.train[0], second.train[0]) and torch.equal(first.test[1], second.test[1])
    whole = (first.train, first.validation, first.test)
    grey = [(x[:, 0, 0, 0] * first.std[0] + first.mean[0]) * 255 for x, _ in whole]
    everything = [*range(10, 101, 10), *range(101, 111)]
    assert sorted(torch.cat(grey).round().int().tolist()) == everything
    assert [len(part) for part in grey] == [14, 2, 4]


def test_a_damaged_eurosat32_file_is_refused(small_eurosat):
    data.load("eurosat32")
    path = small_eurosat / "downloads" / "eurosat32.npz"
    content = path.read_bytes()
    middle = len(content) // 2
    for damaged in (
        content[:middle],
        content[:middle] + bytes([content[middle] ^ 1]) + content[middle + 1 :],
    ):
        path.write_bytes(damaged)
        with pytest.raises(ValueError, match="eurosat32.npz cannot be read"):
            data.load("eurosat32")


def test_an_incomplete_eurosat_folder_is_refused(small_eurosat):
    next((small_eurosat / "downloads").rglob("River_7.jpg")).unlink()
    with pytest.raises(ValueError, match="holds 19 images of 20"):
        data.load("eurosat32")


def test_eurosat32_shows_the_images_of_eurosat32_mini_to_the_last_bit():
    if not data.available("eurosat32"):
        pytest.skip("EuroSAT is not on this machine")
    files, pixels = sources.eurosat_images(data.folder())
    place = {file: number for number, file in enumerate(files)}
    mini, _ = sources.SOURCES["eurosat32-mini"].read(data.folder())
    with open(sources.REPOSITORY / "data" / "eurosat32_mini" / "labels.csv", encoding="utf-8") as file:
        rows = list(csv.DictReader(file))
    for part in ("train", "test"):
        same = pixels[[place[row["source_file"]] for row in rows if row["split"] == part]]
        assert np.array_equal(same, mini[part][0])


def test_flips_move_whole_images_and_the_generator_decides():
    x = torch.arange(6.0).view(1, 1, 2, 3).repeat(200, 1, 1, 1)
    flipped = data.augment(x, torch.Generator().manual_seed(0), flips=(3,))
    mirrored = (flipped == x.flip(3)).flatten(1).all(1)
    assert ((flipped == x).flatten(1).all(1) | mirrored).all() and 60 < mirrored.sum() < 140
    assert torch.equal(flipped, data.augment(x, torch.Generator().manual_seed(0), flips=(3,)))
