"""Methods that prune a dense network while it trains: one small rule a method, run by `chain.training.during`."""

import math

import torch
from torch import Tensor, nn

from survey_lib.chain.masks import Masks, overall_sparsity
from survey_lib.chain.patterns import misfit, n_of_m, parse
from survey_lib.chain.selection import cubic, select
from survey_lib.chain.training.during import END, DenseShadow, MaskedTraining

WARMUP = 0.1  # share of the steps before pruning starts: weights, or scores, say nothing yet
GAMMA, ZETA, BETA = -0.1, 1.1, 2 / 3  # stretch and temperature of the hard concrete distribution of `L0`


class Gradual(MaskedTraining):
    """Magnitude on a cubic schedule while training (zhu2017prune).

    sparsity = s (1 − (1 − (t − t₀)/(T − t₀))³), the smallest `|w|` of each layer go; t₀ is 10 % of the steps,
    as the paper prunes a network that has trained for a while, T is 75 %, and the masks change a hundred
    times at most. Ends at exactly s whatever the period (case B07). Fast early pruning costs accuracy when
    the learning rate is still too low to recover.

    Examples
    --------
    >>> layer = nn.Linear(8, 1); rule = Gradual(layer, 0.5, steps=20)
    >>> [int(rule.choose(done)["weight"].sum()) for done in (0, 2, 5, 15, 20)]
    [8, 8, 6, 4, 4]
    """

    reached = 0.0

    def choose(self, done: int) -> Masks:
        last, start = END * self.steps, WARMUP * self.steps
        target = cubic(done - start, last - start, self.sparsity)
        due = done % max(1, self.steps // 100) == 0 or done >= last
        if due and target != self.reached:
            self.reached = target
            # the optimizer has just moved the pruned weights: what is gone ranks last and stays gone
            scores = {n: w.abs().masked_fill(~self.masks[n], -1) for n, w in self.weights.items()}
            self.masks = select(scores, target)
        return self.masks


class Movement(DenseShadow):
    """Keep the weights that fine-tuning moves away from zero (sanh2020movement).

    score = −Σ_t g·w, added up over the steps with the gradient at the masked weights and the dense w, so
    that a pruned weight can return; pruned weights themselves get no gradient, as in the paper. Cubic
    schedule from 10 % to 75 % of the steps, layer by layer; the scores' learning rate is constant. For
    fine-tuning: when training from scratch every weight moves away from zero.

    Examples
    --------
    >>> layer = nn.Linear(2, 1, bias=False); optimizer = torch.optim.SGD(layer.parameters(), lr=0.1)
    >>> rule = Movement(layer, 0.5, steps=1); layer.weight.data = torch.tensor([[1.0, 1.0]])
    >>> layer.weight.grad = torch.tensor([[1.0, -1.0]]); rule.adjust("weight", layer.weight); rule.choose(1)
    {'weight': tensor([[False,  True]])}
    """

    def start(self) -> None:
        self.scores = {name: torch.zeros_like(weight) for name, weight in self.weights.items()}

    @torch.no_grad()
    def adjust(self, name: str, weight: nn.Parameter) -> None:
        self.scores[name] -= weight.grad * weight
        weight.grad.masked_fill_(~self.masks[name], 0)

    def choose(self, done: int) -> Masks:
        target = cubic(done - WARMUP * self.steps, (END - WARMUP) * self.steps, self.sparsity)
        return select(self.scores, target)


class SoftThreshold(DenseShadow):
    """STR: learn one threshold a layer by gradient descent (kusupati2020soft).

    Training sees `sign(w) · max(|w| − σ(s), 0)`. Gradients are exact: w gets g where `|w| > σ(s)`, s gets
    −σ'(s) Σ g·sign(w) over the same weights, times the optimizer's learning rate; s starts at −10 and decays
    towards 0, which raises the threshold. The paper tunes decay and start of s until the sparsity fits. As an
    exact sparsity is asked here, the decay, 8/steps, rests while the network is sparser than a cubic schedule
    that ends at the target; at the end the largest `|w| − σ(s)` of the whole network stay. Fails with strong
    weight decay: weights below the threshold only shrink, and a layer that is empty has no gradient to lower
    it.

    Examples
    --------
    >>> rule = SoftThreshold(nn.Linear(4, 4), 0.5, steps=10); rule.s["weight"].fill_(0.0).sigmoid().item()
    0.5
    >>> rule.shrink(); int(rule.masks["weight"].sum())  # PyTorch draws these weights from [−½, ½]
    0
    """

    START, DECAY = -10.0, 8.0

    def start(self) -> None:
        self.s = {name: torch.tensor(self.START, device=w.device) for name, w in self.weights.items()}
        self.slopes: dict[str, Tensor] = {}
        self.shrink()

    @torch.no_grad()
    def shrink(self) -> None:
        """Put `sign(w) · max(|w| − σ(s), 0)` of the dense weights into the model."""
        for name, weight in self.weights.items():
            weight.copy_(softshrink(self.dense[name], self.s[name].sigmoid()))
            self.masks[name] = weight != 0

    def adjust(self, name: str, weight: nn.Parameter) -> None:
        weight.grad.masked_fill_(~self.masks[name], 0)
        share = self.s[name].sigmoid()
        self.slopes[name] = -share * (1 - share) * (weight.grad * weight.sign()).sum()

    def after(self, step: int, optimizer: torch.optim.Optimizer) -> None:
        rising = overall_sparsity(self.masks) < cubic(step + 1, END * self.steps, self.sparsity)
        for name, weight in self.weights.items():
            self.dense[name].copy_(weight)
            self.s[name] -= optimizer.param_groups[0]["lr"] * self.slopes.get(name, 0)
            self.s[name] *= 1 - min(1, self.DECAY / self.steps) * rising
        self.shrink()

    def finish(self) -> None:
        self.shrink()
        margins = {name: weight.abs() - self.s[name].sigmoid() for name, weight in self.dense.items()}
        self.masks = select(margins, self.sparsity, "global")


def softshrink(weight: Tensor, threshold: Tensor) -> Tensor:
    """`sign(w) · max(|w| − t, 0)`.

    Parameters
    ----------
    weight : Tensor
        Weight of any shape.
    threshold : Tensor
        Threshold t.

    Examples
    --------
    >>> softshrink(torch.tensor([-0.5, 0.1]), torch.tensor(0.25)).tolist()
    [-0.25, 0.0]
    """
    return weight.sign() * (weight.abs() - threshold).clamp_min(0)


class Alternating(MaskedTraining):
    """AC/DC: train compressed and decompressed in turn, and compressed to the end (peste2021acdc).

    In hundredths of the training, as in the authors' 100 epochs on ImageNet: dense until 10; then 5
    compressed and 5 dense until 75; dense until 85; compressed until 100. A compressed phase chooses the
    largest `|w|` of the whole network once and trains them alone; in a dense phase the others start again
    from zero, and the optimizer forgets its momentum, as in the reference implementation. Half of the steps
    are dense, so at best half of the training is saved. Fails in short trainings: a phase must be long enough
    to recover.

    Examples
    --------
    >>> rule = Alternating(nn.Linear(10, 1), 0.8, steps=100)
    >>> [int(rule.choose(done)["weight"].sum()) for done in (9, 10, 14, 15, 74, 75, 84, 85, 100)]
    [10, 2, 2, 10, 2, 10, 10, 2, 2]
    """

    compressed = False

    def choose(self, done: int) -> Masks:
        share, was = 100 * done // self.steps, self.compressed
        self.compressed = share >= 85 or (10 <= share < 75 and share % 10 < 5)
        if not self.compressed:
            self.masks = {name: torch.ones_like(mask) for name, mask in self.masks.items()}
        elif not was:
            self.masks = select({n: w.abs() for n, w in self.weights.items()}, self.sparsity, "global")
        return self.masks

    def before(self, step: int, optimizer: torch.optim.Optimizer) -> None:
        for name, weight in self.weights.items():
            if weight.grad is not None:
                weight.grad.masked_fill_(~self.masks[name], 0)

    def after(self, step: int, optimizer: torch.optim.Optimizer) -> None:
        was = self.compressed
        for name, weight in self.weights.items():
            weight.masked_fill_(~self.masks[name], 0)  # momentum has moved what was removed
        super().after(step, optimizer)
        if was and not self.compressed:
            optimizer.state.clear()


class SparseRefined(DenseShadow):
    """SR-STE: learn an N:M mask from scratch with straight-through gradients (zhou2021learning).

    Forward with the n largest `|w|` of every m; the dense w gets g(masked w) + λ (1 − mask)·w, λ = 2e-4 as in
    the reference implementation: pruned weights shrink, so masks settle. Layers that do not fit the pattern
    stay dense. The pattern sets the sparsity; without one it is the N of 4 nearest to the asked sparsity.

    Examples
    --------
    >>> layer = nn.Linear(4, 1); layer.weight.data = torch.tensor([[4.0, 1.0, 3.0, 2.0]])
    >>> SparseRefined(layer, 0.5, steps=10, pattern="2:4").choose(1)
    {'weight': tensor([[ True, False,  True, False]])}
    """

    DECAY = 2e-4

    def __init__(self, model: nn.Module, sparsity: float, steps: int, *, seed=0, example=None, pattern="2:4"):
        super().__init__(model, sparsity, steps, seed=seed)
        self.kept, self.group = parse(pattern)
        self.weights = {n: w for n, w in self.weights.items() if not misfit(w.shape, "n:m", pattern)}
        if not self.weights:
            raise ValueError(f"no layer has a multiple of {self.group} inputs, as {pattern!r} needs")
        self.masks = self.choose(0)

    def adjust(self, name: str, weight: nn.Parameter) -> None:
        weight.grad.add_(self.DECAY * weight * ~self.masks[name])

    def choose(self, done: int) -> Masks:
        return {name: n_of_m(weight.abs(), self.kept, self.group) for name, weight in self.weights.items()}


def hard_concrete(log_alpha: Tensor, uniform: Tensor) -> Tensor:
    """Gates in [0, 1], exactly 0 or 1 with positive probability: clamp(s (ζ − γ) + γ) (louizos2018learning).

    s = σ((log u − log(1 − u) + log α) / β).

    Parameters
    ----------
    log_alpha : Tensor
        Log α, of any shape.
    uniform : Tensor
        u, of the same shape.

    Examples
    --------
    >>> hard_concrete(torch.zeros(3), torch.tensor([0.01, 0.5, 0.99]))
    tensor([0.0000, 0.5000, 1.0000])
    """
    noise = uniform.log() - (1 - uniform).log()
    return (((noise + log_alpha) / BETA).sigmoid() * (ZETA - GAMMA) + GAMMA).clamp(0, 1)


def gate_probability(log_alpha: Tensor) -> Tensor:
    """P(gate ≠ 0) = σ(log α − β log(−γ/ζ)), whose sum is the expected L0 norm (louizos2018learning).

    Examples
    --------
    >>> gate_probability(torch.zeros(1))
    tensor([0.8318])
    """
    return (log_alpha - BETA * math.log(-GAMMA / ZETA)).sigmoid()


class L0(DenseShadow):
    """Learn hard-concrete gates on the weights with an L0 penalty (louizos2018learning).

    Every weight has its gate, the variant of gale2019state; the paper gates input units and feature maps, so
    that what closes can be cut out. Training sees w · gate, with a new draw of the gates after each step; log
    α descends on loss + λ Σ P(gate ≠ 0) with Adam, from P(drop) = 0.1 (authors' code: 0.5), λ = 1e-3 a gate
    (paper: about 0.1 over the number of examples, for gates of whole units). As an exact sparsity is asked,
    the penalty rests while the expected density is below a cubic schedule that ends at the target; at the end
    the gates of largest log α stay, ranked globally, at their deterministic value clamp(σ(log α)(ζ − γ) + γ).
    Between steps the model holds one draw. On large networks the variance of the draws often defeats it
    (gale2019state).

    Examples
    --------
    >>> rule = L0(nn.Linear(4, 4), 0.5, steps=10)
    >>> rule.finish(); int(rule.masks["weight"].sum())
    8
    """

    PENALTY = 1e-3

    def start(self) -> None:
        self.log_alpha = {n: torch.full_like(w, math.log(9)).requires_grad_() for n, w in self.dense.items()}
        self.descent = torch.optim.Adam(self.log_alpha.values(), lr=min(0.5, 20 / self.steps))
        self.draws = torch.Generator().manual_seed(self.seed)
        self.sample()

    @torch.no_grad()
    def sample(self) -> None:
        """Draw new gates and put w · gate into the model."""
        self.uniform = {
            n: torch.rand(w.shape, generator=self.draws).clamp(1e-6, 1 - 1e-6).to(w.device)
            for n, w in self.dense.items()
        }
        gates = {name: hard_concrete(self.log_alpha[name], self.uniform[name]) for name in self.dense}
        self.masks = {name: gate > 0 for name, gate in gates.items()}
        for name, weight in self.weights.items():
            weight.copy_(self.dense[name] * gates[name])

    @torch.enable_grad()
    def penalty(self, step: int) -> Tensor:
        """λ times the expected L0 norm while that is above the schedule, else zero."""
        expected = sum(gate_probability(value).sum() for value in self.log_alpha.values())
        density = 1 - cubic(step, END * self.steps, self.sparsity)
        total = sum(value.numel() for value in self.log_alpha.values())
        return self.PENALTY * expected * (expected.detach() > density * total)

    def before(self, step: int, optimizer: torch.optim.Optimizer) -> None:
        self.descent.zero_grad()
        self.penalty(step).backward()
        super().before(step, optimizer)

    def adjust(self, name: str, weight: nn.Parameter) -> None:
        with torch.enable_grad():
            gate = hard_concrete(self.log_alpha[name], self.uniform[name])
        gate.backward(weight.grad * weight)
        weight.grad.mul_(gate.detach())

    def dense_gradients(self, step: int) -> bool:
        return False  # a closed gate stops the gradient

    def after(self, step: int, optimizer: torch.optim.Optimizer) -> None:
        for name, weight in self.weights.items():
            self.dense[name].copy_(weight)
        self.descent.step()
        self.sample()

    @torch.no_grad()
    def finish(self) -> None:
        self.masks = select(self.log_alpha, self.sparsity, "global")
        for name, weight in self.weights.items():
            gate = (self.log_alpha[name].sigmoid() * (ZETA - GAMMA) + GAMMA).clamp(0, 1)
            weight.copy_(self.dense[name] * gate)
