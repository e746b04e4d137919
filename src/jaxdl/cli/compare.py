"""``python -m jaxdl compare``: two or more runs, what differs in them and what came of it."""

import argparse


def add_parser(commands: argparse._SubParsersAction) -> None:
    """Adds this command's parser."""
    parser = commands.add_parser(
        "compare",
        help="compare run folders: configurations, curves in one picture, last and best metrics",
        description="Shows which fields of the configurations differ, the last and best metrics, "
        "lengths and seconds of the runs, and draws their curves into one picture. The members of "
        "a sweep are run folders too. Exit status 0: compared; 1: something is no run folder.",
    )
    parser.add_argument("runs", nargs="+", metavar="RUN", help="run folders, two or more")
    parser.add_argument(
        "--out", default="compare.png", metavar="PNG", help="the picture; compare.png by default"
    )


def run(options: argparse.Namespace) -> int:
    """Prints the comparison, draws the curves, and returns the exit status."""
    from jaxdl import plots
    from jaxdl.cli import _compare_runs

    runs = _compare_runs.read_runs(options.runs)
    names = [one.name for one in runs]
    different = _compare_runs.config_differences(runs)
    print(
        _compare_runs.to_text("configuration", different, names)
        if different
        else "same configuration"
    )
    print()
    print(_compare_runs.to_text("metric", _compare_runs.metric_table(runs), names))
    path = plots.save(plots.run_curves({one.name: one.rows for one in runs}), options.out)
    print(f"\ncurves: {path}")
    return 0
