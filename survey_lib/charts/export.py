"""A figure with what it says, saved as images with fixed bytes and a data sheet that names its runs."""

import hashlib
import json
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import matplotlib
import pandas as pd
from matplotlib.figure import Figure

from survey_lib.charts.plots import headline
from survey_lib.experiment import files
from survey_lib.repository import commit, versions

UNDATED = ("CreationDate", "ModDate", "Producer", "Creator")  # would differ from run to run
PACKAGES = ("matplotlib", "numpy", "pandas", "seaborn", "torch")


@dataclass(frozen=True)
class Drawing:
    """A drawn figure: the sentence that it shows, its caption, and the plotted `data` that both come from."""

    figure: Figure
    says: str
    caption: str
    data: pd.DataFrame


def titled(figure: Figure, says: str, about: str, data: pd.DataFrame) -> Drawing:
    """A figure under its finding; the caption says what is drawn, and the finding again.

    Parameters
    ----------
    figure : Figure
        It gets the title.
    says : str
        The finding, computed from the data; without a full stop.
    about : str
        What is drawn, in whole sentences.
    data : pd.DataFrame
        What was plotted.
    """
    headline(figure, says)
    return Drawing(figure, says, f"{about} {says}.", data)


def save_figure(
    drawing: Drawing,
    name: str,
    out: str | Path,
    *,
    study: str = "",
    profile: str = "published",
    keys: Sequence[str] = (),
) -> list[Path]:
    """Write NAME.png, .svg, .pdf and NAME.json; two calls on one machine give the same bytes.

    The data sheet holds id, caption, alt text, plotted data, run keys, study, profile, versions, the SHA-256
    of each image, and the commit, with `-changed` behind it where the library's files differ from that
    commit. The id is also in the images, so that a lost picture can be traced.

    Parameters
    ----------
    drawing : Drawing
        The figure and what it says.
    name : str
        Name of the files.
    out : str | Path
        Folder of the files.
    study : str, default ''
        Whose runs are drawn.
    profile : str, default 'published'
        Profile of these runs.
    keys : Sequence[str], default ()
        Keys of these runs.

    Returns
    -------
    list[Path]
        The files.

    Raises
    ------
    FileExistsError
        Where a file in `out` that is not of this function would be overwritten.
    """
    about = f"{drawing.caption} [survey_lib figure {name}]"
    metadata = {
        "png": {"Software": None, "Title": name, "Description": about, "Source": "survey_lib"},
        "svg": {"Date": None, "Creator": None, "Title": name, "Description": about},
        "pdf": dict.fromkeys(UNDATED) | {"Title": name, "Subject": about},
    }
    names = [f"{name}.{kind}" for kind in (*metadata, "json")]
    with files.into(Path(out), names) as fresh, matplotlib.rc_context({"svg.hashsalt": "pruning-survey"}):
        for kind, fields in metadata.items():
            drawing.figure.savefig(fresh / f"{name}.{kind}", format=kind, metadata=fields)
        sheet = _sheet(drawing, name, study, profile, keys) | {
            "sha256": {
                path.name: hashlib.sha256(path.read_bytes()).hexdigest() for path in sorted(fresh.iterdir())
            }
        }
        text = json.dumps(sheet, indent=1, ensure_ascii=False) + "\n"
        (fresh / f"{name}.json").write_text(text, encoding="utf-8")
    return [Path(out) / each for each in names]


def _sheet(drawing: Drawing, name: str, study: str, profile: str, keys: Sequence[str]) -> dict:
    return {
        "id": name,
        "caption": drawing.caption,
        "alt": drawing.says,
        "data": json.loads(drawing.data.to_json(orient="records", double_precision=10)),
        "run_keys": list(keys),
        "study": study,
        "profile": profile,
        "commit": commit(),
        "versions": versions(PACKAGES),
    }
