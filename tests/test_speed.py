"""From mask to time: bytes and rooflines worked out by hand, variants, export, the command. No timing decides a test."""

import numpy as np
import pandas as pd
import pytest
import torch
from click.testing import CliRunner
from torch import nn

from survey_lib.cli import main
from survey_lib.cli.models import chain_table
from survey_lib.experiment import speed
from survey_lib.experiment.networks import models
from survey_lib.experiment.speed import ALIGNED, rounded, variants
from survey_lib.experiment.sweeps import store
from survey_lib.experiment.sweeps.study import names
from survey_lib.measure import sizes, storage, timing


def test_formats_of_a_layer_against_their_formulas():
    """N = 64 · 32 weights of which a quarter is left: 4N, 8K + 4 (rows + 1), 4K + N / 8, 4K + 2K / 8."""
    layer = nn.Linear(32, 64, bias=False)
    keep = (torch.arange(64 * 32) % 4 == 0).view(64, 32)
    total, left = 2048, 512
    raw = sizes(layer, {"weight": keep}, pattern="1:4")["raw"]
    assert raw["dense"] == 4 * total
    assert raw["csr"] == 8 * left + 4 * 65
    assert raw["bitmask"] == 4 * left + total / 8
    assert raw["1:4"] == 4 * left + 2 * left / 8


def test_least_times_and_limits_of_two_operators_by_hand():
    table = pd.DataFrame({"flops": [400.0, 10.0], "bytes": [40.0, 80.0], "seconds": [80.0, 160.0]})
    roofed = timing.under_roof(table, peak=10, bandwidth=2)
    assert roofed["roof_s"].tolist() == [40, 40]
    assert roofed["intensity"].tolist() == [10, 0.125]
    assert roofed["attained"].tolist() == [5, 0.0625]
    each = timing.under_roof(table, pd.Series([10.0, 1]), pd.Series([2.0, 2]))
    assert each["roof_s"].tolist() == [40, 40]


def test_operators_of_a_small_network_are_counted_in_order_and_leave_it_as_found():
    model = nn.Sequential(
        nn.Conv2d(2, 4, 1, bias=False), nn.BatchNorm2d(4), nn.ReLU(), nn.MaxPool2d(2)
    ).train()
    table = timing.operators(model, torch.ones(3, 2, 4, 4), repeats=2)
    assert table["kind"].tolist() == ["convolution", "norm", "elementwise", "pooling"]
    assert table["flops"].tolist()[:3:2] == [2 * 48 * 2 * 4, 192]
    assert table["bytes"][0] == 4 * (96 + 8 + 192) and table["bytes"][2] == 4 * 2 * 192
    assert (table["seconds"] > 0).all() and model.training
    assert model[1].num_batches_tracked == 0


def test_sparse_products_are_products_of_the_pruned_matrix():
    weight, x = torch.randn(32, 48), torch.randn(48, 5)
    products = timing.formats(weight, 0.75)
    assert {"dense", "CSR (scipy)"} <= products.keys()
    dense = products["dense"](x)
    for name in products.keys() - {"BSR 16x16 (torch)"}:
        assert np.allclose(np.asarray(products[name](x)), dense.numpy(), atol=1e-5), name


def test_variants_of_a_network_hold_what_their_names_say():
    model = models.build("vgg-small", 10, (3, 16, 16))
    found = variants(model, torch.randn(2, 3, 16, 16))
    widths = {
        name: [m.out_channels for m in one.modules() if isinstance(m, nn.Conv2d)]
        for name, one in found.items()
    }
    assert widths["masked"] == widths["2:4"] == widths["1x4"] == widths["dense"]
    assert all(width % ALIGNED == 0 for width in widths["aligned"])
    assert all(abs(cut - width / 2) <= 3 for cut, width in zip(widths["cut"], widths["dense"], strict=True))
    assert any(width % ALIGNED for width in widths["cut"])
    x = torch.randn(3, 3, 16, 16, dtype=torch.float64)
    with torch.no_grad():
        masked, cut = (found[name].double()(x) for name in ("masked", "cut"))
    assert torch.allclose(masked, cut, rtol=1e-9)


def test_widths_are_rounded_to_the_nearest_multiple():
    assert [rounded(count, 64) for count in (1, 11, 13, 35, 62)] == [8, 8, 16, 32, 64]
    assert rounded(4, 6) == 6


def test_the_chain_has_a_row_a_variant_and_setting_beside_its_macs(monkeypatch):
    for name, value in {"ROUNDS": 2, "SECONDS": 0.01, "BATCHES": (1, 2), "THREADS": (1,)}.items():
        monkeypatch.setattr(speed, name, value)
    monkeypatch.setattr(speed.importlib.util, "find_spec", lambda name: None)  # as without the extra deploy
    table = speed.chain(models.build("resnet-8", 10, (3, 16, 16)), torch.randn(2, 3, 16, 16), compiled=False)
    assert len(table) == 2 * 6 and set(table["runtime"]) == {"eager"}
    dense = table[table["variant"] == "dense"]
    assert (dense["speedup_measured"] == 1).all() and (dense["speedup_theoretical"] == 1).all()
    half = table[table["variant"] == "aligned"].iloc[0]
    assert half["speedup_theoretical"] == pytest.approx(dense["macs"].iloc[0] / half["macs"])
    assert half["file_bytes"] < 0.5 * dense["file_bytes"].iloc[0]
    assert (table["speedup_low"] <= table["speedup_measured"]).all()
    assert "theoretical" in chain_table(table.assign(model="resnet-8"))


def test_what_is_written_is_read_and_a_missing_part_says_how_to_make_it(tmp_path):
    found = {
        name: pd.DataFrame({"kernel": ["dense", "csr"], "onnxruntime": ["", ""], "ratio": [1.0, 0.123456789]})
        for name in speed.PARTS
    }
    speed.write(found, tmp_path)
    assert speed.read(tmp_path)["chain"]["ratio"].tolist() == [1.0, 0.123457]
    (tmp_path / "layers.csv").unlink()
    with pytest.raises(FileNotFoundError, match="has no layers; measure with: survey speed --publish"):
        speed.read(tmp_path)


def test_measurements_are_no_study_of_runs():
    assert "speed" not in names()
    assert store.published_file("speed").exists() is False
    done = CliRunner().invoke(main, ["results", "speed"])
    assert done.exit_code == 1 and "unknown study 'speed'" in done.output


@pytest.mark.parametrize(
    ("words", "said"),
    [
        ((), "name a model, such as resnet-20"),
        (("resnet-20", "--publish"), "give --publish and nothing else"),
        (("--publish", "--no-compiled"), "give --publish and nothing else"),
        (("resnet-9", "--no-compiled"), "near: resnet-8"),
        (("resnet-8", "--pixels", "4"), "4 is not in the range x>=16"),
    ],
)
def test_the_command_refuses_in_one_line(words, said):
    done = CliRunner().invoke(main, ["speed", *words])
    assert done.exit_code != 0 and said in done.output and "Traceback" not in done.output


@pytest.fixture
def onnxruntime():
    return pytest.importorskip("onnxruntime")


@pytest.mark.parametrize("name", ["resnet-8", "mobilenet-small", "densenet-small", "lenet-300-100"])
def test_cut_models_are_exported_with_parity_and_a_free_batch_axis(name, tmp_path, onnxruntime):
    from survey_lib import prune

    images = torch.randn(2, 3, 16, 16)
    small = prune(models.build(name, 10, (3, 16, 16)), "l1-filter", 0.5, example=images).model
    done = storage.export_onnx(small, images[:1], tmp_path / "small.onnx")
    assert done["error"] < 1e-4 and done["bytes"] == (tmp_path / "small.onnx").stat().st_size
    other = torch.randn(5, 3, 16, 16)
    with torch.no_grad():
        assert torch.allclose(storage.OnnxModel(done["path"])(other), small.eval()(other), atol=1e-4)


def test_int8_weights_take_a_quarter_and_change_the_outputs_little(tmp_path, onnxruntime):
    model = nn.Sequential(nn.Flatten(), nn.Linear(768, 512), nn.ReLU(), nn.Linear(512, 10)).eval()
    x = torch.randn(8, 3, 16, 16)
    whole = storage.export_onnx(model, x, tmp_path / "whole.onnx")
    small = storage.quantize_onnx(whole["path"], tmp_path / "int8.onnx")
    assert small.stat().st_size < 0.27 * whole["bytes"]
    with torch.no_grad():
        expected = model(x)
    assert (storage.OnnxModel(small)(x) - expected).abs().max() < 0.1 * expected.abs().max()


def test_static_int8_stores_the_ranges_that_it_measured(tmp_path, onnxruntime):
    import onnx

    model = nn.Sequential(nn.Conv2d(3, 8, 3), nn.ReLU(), nn.Flatten(), nn.Linear(8 * 14 * 14, 4)).eval()
    x = torch.randn(32, 3, 16, 16)
    whole = storage.export_onnx(model, x, tmp_path / "whole.onnx")
    small = storage.quantize_onnx(whole["path"], tmp_path / "int8.onnx", batches=x.split(8))
    kinds = [node.op_type for node in onnx.load(small).graph.node]
    assert "QuantizeLinear" in kinds and "DynamicQuantizeLinear" not in kinds
    with torch.no_grad():
        expected = model(x)
    assert 0 < (storage.OnnxModel(small)(x) - expected).abs().mean() < 0.05 * expected.std()


def test_an_export_that_differs_is_refused_and_not_kept(tmp_path, monkeypatch, onnxruntime):
    monkeypatch.setattr(storage, "PARITY", -1.0)
    with pytest.raises(ValueError, match="was not kept"):
        storage.export_onnx(nn.Linear(4, 2), torch.ones(2, 4), tmp_path / "wrong.onnx")
    assert not list(tmp_path.iterdir())
