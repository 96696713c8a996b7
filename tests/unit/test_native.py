"""How nvgen is compiled on a host: for its processor, in the words of its compiler."""

from collections.abc import Sequence

import pytest

from nvbench.errors import LostConnectionError
from nvbench.generators.native import build, built
from nvbench.hosts import Completed


class FakeHost:
    """A host whose compiler takes some flags."""

    name = "arm"

    def __init__(self, takes: Sequence[str]) -> None:
        self.takes = takes

    def run(self, argv: Sequence[str], *, timeout_s=30.0, stdin="", check=True) -> Completed:
        if argv[-1] == "/dev/null":
            return Completed(tuple(argv), 0 if argv[1] in self.takes else 1, "", "", 0.0)
        return Completed(tuple(argv), 0, "22.11 2.14 -lrte_eal", "", 0.0)

    def exists(self, path: str) -> bool:
        return True


def test_a_program_is_for_one_kind_of_processor_and_its_name_tells():
    every = (("-march=native", "-mcpu=native"), ("-march=native",), ("-mcpu=native",), ())
    first, same, other, none = (built(FakeHost(takes), "/cache") for takes in every)
    assert first == same  # one flag is enough
    assert len({first, other, none}) == 3


def test_a_host_that_cannot_be_heard_does_not_lack_a_compiler():
    class Lost(FakeHost):
        def run(self, argv: Sequence[str], **options) -> Completed:
            raise LostConnectionError("the SSH connection is gone", place="host arm")

    with pytest.raises(LostConnectionError):
        build(Lost(()), "/cache")
