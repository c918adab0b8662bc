"""One run on the pretrained stories260K model: no training, so pruning and four measurements are all of it."""

from functools import cache

import torch
from torch import Tensor, nn

from survey_lib.chain.masks import apply, by_layer, overall_sparsity
from survey_lib.experiment.networks import language
from survey_lib.experiment.runs.config import DENSE, RunConfig
from survey_lib.experiment.runs.record import finished
from survey_lib.experiment.runs.train import calibration_error
from survey_lib.measure import stopwatch
from survey_lib.prune import prune

WINDOW = 128  # tokens a calibration sequence


def run_stories(config: RunConfig) -> dict:
    """Prune stories260K by the config's method; its record. The seed draws half of the calibration sequences.

    Unstructured and N:M methods go block by block (`language.prune_language`), structured ones cut the whole
    model at once. The metrics are those of next-token prediction on the texts sampled from the dense model
    (test) and on the stories written by hand (written), and the divergence from the dense model, in nats.
    """
    dense, tokenizer = language.load_stories()
    calibration = [tokenizer.encode(text) for text in language.load_texts("calibration")]
    tokens = language.windows(calibration, WINDOW)
    order = torch.randperm(len(tokens), generator=torch.Generator().manual_seed(config.seed))
    chosen = tokens[order[: len(order) // 2]]
    read = stopwatch()
    model, sparsity, layers = _pruned(dense, config, chosen)
    spent = read()
    metrics, losses = {"dense": {}, "pruned": {}}, {}
    for split in ("test", "written"):
        batches, reference, own = _reference(split)
        metrics["dense"][split] = own
        metrics["pruned"][split], losses[split] = _metrics(model, batches, reference)
    found = finished({"dense": dense, "pruned": model}, config, tokens[:1])
    seen = 0 if model is dense else len(chosen)
    macs = seen * found["sizes"]["dense"]["macs"]
    pruning = {"stage": "pruning", "epochs": 0, "examples": seen, "training_macs": macs}
    return found | {
        "sparsity": sparsity,
        "layers": layers,
        "skipped": [],
        "metrics": metrics | {"recovered": metrics["pruned"]},  # one stage, as nothing is trained
        "losses": [round(loss, 3) for loss in losses["test"]],
        "curve": [],
        "ledger": [pruning | {"nonzero_training_macs": macs} | spent],
    }


@cache
def _reference(split: str) -> tuple[list[Tensor], list[Tensor], dict]:
    """Batches of texts, the dense model's log-probabilities and metrics: equal in all runs, so computed once."""
    dense, tokenizer = language.load_stories()
    if split == "test":
        batches = list(language.load_sampled().split(25))
    else:
        batches = [torch.tensor([tokenizer.encode(text)]) for text in language.load_texts("evaluation")]
    reference = [_log_probabilities(dense, batch) for batch in batches]
    return batches, reference, _metrics(dense, batches, reference)[0]


@torch.inference_mode()
def _log_probabilities(model: nn.Module, batch: Tensor) -> Tensor:
    """Of each token after BOS, given the text so far: (texts, tokens, vocab), in nats."""
    return model(batch[:, :-1]).log_softmax(-1)


def _pruned(dense: nn.Module, config: RunConfig, tokens: Tensor) -> tuple[nn.Module, float, list[dict]]:
    method, sparsity, seed = config.method, config.sparsity, config.seed
    if method == DENSE:
        return dense, 0.0, []
    if config.row.structure != "structured":
        model, masks = language.prune_language(dense, method, sparsity, tokens, seed)
        return apply(model, masks), overall_sparsity(masks), by_layer(masks)
    batches = [(part[:, :-1], part[:, 1:]) for part in tokens.split(8)]
    result = prune(
        dense, method, sparsity, example=tokens[:2], batches=batches, loss=next_token_loss, seed=seed
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


def _metrics(model: nn.Module, batches: list[Tensor], reference: list[Tensor]) -> tuple[dict, list[float]]:
    """Means over all tokens, and the mean loss of each text; `reference`: the dense model's log-probabilities."""
    parts, by_text = [], []
    for batch, dense in zip(batches, reference, strict=True):
        scores, targets = _log_probabilities(model, batch), batch[:, 1:]
        confidence, guess = scores.max(-1)
        loss = -scores.gather(-1, targets[..., None]).squeeze(-1)
        divergence = (dense.exp() * (dense - scores)).sum(-1)
        same = guess.eq(dense.argmax(-1))
        each = torch.stack([loss, divergence, guess.eq(targets), same, confidence.exp()]).double()
        parts.append(each.flatten(1))
        by_text += each[0].mean(-1).tolist()
    loss, divergence, right, same, confidence = torch.cat(parts, 1)
    means = {"accuracy": right, "loss": loss, "agreement": same, "divergence": divergence}
    metrics = {name: float(values.mean()) for name, values in means.items()}
    return metrics | {"ece": calibration_error(confidence, right), "n": len(loss)}, by_text
