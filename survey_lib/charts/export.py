"""A figure with what it says, saved as images with fixed bytes and a data sheet that names its runs."""

import hashlib
import json
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path

import matplotlib
import pandas as pd
from matplotlib.figure import Figure

from survey_lib.experiment import files
from survey_lib.repository import commit, versions

UNDATED = ("CreationDate", "ModDate", "Producer", "Creator")  # would differ from run to run
PACKAGES = ("matplotlib", "numpy", "pandas", "seaborn", "torch")


@dataclass(frozen=True)
class Drawing:
    """A drawn figure: the sentence that it shows, the plotted `data` that it comes from, and values for its caption."""

    figure: Figure
    says: str
    data: pd.DataFrame
    about: Mapping[str, object] = field(default_factory=dict)


def save_figure(drawing: Drawing, name: str, caption: str, out: str | Path, **source: object) -> list[Path]:
    """Write NAME.png, .svg, .pdf and NAME.json; two calls on one machine give the same bytes.

    The data sheet holds id, caption, alt text, plotted data, `source`, versions, the SHA-256 of each image, and
    the commit, with `-changed` behind it where the library's files differ from that commit. The id is also in
    the images, so that a lost picture can be traced.

    Parameters
    ----------
    drawing : Drawing
        The figure and what it says.
    name : str
        Name of the files.
    caption : str
        What is drawn, and what it shows.
    out : str | Path
        Folder of the files.
    **source : object
        Further fields of the data sheet, such as study and run_keys.

    Returns
    -------
    list[Path]
        The files.

    Raises
    ------
    FileExistsError
        Where a file in `out` that is not of this function would be overwritten.
    """
    about = f"{caption} [survey_lib figure {name}]"
    metadata = {
        "png": {"Software": None, "Title": name, "Description": about, "Source": "survey_lib"},
        "svg": {"Date": None, "Creator": None, "Title": name, "Description": about},
        "pdf": dict.fromkeys(UNDATED) | {"Title": name, "Subject": about},
    }
    sheet = {
        "id": name,
        "caption": caption,
        "alt": drawing.says,
        "data": json.loads(drawing.data.to_json(orient="records", double_precision=10)),
        **source,
        "commit": commit(),
        "versions": versions(PACKAGES),
    }
    names = [f"{name}.{kind}" for kind in (*metadata, "json")]
    with files.into(Path(out), names) as fresh, matplotlib.rc_context({"svg.hashsalt": "pruning-survey"}):
        for kind, fields in metadata.items():
            drawing.figure.savefig(fresh / f"{name}.{kind}", format=kind, metadata=fields)
        images = sorted(fresh.iterdir())
        sheet["sha256"] = {path.name: hashlib.sha256(path.read_bytes()).hexdigest() for path in images}
        text = json.dumps(sheet, indent=1, ensure_ascii=False) + "\n"
        (fresh / f"{name}.json").write_text(text, encoding="utf-8")
    return [Path(out) / each for each in names]
