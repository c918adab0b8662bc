"""Drawings of the faults notebook."""

import matplotlib.pyplot as plt
import pandas as pd

from survey_lib.figures.comparisons import pitfalls


def test_chain_names_every_step_and_fault():
    _, axes = plt.subplots()
    pitfalls.chain({"score": ["no abs"], "cut": ["wrong slices", "padding"]}, axes)
    assert [text.get_text() for text in axes.texts if text.get_text()] == [
        "score",
        "no abs",
        "cut",
        "wrong slices, padding",
    ]
    plt.close("all")


def test_pairs_draws_both_values_and_hides_what_is_left_over():
    table = pd.DataFrame(
        {"shows": ["MACs"] * 4, "wrong": [0.0, 1, 2, 3], "right": [4.0, 5, 6, 7]}, index=list("abcd")
    )
    figure = pitfalls.pairs(table, "two values each")
    shown = [axes for axes in figure.axes if axes.get_visible()]
    assert [axes.get_title(loc="left") or axes.get_title() for axes in shown] == list("abcd")
    assert [bar.get_width() for bar in shown[0].patches] == [0, 4]
    plt.close("all")
