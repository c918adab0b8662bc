"""The figure of the faults notebook."""

import matplotlib.pyplot as plt

from survey_lib.figures import schematics


def test_the_figure_names_every_step_and_fault():
    drawing = schematics.faults()
    written = " ".join(text.get_text() for text in drawing.figure.axes[0].texts).replace("\n", " ")
    for step, found in schematics.FAULTS.items():
        assert f"{step} {', '.join(found)}" in written
    plt.close("all")
