"""One run on the pretrained stories260K model: no training, so pruning and four measurements are all of it."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor, nn

from survey_lib.chain.masks import apply, by_layer, overall_sparsity
from survey_lib.experiment.networks import language
from survey_lib.experiment.records.schema import bits
from survey_lib.experiment.runs.config import DENSE, RunConfig
from survey_lib.experiment.runs.train import score_metrics
from survey_lib.measure.training_costs import stopwatch
from survey_lib.prune import PruneResult, prune

WINDOW = 128  # tokens a calibration sequence


@dataclass(frozen=True)
class Pruned:
    """The dense and the pruned model, and what was done.

    With the metrics of both, and the seconds (wall, CPU) it took.
    """

    dense: nn.Module
    model: nn.Module
    sparsity: float
    layers: list[dict]
    metrics: dict
    example: Tensor
    calibration: int
    spent: dict[str, float]


def prune_stories(config: RunConfig) -> Pruned:
    """Prune stories260K by the config's method; the seed draws half of the calibration sequences.

    Unstructured and N:M methods go block by block (`language.prune_language`), structured ones cut the whole
    model at once. The metrics are those of next-token prediction on the evaluation stories (test) and on the
    calibration sequences left out (validation), and the divergence from the dense model, in nats.
    """
    dense, tokenizer = language.load_stories()
    encoded = {
        name: [tokenizer.encode(text) for text in language.load_texts(name)]
        for name in ("calibration", "evaluation")
    }
    tokens = language.windows(encoded["calibration"], WINDOW)
    order = torch.randperm(len(tokens), generator=torch.Generator().manual_seed(config.seed))
    chosen, left = tokens[order[: len(order) // 2]], tokens[order[len(order) // 2 :]]
    read = stopwatch()
    model, sparsity, layers = _pruned(dense, config, chosen)
    spent = read()
    splits = {"test": encoded["evaluation"], "validation": [row.tolist() for row in left]}
    metrics = {
        stage: {name: _metrics(dense, one, stories) for name, stories in splits.items()}
        for stage, one in (("dense", dense), ("pruned", model))
    }
    return Pruned(dense, model, sparsity, layers, metrics, tokens[:1], len(chosen), spent)


def _pruned(dense: nn.Module, config: RunConfig, tokens: Tensor) -> tuple[nn.Module, float, list[dict]]:
    if config.method == DENSE:
        return dense, 0.0, []
    if config.row.structure != "structured":
        model, masks = language.prune_language(dense, config.method, config.sparsity, tokens, config.seed)
        return apply(model, masks), overall_sparsity(masks), by_layer(masks)
    batches = [(part[:, :-1], part[:, 1:]) for part in tokens.split(8)]
    result: PruneResult = prune(
        dense,
        config.method,
        config.sparsity,
        example=tokens[:2],
        batches=batches,
        loss=next_token_loss,
        seed=config.seed,
    )
    return result.model, result.sparsity, result.report.to_dict("records")


def next_token_loss(logits: Tensor, targets: Tensor) -> Tensor:
    """Mean cross-entropy of next-token logits.

    Parameters
    ----------
    logits : Tensor
        Logits (batch, length, vocab).
    targets : Tensor
        Tokens (batch, length).
    """
    return nn.functional.cross_entropy(logits.flatten(0, 1), targets.flatten())


def _metrics(dense: nn.Module, model: nn.Module, stories: list[list[int]]) -> dict:
    targets = torch.tensor([token for story in stories for token in story[1:]])
    reference, scores = (language.log_probabilities(one, stories) for one in (dense, model))
    metrics = score_metrics(scores, targets, reference.argmax(1))
    del metrics["per_class_accuracy"]  # of 512 tokens, most of them rare
    divergence = nn.functional.kl_div(
        scores.double(), reference.double(), reduction="batchmean", log_target=True
    )
    return metrics | {"divergence": float(divergence)} | bits(scores, targets)
