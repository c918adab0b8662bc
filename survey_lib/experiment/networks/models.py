"""Networks for small images: the pruning literature's usual ones, and all of torchvision's."""

import math
from collections.abc import Callable
from functools import partial

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from survey_lib.chain.inputs import reason
from survey_lib.lookup import known
from survey_lib.measure.counts import quiet

Shape = tuple[int, int, int]


def conv_norm(
    inputs: int, outputs: int, kernel: int = 3, stride: int = 1, groups: int = 1
) -> list[nn.Module]:
    """Convolution without bias, then batch norm; padded so that stride 1 keeps the size.

    Parameters
    ----------
    inputs : int
        Channels of the input.
    outputs : int
        Channels of the output.
    kernel : int, default 3
        Side of the kernel.
    stride : int, default 1
        Stride of the convolution.
    groups : int, default 1
        Groups of the convolution.
    """
    conv = nn.Conv2d(inputs, outputs, kernel, stride, kernel // 2, groups=groups, bias=False)
    return [conv, nn.BatchNorm2d(outputs)]


def lenet_300_100(classes: int, in_shape: Shape) -> nn.Module:
    """Two hidden layers of 300 and 100 (lecun1998gradient): 266,610 parameters on 28x28 and 10 classes.

    Parameters
    ----------
    classes : int
        Classes of the last layer.
    in_shape : Shape
        In shape of an image.
    """
    return nn.Sequential(
        nn.Flatten(),
        nn.Linear(math.prod(in_shape), 300),
        nn.ReLU(),
        nn.Linear(300, 100),
        nn.ReLU(),
        nn.Linear(100, classes),
    )


def lenet_5(classes: int, in_shape: Shape, activation: type[nn.Module] = nn.ReLU) -> nn.Module:
    """The 20-50-500 LeNet-5 of the pruning literature: 431,080 parameters on 28x28 and 10 classes.

    It reads images of at least 16x16.

    Parameters
    ----------
    classes : int
        Classes of the last layer.
    in_shape : Shape
        In shape of an image.
    activation : type[nn.Module], default nn.ReLU
        What follows the two convolutions; Caffe's network, which many papers prune, has nothing there.
    """
    channels, height, width = in_shape
    rows, columns = ((size // 2 - 2 - 4) // 2 for size in (height, width))
    return nn.Sequential(
        nn.Conv2d(channels, 20, 5),
        activation(),
        nn.MaxPool2d(2),
        nn.Conv2d(20, 50, 5),
        activation(),
        nn.MaxPool2d(2),
        nn.Flatten(),
        nn.Linear(50 * rows * columns, 500),
        nn.ReLU(),
        nn.Linear(500, classes),
    )


def vgg_small(classes: int, in_shape: Shape, widths: tuple[int, ...] = (32, 64, 128)) -> nn.Module:
    """Plain stacks of two 3x3 convolutions and a pool, no shortcut: every filter can be cut.

    Parameters
    ----------
    classes : int
        Classes of the last layer.
    in_shape : Shape
        In shape of an image.
    widths : tuple[int, ...], default (32, 64, 128)
        Channels of each stack.
    """
    layers, inputs = [], in_shape[0]
    for width in widths:
        layers += [*conv_norm(inputs, width), nn.ReLU(), *conv_norm(width, width), nn.ReLU(), nn.MaxPool2d(2)]
        inputs = width
    return nn.Sequential(*layers, nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(inputs, classes))


class BasicBlock(nn.Module):
    """Two 3x3 convolutions with a shortcut.

    The shortcut is the input itself, option A (every second pixel, new channels zero, no parameters) or
    option B (1x1 convolution).
    """

    def __init__(self, inputs: int, outputs: int, stride: int, option: str):
        super().__init__()
        self.conv1, self.bn1 = conv_norm(inputs, outputs, stride=stride)
        self.conv2, self.bn2 = conv_norm(outputs, outputs)
        self.stride, self.extra = stride, outputs - inputs
        self.shortcut = None
        if self.extra and option == "B":
            self.shortcut = nn.Sequential(*conv_norm(inputs, outputs, 1, stride))

    def forward(self, x: Tensor) -> Tensor:
        """ReLU(norm(conv(ReLU(norm(conv(x))))) + shortcut(x))."""
        out = self.bn2(self.conv2(F.relu(self.bn1(self.conv1(x)))))
        if self.shortcut is not None:
            x = self.shortcut(x)
        elif self.extra:
            before = self.extra // 2
            taken = F.avg_pool2d(x, 1, self.stride)  # every second pixel; trains 6 % faster than slicing
            x = F.pad(taken, (0, 0, 0, 0, before, self.extra - before))
        return F.relu(out + x)


class CifarResNet(nn.Module):
    """ResNet for small images (he2016deep, section 4.2).

    6n + 2 layers in three stages of n blocks, of `width`, 2 `width` and 4 `width` channels.
    """

    def __init__(self, classes: int, in_shape: Shape, blocks: int, option: str = "A", width: int = 16):
        super().__init__()
        self.conv1, self.bn1 = conv_norm(in_shape[0], width)
        self.layer1 = self._stage(width, width, 1, blocks, option)
        self.layer2 = self._stage(width, 2 * width, 2, blocks, option)
        self.layer3 = self._stage(2 * width, 4 * width, 2, blocks, option)
        self.fc = nn.Linear(4 * width, classes)
        for module in self.modules():
            if isinstance(module, nn.Conv2d | nn.Linear):
                nn.init.kaiming_normal_(module.weight)

    @staticmethod
    def _stage(inputs: int, outputs: int, stride: int, blocks: int, option: str) -> nn.Sequential:
        rest = (BasicBlock(outputs, outputs, 1, option) for _ in range(blocks - 1))
        return nn.Sequential(BasicBlock(inputs, outputs, stride, option), *rest)

    def forward(self, x: Tensor) -> Tensor:
        """Class scores (n, classes)."""
        x = F.relu(self.bn1(self.conv1(x)))
        x = self.layer3(self.layer2(self.layer1(x)))
        return self.fc(torch.flatten(F.adaptive_avg_pool2d(x, 1), 1))


def mobilenet_small(classes: int, in_shape: Shape) -> nn.Module:
    """Depthwise 3x3 then pointwise 1x1 convolutions (howard2017mobilenets), five pairs.

    Parameters
    ----------
    classes : int
        Classes of the last layer.
    in_shape : Shape
        In shape of an image.
    """
    layers = [*conv_norm(in_shape[0], 16), nn.ReLU()]
    for inputs, outputs, stride in ((16, 32, 1), (32, 64, 2), (64, 64, 1), (64, 128, 2), (128, 128, 1)):
        layers += [*conv_norm(inputs, inputs, 3, stride, groups=inputs), nn.ReLU()]
        layers += [*conv_norm(inputs, outputs, 1), nn.ReLU()]
    return nn.Sequential(*layers, nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(128, classes))


class DenseLayer(nn.Sequential):
    """Layers whose maps are set beside those that they read (huang2017densely)."""

    def forward(self, x: Tensor) -> Tensor:
        """(n, inputs + outputs of the layers, height, width)."""
        return torch.cat([x, super().forward(x)], 1)


def densenet_small(classes: int, in_shape: Shape) -> nn.Module:
    """Three blocks of four dense layers of twelve channels, with 1x1 transitions that halve channels and size.

    Parameters
    ----------
    classes : int
        Classes of the last layer.
    in_shape : Shape
        In shape of an image.
    """
    growth, width = 12, 24
    modules = [nn.Conv2d(in_shape[0], width, 3, padding=1, bias=False)]
    for block in range(3):
        for _ in range(4):
            conv = nn.Conv2d(width, growth, 3, padding=1, bias=False)
            modules.append(DenseLayer(nn.BatchNorm2d(width), nn.ReLU(), conv))
            width += growth
        modules += [nn.BatchNorm2d(width), nn.ReLU()]
        if block < 2:
            modules += [nn.Conv2d(width, width // 2, 1, bias=False), nn.AvgPool2d(2)]
            width //= 2
    return nn.Sequential(*modules, nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(width, classes))


MODELS: dict[str, Callable[[int, Shape], nn.Module]] = {
    "lenet-300-100": lenet_300_100,
    "lenet-5": lenet_5,
    "lenet-5-caffe": partial(lenet_5, activation=nn.Identity),
    "vgg-small": vgg_small,
    "resnet-8": partial(CifarResNet, blocks=1),
    "resnet-8-narrow": partial(CifarResNet, blocks=1, width=8),
    "resnet-20": partial(CifarResNet, blocks=3),
    "resnet-20-b": partial(CifarResNet, blocks=3, option="B"),
    "resnet-56": partial(CifarResNet, blocks=9),
    "mobilenet-small": mobilenet_small,
    "densenet-small": densenet_small,
}
TORCHVISION = "torchvision:"
INITS = {"glorot": nn.init.xavier_normal_, "he": nn.init.kaiming_normal_}


def check(name: str) -> str:
    """The name if a model has it, or a ValueError that lists near matches."""
    if name in MODELS:
        return name
    import torchvision.models  # slow to import, and only its own models need it

    theirs = torchvision.models.list_models(torchvision.models)
    return known("model", name, [*MODELS, *(TORCHVISION + model for model in theirs)])


def build(name: str, classes: int, in_shape: Shape, seed: int = 0, init: str = "own") -> nn.Module:
    """A fresh model by name with seeded weights; the caller's random state stays as it was.

    `torchvision:resnet18` and the like are torchvision's own, without pretrained weights.

    Parameters
    ----------
    name : str
        Name of the model.
    classes : int
        Classes of the last layer.
    in_shape : Shape
        In shape of an image.
    seed : int, default 0
        Seed of the weights.
    init : str, default 'own'
        Own (as the layers of the model come), glorot or he (normal weights, biases zero).

    Raises
    ------
    ValueError
        For an unknown name (near matches are listed) or an image shape the model cannot take.

    Examples
    --------
    >>> sum(p.numel() for p in build("resnet-20", 10, (3, 32, 32)).parameters())
    269722
    """
    check(name)
    with torch.random.fork_rng(devices=[]):
        torch.default_generator.manual_seed(seed)  # torch.manual_seed would also reset the GPUs' generators
        if name in MODELS:
            model = MODELS[name](classes, in_shape)
        else:
            from torchvision.models import get_model

            model = get_model(name.removeprefix(TORCHVISION), weights=None, num_classes=classes)
        for layer in model.modules() if init != "own" else ():
            if isinstance(layer, nn.Conv2d | nn.Linear):
                INITS[init](layer.weight)
                if layer.bias is not None:
                    nn.init.zeros_(layer.bias)
        return model


def check_fit(model: nn.Module, example: Tensor, classes: int, names: str) -> None:
    """Run the model once, in evaluation mode; its own mode is put back.

    Parameters
    ----------
    model : nn.Module
        The network.
    example : Tensor
        An input of its forward.
    classes : int
        Scores that the model must return.
    names : str
        Names of model and data, for the message.

    Raises
    ------
    ValueError
        Unless it reads the example and returns `classes` scores.

    Examples
    --------
    >>> check_fit(nn.Linear(4, 2), torch.ones(1, 4), 2, "layer on ones")
    """
    shape = "x".join(map(str, example.shape[1:]))
    try:
        with quiet(model):
            scores = model(example)
    except Exception as error:  # whatever a stranger's forward raises
        raise ValueError(f"{names}: the model cannot read inputs of {shape} ({reason(error)})") from error
    got = getattr(scores, "shape", type(scores).__name__)
    if got != (len(example), classes):
        raise ValueError(f"{names}: the model returns {got}, not scores of {classes} classes")
