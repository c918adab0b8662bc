"""The trained network that the repository ships: it is checked, and as good as its page says."""

import re

import pytest

from survey_lib.experiment.data import loaders, sources
from survey_lib.experiment.runs import checkpoint
from survey_lib.experiment.runs.train import evaluate


def test_the_shipped_network_has_the_accuracy_that_its_page_states():
    page = (sources.REPOSITORY / "data" / "checkpoints" / "README.md").read_text(encoding="utf-8")
    stated = float(re.search(r"eurosat32-mini, test, 1,000 images \| ([\d.]+) %", page)[1])
    model = checkpoint.load_trained("resnet-8-eurosat32")
    found = 100 * evaluate(model, loaders.load("eurosat32-mini").test)["accuracy"]
    assert not model.training and found == pytest.approx(stated, abs=0.2)  # two images of 1,000


def test_other_names_and_changed_files_are_refused(tmp_path, monkeypatch):
    with pytest.raises(ValueError, match="unknown trained network 'resnet-9'; near: resnet-8-eurosat32"):
        checkpoint.load_trained("resnet-9")
    monkeypatch.setattr(checkpoint, "FOLDER", tmp_path)
    (tmp_path / "resnet-8-eurosat32.safetensors").write_bytes(b"something else")
    with pytest.raises(ValueError, match="has sha256 .* restore it from the repository"):
        checkpoint.load_trained("resnet-8-eurosat32")
