"""The inputs of a layer as the matrix its weight multiplies."""

from torch import Tensor, nn
from torch.nn import functional as F


def input_columns(layer: nn.Module, x: Tensor) -> Tensor:
    """Inputs X of a linear or convolution layer, (groups, k, positions), with k = in/groups · kh · kw.

    Group by group, `weight.flatten(1) @ X` is the layer's output without bias: a position is a token of a
    linear layer, a place of the kernel of a convolution (stride, padding and its mode, dilation, groups).

    Parameters
    ----------
    layer : nn.Module
        A linear or convolution layer.
    x : Tensor
        Its input.

    Examples
    --------
    >>> import torch
    >>> input_columns(nn.Conv2d(1, 1, 2), torch.arange(9.0).view(1, 1, 3, 3))[0, :, 0]
    tensor([0., 1., 3., 4.])
    """
    if isinstance(layer, nn.Linear):
        return x.reshape(-1, layer.in_features).mT[None]
    x = x if x.dim() == layer.weight.dim() else x[None]
    mode = "constant" if layer.padding_mode == "zeros" else layer.padding_mode
    x = F.pad(x, layer._reversed_padding_repeated_twice, mode=mode)
    flat = isinstance(layer, nn.Conv1d)
    sizes = (layer.kernel_size, layer.dilation, layer.stride)
    kernel, dilation, stride = ((1, *size) if flat else size for size in sizes)
    patches = F.unfold(x.unsqueeze(-2) if flat else x, kernel, dilation, 0, stride)
    # (examples, in·kh·kw, positions)
    return patches.movedim(1, 0).reshape(layer.groups, -1, patches.shape[0] * patches.shape[2])
