"""The notebooks: each is executed, on results made here, and with no results at all, when it opens a sample."""

import ast
import json
import sys
from collections.abc import Iterator, Mapping
from datetime import UTC, datetime
from itertools import pairwise, product
from pathlib import Path

import nbformat
import pytest
from click.testing import CliRunner
from jupyter_client import KernelManager
from jupyter_client.kernelspec import KernelSpecManager
from nbclient import NotebookClient

import nvbench
from nvbench.cli import group
from nvbench.reading import open_results
from nvbench.runs import find_runs, set_label
from nvbench.store import RunHeader, RunWriter
from nvbench.tables import ResultRow, Setting, StreamRow, Subject
from nvbench.trial import Counters, Trial
from nvbench.trial_rows import trial_row

NOTEBOOKS = sorted(Path(__file__).parents[2].glob("notebooks/*.ipynb"))
SAMPLES = Path(nvbench.__file__).parent / "sample"
SAMPLES_BYTES = 300_000
READS_BY = {"os", "matplotlib", "numpy", "pandas", "nvbench"}
KERNEL_SECONDS = 120  # on a busy machine; none needs a tenth of it
SIMULATED = ("datapath.kind=simulated", "generator=simulated", "datapath.queues=1", "traffic.frame_bytes=[64,1518]")
PATHS = {"linux_bridge": 3e9, "ovs_dpdk": 1e9}  # goodput without any offload
FLAGS = {"tso": "tcp-segmentation-offload", "tx_checksum": "tx-checksumming", "gro": "generic-receive-offload"}
STATES = [
    {"tso": tso, "tx_checksum": checksum, "gro": gro}
    for tso, checksum, gro in product((True, False), repeat=3)
    if checksum or not tso
]


def simulate(root: Path, profile: str, *overrides: str, more: tuple[str, ...] = ()) -> None:
    """Run a profile on a simulated device."""
    asked = [word for override in (*SIMULATED, *overrides) for word in ("-s", override)]
    done = CliRunner().invoke(
        group, ["run", profile, "--quick", "-t", "simulated", "--results", str(root), *asked, *more]
    )
    assert done.exit_code == 0, done.output


def write_rates(root: Path, *rates_mpps: float) -> None:
    """A run for each rate: the same case, over and over."""
    subject = Subject("ovs_dpdk-1q-64B", "throughput", "ovs_dpdk", "nvgen", 64)
    for rate in rates_mpps:
        with RunWriter.create(root, RunHeader("10ge-forwarding", "bench")) as run:
            trial = Trial(rate * 1e6, 1.0, 1.0, (Counters(sent=round(rate * 1e6), received=round(rate * 1e6)),))
            name = run.append_trial(trial_row(subject, trial, purpose="search"))
            run.append_result(ResultRow(subject=subject, rate_pps=rate * 1e6, trials=1, trial_ids=(name,)))


def write_streams(root: Path) -> None:
    """TCP over two paths: TSO gives 4x, checksums 1.2x, GRO nothing, and the bridge is 3x as fast as the switch.

    As in a real kernel there is no TSO without checksums, and over a switch that carries neither TCP hangs with them.
    """
    with RunWriter.create(root, RunHeader("offload-tso", "simulated", simulated=True)) as run:
        for path, on, repeat in product(PATHS, STATES, range(1, 6)):
            goodput = PATHS[path] * (4 if on["tso"] else 1) * (1.2 if on["tx_checksum"] else 1) * (1 + 0.01 * repeat)
            hangs = path == "ovs_dpdk" and on["tx_checksum"]
            subject = Subject(
                case_id="-".join([path, *(name for name in on if on[name])]),
                test="tcp_stream",
                datapath=path,
                generator="iperf3",
                frame_bytes=0,
                settings=tuple(Setting(f"endpoints.{name}", word(on[name])) for name in on),
            )
            flags = tuple(Setting(FLAGS[name], word(on[name])) for name in on)
            size = 60_000.0 if on["tso"] else 1514.0
            run.append_stream(
                StreamRow(
                    subject=subject,
                    repeat=repeat,
                    tool="iperf3 3.12",
                    parallel=1,
                    started_at=datetime(2026, 1, 1, tzinfo=UTC),
                    duration_s=1.0,
                    goodput_bps=None if hangs else goodput,
                    packets_pps=None if hangs else goodput / 8 / size,
                    packet_bytes=None if hangs else size,
                    cores=1.2,
                    valid=not hangs,
                    reason="no answer" if hangs else "",
                    client_offloads=flags,
                    server_offloads=flags,
                )
            )


def word(on: bool) -> str:
    """A switch as ethtool says it."""
    return "on" if on else "off"


@pytest.fixture(scope="module")
def made(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A campaign: a rate that falls half-way, TCP streams, latency, two versions measured in turn, and a plain run."""
    root = tmp_path_factory.mktemp("results")
    write_rates(root, 2.5, 2.49, 2.51, 2.2, 2.21, 2.19)
    write_streams(root)
    simulate(root, "10ge-quality", "tests.soak=null", "tests.frame_loss=null")
    simulate(
        root, "10ge-forwarding", "tests.latency=null", more=("--versus", "datapath.capacity_mpps=2", "--label", "v")
    )
    for run in find_runs(root):
        if run.label:
            set_label(run.path, {"v base": "before", "v new": "after"}[run.label])
    simulate(root, "10ge-forwarding", "datapath.capacity_mpps=2.2")
    return root


@pytest.fixture(scope="module")
def none(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """No results."""
    return tmp_path_factory.mktemp("none")


@pytest.fixture(scope="module")
def kernel(tmp_path_factory: pytest.TempPathFactory) -> Iterator[KernelManager]:
    """One for all of them, for what they import takes longer than what they do."""
    folder = tmp_path_factory.mktemp("kernels")
    argv = [sys.executable, "-m", "ipykernel_launcher", "-f", "{connection_file}"]
    (folder / "here").mkdir()
    (folder / "here" / "kernel.json").write_text(
        json.dumps({"argv": argv, "display_name": "here", "language": "python"})
    )
    manager = KernelManager(kernel_name="here", kernel_spec_manager=KernelSpecManager(kernel_dirs=[str(folder)]))
    yield manager
    manager.shutdown_kernel(now=True)


def executed(kernel: KernelManager, notebook: str, results: Path) -> dict[str, str]:
    """What each cell of a notebook shows, by its id; pictures as `picture`, what it warns of after `warned: `."""
    path = next(path for path in NOTEBOOKS if path.name.startswith(notebook))
    book = nbformat.read(path, as_version=4)
    anew = nbformat.v4.new_code_cell(f"%reset -f\nimport os\nos.environ['NVBENCH_RESULTS'] = {str(results)!r}")
    book.cells.insert(0, anew)
    place = {"metadata": {"path": str(path.parent)}}
    NotebookClient(book, km=kernel, timeout=KERNEL_SECONDS, startup_timeout=KERNEL_SECONDS, resources=place).execute()
    return {cell.id: "\n".join(map(told, cell.outputs)) for cell in book.cells if cell.cell_type == "code"}


def told(output: Mapping[str, object]) -> str:
    if output["output_type"] == "stream":
        return f"{'warned: ' if output['name'] == 'stderr' else ''}{output['text']}"
    data = output["data"]
    assert isinstance(data, Mapping)
    return "picture" if "image/png" in data else str(data["text/plain"])


def test_one_run(kernel: KernelManager, made: Path) -> None:
    shown = executed(kernel, "01", made)
    assert "warned" not in shown["open"]
    assert "simulated" in shown["what"]
    assert "2.2" in shown["answers"]
    assert "line_rate" in shown["answers"]
    assert shown["rate"] == shown["search"] == "picture"


def test_two_versions(kernel: KernelManager, made: Path) -> None:
    shown = executed(kernel, "02", made)
    assert "warned" not in shown["open"]
    assert "capacity_mpps" in shown["differences"]
    assert "regressed" in shown["verdicts"]
    assert shown["forest"] == shown["observations"] == "picture"


def test_why_tcp_is_slower(kernel: KernelManager, made: Path) -> None:
    shown = executed(kernel, "03", made)
    assert "warned" not in shown["open"]
    assert "linux_bridge" in shown["cases"]
    assert shown["flags"].count("60") == 2 + 2 * len(FLAGS)  # in the headings, and of each flag at each end
    assert "is TSO" in shown["explain"]
    assert "is the path itself" in shown["explain"]
    assert "is checksum offload" in shown["explain"]
    assert shown["side-by-side"] == shown["packets-not-bits"] == shown["parts"] == "picture"


def test_latency(kernel: KernelManager, made: Path) -> None:
    shown = executed(kernel, "04", made)
    assert "warned" not in shown["open"]
    assert "('1518 B', 1.0)" in shown["histograms"]
    assert shown["percentiles"] == shown["load"] == shown["variation"] == "picture"


def test_a_campaign(kernel: KernelManager, made: Path) -> None:
    shown = executed(kernel, "05", made)
    assert shown["open"].strip() == f"{len(find_runs(made))} runs"
    assert "-12.4" in shown["steps"]  # from 2.51 to 2.2 Mpps
    assert shown["trend"] == "picture"


@pytest.mark.parametrize("notebook", [path.stem for path in NOTEBOOKS])
def test_without_results_each_opens_a_sample_and_says_so(kernel: KernelManager, notebook: str, none: Path) -> None:
    shown = executed(kernel, notebook, none)
    assert "warned" in shown["open"]
    assert "this is the sample" in shown["open"]
    assert "picture" in shown.values()
    assert not any("nan" in text.lower() for cell, text in shown.items() if cell in ("explain", "verdicts"))


@pytest.mark.parametrize("path", NOTEBOOKS, ids=lambda path: path.stem)
def test_each_reads_through_open_results_alone_and_keeps_no_outputs(path: Path) -> None:
    cells = nbformat.read(path, as_version=4).cells
    kinds = [cell.cell_type for cell in cells]
    assert kinds[0] == "markdown"
    assert all(before == "markdown" for before, kind in pairwise(kinds) if kind == "code")
    code = [cell for cell in cells if cell.cell_type == "code"]
    assert not any(cell.outputs or cell.execution_count for cell in code)
    tree = ast.parse("\n".join(cell.source for cell in code))
    modules = {name.name for node in ast.walk(tree) if isinstance(node, ast.Import) for name in node.names}
    modules |= {str(node.module) for node in ast.walk(tree) if isinstance(node, ast.ImportFrom)}
    assert {module.partition(".")[0] for module in modules} <= READS_BY
    called = {ast.unparse(node.func) for node in ast.walk(tree) if isinstance(node, ast.Call)}
    assert "nvbench.open_results" in called
    assert not {"open", "Path"} & called
    assert not any(name.startswith("pd.read_") for name in called)


def test_the_samples_are_small_and_say_where_they_come_from() -> None:
    files = [file for file in SAMPLES.rglob("*") if file.is_file()]
    assert sum(file.stat().st_size for file in files) < SAMPLES_BYTES
    runs = open_results("sample/*").runs
    assert len(runs) == len(list(SAMPLES.glob("*/run.json")))
    about = (SAMPLES / "README.md").read_text()
    for run in runs:
        [line] = [line for line in about.splitlines() if line.startswith(f"| `{run.path.name}` |")]
        assert run.state == "finished"
        assert run.simulated == ("simulated" in line)
        assert not run.record["commands"]
