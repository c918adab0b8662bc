"""The dates of the tools."""

from survey_lib.analysis import literature


def test_tools_have_a_known_state_a_source_and_come_oldest_first():
    table = literature.tools()
    assert set(table["state"]) == {"released", "last change", "pruning removed", "ended"}
    assert table["source"].notna().all()
    assert table["year"].is_monotonic_increasing and not table["tool"].duplicated().any()
