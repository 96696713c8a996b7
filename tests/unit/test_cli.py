"""The command line: quick to answer, one line a fault, and the right exit code."""

import resource
import subprocess
import sys
from pathlib import Path

import pytest

NVBENCH = (sys.executable, "-m", "nvbench")
SIMULATED = ("-s", "datapath.kind=simulated", "-s", "generator=simulated", "-s", "traffic.frame_bytes=64")


def nvbench(*words: str, cwd: Path | None = None) -> subprocess.CompletedProcess[str]:
    return subprocess.run([*NVBENCH, *words], capture_output=True, text=True, cwd=cwd, check=False, timeout=300)


def cpu_s() -> float:
    """What all children have taken that have ended."""
    used = resource.getrusage(resource.RUSAGE_CHILDREN)
    return used.ru_utime + used.ru_stime


def test_help_imports_nothing_heavy():
    code = "import sys, nvbench.cli; print(' '.join(sys.modules))"
    loaded = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True).stdout.split()
    assert not {"pydantic", "pyarrow", "scapy", "rich", "paramiko", "yaml"} & set(loaded)
    # Against the bare interpreter on this very machine, and what it takes of a core: it may have to wait for one.
    began = cpu_s()
    subprocess.run([sys.executable, "-c", "import click"], check=True)
    bare, began = cpu_s() - began, cpu_s()
    assert nvbench("--help").returncode == 0
    assert cpu_s() - began < 5 * bare + 0.4


def test_a_simulated_run_prints_its_table_and_folder(tmp_path):
    done = nvbench("run", "10ge-forwarding", "--quick", *SIMULATED, cwd=tmp_path)
    assert done.returncode == 0, done.stderr
    assert "simulated: no device was measured" in done.stdout
    assert "quick: short trials" in done.stdout
    (folder,) = (tmp_path / "results").iterdir()
    assert f"results: results/{folder.name}" in done.stdout
    shown = nvbench("show", "latest", cwd=tmp_path)
    assert shown.returncode == 0
    assert folder.name in nvbench("list", cwd=tmp_path).stdout


@pytest.mark.parametrize(
    ("words", "status", "told"),
    [
        (["frobnicate"], 2, "No such command"),
        (["run"], 2, "Missing argument"),
        (["run", "10ge-forwardin"], 2, "did you mean `10ge-forwarding`?"),
        (["run", "10ge-forwarding", "-t", "lokal"], 2, "did you mean `local`?"),
        (["run", "10ge-forwarding", "-s", "traffic.frame_byte=64"], 2, "did you mean `frame_bytes`?"),
        (["run", "10ge-forwarding", "-s", "traffic.frame_bytes=63"], 2, "must be at least 64"),
        (["run", "10ge-forwarding", "-s", "traffic.frame_bytes=9000"], 2, "raise datapath.mtu to"),
        (["run", "10ge-forwarding", "-s", "nonsense"], 2, "nonsense"),
        (["plan", "10ge-forwarding", "-s", "datapath.queues=0"], 2, "must be at least 1"),
        (["plan", "10ge-forwarding", "-s", "datapath.descriptors=192"], 2, "must be a power of two, not 192"),
        (["show", "no-such-run"], 2, "no runs yet"),
        (["export", "no-such-run"], 2, "no runs yet"),
        (["doctor", "--testbed", "no-such-bed"], 2, "no-such-bed"),
    ],
)
def test_a_mistake_is_one_line_and_an_exit_code(words, status, told, tmp_path):
    done = nvbench(*words, cwd=tmp_path)
    assert done.returncode == status, done.stderr
    assert told in done.stderr
    assert "Traceback" not in done.stderr
    assert done.stdout == ""


def test_results_that_cannot_be_written_are_told_before_anything_starts(tmp_path):
    (tmp_path / "results").write_text("a file in the way")
    done = nvbench("run", "10ge-forwarding", "--quick", *SIMULATED, cwd=tmp_path)
    assert done.returncode == 3
    assert "results cannot be written here" in done.stderr


def test_a_plan_touches_nothing(tmp_path):
    done = nvbench("plan", "10ge-forwarding", "--quick", cwd=tmp_path)
    assert done.returncode == 0, done.stderr
    assert "ovs_dpdk-2q-1518B" in done.stdout
    assert "Expected time" in done.stdout
    assert list(tmp_path.iterdir()) == []


def test_output_into_a_closed_pipe_is_no_error():
    shell = subprocess.run(
        ["bash", "-c", f"set -o pipefail; {' '.join(NVBENCH)} plan 10ge-forwarding | head -1"],
        capture_output=True,
        text=True,
        check=False,
    )
    assert "Traceback" not in shell.stderr
