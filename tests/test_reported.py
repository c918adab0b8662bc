"""What papers report, by who stands behind the number, and the dates of the tools."""

import matplotlib.pyplot as plt
import pandas as pd

from survey_lib.figures.comparisons import reported


def test_points_tell_measurements_from_copies():
    points = reported.points("CIFAR-10", "ResNet-56")
    assert set(points["who"]) == set(reported.BEHIND)
    copied = points[points["reported_by"] == "blalock2020state"]  # a meta-analysis
    assert set(copied["who"]) == {"quoted"}
    hrank = points[(points["reported_by"] == "lin2020hrank") & (points["method"] == "HRank")].iloc[0]
    assert (hrank["who"], hrank["speedup_theoretical"], round(hrank["drop"], 2)) == ("authors", 2.0, 0.09)


def test_points_of_a_pair_nobody_reported_are_none():
    assert reported.points("CIFAR-10", "ResNet-57").empty


def test_tools_have_a_known_state_a_source_and_come_oldest_first():
    table = reported.tools()
    assert set(table["state"]) <= set(reported.STATES) and table["source"].notna().all()
    assert table["year"].is_monotonic_increasing and not table["tool"].duplicated().any()


def test_overlay_draws_one_mark_a_side_and_one_line_a_method():
    _, axes = plt.subplots()
    ours = pd.DataFrame({"method": ["a", "a", "b"], "speedup_theoretical": [1.0, 2, 2], "drop": [0.0, 1, 2]})
    reported.overlay(reported.points("CIFAR-10", "ResNet-56"), ours, axes)
    labels = axes.get_legend_handles_labels()[1]
    assert labels == [f"published: {who}" for who in reported.BEHIND] + ["this course: a", "this course: b"]
    plt.close("all")
