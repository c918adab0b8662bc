"""The drawings of filters and channels in notebooks 07 to 09."""

import matplotlib.pyplot as plt
import numpy as np

from survey_lib.figures.structured import channel_pruning, filter_pruning, structure_and_surgery


def test_the_padded_shortcut_moves_four_labels_and_fixes_the_others():
    drawing = structure_and_surgery.travelling_labels()
    assert drawing.data["after the sum"].tolist() == ["p", "q", "a = r", "b = s", "c = t", "d = u", "v", "w"]
    assert "Channel 1 of the stem is channel 3" in drawing.caption
    plt.close(drawing.figure)


def test_the_weakest_map_comes_first_and_the_removed_are_framed():
    sizes = np.array([3.0, 1.0, 2.0, 4.0])
    figure = filter_pruning.sorted_maps(sizes[:, None, None] * np.ones((2, 2)), {"size": sizes}, removed=1)
    assert [axes.get_xlabel() for axes in figure.axes] == ["1", "2", "0", "3"]
    assert [axes.spines["left"].get_visible() for axes in figure.axes] == [True, False, False, False]
    plt.close(figure)


def test_three_ideas_names_every_filter_once_an_idea():
    drawing = filter_pruning.three_ideas()
    assert drawing.data["filter"].tolist() == list(range(16))
    labels = [axes.get_xlabel() for axes in drawing.figure.axes]
    assert all(sorted(map(int, labels[row : row + 16])) == list(range(16)) for row in (0, 16, 32))
    plt.close(drawing.figure)


def test_each_repair_loses_no_more_than_the_one_with_less_freedom():
    table = channel_pruning.choice_and_repair().data.set_index("choice")
    assert set(table.index) == {"chance", "L1 norm", "ThiNet", "LASSO"}
    assert (table["all weights"] < table["one factor"]).all() and (table["one factor"] < table["none"]).all()
    plt.close("all")
