"""The command line as a reader meets it: help that explains, refusals in one line, results of small calls."""

import ast
import json
import sys
from pathlib import Path

import pandas as pd
import pytest
import torch
from click.testing import CliRunner

from survey_lib import catalogue, cli
from survey_lib.analysis import literature
from survey_lib.analysis.tables import accuracy_table, matching
from survey_lib.catalogue import METHODS
from survey_lib.cli import main
from survey_lib.course import reading
from survey_lib.experiment.data import sources
from survey_lib.site.readme import README, generated

ROOT = Path(__file__).parents[1]
COMMANDS = sorted(main.commands)


def survey(*words: str):
    return CliRunner().invoke(main, [str(word) for word in words])


@pytest.mark.parametrize("command", COMMANDS)
def test_every_command_explains_itself(command):
    done = survey(command, "--help")
    assert done.exit_code == 0
    assert len(main.commands[command].help.split()) >= 6
    assert command in survey("--help").output


def test_no_command_module_imports_torch_or_the_library_before_it_runs():
    """`survey --help` must not wait for torch."""
    late = {ROOT / "survey_lib" / "cli" / f"{name}.py" for name in ("pruning", "reproduce", "timings")}
    for path in {*(ROOT / "survey_lib" / "cli").glob("*.py")} - late:
        tree = ast.parse(path.read_text())
        imported = {alias.name for node in tree.body if isinstance(node, ast.Import) for alias in node.names}
        imported |= {node.module for node in tree.body if isinstance(node, ast.ImportFrom)}
        packages = {name.partition(".")[0] for name in imported - {"survey_lib.cli"}}
        assert packages - sys.stdlib_module_names <= {"click", "yaml"}, path


REFUSALS = [
    (("metods",), "Did you mean 'methods'?"),
    (("methods", "--category", "filters"), "category must be one of weight, pattern, filter"),
    (("prune", "--model", "resnet-8", "--method", "magnitud", "--sparsity", "0.5"), "near: magnitude"),
    (("prune", "--model", "resnet-9", "--method", "magnitude", "--sparsity", "0.5"), "near: resnet-8"),
    (
        ("prune", "--model", "no.such:thing", "--method", "magnitude", "--sparsity", "0.5"),
        "give package.module:function",
    ),
    (("prune", "--model", "resnet-8", "--method", "magnitude", "--sparsity", "1.5"), "1.5"),
    (("prune", "--model", "resnet-8", "--method", "magnitude", "--macs", "1", "--parameters", "1"), "exactly one"),
    (
        ("prune", "--model", "resnet-8", "--method", "magnitude", "--sparsity", "0.5", "--data", "digit"),
        "near: digits",
    ),
    (("sweep", "comparson"), "near: comparison"),
    (("results", "comparson"), "near: comparison"),
    (("figure", "fronteer"), "near: frontier"),
    (("cite", "li2017prunning"), "no figure 'li2017prunning'"),
    (("notebooks", "run", "no-such"), "no notebook 'no-such'"),
    (("notebooks", "run", "-p", "seed", "1", "--publish"), "--publish takes no parameters"),
]


@pytest.mark.parametrize(("words", "said"), REFUSALS, ids=[" ".join(words[:2]) for words, _ in REFUSALS])
def test_a_refusal_is_short_and_says_what_is_allowed(words, said):
    done = survey(*words)
    assert done.exit_code != 0
    assert said in done.output
    assert "Traceback" not in done.output


def test_methods_are_filtered():
    assert set(matching(category="filter")["category"]) == {"filter"}
    assert set(matching(when="before")["when"]) <= {"before", "any"}
    assert matching(needs="nothing")["needs"].eq("nothing").all()
    assert matching(words=("l1-filter",))["method"].tolist() == ["l1-filter"]
    assert len(matching()) == sum(method.status == "works" for method in METHODS.values())
    assert (
        "SliceGPT (ashkboos2024slicegpt, channel, after training)" in survey("methods", "--described").output
    )
    assert "\n6 methods" in survey("methods", "--category", "pattern").output


def test_prune_reports_before_and_after_and_saves_what_load_reads(tmp_path):
    """Half of the 266,200 weights of LeNet-300-100 on digits (64 inputs): 49,200 + 30,000 + 1,000."""
    import survey_lib
    from survey_lib.experiment.networks import models

    path = tmp_path / "small.safetensors"
    done = survey(
        "prune",
        "--model",
        "lenet-300-100",
        "--data",
        "digits",
        "--method",
        "magnitude",
        "--sparsity",
        0.5,
        "--out",
        path,
    )
    assert done.exit_code == 0, done.output
    assert "50.0% of the weights removed" in done.output
    assert "A mask alone saves no time" in done.output
    loaded = survey_lib.load(path, models.build("lenet-300-100", 10, (1, 8, 8)))
    assert loaded.sparsity == pytest.approx(0.5)


def test_prune_cuts_a_structured_model_to_a_share_of_its_parameters():
    done = survey("prune", "--model", "resnet-8", "--method", "l1-filter", "--parameters", 0.5)
    assert done.exit_code == 0, done.output
    table = [line.split() for line in done.output.splitlines() if line.startswith(("dense", "pruned"))]
    dense, pruned = (int(row[1].replace(",", "")) for row in table)
    assert 0.45 * dense <= pruned <= 0.5 * dense and "asked for parameters 0.5" in done.output
    assert "A mask alone" not in done.output


def test_doctor_names_versions_and_data():
    done = survey("doctor")
    assert done.exit_code == 0, done.output
    assert "torch " in done.output and "digits: found" in done.output


def test_figure_and_cite(tmp_path):
    done = survey("figure", "patterns", "--out", tmp_path)
    assert done.exit_code == 0, done.output
    assert json.loads((tmp_path / "patterns.json").read_text())["id"] == "patterns"
    assert survey("cite", "patterns").output.startswith("@misc{survey_lib:patterns,")


def test_status_counts_every_study():
    done = survey("status")
    assert done.exit_code == 0, done.output
    assert "comparison" in done.output and "left" in done.output


def test_student_and_check_on_a_folder(tmp_path):
    done = survey("student", tmp_path / "out", "--source", ROOT / "tests" / "fixtures")
    assert done.exit_code == 0, done.output
    assert (tmp_path / "out" / "tiny.ipynb").is_file()


def test_readme_tables_are_generated_and_current():
    text = README.read_text(encoding="utf-8")
    assert generated(text) == text, "run `survey generate`"


def test_times_for_teachers_are_generated_and_current():
    text = reading.NOTES.read_text(encoding="utf-8")
    assert reading.generated(text) == text, "run `survey generate`"


def test_readme_without_marks_is_refused():
    with pytest.raises(ValueError, match="lacks the marks <!-- begin methods -->"):
        generated("# Title")


def test_readme_names_every_command():
    assert [name for name in COMMANDS if f"survey {name}" not in README.read_text(encoding="utf-8")] == []


def test_results_of_an_accuracy_table_by_hand():
    frame = pd.DataFrame(
        {"method": ["a", "a", "b"], "sparsity": [0.5, 0.5, 0.5], "accuracy": [0.6, 0.8, 0.9]}
    )
    assert accuracy_table(frame)[0.5].to_dict() == {"b": 0.9, "a": pytest.approx(0.7)}


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
def own(tmp_path, monkeypatch):
    """A folder with a module of the caller's, from which the command is called."""
    (tmp_path / "ownmodels.py").write_text(OWN)
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(sys, "path", [path for path in sys.path if path])
    yield tmp_path
    sys.modules.pop("ownmodels", None)


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (("ownmodels:needs",), "missing 1 required positional argument: 'width'; it is called without arguments"),
        (("ownmodels:fails",), "raises OSError: no such device"),
        (("ownmodels:number",), "returns a int, not a torch module"),
        (("ownmodels:absent",), "cannot be imported"),
        (("ownmodels:good", "--out", "missing/x.safetensors"), "there is no folder"),
        (("ownmodels:good", "--onnx", "missing/x.onnx"), "there is no folder"),
        (("ownmodels:good", "--weights", "w.pth"), "is not a safetensors file"),
    ],
)
def test_b87_what_cannot_be_done_is_said_in_one_line(own, words, message):
    torch.save({}, own / "w.pth")
    done = survey(*PRUNE, *words)
    assert done.exit_code == 1 and message in done.output and "Traceback" not in done.output


def test_b87_a_module_beside_the_caller_is_found_and_a_second_output_leaves_no_file(own):
    pytest.importorskip("onnxscript")
    done = survey(*PRUNE, "ownmodels:Two", "--out", "x.safetensors", "--onnx", "x.onnx")
    assert (own / "x.safetensors").exists()
    assert "returns a tuple; wrap it" in done.output and not (own / "x.onnx").exists()


def test_b88_without_the_repository_methods_are_listed_and_the_rest_says_what_is_missing(tmp_path, monkeypatch):
    monkeypatch.setattr(catalogue, "LITERATURE", tmp_path / "papers.csv")
    assert "magnitude" in survey("methods", "magnitude").output
    monkeypatch.setattr(sources, "REPOSITORY", tmp_path)
    monkeypatch.delenv("SURVEY_DATA", raising=False)
    assert sources.folder() == Path.home() / ".cache" / "survey_lib"
    monkeypatch.setattr(literature, "FOLDER", tmp_path)
    monkeypatch.setattr(cli, "__file__", str(tmp_path / "survey_lib" / "cli" / "__init__.py"))
    assert "it is part of the repository" in survey("methods", "--described").output


@pytest.mark.parametrize("study", ["nothing", "comparsion"])
def test_b88_an_unknown_study_is_an_error(study):
    done = survey("results", study)
    assert done.exit_code == 1 and f"unknown study '{study}'" in done.output
