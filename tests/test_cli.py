"""The command line as a reader meets it: help that explains, refusals in one line, results of small calls."""

import ast
import io
import json
import re
import subprocess
import sys
from pathlib import Path

import pandas as pd
import pytest
import torch
from click.testing import CliRunner

from survey_lib.analysis.tables import matching
from survey_lib.catalogue import METHODS
from survey_lib.cli import Survey, main
from survey_lib.cli.course import choose
from survey_lib.measure.storage import export_onnx
from survey_lib.site.generate import README

ROOT = Path(__file__).parents[1]
COMMANDS = sorted(main.commands)


def survey(*words: str):
    return CliRunner().invoke(main, [str(word) for word in words])


def printed(done) -> pd.DataFrame:
    """The table that a command printed."""
    return pd.read_fwf(io.StringIO(done.output))


def test_a_missing_package_is_named_with_the_way_to_get_it():
    group = Survey("survey")

    @group.command("go")
    def fails():
        raise ModuleNotFoundError(name="distributed")

    done = CliRunner().invoke(group, ["go"])
    assert done.exit_code == 1 and "distributed is not installed; pip install -e" in done.output


@pytest.mark.parametrize("command", COMMANDS)
def test_every_command_explains_itself(command):
    done = survey(command, "--help")
    assert done.exit_code == 0
    assert len(main.commands[command].help.split()) >= 6
    assert command in survey("--help").output


def test_no_command_module_imports_torch_or_the_library_before_it_runs():
    """`survey --help` must not wait for torch."""
    late = {ROOT / "survey_lib" / "cli" / f"{name}.py" for name in ("pruning", "reproduce")}
    for path in {*(ROOT / "survey_lib" / "cli").glob("*.py")} - late:
        tree = ast.parse(path.read_text())
        imported = {alias.name for node in tree.body if isinstance(node, ast.Import) for alias in node.names}
        imported |= {node.module for node in tree.body if isinstance(node, ast.ImportFrom)}
        packages = {name.partition(".")[0] for name in imported - {"survey_lib.cli"}}
        assert packages - sys.stdlib_module_names <= {"click", "yaml"}, path


@pytest.mark.parametrize("words", [["--help"], ["--version"], ["prune", "--help"], ["metods"]])
def test_help_version_and_typos_wait_for_no_large_library(words):
    say = (
        "import sys; from survey_lib.cli import main; main(standalone_mode=False) if sys.argv[1:] != ['metods'] else "
        "main(['metods'], standalone_mode=True)"
    )
    code = f"import atexit, sys; atexit.register(lambda: print('MODULES', *sys.modules)); {say}"
    done = subprocess.run([sys.executable, "-c", code, *words], capture_output=True, text=True, cwd=ROOT)
    loaded = set(done.stdout.partition("MODULES")[2].split())
    assert "click" in loaded
    assert (
        loaded
        & {"torch", "torchvision", "numpy", "pandas", "scipy", "sklearn", "matplotlib", "pydantic", "rich"}
        == set()
    )


PRUNE = ("prune", "--method", "magnitude", "--sparsity", "0.5")
REFUSALS = [
    (("metods",), "Did you mean 'methods'?"),
    (
        ("methods", "--category", "filters"),
        "unknown category 'filters'; near: filter, pattern; allowed: weight, pattern, filter",
    ),
    (("prune", "--model", "resnet-8", "--method", "magnitud", "--sparsity", "0.5"), "near: magnitude"),
    (("prune", "--model", "resnet-9", "--method", "magnitude", "--sparsity", "0.5"), "near: resnet-8"),
    (
        ("prune", "--model", "no.such:thing", "--method", "magnitude", "--sparsity", "0.5"),
        "give package.module:function",
    ),
    (("prune", "--model", "resnet-8", "--method", "magnitude", "--sparsity", "1.5"), "1.5"),
    (
        ("prune", "--model", "resnet-8", "--method", "magnitude", "--macs", "1", "--parameters", "1"),
        "exactly one",
    ),
    (
        ("prune", "--model", "resnet-8", "--method", "magnitude", "--sparsity", "0.5", "--data", "digit"),
        "near: digits",
    ),
    (("sweep", "comparson"), "near: comparison"),
    (("results", "comparson"), "near: comparison"),
    (("figure", "trade-off"), "near: tradeoff"),
    (("figure", "tradeoff", "--out", "README.md"), "Directory 'README.md' is a file"),
    (("cite", "li2017prunning"), "unknown figure or paper 'li2017prunning'; near: li2017pruning"),
    (("notebooks", "run", "no-such"), "no notebook 'no-such'"),
    (("notebooks", "run", "-p", "seed", "1", "--publish"), "--publish takes no parameters"),
    *[
        ((*PRUNE, "--model", model), "give package.module:function")
        for model in ("../../x:y", "/etc/passwd:x", ".:x", "a b:c")
    ],
    ((*PRUNE, "--model", "math:pi"), "cannot be imported and called"),
    ((*PRUNE, "--model", "resnet-8", "--weights", "tests"), "does not hold the weights of resnet-8"),
    ((*PRUNE, "--model", "resnet-8", "--weights", "README.md"), "does not hold the weights of resnet-8"),
    ((*PRUNE, "--model", "resnet-8", "--weights", "no/such"), "no/such"),
    (
        (*PRUNE, "--model", "lenet-300-100", "--weights", "resnet-8-eurosat32"),
        "does not hold the weights of lenet-300-100",
    ),
    (
        (*PRUNE, "--model", "torch.nn:Identity"),
        "torch.nn:Identity on eurosat32-mini: the model returns torch.Size([1, 3, 32, 32])",
    ),
    ((*PRUNE, "--model", "torch.nn:Flatten", "--finetune", "-1"), "-1"),
    (("notebooks", "run", "00", "-p", "seed", "["), "a value is no YAML"),
    (("methods", "no-such-method"), "no method matches"),
    (("methods", "--needs", "foo"), "unknown needs 'foo'; near: flow; allowed: nothing"),
    (("notebooks", "run", "07", "--jobs", "0"), "0 is not in the range x>=1"),
    (("reproduce", "--profile", "fast"), "'fast' is not one of 'quick', 'full'"),
    (("student", "README.md"), "Directory 'README.md' is a file"),
    (("publish", "comparson"), "near: comparison"),
    (("sweep", "no/such.yaml"), "No such file"),
    (("prune", "--model", "resnet-8", "--method", "magnitude"), "exactly one of sparsity"),
    (("class", "x", "--notebooks", "99"), "no notebook '99'"),
    (("sweep", "weight", "--engine", "dask", "--jobs", "0"), "jobs must be at least 1"),
]


@pytest.mark.parametrize(("words", "said"), REFUSALS, ids=[" ".join(words[:2]) for words, _ in REFUSALS])
def test_a_refusal_is_short_and_says_what_is_allowed(words, said):
    done = survey(*words)
    assert done.exit_code != 0
    assert said in done.output
    assert "Traceback" not in done.output


def test_the_list_of_commands_is_not_cut_off_on_a_terminal_of_80_columns():
    assert (
        "..." not in CliRunner().invoke(main, ["--help"], terminal_width=80).output.partition("Commands:")[2]
    )


def test_a_notebook_is_named_by_its_number_with_or_without_the_zero():
    assert [path.stem for path in choose(["7"])] == ["07_filter_pruning"]


def test_every_command_that_a_text_of_the_library_names_exists():
    for path in (ROOT / "survey_lib").rglob("*.py"):
        for group, word in re.findall(r"`survey ([a-z]+)(?: ([a-z]+))?", path.read_text()):
            assert group in main.commands, f"{path}: survey {group}"
            inside = getattr(main.commands[group], "commands", {word: None})
            assert word in inside, f"{path}: survey {group} {word}"


def test_methods_are_filtered():
    assert set(matching(category="filter")["category"]) == {"filter"}
    assert set(matching(when="before")["when"]) <= {"before", "any"}
    assert matching(needs="nothing")["needs"].eq("nothing").all()
    assert matching(words=("l1-filter",))["method"].tolist() == ["l1-filter"]
    assert len(matching()) == len(METHODS)
    assert "ashkboos2024slicegpt" in survey("methods", "--described").output
    assert "\n6 methods" in survey("methods", "--category", "pattern").output


PRUNE_DIGITS = (
    "prune",
    "--model",
    "lenet-300-100",
    "--data",
    "digits",
    "--method",
    "magnitude",
    "--sparsity",
    0.5,
)


def test_prune_reports_before_and_after_and_saves_what_load_reads(tmp_path):
    """Half of the 50,200 weights of LeNet-300-100 on digits (64 inputs): 19,200 + 30,000 + 1,000."""
    import survey_lib
    from survey_lib.experiment.networks import models

    path = tmp_path / "small.safetensors"
    done = survey(*PRUNE_DIGITS, "--finetune", 5, "--out", path)
    assert done.exit_code == 0, done.output
    assert done.output.splitlines()[-1].startswith(f"saved {path}")
    assert "about as good as guessing" in done.output
    assert "50.0% of the weights removed, masked: zeros that dense kernels still multiply" in done.output
    rows = [line for line in done.output.splitlines() if re.search(r"\d ± \d", line)]
    assert [row.split()[0] for row in rows] == ["dense", "masked", "fine-tuned"]
    assert ["50,610" in row for row in rows] == [True] * 3
    assert ["25,510" in row for row in rows] == [
        False,
        True,
        True,
    ]  # 25,100 weights and 410 biases; training keeps zeros
    dense, masked, tuned = (float(re.search(r"([\d.]+) ± ", row)[1]) for row in rows)
    assert dense < 20 < 60 < tuned
    loaded = survey_lib.load(path, models.build("lenet-300-100", 10, (1, 8, 8)))
    assert loaded.sparsity == pytest.approx(0.5)
    assert all((loaded.model.state_dict()[name][~mask] == 0).all() for name, mask in loaded.masks.items())


def test_prune_cuts_to_a_share_of_the_parameters_of_a_trained_network():
    trained = ("prune", "--model", "resnet-8", "--weights", "resnet-8-eurosat32", "--method", "l1-filter")
    done = survey(*trained, "--parameters", 0.5)
    assert done.exit_code == 0, done.output
    dense, cut = (line.split() for line in done.output.splitlines()[1:3])
    assert (dense[0], cut[0]) == ("dense", "cut") and "guessing" not in done.output
    share = int(cut[1].replace(",", "")) / int(dense[1].replace(",", ""))
    assert 0.45 <= share <= 0.5 and float(cut[4]) < float(dense[4])
    assert float(dense[6]) > 90 > float(cut[6])


def test_doctor_names_versions_and_data():
    done = survey("doctor")
    assert done.exit_code == 0, done.output
    assert re.search(r"^ *torch +\d", done.output, re.M)
    assert re.search(r"^ *data digits +1,247 / 250 / 300 images$", done.output, re.M)


def test_data_are_plain_text_in_a_file_and_a_table_with_lines_on_a_terminal(monkeypatch, capsys):
    from survey_lib.cli import show

    table = pd.DataFrame({"name": ["[b]a", "c"], "n": [1.0, None]})
    show(table)
    assert capsys.readouterr().out == "name    n\n[b]a  1.0\n   c     \n"
    monkeypatch.setattr(sys.stdout, "isatty", lambda: True)
    show(table)
    assert "━" in (text := capsys.readouterr().out) and "[b]a" in text and "nan" not in text.lower()


def test_results_have_spread_and_n_and_no_nan():
    done = survey("results", "weight")
    assert done.exit_code == 0, done.output
    assert {"method", "sparsity", "mean", "std", "n"} <= set(done.output.splitlines()[0].split())
    assert "nan" not in done.output.lower()
    rows = printed(done)
    assert rows["n"].between(1, 10).all() and rows["mean"].between(0, 1).all()


STUDY = """
name: mine
question: Does it run?
profiles:
  quick:
    common: {data: digits, model: lenet-300-100, epochs: 2, recovery_epochs: 1, batch_size: 128, seed: [0, 1]}
    grids:
      - {method: [random, magnitude], sparsity: 0.5}
"""


@pytest.fixture
def own(tmp_path, monkeypatch):
    """The path of a study file of one's own."""
    from survey_lib.experiment.sweeps import study

    monkeypatch.setenv("SURVEY_RUNS", str(tmp_path / "runs"))
    monkeypatch.setattr(study, "_own", {})
    path = tmp_path / "mine.yaml"
    path.write_text(STUDY)
    return path


def test_a_study_file_of_ones_own_is_swept_and_read(own):
    done = survey("sweep", own, "--engine", "serial")
    assert done.exit_code == 0 and "4 of 4 runs done" in done.output
    (row,) = printed(survey("status", own)).to_dict("records")
    assert (row["study"], row["asked"], row["done"], row["left"]) == ("mine", 4, 4, 0)
    assert printed(survey("results", own))["n"].tolist() == [2, 2]


@pytest.mark.parametrize("recovery", ["finetune", "none"])
def test_a_study_of_one_epoch_that_does_not_rewind_needs_no_word_about_it(own, recovery):
    own.write_text(STUDY.replace("epochs: 2,", f"epochs: 1, recovery: {recovery},", 1))
    done = survey("sweep", own, "--engine", "serial")
    assert done.exit_code == 0 and "4 of 4 runs done" in done.output


@pytest.mark.skipif(torch.cuda.is_available(), reason="there is a GPU")
def test_a_study_that_wants_a_gpu_which_is_not_there_says_what_to_do(own):
    own.write_text(STUDY.replace("epochs: 2,", "epochs: 2, device: cuda,", 1))
    done = survey("sweep", own, "--engine", "serial")
    assert done.exit_code == 1 and "4 failed" in done.output
    (said,) = [line for line in done.output.splitlines() if "failed: " in line]
    assert "device: cuda does not work on this machine" in said
    assert "with device: cpu: survey sweep my_study.yaml" in said


@pytest.mark.parametrize(
    ("wrong", "said"),
    [
        (
            STUDY.replace("epochs: 2,", "epochs: 1, recovery: rewind,", 1),
            "rewind_epoch must lie before epochs=1, got 1 (1 unless you set it); write rewind_epoch: 0",
        ),
        (
            STUDY.replace("lenet-300-100", "torchvision:resnet18"),
            "torchvision:resnet18 on digits: the model cannot read inputs of 1x8x8",
        ),
        (
            STUDY.replace("lenet-300-100", "lenet-5"),
            "lenet-5 on digits: the model cannot read inputs of 1x8x8",
        ),
        (STUDY.replace("epochs: 2,", "epochs: two,", 1), "epochs: must be a valid integer, got 'two'"),
        (STUDY.replace("question", "qestion"), "question: is missing; qestion: is not a field here"),
        ("name: [", "no valid YAML"),
        ("", "must be a mapping, a line `name: value` each, got None"),
        ("- a", "must be a mapping, a line `name: value` each, got ['a']"),
    ],
)
def test_a_wrong_study_is_refused_before_any_work_in_words_of_our_own(own, wrong, said):
    own.write_text(wrong)
    done = survey("sweep", own, "--engine", "serial")
    assert done.exit_code == 1 and said in done.output
    assert "pydantic" not in done.output and "validation error" not in done.output
    assert not (own.parent / "runs" / "mine").exists()


def test_a_study_of_ones_own_takes_no_name_of_the_course(own):
    other = own.rename(own.with_name("comparison.yaml"))
    done = survey("sweep", other)
    assert done.exit_code == 1 and "has a study 'comparison' already; rename your file" in done.output


def test_runs_that_fail_for_one_reason_are_one_line(own, monkeypatch):
    from survey_lib.experiment.sweeps import sweep

    def full(*_):
        raise OSError("disk full")

    monkeypatch.setattr(sweep, "run_chain", full)
    done = survey("sweep", own, "--engine", "serial")
    assert done.exit_code == 1 and "4 failed" in done.output
    assert [line for line in done.output.splitlines() if "disk full" in line] == [
        "  failed: OSError: disk full (random at 0.5, lenet-300-100 on digits, seed 0; 4 in all)"
    ]


def test_figure_and_cite(tmp_path):
    done = survey("figure", "patterns", "--out", tmp_path)
    assert done.exit_code == 0, done.output
    assert json.loads((tmp_path / "patterns.json").read_text())["id"] == "patterns"
    assert survey("cite", "patterns").output.startswith("@misc{survey_lib:patterns,")


def test_status_counts_every_study():
    done = survey("status")
    assert done.exit_code == 0, done.output
    assert "comparison" in done.output and "left" in done.output and "nan" not in done.output.lower()
    rows = printed(done)
    assert (rows["asked"] == rows[["done", "failed", "refused", "left"]].sum(axis=1)).all()


def test_copies_for_students_lie_where_they_are_wanted(tmp_path, monkeypatch):
    monkeypatch.setattr("survey_lib.course.notebooks.FOLDER", ROOT / "tests" / "fixtures")
    done = survey("student", tmp_path / "out")
    assert done.exit_code == 0, done.output
    assert (tmp_path / "out" / "tiny.ipynb").is_file()


def test_readme_names_every_command():
    assert [name for name in COMMANDS if f"survey {name}" not in README.read_text(encoding="utf-8")] == []


OWN = """
import torch
from torch import nn

def good(): return nn.Sequential(nn.Conv2d(3, 8, 3), nn.ReLU(), nn.Conv2d(8, 4, 3), nn.Flatten(), nn.Linear(3136, 10))
def needs(width): return nn.Linear(3, width)
def fails(): raise OSError("no such device")
def number(): return 3
class Two(nn.Module):
    def __init__(self):
        super().__init__()
        self.a, self.b = nn.Conv2d(3, 8, 3), nn.Conv2d(8, 4, 3)
    def forward(self, x):
        h = self.b(self.a(x).relu())
        return h, h.mean()
"""
PRUNE = ("prune", "--method", "l1-filter", "--sparsity", "0.5", "--data", "eurosat32-mini", "--model")


@pytest.fixture
def own_module(tmp_path, monkeypatch):
    """A folder with a module of the caller's, from which the command is called."""
    (tmp_path / "ownmodels.py").write_text(OWN)
    (tmp_path / "wrongmodels.py").write_text("def good() return 1")
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(sys, "path", [path for path in sys.path if path])
    yield tmp_path
    sys.modules.pop("ownmodels", None)


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (
            ("ownmodels:needs",),
            "missing 1 required positional argument: 'width'); give package.module:function",
        ),
        (("ownmodels:fails",), "(OSError: no such device)"),
        (("ownmodels:number",), "makes no model but int"),
        (("ownmodels:absent",), "cannot be imported"),
        (("wrongmodels:good",), "(SyntaxError: expected ':'"),
        (("ownmodels:good", "--out", "missing/x.safetensors"), "is not a folder"),
        (("ownmodels:good", "--weights", "w.pth"), "does not hold the weights of"),
    ],
)
def test_b87_what_cannot_be_done_is_said_in_one_line(own_module, words, message):
    torch.save({}, own_module / "w.pth")
    done = survey(*PRUNE, *words)
    assert done.exit_code == 1 and message in done.output and "Traceback" not in done.output


def test_b87_a_module_beside_the_caller_is_found(own_module):
    done = survey(*PRUNE, "ownmodels:good", "--out", "x.safetensors")
    assert done.exit_code == 0 and (own_module / "x.safetensors").exists()


def test_b87_a_model_that_returns_no_scores_is_refused_before_any_work(own_module):
    done = survey(*PRUNE, "ownmodels:Two", "--out", "x.safetensors")
    assert done.exit_code == 1 and "the model returns tuple, not scores" in done.output
    assert not list(own_module.glob("x.*"))


def test_b87_an_export_that_fails_leaves_no_file(own_module):
    pytest.importorskip("onnxscript")
    sys.path.insert(0, str(own_module))
    two = __import__("ownmodels").Two()
    with pytest.raises(ValueError, match="returns a tuple; wrap it"):
        export_onnx(two, torch.ones(2, 3, 8, 8), own_module / "x.onnx")
    assert not (own_module / "x.onnx").exists()


@pytest.mark.parametrize("study", ["nothing", "comparsion"])
def test_b88_an_unknown_study_is_an_error(study):
    done = survey("results", study)
    assert done.exit_code == 1 and f"unknown study '{study}'" in done.output
