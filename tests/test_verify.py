"""Verification: whatever is changed in a published file is noticed, and what is sound agrees."""

import copy
import json
import random
import re
from contextlib import contextmanager

import pytest
import torch
from click.testing import CliRunner

from survey_lib.cli import main
from survey_lib.experiment.differences import compare
from survey_lib.experiment.records import dump, pack, unpack
from survey_lib.experiment.runs.config import RunConfig, key_of
from survey_lib.experiment.sweeps import store, study, sweep, verify

YAML = """
name: trial
question: Does it run?
profiles:
  quick:
    grids:
      - {data: digits, model: lenet-300-100, epochs: 2, recovery_epochs: 1, batch_size: 128, seed: [0, 1],
         method: [random, magnitude], sparsity: 0.5}
      - {data: stories260K, model: stories260K, recovery: none}
"""


@contextmanager
def two_threads():
    before = torch.get_num_threads()
    torch.set_num_threads(2)
    yield
    torch.set_num_threads(before)


@pytest.fixture(scope="module")
def records(tmp_path_factory):
    """The records of that study, computed once for all tests of this module."""
    folder = tmp_path_factory.mktemp("once")
    with pytest.MonkeyPatch.context() as patch:
        (folder / "trial.yaml").write_text(YAML)
        patch.setattr(study, "FOLDER", folder)
        patch.setenv("SURVEY_RUNS", str(folder / "runs"))
        study.keys.cache_clear()
        sweep.sweep("trial", engine="serial")
        patch.setattr(store, "PUBLISHED", folder)
        text = store.publish("trial", profile="quick").read_text()
    return [json.loads(line) for line in text.splitlines()]


@pytest.fixture
def published(trial, tmp_path, monkeypatch, records):
    """Write lines as the published file of the trial study."""
    monkeypatch.setattr(store, "PUBLISHED", tmp_path / "published")
    path = store.published_file("trial")
    path.parent.mkdir(parents=True)
    return lambda lines: path.write_text("".join(dump(line) + "\n" for line in lines))


@pytest.fixture
def tampered(published, monkeypatch, records):
    """Publish a changed copy of the records and verify all; runs are not computed but remembered."""
    monkeypatch.setattr(
        verify, "run", lambda config, _: next((r for r in records if r["key"] == config.key()), records[0])
    )

    def changed(change) -> tuple[int, str]:
        published(change(copy.deepcopy(records)))
        done = CliRunner().invoke(main, ["verify", "trial", "--sample", "99"])
        assert "Traceback" not in done.output and (
            done.exception is None or isinstance(done.exception, SystemExit)
        )
        return done.exit_code, done.output

    return changed


def every(path, change):
    """The same change of one value in each record that has it."""

    def apply(records):
        for record in records:
            *inside, name = path.split(".")
            for part in inside:
                record = record[int(part) if part.isdigit() else part] if record else record
            if record:
                record[name] = change(record[name])
        return records

    return apply


def one(path, change):
    return lambda records: every(path, change)(records[:1]) + records[1:]


def trained(path, change):
    """The same in the first record of an image network."""
    return lambda records: [
        *every(path, change)([r for r in records if r["layers"]][:1]),
        *[r for r in records if r["layers"]][1:],
        *[r for r in records if not r["layers"]],
    ]


def rekeyed(record, **fields):
    """A record under another config, with the right key of that."""
    config = RunConfig(**record["config"] | fields)
    return record | {"config": config.model_dump(), "key": config.key()}


def exchange(name):
    def apply(records):
        first, second = [record for record in records if record["layers"]][:2]
        first[name], second[name] = second[name], first[name]
        return records

    return apply


def forged(records):
    for record in records:
        record["environment"]["machine"] = "IBM 704"
        record["metrics"]["recovered"]["test"]["accuracy"] += 0.029
    return records


def dense_for_pruned(records):
    for record in records:
        record["metrics"]["recovered"] = record["metrics"]["dense"]
    return records


def permuted(record):
    random.Random(0).shuffle(record)
    return record


def everywhere(*names, **changes):
    """Without these fields, and with these values, wherever they stand in any record."""

    def walk(value):
        if isinstance(value, list):
            return [walk(inner) for inner in value]
        if not isinstance(value, dict):
            return value
        return {
            name: changes[name](inner) if name in changes else walk(inner)
            for name, inner in value.items()
            if name not in names
        }

    return walk


def kept_exchanged(layers):
    """Kept weights moved from one layer to another, the sum as before."""
    for layer, by in zip(layers[:2], (1, -1), strict=True):
        layer["kept"] += by
        layer["sparsity"] = 1 - layer["kept"] / layer["total"]
    return layers


def refused(record):
    return {name: record[name] for name in ("schema", "key", "config", "method", "environment")} | {
        "status": "refused",
        "reason": "magnitude at sparsity 0.5 leaves nothing of layers.0",
    }


def relabelled(name):
    return lambda records: [
        rekeyed(r, method=name) if r["config"]["method"] == "random" else r for r in records
    ]


LISTED = {
    "all accuracies up": every("metrics.recovered.test.accuracy", lambda a: a + 0.029),
    "compression": one("sizes.compression", lambda c: c * 10),
    "speed-up": one("sizes.theoretical_speedup", lambda s: s * 10),
    "nonzero MACs": one("sizes.pruned.nonzero_macs", lambda m: m + 1),
    "dense sizes": one("sizes.dense.bytes", lambda b: b + 4),
    "loss": one("metrics.recovered.test.loss", lambda v: v * 0.99),
    "calibration": one("metrics.pruned.validation.ece", lambda v: v / 2),
    "agreement": one("metrics.recovered.test.agreement", lambda v: v - 0.01),
    "ledger": one("ledger.0.training_macs", lambda v: v + 1),
    "layers": trained("layers.0.kept", lambda v: v + 1),
    "language": lambda r: [
        every("metrics.pruned.test.loss", lambda v: v - 0.1)([x])[0] if not x["layers"] else x for x in r
    ],
    "key": one("key", lambda key: key[::-1]),
    "half of the lines": lambda records: records[::2],
    "one seed": lambda records: [record for record in records if record["config"]["seed"] == 0],
    "a duplicate": lambda records: [*records, records[0]],
    "failed": one("status", lambda _: "failed"),
    "forged machine": forged,
}
INVENTED = {
    "metrics of two methods or seeds exchanged": exchange("metrics"),
    "dense metrics in place of recovered ones": dense_for_pruned,
    "accuracies of classes permuted, same mean": trained(
        "metrics.recovered.test.per_class_accuracy", permuted
    ),
    "one unit in the last place of one loss": one("metrics.dense.test.loss", lambda v: v * (1 + 2**-52)),
    "learning rate of the curve": trained("curve.1.lr", lambda v: v * 10),
    "last point of the curve": trained("curve.1.validation_accuracy", lambda v: v + 0.001),
    "a stage of the curve left out": trained("curve", lambda points: points[:1]),
    "a split left out of one record": lambda r: [
        every("metrics.pruned", lambda v: {k: v[k] for k in ("test",)})([x])[0] if x is y else x
        for y in [next(z for z in r if z["layers"])]
        for x in r
    ],
    "a field left out of every layer": trained(
        "layers", lambda layers: [{k: v for k, v in one.items() if k != "kept"} for one in layers]
    ),
    "a layer listed twice": trained("layers", lambda layers: [*layers, layers[0]]),
    "scope relabelled": trained("scope", lambda _: "global"),
    "method relabelled as structured": trained("method.structure", lambda _: "structured"),
    "method of an older version": trained("method.version", lambda v: v - 1),
    "a run that nobody asked for, with its right key": lambda r: [
        *r,
        rekeyed(next(x for x in r if x["layers"]), sparsity=0.6),
    ],
    "a run under another profile, with its right key": lambda r: [rekeyed(r[0], profile="full"), *r[1:]],
    "a run under another seed, with its right key": lambda r: [rekeyed(r[0], seed=7), *r[1:]],
    "the reason for a skipped layer made up": one("skipped", lambda _: [["conv1", "too good to prune"]]),
    "loss not a number": one("metrics.recovered.test.loss", lambda _: {"$float": "nan"}),
    "sparsity rounded": one("sparsity", lambda v: v + 1e-6),
    "stage renamed in the ledger": one("ledger.0.stage", lambda _: "free of charge"),
    "an accuracy as text": one("metrics.dense.test.accuracy", str),
    "every line removed": lambda records: [],
}
SECOND = {  # by another hand than the first two
    "a stage left out of every record": everywhere("recalibrated"),
    "a field left out of every record that may lack it": everywhere("validation_loss"),
    "other test examples right, as many": trained(
        "metrics.recovered.test", lambda t: t | {"correct": pack(unpack(t["correct"], t["n"])[::-1])}
    ),
    "two stages exchanged": trained(
        "metrics", lambda m: m | {"pruned": m["recovered"], "recovered": m["pruned"]}
    ),
    "kept weights moved to another layer": trained("layers", kept_exchanged),
    "corrupted images as easy as clean ones": everywhere(corrupted=lambda m: m and m | {"accuracy": 0.99}),
    "pruning that cost nothing": everywhere(training_macs=lambda _: 0, nonzero_training_macs=lambda _: 0),
    "a mask that the first weights decided": trained("initial_overlap", lambda _: 0.99),
    "a run that was refused": lambda r: [refused(r[0]), *r[1:]],
    "results of one method under the name of another": relabelled("magnitude"),
    "a method of an older version, with its right key": lambda r: [
        x | {"method": x["method"] | {"version": 0}, "key": key_of(x["config"], x["schema"], 0)} for x in r
    ],
}
TEXTS = {
    "a name twice in a line": lambda text: text.replace('"scope":', '"scope": "erk", "scope":', 1),
    "lines in another order": lambda text: "".join(reversed(text.splitlines(keepends=True))),
    "other ends of lines": lambda text: text.replace("\n", "\r\n"),
    "a number written with more digits": lambda text: re.sub(
        r'("accuracy": 0\.\d+)', r"\g<1>00", text, count=1
    ),
    "the last line cut off": lambda text: text[:-100],
    "an empty line": lambda text: text + "\n",
    "no text": lambda text: "",
    "a mark at its beginning": lambda text: "\ufeff" + text,
}


def test_what_was_published_agrees_to_the_last_bit_with_what_is_computed_again(published, records):
    published(records)
    said = []
    with two_threads():
        again = verify.verify("trial", 1, report=said.append)
    assert again["agrees"].all() and set(again["allowed"]) == {0.0}
    assert "5 published runs of trial: 0 faults" in said[0] and said[2].startswith("1 of 1: trial, ")
    assert f"{len(again)} values, of which {len(again)} must be equal" in said[2]


def test_an_untouched_copy_passes(tampered):
    code, output = tampered(lambda records: records)
    assert code == 0 and "values of 5 runs came out as published" in output


@pytest.mark.parametrize("change", (ALL := LISTED | INVENTED | SECOND).values(), ids=ALL)
def test_a_change_is_noticed(change, tampered):
    with two_threads():  # as where OMP_NUM_THREADS is not set
        code, output = tampered(change)
    assert code == 1, output


@pytest.mark.parametrize("change", TEXTS.values(), ids=TEXTS)
def test_a_change_of_the_text_is_noticed(change, tampered):
    assert tampered(lambda records: records)[0] == 0
    path = store.published_file("trial")
    path.write_bytes(change(path.read_text()).encode())
    done = CliRunner().invoke(main, ["verify", "trial", "--sample", "99"])
    assert done.exit_code == 1 and isinstance(done.exception, SystemExit), done.output


def test_a_method_with_a_newer_version_is_said_once_and_its_runs_are_not_compared(tampered):
    code, output = tampered(SECOND["a method of an older version, with its right key"])
    assert code == 1 and "1 of them can be computed here" in output
    for method in ("random", "magnitude"):
        assert output.count(f"{method} has a newer version: sweep and publish again") == 1


def test_a_study_cannot_allow_itself_everything(trial):
    with pytest.raises(ValueError, match="tolerance"):
        study.parse(YAML + "tolerance: 1.0\n")


@pytest.mark.parametrize("sample", [0, -1])
def test_a_sample_of_nothing_is_refused(sample, trial):
    done = CliRunner().invoke(main, ["verify", "trial", "--sample", str(sample)])
    assert done.exit_code != 0 and "at least one run" in done.output


def test_runs_whose_data_are_not_here_are_left_out_and_counted(tampered, monkeypatch):
    monkeypatch.setattr(verify, "available", lambda data: False)
    code, output = tampered(lambda records: records)
    assert code == 0 and "1 of them can be computed here" in output


def test_runs_of_a_gpu_are_left_out_and_counted_where_there_is_none(tampered, monkeypatch):
    monkeypatch.setattr(verify.torch.cuda, "is_available", lambda: False)
    _, output = tampered(lambda records: [rekeyed(records[0], device="cuda"), *records[1:]])
    assert "4 of them can be computed here" in output


def test_verify_without_published_runs_says_so(trial, tmp_path, monkeypatch):
    monkeypatch.setattr(store, "PUBLISHED", tmp_path / "published")
    with pytest.raises(ValueError, match="survey publish STUDY"):
        verify.verify("trial")


def test_a_field_of_no_schema_is_compared_too(records):
    record = records[0]
    added = compare(record, record | {"flatness": 1.0}, 0.05)
    assert [pair.path for pair in added if not pair.agrees] == ["flatness"]
    assert all(pair.agrees for pair in compare(record | {"schema": 1}, record | {"flatness": 1.0}, 0.05))
    later = record | {"config": record["config"] | {"warmup": 0}}
    assert all(pair.agrees for pair in compare(record, later, 0.05))
    moved = compare(record | {"flatness": 1.0}, record | {"flatness": 1.1}, 0.05)
    assert [pair.path for pair in moved if not pair.agrees] == ["flatness"]


def test_a_field_that_only_an_older_schema_has_is_no_difference(records):
    old = records[0] | {"flatness": 1.0}
    assert [pair.path for pair in compare(old, records[0], 0.05) if not pair.agrees] == ["flatness"]
    assert all(pair.agrees for pair in compare(old | {"schema": 1}, records[0], 0.05))


def drifted(record, by):
    """As another processor finds it: all losses moved by a share, and one accuracy by 0.04."""
    other = copy.deepcopy(record)
    for splits in other["metrics"].values():
        for metrics in splits.values():
            metrics["loss"] *= 1 + by
    for point in other["curve"]:
        point["loss"] *= 1 + by
        point["validation_loss"] *= 1 + by
    other["metrics"]["recovered"]["test"]["accuracy"] -= 0.04
    return other


@pytest.mark.parametrize(("drift", "moved"), [(0.0, True), (1e-2, False)])
def test_an_accuracy_may_move_only_where_training_took_another_way(drift, moved, records):
    record = next(record for record in records if record["layers"])
    wrong = [pair.path for pair in compare(record, drifted(record, drift), 0.05) if not pair.agrees]
    assert wrong == (["metrics.recovered.test.accuracy"] if moved else [])


def test_on_another_processor_accuracies_may_move_and_sizes_are_still_exact(tampered, records, monkeypatch):
    monkeypatch.setattr(
        verify, "run", lambda config, _: drifted(next(r for r in records if r["key"] == config.key()), 1e-2)
    )
    assert tampered(lambda records: records)[0] == 0
    code, output = tampered(every("sizes.pruned.bytes", lambda b: b + 4))
    assert code == 1 and "sizes.pruned.bytes" in output


@pytest.mark.parametrize("name", study.names())
def test_the_published_files_of_the_repository_are_sound(name):
    """Apart from runs of methods that were corrected since: `survey verify` names them until they run again."""
    faults = [fault for _, fault in verify.faults(name)]
    assert [fault for fault in faults if "has a newer version" not in fault] == []
