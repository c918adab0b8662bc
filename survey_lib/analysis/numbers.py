"""Numbers that prose may state, each computed from what is published: findings, levels, rows of papers."""

import json
from types import SimpleNamespace

import pandas as pd

from survey_lib.analysis import literature
from survey_lib.analysis.claims import FILE
from survey_lib.analysis.tables import finished
from survey_lib.experiment import speed
from survey_lib.lookup import known


def finding(name: str) -> SimpleNamespace:
    """A comparison with its uncertainty: the only way for prose to say that one method is better.

    mean, low, high      first minus second and the 95 % interval, in `unit` (points, nats)
    over                 what the interval covers: seeds, or seeds and test examples
    p, corrected         before and after Holm's correction over the `family_size` comparisons of the `study`
    verdict, statement   better, worse or tie, by the corrected p at 0.05; and the whole sentence
    n, examples          seeds, and test examples (0 where the interval is over seeds only)
    range                the values of `along` that both curves cover, empty for a comparison at one point
    data, network, keys  the runs behind it; `seeds`: the difference of each seed
    earlier              methods that have been corrected since these runs were made

    Raises
    ------
    ValueError
        With near matches for a name that data/results/findings.json does not hold.

    Examples
    --------
    >>> finding("magnitude-against-random").verdict
    'better'
    """
    stored = json.loads(FILE.read_text(encoding="utf-8"))
    return SimpleNamespace(**stored[known("finding", name, stored)])


def level(study: str, where: str, metric: str = "accuracy") -> SimpleNamespace:
    """The level that published runs of one configuration reach: mean, std and n over its seeds.

    Parameters
    ----------
    study : str
        Name of the study.
    where : str
        Pandas query on the table that leaves one run a seed.
    metric : str, default 'accuracy'
        A column; `accuracy` is that at the end of a run, `pruned_accuracy` that right after the cut.

    Raises
    ------
    ValueError
        Unless `where` leaves one run a seed.

    Examples
    --------
    >>> level("comparison", "method == 'dense' and recovery == 'none'").n
    3
    """
    runs = finished(study, local=False, profile="full").query(where)
    if metric not in runs or runs[metric].isna().any():
        raise ValueError(f"study {study} has no {metric!r} for these runs; columns: {', '.join(runs)}")
    if runs.empty or runs["seed"].duplicated().any():
        seeds = f"{len(runs)} runs of {runs['seed'].nunique()} seeds of study {study}"
        raise ValueError(f"a level needs one run a seed; {where!r} leaves {seeds}")
    return SimpleNamespace(mean=float(runs[metric].mean()), std=float(runs[metric].std()), n=len(runs))


def published(paper: str, **fields: object) -> SimpleNamespace:
    """The one row of published_results.csv that a paper's key and values of its columns single out.

    Parameters
    ----------
    paper : str
        Key of the paper.
    **fields : object
        Values of columns.

    Raises
    ------
    ValueError
        Unless exactly one row is left.

    Examples
    --------
    >>> float(published("lin2020hrank", model="ResNet-56", flops_reduction_pct=50).pruned_metric)
    93.17
    """
    rows, key = literature.published(), {"paper_key": paper} | fields
    rows = rows[(rows[list(key)] == pd.Series(key)).all(axis=1)]
    if len(rows) != 1:
        raise ValueError(f"{paper} with {fields} must be one published row, found {len(rows)}")
    return SimpleNamespace(**rows.iloc[0])


def baseline(dataset: str, model: str) -> SimpleNamespace:
    """The dense accuracies that sources print for one network.

    Parameters
    ----------
    dataset : str
        As in the literature data.
    model : str
        As in the literature data.

    Returns
    -------
    SimpleNamespace
        Lowest, highest, spread (points) and their count.

    Examples
    --------
    >>> int(baseline("CIFAR-10", "ResNet-56").count)
    13
    """
    return SimpleNamespace(**literature.baselines().set_index(["dataset", "model"]).loc[(dataset, model)])


def replication(target: str) -> SimpleNamespace:
    """A published value that we measured again, by its id in replicated.yaml: a row of `replications`.

    Errors are in percent, differences in points.

    Examples
    --------
    >>> replication("dst-300-ref").verdict
    'replicated'
    """
    return SimpleNamespace(**literature.replications().loc[target])


def listed(table: str, where: str = "index == index") -> int:
    """How many rows a pandas query leaves.

    Parameters
    ----------
    table : str
        papers or replications.
    where : str, default 'index == index'
        Pandas query.

    Examples
    --------
    >>> listed("papers", "key == 'lecun1989optimal'")
    1
    """
    return len(getattr(literature, table)().query(where))


def timing(model: str, variant: str, runtime: str = "eager", batch: int = 16) -> SimpleNamespace:
    """A row of the published timings (data/results/speed) on one thread: the columns of `speed.within_runtime`.

    Parameters
    ----------
    model : str
        Name of the model.
    variant : str
        Name of the variant.
    runtime : str, default 'eager'
        eager, compiled or ONNX Runtime, as in the table.
    batch : int, default 16
        Images in a batch.

    Returns
    -------
    SimpleNamespace
        The columns of `speed.within_runtime`; of these `pruning` is the speed-up over the dense model in
        the same runtime, `speedup_measured` over the dense model in eager mode, and `speedup_theoretical`
        dense over kept MACs.

    Raises
    ------
    ValueError
        For a row that was not measured.
    """
    table = speed.within_runtime(speed.read()["chain"])
    key = {"model": model, "variant": variant, "runtime": runtime, "batch": batch, "threads": 1}
    rows = table[(table[list(key)] == pd.Series(key)).all(axis=1)]
    if len(rows) != 1:
        raise ValueError(f"no timing of {key}; timed variants: {', '.join(sorted(set(table['variant'])))}")
    return SimpleNamespace(**rows.iloc[0])


def points(x: float, digits: int = 1) -> str:
    """A difference in percentage points, as findings hold it.

    Parameters
    ----------
    x : float
        A fraction.
    digits : int, default 1
        Digits behind the point.

    Examples
    --------
    >>> points(1.24), points(-0.5)
    ('1.2 points', '-0.5 points')
    """
    return f"{x:.{digits}f} points"


def percent(x: float, digits: int = 0) -> str:
    """A fraction, as levels hold it.

    Parameters
    ----------
    x : float
        A fraction.
    digits : int, default 0
        Digits behind the point.

    Examples
    --------
    >>> percent(0.873), percent(0.873, 1)
    ('87 %', '87.3 %')
    """
    return f"{100 * x:.{digits}f} %"


def number(x: float, digits: int = 2) -> str:
    """A number without a unit.

    Parameters
    ----------
    x : float
        A number.
    digits : int, default 2
        Digits behind the point.

    Examples
    --------
    >>> number(1.074)
    '1.07'
    """
    return f"{x:.{digits}f}"


def times(x: float, digits: int = 1) -> str:
    """A ratio, as a speed-up.

    Parameters
    ----------
    x : float
        A ratio.
    digits : int, default 1
        Digits behind the point.

    Examples
    --------
    >>> times(3.888)
    '3.9 times'
    """
    return f"{x:.{digits}f} times"


def nats(x: float, digits: int = 2) -> str:
    """A difference of losses, as findings of language models hold it.

    Parameters
    ----------
    x : float
        A difference.
    digits : int, default 2
        Digits behind the point.

    Examples
    --------
    >>> nats(0.7076)
    '0.71 nats'
    """
    return f"{x:.{digits}f} nats"
