# ruff: noqa: S608 - every name in these queries is ours
"""Does reading hold at 1 000 runs, 10 million trials and 1 billion samples? Prints time and memory of each question.

    python tests/perf/scale.py [--scale SHARE | --full] [--folder DIR] [--rounds N] [--output FILE]

Writes synthetic results of that share of the full size (1/100 unless told; always 1 000 runs), then asks the same
questions of nvbench, of plain `duckdb` on the same files, and of pandas that reads everything, each in a process of its
own. The files go to a temporary folder, which is removed unless it was named; one that has them already is used as it
is. Only the ratios mean anything on a shared machine.
"""

from __future__ import annotations

import argparse
import contextlib
import json
import os
import resource
import shutil
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from datetime import timedelta
from pathlib import Path
from typing import Any

import duckdb
import pandas as pd
from pyarrow import dataset
from scale_results import BEGIN, BYTES_A_RUN, BYTES_A_SAMPLE, BYTES_A_TRIAL, LABELS, RUNS, SAMPLES, TRIALS, generate

from nvbench.cli import group
from nvbench.comparison import compare
from nvbench.reading import Results, open_results
from nvbench.runs import find_runs, resolve_runs

PANDAS_BYTES = {"trials": 1_500, "results": 1_500, "samples": 120}
"""What a row takes in pandas, for a guess at whether it fits."""


@dataclass(frozen=True)
class Question:
    """The same question to nvbench, to plain DuckDB, and to pandas; all three have to give the same answer.

    nvbench is asked what `opened` gives, which is a question of its own: whoever asks several opens runs once.
    """

    text: str
    nvbench: Callable[[Any], Any]
    duckdb: Callable[[Path], Any]
    pandas: Callable[[Path], Any] | None = None
    reads: str = ""
    opened: Callable[[Path], Any] = Path


def results(folder: Path) -> Results:
    """Of all runs."""
    return Results(find_runs(folder))


def listed(folder: Path, *options: str) -> int:
    """Lines of `nvbench list` below its heading."""
    with tempfile.TemporaryFile("w+") as text, contextlib.redirect_stdout(text):
        group.main(["list", "--results", str(folder), *options], standalone_mode=False)
        text.seek(0)
        return len(text.readlines()) - 2


def of_records(condition: str = "true", limit: int = RUNS) -> Callable[[Path], Any]:
    """The same of `run.json` files with DuckDB."""

    def ask(folder: Path) -> Any:
        columns = "{run_id: 'VARCHAR', label: 'VARCHAR', state: 'VARCHAR', started_at: 'VARCHAR', cases: 'BIGINT'}"
        source = f"read_json('{folder}/*/run.json', columns = {columns}, format = 'unstructured')"
        query = f"SELECT * FROM {source} WHERE {condition} ORDER BY started_at DESC LIMIT {limit}"
        return len(duckdb.sql(query).fetchall())

    return ask


def of_records_pandas(folder: Path) -> Any:
    """Every record as a row."""
    return len(pd.json_normalize([json.loads(file.read_bytes()) for file in folder.glob("*/run.json")], max_level=0))


def by_sql(text: str, reads: str, query: str, pandas: Callable[[pd.DataFrame], Any]) -> Question:
    """A question in SQL, word for word the same for both."""
    return Question(
        text,
        lambda opened: rounded(opened.query(query).to_pylist()),
        lambda folder: rounded(
            duckdb.sql(query.replace(f"FROM {reads}", f"FROM read_parquet('{folder}/*/{reads}/*.parquet')"))
            .to_arrow_table()
            .to_pylist()
        ),
        lambda folder: rounded(
            pandas(pd.concat(pd.read_parquet(file) for file in folder.glob(f"*/{reads}/*.parquet")))
        ),
        reads,
        results,
    )


def rounded(rows: Any) -> Any:
    """For comparing sums that were added in another order."""
    if isinstance(rows, float):
        return float(f"{rows:.9g}")
    if isinstance(rows, dict):
        return [rounded(value) for value in rows.values()]
    return [rounded(row) for row in rows] if isinstance(rows, list | tuple) else rows


def sides(folder: Path) -> list[Results]:
    """The runs of the two labels."""
    return [open_results(resolve_runs(folder, label)) for label in LABELS]


def compared(opened: list[Results]) -> Any:
    """Cases that regressed between the two labels, by nvbench."""
    return sorted(change.case_id for change in compare(*opened).changes if change.verdict == "regressed")


def compared_plainly(folder: Path) -> Any:
    """The same by two medians a case, with no statistics and no other metric: what reading alone costs."""
    half = (BEGIN + timedelta(hours=8 * (RUNS // 2))).strftime("%Y%m%dT%H%M%SZ")
    query = f"""
        SELECT case_id, median(rate_pps) FILTER (run_id < '{half}') AS base,
               median(rate_pps) FILTER (run_id >= '{half}') AS new
        FROM read_parquet('{folder}/*/results/*.parquet') GROUP BY case_id
    """
    return sorted(case for case, base, new in duckdb.sql(query).fetchall() if new < base * 0.99)


def lossy_pandas(rows: pd.DataFrame) -> Any:
    """Final trials that lost frames, by case."""
    return list(rows[(rows.purpose == "final") & (rows.lost_frames > 0)].groupby("case_id").size().items())


def one_counter_pandas(rows: pd.DataFrame) -> Any:
    """One counter's sum, by run."""
    return list(
        rows[(rows.source == "port p1") & (rows.metric == "counter_3")].groupby("run_id")["value"].sum().items()
    )


def all_counters_pandas(rows: pd.DataFrame) -> Any:
    """How many samples and their sum, by counter."""
    groups = rows.groupby(["source", "metric"])["value"].agg(["count", "sum"])
    return [[*key, int(count), total] for key, (count, total) in zip(groups.index, groups.to_numpy(), strict=True)]


def one_run(folder: Path) -> Path:
    """The folder of the first run."""
    return min(folder.iterdir())


def trial_samples(folder: Path) -> int:
    """Of one trial of one run."""
    return open_results(one_run(folder)).samples(filter=dataset.field("trial_id") == "t00007").num_rows


def rows_plainly(pattern: str, condition: str = "true") -> Callable[[Path], int]:
    """How many rows of one run there are, loaded by DuckDB."""

    def ask(folder: Path) -> int:
        query = f"SELECT * FROM '{one_run(folder)}/{pattern}' WHERE {condition}"
        return duckdb.sql(query).to_arrow_table().num_rows

    return ask


QUESTIONS = (
    Question("list the newest 20 runs", lambda folder: listed(folder, "--limit", "20"), of_records(limit=20)),
    Question("list all runs", listed, of_records(), of_records_pandas, "records"),
    Question(
        "list the runs of a label",
        lambda folder: listed(folder, "--filter", "label:ovs-3.2"),
        of_records("label = 'ovs-3.2'"),
    ),
    Question("open all runs", lambda folder: len(results(folder).runs), of_records()),
    Question("compare 500 runs with 500", compared, compared_plainly, opened=sides),
    by_sql(
        "rate by case, all results",
        "results",
        "SELECT case_id, median(rate_pps) AS rate FROM results GROUP BY case_id ORDER BY case_id",
        lambda rows: list(rows.groupby("case_id")["rate_pps"].median().items()),
    ),
    by_sql(
        "final trials that lost frames, by case",
        "trials",
        "SELECT case_id, count(*) AS n FROM trials WHERE purpose = 'final' AND lost_frames > 0 "
        "GROUP BY case_id ORDER BY case_id",
        lossy_pandas,
    ),
    Question(
        "all trials of one run",
        lambda folder: open_results(one_run(folder)).trials().num_rows,
        rows_plainly("trials/*.parquet"),
    ),
    Question("samples of one trial", trial_samples, rows_plainly("samples/*.parquet", "trial_id = 't00007'")),
    by_sql(
        "one counter of all samples, by run",
        "samples",
        "SELECT run_id, sum(value) AS total FROM samples WHERE source = 'port p1' AND metric = 'counter_3' "
        "GROUP BY run_id ORDER BY run_id",
        one_counter_pandas,
    ),
    by_sql(
        "sum of all samples, by counter",
        "samples",
        "SELECT source, metric, count(*) AS n, sum(value) AS total FROM samples GROUP BY source, metric "
        "ORDER BY source, metric",
        all_counters_pandas,
    ),
)


def answer(number: int, asked: str, folder: Path) -> None:
    """Of a child process: asks once, and says how long it took and the most memory that it held."""
    question = QUESTIONS[number]
    given = question.opened(folder) if asked == "nvbench" else folder
    begun = time.perf_counter()
    found = getattr(question, asked)(given)
    seconds = time.perf_counter() - begun
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024
    print(json.dumps({"seconds": seconds, "peak_bytes": peak, "found": found}))


def measured(number: int, asked: str, folder: Path) -> dict[str, Any]:
    """What a child process found."""
    argv = [sys.executable, __file__, "--folder", str(folder), "--answer", str(number), asked]
    done = subprocess.run(argv, capture_output=True, text=True, check=False)
    if done.returncode:
        raise SystemExit(f"{asked}: {QUESTIONS[number].text}: {done.stderr}")
    return dict(json.loads(done.stdout))


def fits_pandas(question: Question, scale: float) -> str:
    """Why pandas is not tried; empty where it is."""
    rows = {"trials": TRIALS * scale, "samples": SAMPLES * scale}.get(question.reads, 0)
    needed = rows * PANDAS_BYTES.get(question.reads, 0)
    free = os.sysconf("SC_AVPHYS_PAGES") * os.sysconf("SC_PAGE_SIZE")
    return f"about {needed / 1e9:.0f} GB" if needed > free / 3 else ""


def rows_of_table(folder: Path, scale: float, rounds: int) -> Iterator[list[str]]:
    """A line of the table for each question, as it is answered."""
    for number, question in enumerate(QUESTIONS):
        told: dict[str, list[dict[str, Any]]] = {}
        for _ in range(rounds):
            for asked in ("nvbench", "duckdb"):
                told.setdefault(asked, []).append(measured(number, asked, folder))
        too_much = fits_pandas(question, scale)
        if question.pandas and not too_much:
            told["pandas"] = [measured(number, "pandas", folder)]
        found = [json.dumps(each["found"]) for every in told.values() for each in every]
        if len(set(found)) > 1:
            raise SystemExit(f"{question.text}: the answers differ: {sorted(set(found))}")
        seconds = {asked: statistics.median(each["seconds"] for each in every) for asked, every in told.items()}
        peaks = {asked: statistics.median(each["peak_bytes"] for each in every) for asked, every in told.items()}
        line = [question.text, f"{seconds['nvbench'] / seconds['duckdb']:.2f}"]
        for asked in ("nvbench", "duckdb", "pandas"):
            if asked in told:
                line += [f"{seconds[asked]:.2f} s", f"{peaks[asked] / 1e6:.0f} MB"]
            else:
                line += ["-", too_much if question.pandas else "-"]
        yield line


def table(folder: Path, scale: float, rounds: int) -> Iterator[str]:
    """The table in Markdown."""
    size = sum(file.stat().st_size for file in folder.rglob("*.parquet"))
    yield f"{RUNS} runs, {TRIALS * scale:,.0f} trials, {SAMPLES * scale:,.0f} samples, {size / 1e9:.2f} GB of Parquet;"
    yield f"median of {rounds}, {os.cpu_count()} cores\n"
    yield "| question | nvbench / duckdb | nvbench | peak | duckdb | peak | pandas, all read | peak |"
    yield "|---|--:|--:|--:|--:|--:|--:|--:|"
    for line in rows_of_table(folder, scale, rounds):
        yield f"| {' | '.join(line)} |"


def refuse_if_full(folder: Path, scale: float) -> None:
    """Says what the disk needs."""
    needed = TRIALS * scale * BYTES_A_TRIAL + SAMPLES * scale * BYTES_A_SAMPLE + RUNS * BYTES_A_RUN
    free = shutil.disk_usage(folder).free
    print(f"needs about {needed / 1e9:.1f} GB in {folder}, which has {free / 1e9:.1f} GB free", file=sys.stderr)
    if needed * 1.2 > free:
        raise SystemExit("not enough room: choose another --folder or a smaller --scale")


def main() -> None:
    """Generates what is not there, asks, prints."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--scale", type=float, default=0.01, help="share of the full size; default: 1/100")
    parser.add_argument("--full", dest="scale", action="store_const", const=1.0, help="the full size")
    parser.add_argument("--folder", type=Path, help="where the results are, or go; default: a temporary one")
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--output", type=Path, help="also write the table here")
    parser.add_argument("--answer", nargs=2, help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.answer:
        answer(int(options.answer[0]), options.answer[1], options.folder)
        return
    with contextlib.ExitStack() as stack:
        folder = options.folder or Path(stack.enter_context(tempfile.TemporaryDirectory(prefix="nvbench-scale-")))
        folder.mkdir(parents=True, exist_ok=True)
        if not any(folder.iterdir()):
            refuse_if_full(folder, options.scale)
            generate(folder, options.scale)
        lines = []
        for line in table(folder, options.scale, options.rounds):
            print(line, flush=True)
            lines.append(line)
        if options.output:
            options.output.write_text("\n".join(lines) + "\n")


if __name__ == "__main__":
    main()
