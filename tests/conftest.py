"""Networks and batches that the whole suite shares; small enough to reason about."""

import multiprocessing.forkserver
import os
import shutil
from pathlib import Path

os.environ.setdefault("OMP_NUM_THREADS", "1")

import pytest
import torch
from torch import Tensor, nn

from survey_lib import METHODS
from survey_lib.experiment.sweeps import store, study, sweep

IN_CHILDREN = ["survey_lib.experiment.sweeps.sweep", "survey_lib.cli", "papermill", "distributed"]
NOTEBOOK_MEMORY = 1.5  # GB; Binder kills a session that passes 2

torch.set_num_threads(1)


class KernelMemory:
    """Fails the cell after which a notebook's kernel has held more memory than Binder has to give."""

    def pytest_runtest_teardown(self, item: pytest.Item) -> None:
        if item.path.suffix == ".ipynb":
            status = Path(f"/proc/{item.parent.kernel.km.provisioner.pid}/status")
            lines = status.read_text().splitlines() if status.exists() else []
            peaks = [int(line.split()[1]) / 1e6 for line in lines if line.startswith("VmHWM")]  # kB
            if peaks and peaks[0] > NOTEBOOK_MEMORY:
                pytest.fail(
                    f"the kernel of {item.path.name} held {peaks[0]:.2f} GB, more than {NOTEBOOK_MEMORY}"
                )


def pytest_configure(config: pytest.Config) -> None:
    """Registered, so that it sees notebooks too: hooks of this file alone see what lies in tests/."""
    config.pluginmanager.register(KernelMemory())


@pytest.fixture(scope="session", autouse=True)
def published_once():
    """Each published file of the repository is read once a process."""
    read, folder, known = store.published_records, store.PUBLISHED, {}

    def records(name: str) -> dict[str, dict]:
        if folder != store.PUBLISHED:
            return read(name)
        if name not in known:
            known[name] = read(name)
        return dict(known[name])

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(store, "published_records", records)
        yield


@pytest.fixture(scope="session")
def children() -> multiprocessing.context.BaseContext:
    """Makes processes that know nothing of this one and hash text in another way, and that need not import torch.

    They are forks of one server, a Python of its own that has imported the library and done nothing else.
    """
    context = multiprocessing.get_context("forkserver")
    context.set_forkserver_preload(IN_CHILDREN)
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("PYTHONHASHSEED", "7")
        multiprocessing.forkserver.ensure_running()
    return context


class ResidualNet(nn.Module):
    """conv-bn-relu, a residual block, pooling, a head: every kind of coupling a method must respect."""

    def __init__(self, width: int = 8):
        super().__init__()
        self.stem = nn.Sequential(
            nn.Conv2d(3, width, 3, padding=1, bias=False), nn.BatchNorm2d(width), nn.ReLU()
        )
        self.conv1 = nn.Conv2d(width, width, 3, padding=1)
        self.bn1 = nn.BatchNorm2d(width)
        self.conv2 = nn.Conv2d(width, width, 3, padding=1)
        self.bn2 = nn.BatchNorm2d(width)
        self.head = nn.Linear(width, 4)

    def forward(self, x: Tensor) -> Tensor:
        x = self.stem(x)
        x = (x + self.bn2(self.conv2(self.bn1(self.conv1(x)).relu()))).relu()
        return self.head(x.mean((2, 3)))


class Block(nn.Module):
    """A residual block that can be left out whole."""

    def __init__(self, width: int):
        super().__init__()
        self.conv, self.bn = nn.Conv2d(width, width, 3, padding=1), nn.BatchNorm2d(width)

    def forward(self, x: Tensor) -> Tensor:
        return x + self.bn(self.conv(x)).relu()


class BlockNet(nn.Module):
    """Four residual blocks between a stem and a head."""

    def __init__(self, width: int = 8):
        super().__init__()
        self.stem = nn.Conv2d(3, width, 1)
        self.conv1 = nn.Conv2d(width, width, 3, padding=1)
        self.blocks = nn.Sequential(*[Block(width) for _ in range(4)])
        self.head = nn.Linear(width, 4)

    def forward(self, x: Tensor) -> Tensor:
        return self.head(self.blocks(self.conv1(self.stem(x))).mean((2, 3)))


class AttentionNet(nn.Module):
    """Patches, attention with four heads written out, a feed-forward layer, a head."""

    def __init__(self, width: int = 8, heads: int = 4):
        super().__init__()
        self.stem = nn.Conv2d(3, width, 2, stride=2)
        self.conv1 = nn.Conv2d(width, width, 3, padding=1)
        self.head_width = width // heads
        self.query, self.key, self.value, self.out = (nn.Linear(width, width) for _ in range(4))
        self.up, self.down = nn.Linear(width, 16), nn.Linear(16, width)
        self.head = nn.Linear(width, 4)

    def forward(self, x: Tensor) -> Tensor:
        x = self.conv1(self.stem(x)).flatten(2).mT
        query, key, value = (
            layer(x).unflatten(-1, (-1, self.head_width)).transpose(1, 2)
            for layer in (self.query, self.key, self.value)
        )
        attention = (query @ key.mT / self.head_width**0.5).softmax(-1) @ value
        x = x + self.out(attention.transpose(1, 2).flatten(2))
        return self.head((x + self.down(self.up(x).relu())).mean(1))


def shake(model: nn.Module, seed: int = 0) -> nn.Module:
    """Batch norms with distinct statistics and scales, as after training."""
    generator = torch.Generator().manual_seed(seed)
    for module in model.modules():
        if isinstance(module, nn.BatchNorm2d):
            for tensor, low in (
                (module.weight, 0.5),
                (module.bias, -0.5),
                (module.running_mean, -0.5),
                (module.running_var, 0.5),
            ):
                tensor.data.copy_(torch.rand(tensor.shape, generator=generator) + low)
    return model


@pytest.fixture
def net(request) -> nn.Module:
    """A small network of the kind that the tested method, if the test has one, can prune."""
    method = getattr(request.node, "callspec", None) and request.node.callspec.params.get("method")
    kind = {"depth": BlockNet, "head": AttentionNet}.get(
        method in METHODS and METHODS[method].category, ResidualNet
    )
    with torch.random.fork_rng():
        torch.manual_seed(0)
        return shake(kind()).eval()


def set_trial(root: Path, text: str, patch: pytest.MonkeyPatch) -> None:
    """Make this text the file of study `trial`, with a runs folder of its own."""
    (root / "studies").mkdir()
    (root / "studies" / "trial.yaml").write_text(text)
    patch.setattr(study, "FOLDER", root / "studies")
    patch.setenv("SURVEY_RUNS", str(root / "runs"))
    study.keys.cache_clear()


@pytest.fixture
def trial(tmp_path, monkeypatch, request):
    """The module's YAML as study `trial`, with a runs folder of its own; gives the folder of its runs."""
    set_trial(tmp_path, request.module.YAML, monkeypatch)
    yield tmp_path / "runs" / "trial"
    study.keys.cache_clear()


@pytest.fixture(scope="module")
def swept(tmp_path_factory, request) -> Path:
    """A runs folder with all quick runs of the module's study `trial`, computed once for all tests of the module."""
    root = tmp_path_factory.mktemp("swept")
    with pytest.MonkeyPatch.context() as patch:
        set_trial(root, request.module.YAML, patch)
        assert sweep.sweep("trial", engine="serial").left == 0
    study.keys.cache_clear()
    return root / "runs"


@pytest.fixture
def done(trial, swept) -> Path:
    """Like `trial`, with all quick runs done."""
    shutil.copytree(swept, trial.parent)
    return trial


@pytest.fixture
def accuracies():
    """Accuracy by key of the runs of study `trial`, read again at each call."""

    def read() -> dict[str, float]:
        frame = store.results("trial")
        return dict(zip(frame["key"], frame["accuracy"], strict=True))

    return read


@pytest.fixture
def batches() -> list[tuple[Tensor, Tensor]]:
    generator = torch.Generator().manual_seed(1)
    return [(torch.randn(4, 3, 8, 8, generator=generator), torch.arange(4)) for _ in range(2)]
