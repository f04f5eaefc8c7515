"""The measurements, as one record and as tables."""

from statistics import median
from typing import Any

from rich.console import Console
from rich.table import Table

from versus.floor import floor_seconds

STAGES = ("sample", "score", "pick and store", "fine-tune")
SIDES = ("plain", "ours")
NOTES = (
    "sample: from noise to images. pick and store: here the picked images and the rows of all samples in the database, "
    "and their way back for training; the plain way writes a PNG of each sample and copies the picked ones. score: the "
    "plain way reads these PNGs.",
    "floor: the arithmetic of the stage (counted on one forward, or one forward and backward, times the counts) over "
    "the rate that a product of two 2048x2048 matrices reaches in the same process: fp32 for the plain way, the faster "
    "of fp32 and bf16 here. Its share of the time says how near the stage is.",
    "evaluate: fresh samples of the new generation, scored; here the study's whole evaluation, stored and published; "
    "the plain way finds a Fréchet distance alone.",
    "once: what a run pays at its start; not in the sum. The plain way: one warm-up. Here the real images are read, "
    "and what the study keeps of them (the classifier's judgement, all pairs of features) is read back; a study's "
    "first run finds both, as it evaluates generation 0.",
)


def summary(runs: list[dict[str, dict[str, Any]]], counts: dict[str, int]) -> dict[str, Any]:
    """Medians over runs, floors and ratios.

    Args:
        runs: of each, what `curate_way.run` and `plain.run` gave.
        counts: samples, steps, batch.
    """
    seconds = {side: _medians([run[side]["seconds"] for run in runs]) for side in SIDES}
    for stages in seconds.values():
        stages["generation"] = sum(stages[stage] for stage in STAGES)
    last, flops = runs[-1], runs[-1]["plain"]["flops"]
    rates = {"plain": last["plain"]["matmul"]["fp32"], "ours": max(last["ours"]["matmul"].values())}
    floors = {
        side: floor_seconds(flops, rates[side], evaluations=last[side]["evaluations"], **counts) for side in SIDES
    }
    return {
        "stages": {
            stage: {
                "plain_s": seconds["plain"][stage],
                "ours_s": seconds["ours"][stage],
                "ratio": seconds["plain"][stage] / seconds["ours"][stage],
                "plain_floor_s": floors["plain"].get(stage),
                "ours_floor_s": floors["ours"].get(stage),
            }
            for stage in (*STAGES, "generation", "evaluate", "once")
        },
        "fd": {
            name: {side: _median([run["fd"][name][side] for run in runs]) for side in SIDES}
            for name in ("parent", "child")
        },
        "step_s": {side: _median([run[side]["step_s"] for run in runs]) for side in SIDES},
        "evaluations": {side: last[side]["evaluations"] for side in SIDES},
        "peak_mb": {side: last[side]["memory"] for side in SIDES},
        "threads": {side: last[side]["threads"] for side in SIDES},
        "matmul_flops_per_s": {side: last[side]["matmul"] for side in SIDES},
        "flops_per_image": flops,
        "plain_choices": {name: last["plain"][name] for name in ("workers", "batch")},
    }


def print_tables(record: dict[str, Any], console: Console) -> None:
    """The tables, and what their words mean."""
    console.print(_stages(record))
    console.print(_figures(record))
    if "hours" in record:
        console.print(_hours(record["hours"]))
    for note in NOTES:
        console.print(note, highlight=False, style="dim")


def _stages(record: dict[str, Any]) -> Table:
    requested = record["asked"]
    table = Table(
        title=f"One generation: {requested['samples']:,} samples, {requested['steps']:,} steps, {record['machine']}"
    )
    table.add_column("stage")
    for name in ("plain, s", "here, s", "ratio", "floor of plain", "floor of here"):
        table.add_column(name, justify="right")
    for stage, row in record["stages"].items():
        near = [_share(row[f"{side}_floor_s"], row[f"{side}_s"]) for side in SIDES]
        table.add_row(stage, _seconds(row["plain_s"]), _seconds(row["ours_s"]), f"{row['ratio']:.1f}x", *near)
        if stage == "fine-tune":
            table.add_section()
    return table


def _figures(record: dict[str, Any]) -> Table:
    table = Table(title="Beside the times")
    table.add_column("")
    for name in ("plain", "here", "here against plain"):
        table.add_column(name, justify="right")
    for name, title in (("parent", "FD(vgg11) of what was picked from"), ("child", "FD(vgg11) of the new generation")):
        plain, here = (record["fd"][name][side] for side in SIDES)
        change = "" if plain is None or here is None else f"{here / plain - 1:+.1%}"
        table.add_row(title, _number(plain), _number(here), change)
    table.add_row("evaluations of the network per image", *(_number(record["evaluations"][side]) for side in SIDES), "")
    step = [record["step_s"][side] for side in SIDES]
    ratio = f"{step[0] / step[1]:.1f}x" if None not in step else ""
    table.add_row("a training step once running, ms", *(_number(s and 1000 * s) for s in step), ratio)
    stages, samples = record["stages"], record["asked"]["samples"]
    table.add_row("images/s sampled", *(_number(samples / stages["sample"][f"{side}_s"]) for side in SIDES), "")
    table.add_row("steps/s trained", *(_number(s and 1 / s) for s in step), "")
    for kind, unit in (("resident", "resident memory"), ("gpu", "GPU memory")):
        if kind in record["peak_mb"]["ours"]:
            table.add_row(f"peak {unit}, MB", *(f"{record['peak_mb'][side][kind]:,.0f}" for side in SIDES), "")
    for dtype in ("fp32", "bf16"):
        rates = [record["matmul_flops_per_s"][side][dtype] / 1e9 for side in SIDES]
        table.add_row(f"2048x2048 product in {dtype}, GFLOP/s", *(f"{rate:,.0f}" for rate in rates), "")
    table.add_row("threads", *(str(record["threads"][side]) for side in SIDES), "")
    choices = record["plain_choices"]
    table.add_row("DataLoader workers; batch of dopri5", f"{choices['workers']}; {choices['batch']}", "", "")
    return table


def _hours(hours: dict[str, Any]) -> Table:
    table = Table(title=f"{hours['generations']} generations of the paper's size: measured pieces times counts")
    for name in ("piece", "count a generation", "plain, ms each", "here, ms each", "plain, h", "here, h"):
        table.add_column(name, justify="left" if name == "piece" else "right")
    for piece in hours["pieces"]:
        times = [f"{1000 * piece[f'{side}_s']:.3f}" for side in SIDES]
        table.add_row(piece["name"], f"{piece['count']:,}", *times, *(f"{piece[f'{side}_h']:.2f}" for side in SIDES))
    table.add_section()
    table.add_row("together", "", "", "", *(f"{hours[f'{side}_h']:.2f}" for side in SIDES))
    return table


def _medians(all_seconds: list[dict[str, float]]) -> dict[str, float]:
    return {stage: median(seconds[stage] for seconds in all_seconds) for stage in all_seconds[0]}


def _median(values: list[float | None]) -> float | None:
    known = [value for value in values if value is not None]
    return median(known) if known else None


def _share(floor: float | None, seconds: float) -> str:
    return "" if floor is None else f"{floor / seconds:.0%}"


def _seconds(value: float) -> str:
    return f"{value:,.1f}" if value >= 10 else f"{value:.2f}"


def _number(value: float | None) -> str:
    return "–" if value is None else f"{value:,.3g}" if value < 1000 else f"{value:,.0f}"
