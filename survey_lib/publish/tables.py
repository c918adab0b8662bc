"""Tables of the methods and of a study's results, as the command line, the README and the notebooks show them."""

from __future__ import annotations

import pandas as pd

from survey_lib.catalogue import CATEGORIES, METHODS
from survey_lib.experiment import store
from survey_lib.experiment.study import load

CHOICES = {"category": CATEGORIES, "when": ("before", "during", "after", "any")}


def matching(
    category: str | None = None, when: str | None = None, needs: str | None = None, words: tuple[str, ...] = ()
) -> pd.DataFrame:
    """Methods of the catalogue that match every filter, one row each.

    Raises ValueError for a category or a moment that does not exist.
    """
    for field, chosen in (("category", category), ("when", when)):
        if chosen and chosen not in CHOICES[field]:
            raise ValueError(f"{field} must be one of {', '.join(CHOICES[field])}; got {chosen!r}")
    rows = [
        {"method": m.name, "category": m.category, "when": m.when, "needs": " ".join(m.needs) or "nothing",
         "paper": m.paper, "what it does": m.one_line}
        for m in METHODS.values() if m.status == "works"
    ]  # fmt: skip
    table = pd.DataFrame(rows, columns=["method", "category", "when", "needs", "paper", "what it does"])
    keep = (table["category"] == (category or table["category"])) & (table["when"].isin([when, "any"]) | (when is None))
    if needs:
        keep &= table["needs"].map(lambda found: needs in found.split())
    for word in words:
        keep &= (table["method"] + " " + table["what it does"]).str.contains(word, case=False, regex=False)
    return table[keep].reset_index(drop=True)


def finished(study: str, *, local: bool, profile: str | None = None) -> pd.DataFrame:
    """Finished runs of a study, a method's pattern in its name (`block:1x4`), as the figures read them.

    Raises ValueError that lists near matches for an unknown study, or says how to get runs when there are none.
    """
    load(study)
    frame = store.results(study, local=local, profile=profile)
    done = frame[frame["status"] == "done"].copy()
    if done.empty:
        raise ValueError(f"study {study} has no finished runs; first: survey sweep {study} --profile {profile or 'quick'}")
    patterned = done["pattern"] != ""
    done.loc[patterned, "method"] += ":" + done.loc[patterned, "pattern"]
    return done


def accuracy_table(frame: pd.DataFrame, metric: str = "accuracy") -> pd.DataFrame:
    """Mean of a metric over seeds, methods down and sparsities across, best mean first.

    >>> frame = pd.DataFrame({"method": ["a", "a"], "sparsity": [0.5, 0.5], "accuracy": [0.8, 0.9], "status": "done"})
    >>> accuracy_table(frame).loc["a", 0.5].round(3).item()
    0.85
    """
    table = frame.pivot_table(metric, "method", "sparsity", "mean")
    return table.loc[table.mean(axis=1).sort_values(ascending=False).index]


def markdown(table: pd.DataFrame) -> str:
    """A table in GitHub's Markdown.

    >>> print(markdown(pd.DataFrame({"a": [1]})))
    | a |
    | --- |
    | 1 |
    """
    rows = [list(table.columns), ["---"] * len(table.columns), *table.astype(str).to_numpy().tolist()]
    return "\n".join("| " + " | ".join(row) + " |" for row in rows)
