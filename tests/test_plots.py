"""What a figure must show and say, on a synthetic table of results; and that its files can be made again."""

import hashlib
import json
import runpy
import subprocess
from itertools import product
from pathlib import Path

import matplotlib.pyplot as plt
import numpy as np
import pandas as pd
import pytest
import yaml

from survey_lib import repository
from survey_lib.analysis.tables import finished
from survey_lib.catalogue import METHODS as CATALOGUE
from survey_lib.charts import plots
from survey_lib.charts.export import Drawing, save_figure
from survey_lib.charts.plots import COLOURS, HOME
from survey_lib.figures import comparisons
from survey_lib.figures.catalogue import FIGURES, THUMBNAILS, cite, figure, find
from survey_lib.repository import REPOSITORY

METHODS = {
    "random": "weight",
    "magnitude": "weight",
    "lamp": "weight",
    "random-filter": "filter",
    "l1-filter": "filter",
    "fpgm": "filter",
    "slimming": "channel",
}


def results(seeds: int = 3) -> pd.DataFrame:
    """Accuracy 0.9 − 0.01 · place · (1 − 1 / compression) + 0.001 · seed, at 2, 4, 8 times, on two models.

    Channels reach those compressions at lower sparsities than weights, as in the studies.
    """
    rows = []
    for place, (method, category) in enumerate(reversed(METHODS.items())):
        structured = category != "weight"
        for model, compression, seed in product(("small", "large"), (2.0, 4.0, 8.0), range(seeds)):
            rows.append(
                {
                    "key": f"{method}{model}{compression}{seed}",
                    "data": "toy",
                    "model": model,
                    "method": method,
                    "category": category,
                    "structure": "structured" if structured else "unstructured",
                    "sparsity": 1 - compression ** (-0.5 if structured else -1),
                    "seed": seed,
                    "accuracy": 0.9 - 0.01 * place * (1 - 1 / compression) + 0.001 * seed,
                    "dense_accuracy": 0.92 + 0.001 * seed,
                    "compression": compression,
                    "speedup_theoretical": compression,
                    "recovery": "finetune",
                    "training_macs": 13e11,
                    "pruning_macs": 1e11,
                    "recovery_macs": 2e11,
                    "study": "comparison",
                    "when": "after",
                    "pattern": "",
                    "pruned_accuracy": 0.5 - 0.01 * place,
                    "test_n": 1000,
                }
            )
    return pd.DataFrame(rows)


@pytest.fixture(autouse=True)
def style():
    plots.house_style()
    yield
    plt.close("all")


def one_model(frame: pd.DataFrame) -> pd.DataFrame:
    return frame[frame["model"] == "small"]


def texts(axes) -> str:
    return " | ".join(text.get_text() for text in axes.texts)


def test_lines_plot_means_with_their_spread():
    axes = plt.figure().subplots()
    table = plots.lines(one_model(results()), axes, "compression", "accuracy")
    line = next(line for line in axes.lines if line.get_label() == "slimming")
    assert line.get_xdata().tolist() == [2, 4, 8]
    assert line.get_ydata() == pytest.approx([0.901] * 3)
    assert table.query("method == 'slimming'")["std"].tolist() == pytest.approx([0.001] * 3)


def test_n_is_printed_and_fewer_than_three_seeds_is_said_on_the_face():
    three, one = plt.figure().subplots(1, 2)
    plots.lines(one_model(results(3)), three, "compression", "accuracy")
    plots.lines(one_model(results(1)), one, "compression", "accuracy")
    assert texts(three) == "n = 3"
    assert "n = 1" in texts(one) and "fewer than 3 seeds" in texts(one)


def test_two_runs_of_one_seed_at_one_point_are_refused():
    frame = one_model(results())
    with pytest.raises(ValueError, match="choose one setting first"):
        plots.spread(
            pd.concat([frame.assign(recovery="none"), frame.assign(recovery="finetune")]), "compression"
        )


def test_random_is_grey_and_no_two_methods_look_the_same():
    styles = plots.looks([f"m{i}" for i in range(60)] + ["random"])
    assert styles["random"]["color"] == plots.GREY
    assert len({tuple(style.items()) for style in styles.values()}) == 61


def test_a_method_looks_the_same_in_every_figure():
    together = plots.looks(CATALOGUE)
    assert set(HOME) == {name for name in CATALOGUE if not name.startswith("random")}
    for name in HOME:
        assert plots.looks([name, "snip shuffled", "another"])[name] == together[name], name
    variants = plots.looks(["snip", "snip shuffled", "nm-magnitude:2:4"])
    assert variants["snip shuffled"]["color"] == variants["snip"]["color"] == together["snip"]["color"]
    assert variants["nm-magnitude:2:4"] == together["nm-magnitude"]


def luminance(colour: str) -> float:
    parts = [int(colour[start : start + 2], 16) / 255 for start in (1, 3, 5)]
    linear = [part / 12.92 if part <= 0.04045 else ((part + 0.055) / 1.055) ** 2.4 for part in parts]
    return float(np.dot(linear, (0.2126, 0.7152, 0.0722)))


def named(part: object) -> set[str]:
    """Methods that a study file names, whatever their pattern."""
    if isinstance(part, list):
        return set().union(*map(named, part))
    if not isinstance(part, dict):
        return set()
    methods = part.get("method", [])
    own = {name.partition(":")[0] for name in ([methods] if isinstance(methods, str) else methods)}
    return own.union(*map(named, part.values()))


@pytest.mark.parametrize(
    "study", sorted((REPOSITORY / "data" / "studies").rglob("*.yaml")), ids=lambda path: path.stem
)
def test_two_methods_of_one_study_never_share_a_colour(study):
    methods = named(yaml.safe_load(study.read_text(encoding="utf-8"))) & set(HOME)
    styles = plots.looks(methods)
    assert methods and len({style["color"] for style in styles.values()}) == len(methods)
    markers = {style["marker"] for style in styles.values()}  # print may have no colour
    assert len(markers) > 0.5 * len(methods)


def test_every_colour_is_dark_enough_for_white_paper():
    assert max(map(luminance, COLOURS)) < 0.5


def test_the_commit_of_a_figure_says_that_sources_were_changed(tmp_path):
    source = tmp_path / "survey_lib" / "repository.py"
    source.parent.mkdir(parents=True)
    source.write_bytes(Path(repository.__file__).read_bytes())
    (tmp_path / "pyproject.toml").touch()

    def git(*words: str) -> None:
        who = ["-c", "user.name=x", "-c", "user.email=x"]
        subprocess.run(["git", "-C", tmp_path, *who, *words], check=True, capture_output=True)

    def found() -> str:
        return runpy.run_path(str(source))["commit"]()

    git("init")
    git("add", ".")
    git("commit", "-m", "first")
    clean = found()
    assert len(clean) == 12 and set(clean) <= set("0123456789abcdef")
    new = source.with_name("new.py")
    new.touch()
    assert found() == f"{clean}-changed"
    new.unlink()
    source.write_text(source.read_text() + "# another line\n")
    assert found() == f"{clean}-changed"


def drawn(entry) -> Drawing:
    """A figure from the synthetic table where it can show one, else from the published runs of its study."""
    if not entry.study:
        return entry.draw()
    synthetic = entry.study == "comparison" and entry is not find("decision-guide")  # which needs dense twins
    return entry.draw(results() if synthetic else finished(entry.study, local=False))


@pytest.mark.parametrize("name", FIGURES)
def test_every_figure_says_what_it_shows(name):
    entry = find(name)
    drawing = drawn(entry)
    assert len(drawing.says) > 20 and len(drawing.data) > 1
    assert entry.caption.format(**drawing.about).endswith(".") and entry.asks.endswith("?")


def test_every_figure_has_its_small_picture_in_the_readme():
    assert {path.stem for path in THUMBNAILS.glob("*.png")} == set(FIGURES), "run `survey generate`"


def test_the_bars_of_the_tradeoff_hold_seeds_and_test_images():
    """Errors 0.099, 0.100, 0.101 on 1,000 images: seeds 0.001 / √3, both √(0.001² / 3 + 0.1 · 0.9 / 1000)."""
    runs = pd.DataFrame({"method": "a", "sparsity": 0.5, "x": 2.0, "accuracy": [0.901, 0.9, 0.899]})
    row = comparisons.levels(runs, "x", 1000).iloc[0]
    assert row["error"] == pytest.approx(0.1) and row["seeds"] == pytest.approx(0.001 / 3**0.5)
    assert row["both"] == pytest.approx((0.001**2 / 3 + 0.09 / 1000) ** 0.5)


def test_the_title_of_the_tradeoff_is_computed_from_the_table():
    """At each compression magnitude is 0.03 · (1 − 1 / compression) below l1-filter; 0.0225 on the logarithm's mean."""
    says = find("tradeoff").draw(one_model(results()).assign(recovery_lr=0.02)).says
    assert "keeps 2.2 points less than l1-filter at equal size" in says


def draw() -> Drawing:
    plots.house_style()
    frame = one_model(results())
    picture, axes = plt.subplots()
    table = plots.lines(frame, axes, "compression", "accuracy")
    axes.legend()
    return Drawing(picture, "A finding", table)


def save_toy(folder: Path) -> list[Path]:
    return save_figure(draw(), "toy", "A caption.", folder, run_keys=["k1"])


def test_the_same_figure_is_the_same_bytes_in_another_process(tmp_path, children):
    paths = save_toy(tmp_path)
    with children.Pool(1) as pool:
        pool.apply(save_toy, (tmp_path / "again",))
    for path in paths:
        assert path.read_bytes() == (tmp_path / "again" / path.name).read_bytes(), path.name


def test_the_data_sheet_leads_back_to_the_runs(tmp_path):
    sheet = json.loads(save_figure(draw(), "toy", "A caption.", tmp_path, run_keys=["k1"])[-1].read_text())
    fields = {"id", "caption", "alt", "data", "run_keys", "commit", "versions", "sha256"}
    assert fields == set(sheet) and sheet["run_keys"] == ["k1"]
    assert sheet["data"][0]["method"] == "fpgm"
    assert sheet["sha256"]["toy.png"] == hashlib.sha256((tmp_path / "toy.png").read_bytes()).hexdigest()


def test_an_unknown_figure_lists_near_matches(tmp_path):
    with pytest.raises(ValueError, match="unknown figure 'trade-off'; near: tradeoff"):
        figure("trade-off", tmp_path)


def test_cite_a_figure_and_a_paper():
    assert cite("taxonomy").startswith("@misc{survey_lib:taxonomy,")
    assert cite("li2017pruning").startswith("@inproceedings{li2017pruning,")
    with pytest.raises(ValueError, match="unknown figure or paper"):
        cite("nothing-like-it")
