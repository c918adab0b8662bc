"""What must never be in the package: code run from files, pickles, downloads without a pinned hash."""

import ast
from pathlib import Path

import pytest

from survey_lib.experiment.data import sources

MODULES = sorted((Path(__file__).parents[1] / "survey_lib").rglob("*.py"))
RUNS_CODE = {"eval", "exec", "compile", "__import__"}
UNPICKLES = {"pickle", "cPickle", "dill", "cloudpickle", "shelve", "marshal"}


def faults(code: str) -> list[str]:
    """Calls and imports that could run what a file holds."""
    found = []
    for node in ast.walk(ast.parse(code)):
        if isinstance(node, ast.Import | ast.ImportFrom):
            names = [alias.name for alias in node.names] + [getattr(node, "module", None) or ""]
            found += [name for name in names if name.split(".")[0] in UNPICKLES]
        if not isinstance(node, ast.Call):
            continue
        called, safe = ast.unparse(node.func), {word.arg: ast.unparse(word.value) for word in node.keywords}
        if called in RUNS_CODE or called in ("os.system", "yaml.load", "yaml.unsafe_load", "yaml.full_load"):
            found.append(called)
        if called in ("torch.load", "joblib.load", "pd.read_pickle") and safe.get("weights_only") != "True":
            found.append(called)
        if called in ("np.load", "numpy.load") and safe.get("allow_pickle", "False") != "False":
            found.append(called)
        if called.startswith("subprocess.") and safe.get("shell", "False") != "False":
            found.append(f"{called} with a shell")
        if called.endswith(
            ("urlopen", "urlretrieve", "load_state_dict_from_url", "download_url", "requests.get")
        ):
            found.append(called)
    return found


@pytest.mark.parametrize("path", MODULES, ids=[path.stem for path in MODULES])
def test_no_module_runs_code_from_files_unpickles_or_downloads(path):
    assert faults(path.read_text(encoding="utf-8")) == []


BAD = [
    "eval(text)",
    "exec(text)",
    "import pickle",
    "from pickle import loads",
    "torch.load(path)",
    "os.system('x')",
    "torch.load(path, weights_only=False)",
    "yaml.load(text)",
    "np.load(path, allow_pickle=True)",
    "subprocess.run(text, shell=True)",
    "urllib.request.urlopen(address)",
]
GOOD = [
    "model.eval()",
    "torch.load(path, weights_only=True)",
    "yaml.safe_load(text)",
    "np.load(path)",
    "re.compile('a')",
    "subprocess.run(['git', 'diff'])",
    "torch.compile(model)",
]


@pytest.mark.parametrize("code", BAD)
def test_the_search_finds_what_it_should(code):
    assert len(faults(code)) >= 1


@pytest.mark.parametrize("code", GOOD)
def test_the_search_lets_through_what_it_should(code):
    assert faults(code) == []


def test_data_in_the_repository_are_pinned_by_hash(tmp_path, monkeypatch):
    """A changed file is refused with both hashes; the other sets are downloaded by torchvision, which checks its own."""
    base = tmp_path / "eurosat32_mini"
    base.mkdir()
    for path in (sources.REPOSITORY / "data" / base.name).iterdir():
        (base / path.name).write_bytes(path.read_bytes())
    sources.SOURCES["eurosat32-mini"].read(tmp_path)
    (base / "labels.csv").write_bytes(b"image,label\n")
    with pytest.raises(ValueError, match="labels.csv has sha256 .* expected c144bb38"):
        sources.SOURCES["eurosat32-mini"].read(tmp_path)
