"""A labelled run without products: labels follow from shapes, so zeros stand for what products would return.

No rule looks at values. Only a forward can, in a branch or where a shape depends on them; then all must be computed.
Products of constants always are: a forward may keep them, such as a table of positions, where other calls find them.
"""

import torch
from torch import Tensor

from survey_lib.chain.coupling.readings import LabelledRun

aten = torch.ops.aten
MATRICES = {aten.mm, aten.bmm, aten.addmm, aten.baddbmm}
PRODUCTS = MATRICES | {aten.convolution}
SPARSE = {aten._to_sparse, aten._to_sparse_csr, aten._to_sparse_csc}  # how many entries depends on values
READS = {torch.Tag.data_dependent_output, torch.Tag.dynamic_output_shape}


class ShapesRun(LabelledRun):
    """Stops where the forward looks at values; `looked` says so even where the forward goes on regardless."""

    def execute(self, func, args, kwargs, arguments):
        """Run an operation, unless it is a product of channels."""
        operation = func.overloadpacket
        places = operation is aten.index and all(x is None or x.dtype.itemsize > 1 for x in args[1])
        looks = operation in SPARSE or not (places or READS.isdisjoint(func.tags))
        if looks or func.namespace != "aten":  # operations of one's own may look, and no tag says so
            self.look()
        shape = _shape(operation, args) if operation in PRODUCTS and self._labelled(args) else None
        return args[0].new_zeros(shape) if shape else func(*args, **kwargs)

    def _labelled(self, args) -> bool:
        """Whether a channel of the model is in one of the arguments."""
        return any((vector > 0).any() for x in args for vector in self.labels.axes(x).values())

    def look(self) -> None:
        """The forward looks at values."""
        self.looked = True
        raise ValueError("values are not computed in this run")


def _shape(operation, args) -> tuple[int, ...] | None:
    """The shape of a product; None where the operation itself must say what is wrong, or how it lays out its result."""
    if len({(x.dtype, x.device) for x in args if isinstance(x, Tensor)}) > 1:
        return None
    if operation in MATRICES:
        a, b = args[-2:]
        fits = a.shape[-1] == b.shape[-2] and a.shape[:-2] == b.shape[:-2]
        return (*a.shape[:-1], b.shape[-1]) if fits else None
    x, weight, _, stride, padding, dilation, transposed, _, groups = args
    fits = x.shape[1] == groups * weight.shape[1] and x.is_contiguous() and weight.is_contiguous()
    axes = zip(x.shape[2:], weight.shape[2:], stride, padding, dilation, strict=True)
    sizes = [(n + 2 * pad - spread * (k - 1) - 1) // step + 1 for n, k, step, pad, spread in axes]
    return (len(x), len(weight), *sizes) if fits and not transposed and min(sizes) > 0 else None
