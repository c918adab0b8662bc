"""What `prune` says about its result: text, table, what is left, and where statistics changed."""

import pytest
import torch
import torchvision
from torch import nn

import survey_lib
from survey_lib import measure, prune

X = torch.ones(2, 4)


def chain() -> nn.Module:
    torch.manual_seed(0)
    return nn.Sequential(nn.Linear(4, 8), nn.ReLU(), nn.Linear(8, 2))


def test_the_text_of_a_cut_by_hand():
    """4·8 + 8 + 8·2 + 2 = 58 parameters and 48 MACs; with four channels 30 and 24."""
    assert repr(prune(chain(), "l1-filter", 0.5, example=X)) == (
        "50.0% of the filters removed, cut out and checked against the mask\n"
        "left: 0.517 of the parameters, 0.500 of the MACs, 0.517 of the bytes\n"
        "left whole: 2 (reaches the model's output)"
    )


def test_a_mask_saves_neither_macs_nor_bytes():
    result = prune(chain(), "magnitude", 0.5)  # 24 of 58 parameters are zero
    assert result.left == {"parameters": 34 / 58, "MACs": 1.0, "bytes": 1.0}
    assert "zeros that dense kernels still multiply" in repr(result)


@pytest.mark.parametrize("method", ["l1-filter", "block-influence"])
def test_what_is_left_is_what_measure_counts(net, batches, method):
    x = batches[0][0]
    result = prune(net, method, 0.5, example=x, batches=batches)
    dense, small = measure(net, x), measure(result.model, x)
    for name, kind in (("parameters", "parameters"), ("MACs", "macs"), ("bytes", "bytes")):
        assert result.left[name] == pytest.approx(small[kind] / dense[kind])


def test_reasons_are_grouped_and_long_lists_folded():
    model = torchvision.models.squeezenet1_1(num_classes=4).eval()
    layers = ["features.0"]
    result = prune(model, "l1-filter", 0.5, example=torch.zeros(1, 3, 64, 64), layers=layers)
    lines = repr(result).splitlines()
    assert len(lines) < 8 and any(line.endswith(" more (not among the layers asked for)") for line in lines)


def test_the_table_of_a_notebook_is_escaped_and_has_a_bar_a_layer():
    model = nn.Sequential()
    for name, layer in zip(("<a>", "relu", "b&c"), chain(), strict=True):
        model.add_module(name, layer)
    html = prune(model, "l1-filter", 0.5, example=X)._repr_html_()
    assert "&lt;a&gt;" in html and "<a>" not in html and "b&amp;c" in html and "b&c" not in html
    assert html.count("width:50%") == 1 and "4 of 8" in html and "<summary>left whole: 1</summary>" in html


class Reading(nn.Module):
    """Divides by a statistic over its channels."""

    def __init__(self, statistic):
        super().__init__()
        self.a, self.b, self.statistic = nn.Linear(4, 8), nn.Linear(8, 2), statistic

    def forward(self, x):
        h = self.a(x)
        return self.b(h / self.statistic(h))


@pytest.mark.parametrize(
    "model, modules",
    [
        (nn.Sequential(nn.Linear(4, 8), nn.LayerNorm(8), nn.Linear(8, 2)), ("1",)),
        (nn.Sequential(nn.Conv2d(3, 8, 1), nn.GroupNorm(2, 8), nn.Conv2d(8, 2, 1)), ("1",)),
        (Reading(lambda h: h.mean().item()), ("the forward of Reading",)),
        (Reading(lambda h: h.std(1, keepdim=True)), ("the forward of Reading",)),
        (Reading(lambda h: h.sum(1, keepdim=True)), ()),  # zeros add nothing
        (chain(), ()),
    ],
)
def test_b71_modules_whose_statistics_are_over_kept_channels_are_named(model, modules, tmp_path):
    x = (
        torch.randn(2, 3, 4, 4)
        if isinstance(model, nn.Sequential) and len(model) == 3 and model[0].weight.dim() == 4
        else X
    )
    result = prune(model, "l1-filter", 0.5, example=x)
    assert result.over_kept == modules
    assert ("differs from the mask: " + ", ".join(modules) in repr(result)) == bool(modules)
    loaded = survey_lib.load(survey_lib.save(result, tmp_path / "small.safetensors"), model)
    assert repr(loaded) == repr(result)


def test_b71_the_norms_of_a_transformer_block():
    torch.manual_seed(0)
    block = nn.TransformerEncoderLayer(16, 4, 32, batch_first=True)
    model = nn.Sequential(nn.Linear(8, 16), block, nn.Linear(16, 3)).eval()
    assert prune(model, "l1-filter", 0.5, example=torch.randn(2, 5, 8)).over_kept == ("1.norm1", "1.norm2")
    hidden = prune(model, "l1-filter", 0.5, example=torch.randn(2, 5, 8), layers=["1.linear1"])
    assert hidden.over_kept == ()  # the hidden channels have no norm
