"""Which instructions numpy is to leave alone."""

from __future__ import annotations

import os
import subprocess
import sys

import pytest

from imagematch import processor
from imagematch.processor import choose_sorts_of_numpy, processor_facts

CPUINFO = """processor\t: 0
vendor_id\t: {vendor}
cpu family\t: {family}
model name\t: some: name
flags\t\t: fpu avx2 {flags}

processor\t: 1
vendor_id\t: another
"""


@pytest.fixture
def cpuinfo(tmp_path, monkeypatch):
    path = tmp_path / "cpuinfo"
    monkeypatch.setattr(processor, "_CPUINFO", path)

    def write(vendor, family, flags):
        path.write_text(CPUINFO.format(vendor=vendor, family=family, flags=flags))

    return write


def test_only_zen_4_sorts_without_avx_512(cpuinfo):
    chosen = {}
    for machine in (("AuthenticAMD", 25, "avx512f"), ("AuthenticAMD", 25, ""), ("GenuineIntel", 6, "avx512f")):
        cpuinfo(*machine)
        environment = {"OTHER": "1"}
        choose_sorts_of_numpy(environment)
        chosen[machine] = environment
    changed = [machine for machine, environment in chosen.items() if environment != {"OTHER": "1"}]
    assert changed == [("AuthenticAMD", 25, "avx512f")]
    assert chosen[changed[0]] == {"OTHER": "1", "NPY_DISABLE_CPU_FEATURES": "X86_V4"}


def test_numpy_knows_the_name_of_what_it_is_told_to_leave_alone(cpuinfo):
    """It warns of another one."""
    cpuinfo("AuthenticAMD", 25, "avx512f")
    environment = dict(os.environ)
    choose_sorts_of_numpy(environment)
    ran = subprocess.run([sys.executable, "-W", "error", "-c", "import numpy"], env=environment, timeout=60)
    assert ran.returncode == 0


def test_what_the_environment_says_counts(cpuinfo):
    cpuinfo("AuthenticAMD", 25, "avx512f")
    environment = {"NPY_DISABLE_CPU_FEATURES": ""}
    choose_sorts_of_numpy(environment)
    assert environment == {"NPY_DISABLE_CPU_FEATURES": ""}


def test_facts_are_of_the_first_processor(cpuinfo):
    assert processor_facts() == {}  # no such file, as on other systems
    cpuinfo("AuthenticAMD", 25, "avx512f")
    assert processor_facts()["vendor_id"] == "AuthenticAMD"
    assert processor_facts()["flags"].split() == ["fpu", "avx2", "avx512f"]
    assert processor_facts()["model name"] == "some: name"
