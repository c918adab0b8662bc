"""What every lesson of the course must hold, and that the check names each breach of it."""

import ast
import re

import nbformat
import pytest
from notebook_form import check

from survey_lib.course import lesson
from survey_lib.course.notebooks import FOLDER

COMMITTED = sorted(FOLDER.glob("*.ipynb"))
LESSONS = {path.stem[:2]: nbformat.read(path, as_version=4) for path in COMMITTED}
LAB = re.compile("^## Lab", re.M)
# What each lesson builds in view and asserts to be what the library does.
BUILT = {
    "00": "keep_largest prune_small_weights",
    "01": "scan",
    "02": "score select erk apply finetune",
    "03": "taylor obd obs obs_layer",
    "04": "snip_scores grasp_scores synflow",
    "05": "find_ticket train_from between",
    "06": "moved gate probability_open soft_threshold",
    "07": "size content effect",
    "08": "contributions greedy rescale refit",
    "09": "coupled_channels cut_out",
    "10": "n_of_m in_blocks sr_ste",
    "11": "block_influence without gate_scores",
    "12": "benchmark amdahl least_time quantize",
    "13": "wanda sparsegpt owl ria",
    "14": "sensitivity flap missing influence soft_loss",
    "15": "both_kinds holm fair_comparison",
    "16": "calibration_error disagreement of_each_class",
    "17": "verdict",
    "18": "auditor",
    "19": "broken",
    "20": "mildest_cut learn_from",
    "21": "interval verdict",
}


@pytest.mark.parametrize("path", COMMITTED, ids=lambda path: path.stem)
def test_committed_notebook_is_clean(path):
    assert check(path) == []


def code(notebook, tag=""):
    return [
        cell
        for cell in notebook.cells
        if cell.cell_type == "code" and (not tag or tag in cell.metadata.get("tags", ()))
    ]


def names(*nodes):
    return {one.id for node in nodes for one in ast.walk(node) if isinstance(one, ast.Name)}


def feeds(notebook):
    """Name -> the names from which some cell computes it."""
    found = {}
    for node in (node for cell in code(notebook) for node in ast.walk(ast.parse(cell.source))):
        match node:
            case ast.Assign():
                to, source = names(*node.targets), names(node)
            case ast.For() | ast.comprehension():
                to, source = names(node.target), names(node.iter)
            case ast.FunctionDef() | ast.ClassDef():
                to, source = {node.name}, names(node)
            case _:
                continue
        for name in to:
            found.setdefault(name, set()).update(source)
    return found


def reached(notebook, begun):
    """All names from which these are computed, themselves included."""
    source, found, new = feeds(notebook), set(), set(begun)
    while new:
        found |= new
        new = set().union(*(source.get(name, ()) for name in new)) - found
    return found


@pytest.mark.parametrize("number", LESSONS)
def test_what_a_lesson_builds_is_defined_in_it_and_asserted_to_be_the_librarys(number):
    notebook = LESSONS[number]
    bodies = [node for cell in code(notebook, "algorithm") for node in ast.parse(cell.source).body]
    defined = {node.name for node in bodies if isinstance(node, ast.FunctionDef | ast.ClassDef)}
    same = [ast.parse(cell.source) for cell in code(notebook, "same-as-library")]
    tests = [node.test for cell in same for node in ast.walk(cell) if isinstance(node, ast.Assert)]
    asserted = reached(notebook, names(*tests))
    assert set(BUILT[number].split()) <= defined & asserted


def drawn(cell):
    return any("image/png" in output.get("data", {}) for output in cell.get("outputs", ()))


@pytest.mark.parametrize("number", sorted(set(LESSONS) - {"14", "21"}))
def test_a_lesson_that_draws_from_a_study_shows_its_card(number):
    """Protocol, rule 13. (14 draws nothing from the study that it loads, and 21 only plans with one.)"""
    text = "".join(cell.source for cell in code(LESSONS[number]))
    assert "lesson.study(" not in text or "lesson.card(" in text


@pytest.mark.parametrize(
    "number", sorted(set(LESSONS) - {"19"})
)  # of 19 the picture at the top is the drawing
def test_a_lesson_draws_its_idea_before_its_results(number):
    cells = LESSONS[number].cells
    idea, results = (
        next(i for i, cell in enumerate(cells) if re.search(f"^## {head}", cell.source, re.M))
        for head in ("The idea", "On ")
    )
    assert any(drawn(cell) or "](../docs/figures/" in cell.source for cell in cells[idea:results])


def test_at_least_five_lessons_have_a_slider_with_a_static_twin_beside_it():
    twins = 0
    for notebook in LESSONS.values():
        cells = [cell for cell in code(notebook) if cell.outputs]
        at = [index for index, cell in enumerate(cells) if "lesson.slider(" in cell.source]
        assert all(any(map(drawn, cells[max(0, index - 1) : index + 2])) for index in at)
        twins += bool(at)
    assert twins >= 5


@pytest.mark.parametrize("number", LESSONS)
def test_a_lesson_ends_with_an_open_lab_that_is_checked(number):
    cells = LESSONS[number].cells
    (start,) = [i for i, cell in enumerate(cells) if LAB.search(cell.source)]
    lab = "\n".join(cell.source for cell in cells[start:] if cell.cell_type == "code")
    assert "# BEGIN SOLUTION" in lab and "check_" in lab


DRAWS = {"check_function", "default_rng", "Generator", "uniform_", "randn", "rand"}
EXAMPLES = {
    "magnitude_wrong",
    "obd_wrong",
    "disagreement",
    "cancelling",
}  # the answer is an example of one's own


@pytest.mark.parametrize("number", LESSONS)
def test_the_checks_of_the_short_exercises_draw_random_inputs(number):
    notebook = LESSONS[number]
    (end,) = [i for i, cell in enumerate(notebook.cells) if LAB.search(cell.source)]
    before = code(nbformat.v4.new_notebook(cells=notebook.cells[:end]))
    exercises = [(a, b) for a, b in zip(before, before[1:], strict=False) if "# BEGIN SOLUTION" in a.source]
    assert len(exercises) >= 3
    text = {}
    for node in (node for cell in code(notebook) for node in ast.parse(cell.source).body):
        if isinstance(node, ast.FunctionDef | ast.ClassDef):
            text[node.name] = ast.unparse(node)
    for solution, judge in exercises:
        asked = ast.parse(solution.source).body[-1].name
        called = reached(notebook, names(ast.parse(judge.source)))
        said = judge.source + "\n".join(text.get(name, "") for name in called)
        assert asked in EXAMPLES or any(draw in said for draw in DRAWS), asked


def tagged(notebook, tag):
    return next(cell for cell in notebook.cells if tag in cell.metadata.get("tags", ()))


def visible(notebook):
    return next(cell for cell in code(notebook) if "hide-input" not in cell.metadata.get("tags", ()))


def added(place, source, tags=()):
    """A spoiler that inserts a cell."""
    cell = nbformat.v4.new_code_cell(source, execution_count=1, metadata={"tags": [*tags]})
    return lambda nb: nb.cells.insert(place, cell)


ERROR = nbformat.v4.new_output("error", ename="E", evalue="", traceback=[])
FAULTS = {
    "not run": (lambda nb: code(nb)[2].update(execution_count=None), "code cells were not run"),
    "long": (lambda nb: code(nb)[-1].update(source="x = 1\n" * 16), "16 lines"),
    "heading": (lambda nb: nb.cells[0].update(source="Hello"), "not a heading"),
    "link": (lambda nb: nb.cells[0].update(source="# T [next](99_none.ipynb#x)"), "link to 99_none.ipynb"),
    "silent": (lambda nb: [cell.update(outputs=[]) for cell in code(nb)], "no cell has an output"),
    "error": (lambda nb: code(nb)[1].update(outputs=[ERROR]), "cell [2] holds an error"),
    "parameters": (lambda nb: code(nb)[0].metadata.update(tags=[]), "0 cells tagged `parameters`"),
    "kernel": (lambda nb: nb.metadata.kernelspec.update(name="conda-env-foo-py"), "not the normal form"),
    "in view": (added(-1, "print(1)", ["setup"]), "set-up that is not folded"),
    "hidden": (
        lambda nb: visible(nb).metadata.update(jupyter={"source_hidden": True}),
        "has no tag `hide-input`",
    ),
    "unfolded": (lambda nb: tagged(nb, "setup").metadata.pop("jupyter"), "is set-up that is not folded"),
    "early": (added(1, "x = 1"), "cell 1 is code before the theory"),
    "wide": (
        lambda nb: visible(nb).update(source="x = " + "1" * 85),
        "a line of 89 characters, more than 88",
    ),
    "key": (lambda nb: nb.cells[1].update(source="As lee2019snip says"), "cites lee2019snip by its key"),
    "no algorithm": (
        lambda nb: [cell.metadata.tags.remove("algorithm") for cell in code(nb, "algorithm")],
        "no cell tagged `algorithm`",
    ),
    "not compared": (
        lambda nb: [cell.update(source="x = 1") for cell in code(nb, "same-as-library")],
        "no cell tagged `same-as-library` that holds `assert`",
    ),
    "no figure": (lambda nb: nb.cells[1].update(source="## The answer"), "no figure of docs/figures"),
}


@pytest.mark.parametrize("fault", FAULTS)
def test_each_breach_of_the_form_of_a_lesson_is_named(fault, tmp_path):
    spoil, message = FAULTS[fault]
    (source,) = FOLDER.glob("00_*.ipynb")
    notebook = nbformat.read(source, as_version=4)
    spoil(notebook)
    nbformat.write(notebook, tmp_path / source.name)
    assert any(message in line for line in check(tmp_path / source.name))


def test_a_file_that_is_no_notebook(tmp_path):
    (tmp_path / "text.ipynb").write_text("hello")
    assert check(tmp_path / "text.ipynb")[0].startswith("not a valid notebook")


def test_a_lesson_on_a_small_study_says_what_does_not_hold_and_goes_on(monkeypatch, capsys):
    from IPython.core.interactiveshell import InteractiveShell

    shell = InteractiveShell()
    monkeypatch.setattr(lesson, "get_ipython", lambda: shell)
    lesson.begin("quick")
    assert shell.run_cell(
        "gap, table = -1, {}\nassert gap > 0\nassert gap < 0\nassert table['gap']\ndone = True"
    ).success
    said = capsys.readouterr().out.splitlines()
    shown = "Profile quick: this does not hold here:"
    assert [line.partition(". ")[0] for line in said] == [f"{shown} gap > 0", f"{shown} table['gap']"]
    assert not shell.run_cell("assert misspelt > 0").success
    lesson.begin("published")
    assert not shell.run_cell("assert gap > 0").success and shell.user_ns["done"]


def test_teaching_notes_give_the_minutes_that_the_lessons_state():
    text = (FOLDER.parent / "docs" / "teaching.md").read_text(encoding="utf-8")
    rows = re.findall(r"^\| (\d\d)(?: and more)? \| ([\d, ]+) \|$", text, re.M)
    told = {number: int(least) for least, numbers in rows for number in numbers.split(", ")}
    for number, notebook in LESSONS.items():
        stated = int(re.search(r"\*(\d+) minutes", notebook.cells[0].source)[1])
        assert min(stated, 60) == told[number], number


@pytest.mark.parametrize("number", LESSONS)
def test_no_card_of_a_committed_figure_is_without_runs(number):
    assert "has no run for this figure" not in nbformat.writes(LESSONS[number])
