"""DPDK's options were called otherwise in its older releases."""

import pytest

from nvbench.dpdk import known, release


@pytest.mark.parametrize(
    ("version", "option"),
    [
        ("22.11.11", "-a"),
        ("DPDK 20.11.0", "-a"),
        ("20.08.0", "-w"),
        ("DPDK 17.11.4", "-w"),
        ("dev-v17.08", "-w"),
        ("", "-a"),
        ("testpmd", "-a"),
    ],
)
def test_a_device_is_allowed_in_the_words_of_the_release(version, option):
    assert known(["-a"], version) == [option]


def test_the_release_of_a_version():
    assert release("22.11.11-0+deb12u1") == (22, 11)
    assert release("2.14") is None


def test_arguments_of_the_program_itself_stay_as_they_are():
    words = ["testpmd", "--in-memory", "--single-file-segments", "-a", "0000:01:00.0", "--", "-a", "--rxq=1"]
    assert known(words, "21.11") == words
    assert known(words, "19.11") == [*words[:3], "-w", *words[4:]]
    assert known(words, "17.11") == ["testpmd", "--huge-unlink", "-w", "0000:01:00.0", "--", "-a", "--rxq=1"]
