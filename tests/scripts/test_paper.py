"""The paper's tables as printed: the file's structure, and a dozen headline differences."""

import pytest

from scripts.reproduce.paper import PrintedTable, content, fig7_gains, fig9_ends, measured_name, printed_table

TABLES = ["table1", "table2", "table3", "table4", "table5"]
SIZES = {"table1": (10, 4, 3), "table2": (10, 4, 3), "table3": (8, 2, 2), "table4": (4, 2, 2), "table5": (5, 2, 2)}
NIKON, CANON = "RealSRset-Nikon", "RealSRset-Canon"


def difference(table: PrintedTable, system: str, base: str, testset: str, metric: str = "psnr_db") -> float:
    """A printed number less that of another row, rounded as printed."""
    return round(table.rows[system]["values"][testset][metric] - table.rows[base]["values"][testset][metric], 4)


@pytest.mark.parametrize("name", TABLES)
def test_every_row_has_every_cell(name):
    table = printed_table(name)
    assert (len(table.rows), len(table.testsets), len(table.metrics)) == SIZES[name]
    for row in table.rows.values():
        assert [*row["values"]] == [*table.testsets]
        assert all([*cells] == [*table.metrics] for cells in row["values"].values())
        for testset in table.testsets:
            assert 20 < row["values"][testset]["psnr_db"] < 32
            assert 0 < row["values"][testset]["lpips"] < 1


def test_the_file_holds_308_numbers():
    assert sum(rows * sets * metrics for rows, sets, metrics in SIZES.values()) == 308


def test_rows_stand_in_the_printed_order():
    systems = [*printed_table("table1").rows]
    assert systems == [*printed_table("table2").rows]
    assert systems[:2] == ["DASR", "RealESRGAN"]
    assert systems[-2:] == ["TGSR", "Ours"]
    assert [*printed_table("table4").rows] == ["RLW", "DWA", "GLS", "Ours"]


def test_ours_is_above_realesrgan_by_the_printed_differences():
    one, two = printed_table("table1"), printed_table("table2")
    assert [difference(one, "Ours", "RealESRGAN", each) for each in one.testsets] == [0.17, 0.22, 0.15, 0.15]
    assert [difference(two, "Ours", "RealESRGAN", each) for each in two.testsets] == [0.54, 0.48, 0.63, 0.22]


def test_dasr_is_above_ours_on_all_sets_of_table_2_and_below_on_all_of_table_1():
    one, two = printed_table("table1"), printed_table("table2")
    assert [difference(two, "DASR", "Ours", each) for each in two.testsets] == [0.99, 1.13, 1.14, 0.71]
    assert all(difference(one, "DASR", "Ours", each) < 0 for each in one.testsets)


def test_baselines_of_table_3_are_the_released_networks_of_table_2():
    two, three = printed_table("table2"), printed_table("table3")
    for system in ("RealESRGAN", "RealSwinIR"):
        for testset in three.testsets:
            for metric in three.metrics:
                assert three.rows[system]["values"][testset][metric] == two.rows[system]["values"][testset][metric]


def test_lpips_of_realhat_gets_worse_with_the_method():
    three = printed_table("table3")
    gains = [difference(three, "RealHAT+ours", "RealHAT", each, "lpips") for each in three.testsets]
    assert gains == [0.0079, 0.0057]


def test_random_weights_give_most_of_the_gain_on_nikon_and_a_sixth_on_canon():
    rlw, base = printed_table("table4").rows["RLW"], printed_table("table2").rows["RealESRGAN"]
    gains = [round(rlw["values"][each]["psnr_db"] - base["values"][each]["psnr_db"], 2) for each in (NIKON, CANON)]
    assert gains == [0.40, 0.08]


def test_re_sampling_is_above_re_weighting_and_its_lpips_differs_from_the_other_tables():
    five = printed_table("table5")
    gains = [difference(five, "re-sampling, 4 tasks", "re-weighting, 4 tasks", each) for each in (NIKON, CANON)]
    assert gains == [0.33, 0.23]
    assert five.rows["re-sampling, 4 tasks"]["values"][CANON]["lpips"] == 0.3559
    assert {printed_table(name).rows["Ours"]["values"][CANON]["lpips"] for name in ("table2", "table4")} == {0.3580}


def test_ours_is_one_run_in_four_tables():
    rows = [printed_table("table2").rows["Ours"], printed_table("table3").rows["RealESRGAN+ours"]]
    rows += [printed_table("table4").rows["Ours"], printed_table("table5").rows["re-sampling, 4 tasks"]]
    for testset, value in ((NIKON, 26.16), (CANON, 26.54)):
        assert {row["values"][testset]["psnr_db"] for row in rows} == {value}


def test_what_is_odd_about_a_table_is_said_with_it():
    assert any("ticks of the printed table look misaligned" in note for note in printed_table("table4").notes)
    assert any("DASR: identity unclear" in note for note in printed_table("table1").notes)
    assert any("LPIPS worse than RealHAT" in note for note in printed_table("table3").notes)


def test_sets_have_names_of_this_project_and_figures_their_numbers():
    assert [measured_name(each) for each in ("DIV2K_mild", NIKON)] == ["DIV2K4Level-mild", "RealSR-Nikon"]
    assert fig7_gains() == {"noise": 0.08, "severe": 0.07}
    assert (fig9_ends("noise"), fig9_ends("blur")) == ((1, 19), (0.4, 3.8))
    assert content()["training"]["iterations"] == 400_000
