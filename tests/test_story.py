"""The user's story of docs/story.md runs word by word, with a toy model of random weights in place of the download."""

import re
from pathlib import Path

import pytest
import torch
from torch import nn

transformers = pytest.importorskip("transformers")
pytest.importorskip("onnxscript")

STORY = (Path(__file__).parents[1] / "docs" / "story.md").read_text(encoding="utf-8")
DOWNLOAD = 'AutoModelForImageClassification.from_pretrained("google/vit-base-patch16-224")'


def toy() -> nn.Module:
    torch.manual_seed(0)
    return transformers.ViTForImageClassification(
        transformers.ViTConfig(
            hidden_size=16,
            num_hidden_layers=2,
            num_attention_heads=2,
            intermediate_size=32,
            image_size=16,
            patch_size=8,
            num_labels=3,
        )
    )


@pytest.mark.filterwarnings("ignore::UserWarning")
def test_the_story_runs_from_load_to_onnx(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    blocks = re.findall(r"```python\n(.*?)```", STORY, re.DOTALL)
    assert sum(DOWNLOAD in block for block in blocks) == 1
    images = torch.randn(8, 3, 16, 16, generator=torch.Generator().manual_seed(0))
    words = {"toy": toy, "images": images, "batches": [(images, torch.arange(8) % 3)]}
    for block in blocks:
        exec(block.replace(DOWNLOAD, "toy()"), words)
    left = words["after"]["macs"] / words["before"]["macs"]
    assert 0.4 < left <= 0.5 and words["result"].over_kept
    assert words["dense"].inner.config.hidden_size == 16 and words["exported"]["error"] < 1e-4
    assert torch.equal(words["again"](images), words["small"](images))
