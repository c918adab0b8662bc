"""Input from outside, at random: always a ValueError (or what Click prints), no code run, nothing written elsewhere."""

import ast
import copy
import json
import os
import pickle
import random
import re
from pathlib import Path

import pytest
import safetensors.torch
import torch
import yaml
from click.testing import CliRunner
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from papermill.translators import PythonTranslator

import survey_lib
from survey_lib.chain.surgery.plan import replay
from survey_lib.cli import main
from survey_lib.course.notebooks import run_notebook
from survey_lib.experiment import records
from survey_lib.experiment.networks import models
from survey_lib.experiment.runs.config import RunConfig
from survey_lib.experiment.sweeps import store, study

ROOT = Path(__file__).parents[1]
TINY = ROOT / "tests" / "fixtures" / "tiny.ipynb"
leaves = st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=8)
anything = st.recursive(
    leaves,
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=6), inner, max_size=3),
    max_leaves=8,
)
known = st.sampled_from(
    ["digits", "lenet-300-100", "magnitude", "dense", "nm-magnitude:0:0", "block:1:x", "finetune"]
)
TRICKS = [
    "../evil",
    "/etc/passwd",
    "a\0b",
    "",
    ".",
    "..",
    "~",
    "x" * 5000,
    "weight\n",
    "weight/../../evil",
    "*",
    "-",
    "--",
]


def often(count: int):
    checks = [HealthCheck.function_scoped_fixture, HealthCheck.too_slow, HealthCheck.filter_too_much]
    return settings(max_examples=count, deadline=None, suppress_health_check=checks, derandomize=True)


def refused_or_right(call, *arguments):
    try:
        return call(*arguments)
    except ValueError as error:
        assert str(error)


def paths(value, at=()):
    """Every place in nested lists and dicts."""
    yield at
    inner = (
        value.items() if isinstance(value, dict) else enumerate(value[:3]) if isinstance(value, list) else ()
    )
    for name, child in inner:
        yield from paths(child, (*at, name))


def changed(value, place, new):
    value = at = copy.deepcopy(value)
    for name in place[:-1]:
        at = at[name]
    at[place[-1]] = new
    return value


@often(200)
@given(
    st.dictionaries(
        st.sampled_from(list(RunConfig.model_fields)) | st.text(max_size=5), anything | known, max_size=6
    )
)
def test_configs(fields):
    refused_or_right(lambda: RunConfig(**{"data": "digits", "model": "lenet-300-100"} | fields).key())


grids = st.fixed_dictionaries(
    {"data": known, "model": known}, optional={"method": known | anything, "sparsity": anything}
)
profiles = st.fixed_dictionaries(
    {"grids": st.lists(grids, max_size=2) | anything}, optional={"common": grids | anything}
)
studies = st.fixed_dictionaries(
    {
        "name": st.just("trial") | anything,
        "question": st.text(max_size=3),
        "profiles": st.dictionaries(st.just("quick"), profiles | anything) | anything,
    }
)
HOSTILE = [
    b"a: !!python/object/apply:os.system ['touch evil']",
    b"&a [*a]",
    b"[" * 3000,
    b"{a: " * 3000,
    b"? [a]\n: b",
    b"\xff\xfe",
]


@often(100)
@given(
    content=(studies | anything).map(lambda made: yaml.safe_dump(made).encode())
    | st.binary(max_size=40)
    | st.sampled_from(HOSTILE)
)
def test_study_files(tmp_path, content):
    (tmp_path / "trial.yaml").write_bytes(content)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(study, "FOLDER", tmp_path)
        patch.chdir(tmp_path)
        refused_or_right(study.configs, "trial", "quick")
    assert os.listdir(tmp_path) == ["trial.yaml"]


@pytest.mark.parametrize("name", TRICKS)
def test_names_of_studies_that_are_paths(name, tmp_path, monkeypatch):
    monkeypatch.setenv("SURVEY_RUNS", str(tmp_path / "runs"))
    (tmp_path / "evil.yaml").write_text("name: ../evil")
    for call in (study.load, store.results, store.local_records, store.publish):
        with pytest.raises(ValueError):
            call(name)
    with pytest.raises(ValueError):
        store.write(name, {"key": "0"})
    assert os.listdir(tmp_path) == ["evil.yaml"]


LINES = map(records.parse, store.published_file("weight").read_text(encoding="utf-8").split("\n"))
RECORD = next(run for run in LINES if run["config"]["method"] == "magnitude")
SMALL = RECORD | {"curve": RECORD["curve"][:1]}
PLACES = [place for place in paths(SMALL) if place]


@often(300)
@given(place=st.sampled_from(PLACES), new=anything)
def test_lines_of_results_changed_at_one_place(tmp_path, monkeypatch, place, new):
    monkeypatch.setattr(store, "PUBLISHED", tmp_path)
    text = json.dumps(changed(SMALL, place, new))
    (tmp_path / "weight.jsonl").write_text(text + "\n", encoding="utf-8")
    frame = refused_or_right(lambda: store.results("weight", local=False))
    assert frame is None or len(frame) == 1


@often(200)
@given(
    st.text(max_size=60)
    | st.integers(0, len(records.dump(SMALL)) - 1).map(lambda end: records.dump(SMALL)[:end])
)
def test_lines_of_results_that_are_none(text):
    with pytest.raises(ValueError):
        records.parse(text)


@often(100)
@given(st.text() | st.text(alphabet="\u2028\u2029\x85\x0c\x1c\n\r"))
def test_any_text_in_a_record_survives_publishing(tmp_path, monkeypatch, reason):
    monkeypatch.setattr(store, "PUBLISHED", tmp_path)
    (tmp_path / "trial.jsonl").write_text(
        records.dump(SMALL | {"warnings": [reason]}) + "\n", encoding="utf-8", newline=""
    )
    assert store.records("trial", local=False)[0]["warnings"] == [reason]


def dense():
    return models.build("resnet-8", 10, (3, 16, 16)).eval()


@pytest.fixture(scope="module")
def saved(tmp_path_factory):
    path = tmp_path_factory.mktemp("saved") / "small.safetensors"
    result = survey_lib.prune(dense(), "l1-filter", 0.5, example=torch.randn(2, 3, 16, 16))
    return survey_lib.save(result, path), result.plan


@often(100)
@given(data=st.data())
def test_plans_changed_at_one_place(saved, data):
    place = data.draw(st.sampled_from([place for place in paths(saved[1]) if place]))
    new = data.draw(
        anything
        | st.lists(st.integers(-3, 100), max_size=5)
        | st.lists(st.sampled_from(["layer1.0", "layer1", "fc", ""]))
    )
    refused_or_right(replay, dense(), changed(saved[1], place, new))
    refused_or_right(replay, dense(), saved[1] | {"blocks": new})


NOTES = [
    "",
    "{",
    "[]",
    "5",
    "null",
    "[" * 100_000,
    '{"schema": 1}',
    '{"schema": 1, "plan": 5, "meta": {}}',
    '{"schema": 1, "plan": {}, "meta": 5}',
    '{"schema": 99, "plan": null, "meta": {}}',
]


@pytest.mark.parametrize("notes", NOTES, ids=[notes[:30] for notes in NOTES])
def test_files_with_other_notes(notes, saved, tmp_path):
    path = tmp_path / "other.safetensors"
    safetensors.torch.save_file(safetensors.torch.load_file(saved[0]), path, metadata={"survey_lib": notes})
    with pytest.raises(ValueError, match=f"{path}|not a plan"):
        survey_lib.load(path, dense())


def test_files_with_other_tensors_or_damaged_headers(saved, tmp_path):
    with safetensors.safe_open(saved[0], "pt") as file:
        notes, tensors = file.metadata(), {name: file.get_tensor(name) for name in file.keys()}
    path = tmp_path / "other.safetensors"
    others = [
        tensors | {"mask:x": torch.ones(3)},
        tensors | {"weight:x": torch.ones(3)},
        {"weight:x": torch.ones(1)},
        {name: tensor.flatten()[:1] for name, tensor in tensors.items()},
    ]
    for other in others:
        safetensors.torch.save_file(other, path, metadata=notes)
        with pytest.raises(ValueError):
            survey_lib.load(path, dense())
    content, draw = saved[0].read_bytes(), random.Random(0)
    header = 8 + int.from_bytes(content[:8], "little")
    for _ in range(150):
        damaged = bytearray(content[: draw.choice([len(content), draw.randrange(len(content))])])
        for _ in range(min(3, len(damaged))):
            damaged[draw.randrange(min(header, len(damaged)))] = draw.randrange(256)
        path.write_bytes(damaged)
        refused_or_right(survey_lib.load, path, dense())


class Evil:
    """Unpickling it would leave a file."""

    def __reduce__(self):
        return open, ("evil", "w")


def test_a_renamed_pickle_is_refused_and_never_run(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    Path("a.safetensors").write_bytes(pickle.dumps(Evil()))
    torch.save(Evil(), "b.safetensors")
    for name in ("a.safetensors", "b.safetensors"):
        with pytest.raises(ValueError, match="not a safetensors file"):
            survey_lib.load(name, dense())
        done = CliRunner().invoke(
            main,
            ["prune", "--model", "resnet-8", "--method", "magnitude", "--sparsity", "0.5", "--weights", name],
        )
        assert done.exit_code != 0 and done.output and isinstance(done.exception, SystemExit), done.exception
    assert sorted(os.listdir()) == ["a.safetensors", "b.safetensors"]


values = st.text(max_size=12) | st.sampled_from(
    TRICKS + ["1e400", "nan", "-1", "0.5", "digits", "magnitude", "resnet-8", "os:system"]
)
COMMANDS = [
    ["methods", "--category"],
    ["methods", "--when"],
    ["cite"],
    ["figure"],
    ["status"],
    ["results"],
    ["results", "weight", "--metric"],
    ["publish"],
    ["sweep"],
    ["sweep", "weight", "--profile"],
    ["sweep", "weight", "--engine"],
    ["sweep", "weight", "--shard"],
    ["prune", "--model", "lenet-5", "--data", "digits", "--sparsity", "0.5", "--method"],
    ["prune", "--model", "lenet-5", "--data", "digits", "--method", "nm-magnitude:3:4", "--sparsity"],
    ["prune", "--method", "magnitude", "--sparsity", "0.5", "--data", "digits", "--model"],
    ["notebooks", "run"],
    [],
]


@often(100)
@given(command=st.sampled_from(COMMANDS), value=values)
def test_arguments_of_commands(tmp_path, command, value):
    """What is not an allowed value is refused in a line; a valid one may run."""
    if command == ["notebooks", "run"] and value in ("", "-", "."):
        return  # fits every notebook
    with pytest.MonkeyPatch.context() as patch:
        patch.chdir(tmp_path)
        patch.setenv("SURVEY_RUNS", str(tmp_path / "runs"))
        done = CliRunner().invoke(main, [*command, value])
    assert done.exception is None or isinstance(done.exception, SystemExit), (command, value, done.exception)
    assert os.listdir(tmp_path) == []


@often(60)
@given(name=st.text(max_size=12), value=anything)
def test_parameters_of_notebooks(tmp_path, name, value):
    """An unknown name is refused before a kernel starts; a value becomes a literal, never code."""
    if name not in ("profile", "seed"):
        with pytest.raises(ValueError):
            run_notebook(TINY, {name: value}, tmp_path / "out.ipynb")
    code = PythonTranslator.codify({"seed": value, "profile": "'''; import os #"})
    first, second = ast.parse(code).body
    for statement in (first, second):
        literal = re.sub(r"float\('(nan|-?inf)'\)", "0", ast.unparse(statement.value))
        assert isinstance(statement, ast.Assign) and ast.literal_eval(literal) is not Ellipsis
