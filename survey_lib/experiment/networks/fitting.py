"""Whether a network can read a data set, found out before any work."""

from torch import Tensor, nn

from survey_lib.chain.checks import reason
from survey_lib.measure.observe import quiet


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
    >>> import torch
    >>> check_fit(nn.Linear(4, 2), torch.ones(1, 4), 2, "layer on ones")
    """
    shape = "x".join(map(str, example.shape[1:]))
    try:
        with quiet(model):
            scores = model(example)
    except Exception as error:  # whatever a stranger's forward raises
        why = f"{names}: the model cannot read inputs of {shape} ({reason(error)}); choose another pair"
        raise ValueError(why) from error
    wanted = (len(example), classes)
    got = tuple(scores.shape) if isinstance(scores, Tensor) else type(scores).__name__
    if got != wanted:
        raise ValueError(
            f"{names}: for inputs of {shape} the model returns {got}, not scores of shape {wanted}; choose another pair"
        )
