"""The explorer's picture says what the mask and the store say."""

import matplotlib.pyplot as plt
import numpy as np
import pandas as pd

from survey_lib.figures.unstructured.explorer import explore


def test_numbers_of_the_picture():
    weight = np.array([[0.0, 1.0, -2.0, 3.0]])
    figure, shown = explore(weight, np.abs(weight) > 1.5, pd.Series({0.5: 0.9, 0.9: 0.8}), 0.95, 0.6, "magnitude")
    assert shown.to_dict() == {"kept share of the layer": 0.5, "stored sparsity": 0.5, "accuracy": 0.9}
    assert "50% of the layer stays; at sparsity 0.5 accuracy is 90.0%" in figure._suptitle.get_text()
    removed, kept = (sum(bar.get_height() for bar in bars) for bars in figure.axes[1].containers)
    assert (removed, kept) == (2, 2)
    plt.close(figure)
