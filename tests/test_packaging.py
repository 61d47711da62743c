"""What the wheel says of itself."""

from importlib import metadata

import autotune_init
import cache_store


def test_both_packages_know_the_distributions_version():
    version = metadata.version("autotune-cache")

    assert autotune_init.__version__ == version
    assert cache_store.__version__ == version


def test_both_programs_are_installed():
    scripts = {entry.name: entry.value for entry in metadata.distribution("autotune-cache").entry_points}

    assert scripts == {
        "autotune-init": "autotune_init.__main__:main",
        "cache-store": "cache_store.cli.__main__:main",
    }


def test_torch_flashinfer_and_kubernetes_are_extras_only():
    required = metadata.requires("autotune-cache") or []
    core = [line for line in required if "extra ==" not in line]

    assert not [
        line for line in core if line.startswith(("torch", "flashinfer", "kubernetes", "click", "rich"))
    ]
    assert any(line.startswith("kubernetes<37") for line in required)
