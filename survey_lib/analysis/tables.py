"""Tables of methods and of a study's results, for the command line, the README and the notebooks."""

from statistics import fmean, stdev

import pandas as pd

from survey_lib.catalogue import table as catalogue
from survey_lib.experiment.sweeps import store
from survey_lib.lookup import known

POINT = ["data", "model", "method", "sparsity", "seed"]
VARIANTS = ("pattern", "scope", "schedule", "recovery", "recovery_lr", "rewind_epoch", "evidence", "layer")
VARIANTS += ("ticket", "rounds", "recovery_epochs", "epochs", "lr", "when", "asked_macs", *store.LATER)
INCIDENTAL = ("key", "seconds", "cpu_seconds")
TESTS = {"digits": 300, "eurosat32-mini": 1000, "fashion-mnist": 10_000}  # images


def matching(
    category: str | None = None,
    when: str | None = None,
    needs: str | None = None,
    words: tuple[str, ...] = (),
) -> pd.DataFrame:
    """Methods of the catalogue that match every filter, one row each.

    Parameters
    ----------
    category : str, optional
        As in the catalogue.
    when : str, optional
        before, during, after or any.
    needs : str, optional
        A field of Evidence, or nothing.
    words : tuple[str, ...], default ()
        Words that the row must hold.

    Raises
    ------
    ValueError
        For a category, a moment or an evidence that does not exist.
    """
    every = table = catalogue().reset_index()
    for field, chosen in (("category", category), ("when", when), ("needs", needs)):
        if chosen:
            values = every[field].str.split()
            fits = {known(field, chosen, values.explode().unique()), "any"}  # of `when`
            table = table[[not fits.isdisjoint(found) for found in values[table.index]]]
    for word in words:
        said = table["method"] + " " + table["what it does"]
        table = table[said.str.contains(word, case=False, regex=False)]
    return table.reset_index(drop=True)


def finished(study: str, *, local: bool, profile: str | None = None) -> pd.DataFrame:
    """Finished runs of a study as the figures read them.

    Parameters
    ----------
    study : str
        Name of the study.
    local : bool
        With the runs of this machine.
    profile : str, optional
        Only the runs of quick or full.

    Raises
    ------
    ValueError
        With near matches for an unknown study, or how to get runs when there are none.
    """
    frame = store.results(study, local=local, profile=profile)
    done = frame[frame["status"] == "done"]
    if profile is None and (done["profile"] == "full").any():  # recipes of two profiles are never averaged
        done = done[done["profile"] == "full"]
    if done.empty:
        first = f"survey sweep {study} --profile {profile or 'quick'}"
        raise ValueError(f"study {study} has no finished runs; first: {first}")
    return done.reset_index(drop=True)


def distinct(frame: pd.DataFrame) -> pd.DataFrame:
    """Methods that have two runs of one seed at one point get what sets the runs apart into their name.

    A run that a study asks for twice, with its method's own scope by default and by name, counts once.

    Examples
    --------
    >>> frame = pd.DataFrame({name: "x" for name in POINT}, [0, 1]).assign(scope=["global", "layerwise"])
    >>> distinct(frame)["method"].tolist()
    ['x (global)', 'x (layerwise)']
    """
    frame = frame.drop_duplicates([name for name in frame if name not in INCIDENTAL]).copy()
    for field in [name for name in VARIANTS if name in frame and frame[name].nunique() > 1]:
        twice = frame.duplicated(POINT, keep=False)
        values = frame[twice].groupby("method")[field].nunique()
        several = frame["method"].isin(values[values > 1].index.difference(["dense"]))
        several &= frame[field].notna() & (frame[field] != "")
        frame.loc[several, "method"] += " (" + frame.loc[several, field].astype(str) + ")"
    return frame


def main_setting(frame: pd.DataFrame) -> tuple[str, pd.DataFrame]:
    """The (data, model) pair with the most runs, and its runs."""
    labels = frame["data"] + ", " + frame["model"]
    label = labels.value_counts().sort_index().idxmax()
    return label, frame[labels == label]


def results_table(frame: pd.DataFrame, metric: str = "accuracy") -> pd.DataFrame:
    """One row a method at a sparsity, for each data set and network.

    Mean and standard deviation over n runs, which differ in their seed. Columns in which all runs agree are
    left out; best mean first. One run has no spread.

    Parameters
    ----------
    frame : pd.DataFrame
        Finished runs.
    metric : str, default 'accuracy'
        A column.

    Examples
    --------
    >>> frame = pd.DataFrame({"method": ["a", "a"], "sparsity": [0.5, 0.5], "accuracy": [0.8, 0.9]})
    >>> results_table(frame).round(3).to_dict("records")
    [{'method': 'a', 'sparsity': 0.5, 'mean': 0.85, 'std': 0.071, 'n': 2}]
    """
    there = [name for name in ("data", "model", "asked_macs") if name in frame]
    several = [name for name in there if frame[name].nunique(dropna=False) > 1]
    groups = frame.groupby([*several, "method", "sparsity"], dropna=False)[metric]
    table = groups.agg(mean="mean", std="std", n="count").query("n > 0").reset_index()
    first = [name for name in several if name != "asked_macs"]
    return table.sort_values([*first, "mean"], ascending=[True] * len(first) + [False], ignore_index=True)


def markdown(table: pd.DataFrame) -> str:
    """A table in GitHub's Markdown.

    Examples
    --------
    >>> print(markdown(pd.DataFrame({"a": [1]})))
    | a |
    | --- |
    | 1 |
    """
    body = table.astype(object).fillna("").astype(str).to_numpy().tolist()
    rows = [list(table.columns), ["---"] * len(table.columns), *body]
    return "\n".join("| " + " | ".join(row) + " |" for row in rows)


def study_card(table: pd.DataFrame) -> str:
    """What a reader must know to judge a figure of these runs, as a Markdown table, from their records.

    The sampling error is the binomial standard error of the mean accuracy, √(a (1 − a) / n), in points; for the
    language model, the standard error of a run's loss over its texts, in nats. Epochs and rate of the recovery are
    those of fine-tuning: after a rewind, or with new weights, the recipe counts.
    """
    if table.empty:
        return "*This profile has no run for this figure.*"
    study, keys = table["study"].iloc[0], sorted(set(table["key"]))
    found = store.published_records(study)
    if not found.keys() >= set(keys):
        found = store.local_records(study) | found
    runs = [found[key] for key in keys]
    configs = [run["config"] for run in runs]
    tuned = [config for config in configs if config["recovery"] == "finetune"]

    def of(name: str, configs: list[dict] = configs) -> str:
        return ", ".join(map(str, sorted({config[name] for config in configs})))

    recipe = f"{of('epochs')} epochs, {of('optimizer')}, {of('lr_schedule')}, rate {of('lr')}, "
    recipe += f"batch {of('batch_size')}, weight decay {of('weight_decay')}"
    recovery = f"; {of('recovery_epochs', tuned)} epochs, rate {of('recovery_lr', tuned)}" if tuned else ""
    trained = {part["examples"] // part["epochs"] for run in runs for part in run["ledger"] if part["epochs"]}
    training = f"{_numbers(trained)} training and " if trained else ""
    tests, kind, error = _sampling_error(runs, table["accuracy"].mean())
    rows = {
        "data": f"{of('data')}; {training}{_numbers(tests)} test {kind}",
        "network": of("model"),
        "recipe": recipe if trained else "nothing is trained",
        "recovery": of("recovery") + recovery,
        "seeds": f"{len({config['seed'] for config in configs})} ({of('seed')})",
        **error,
        "runs": f"{len(keys)} of study {study}: {', '.join(keys[:3])}{', …' if len(keys) > 3 else ''}",
    }
    gpus = [run["environment"]["machine"] for run in runs if run["config"]["device"] != "cpu"]
    if gpus:
        machines = ", ".join(sorted(set(gpus)))
        rows["computed on"] = f"{machines} ({len(gpus)} of {len(runs)} runs), else a CPU core"
    return markdown(pd.DataFrame({"of this figure": rows.keys(), "": rows.values()}))


def _sampling_error(runs: list[dict], accuracy: float) -> tuple[set[int], str, dict[str, str]]:
    """How many test examples there are and of which kind, and the row of the card that states their error."""
    tests = {run["metrics"]["recovered"]["test"].get("n") or TESTS[run["config"]["data"]] for run in runs}
    texts = [run["losses"] for run in runs if run.get("losses")]
    if texts:
        error = fmean(stdev(losses) / len(losses) ** 0.5 for losses in texts)
        return tests, f"tokens of {len(texts[0])} texts", {"sampling error of a loss": f"{error:.3f} nats"}
    errors = ", ".join(f"{100 * (accuracy * (1 - accuracy) / n) ** 0.5:.1f} points" for n in sorted(tests))
    return tests, "examples", {"sampling error of an accuracy": errors}


def _numbers(found: set[int]) -> str:
    return ", ".join(f"{value:,}" for value in sorted(found))
