"""A Chromium of our own, from Debian's packages, for the tests of the report page.

python -m tests.report_page.chromium    # fetches the packages and unpacks them below .tools/chromium; installs nothing
"""

import os
import shutil
import subprocess
import sys
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]
HOME = ROOT / ".tools" / "chromium"
PACKAGES = ("chromium-headless-shell", "fonts-dejavu-core")
BINARY = HOME / "root" / "usr" / "lib" / "chromium" / "chromium-headless-shell"


def is_there():
    return BINARY.exists()


def fetch():
    """Needs no rights beyond writing below .tools where apt's lists are there; root brings them up to date. Some 100 MB."""
    subprocess.run(["apt-get", "-qq", "update"], check=False)
    shutil.rmtree(HOME, ignore_errors=True)
    debs = HOME / "debs"
    debs.mkdir(parents=True)
    asked = ["apt-get", "-s", "install", "--no-install-recommends", *PACKAGES]
    planned = subprocess.run(asked, capture_output=True, text=True, check=True).stdout
    names = [line.split()[1] for line in planned.splitlines() if line.startswith("Inst ")]
    # the machine may have some of them, at any version: all that Chromium names is unpacked
    wanted = sorted({*names, *PACKAGES})
    subprocess.run(["apt-get", "download", "--quiet", *wanted], cwd=debs, check=True)
    for deb in sorted(debs.glob("*.deb")):
        subprocess.run(["dpkg", "-x", str(deb), str(HOME / "root")], check=True)
    shutil.rmtree(debs)


def environ():
    """What it is started with: its own libraries and fonts first."""
    usr = HOME / "root" / "usr"
    triple = usr / "lib" / f"{os.uname().machine}-linux-gnu"
    fonts = HOME / "fonts.conf"
    fonts.write_text(
        f"<fontconfig><dir>{usr / 'share' / 'fonts'}</dir><cachedir>{HOME / 'fonts'}</cachedir></fontconfig>"
    )
    # older packages still have theirs below /lib
    folders = (
        triple,
        HOME / "root" / "lib" / triple.name,
        triple / "pulseaudio",
        triple / "nss",
        usr / "lib" / "chromium",
    )
    libraries = ":".join(map(str, folders))
    return {**os.environ, "LD_LIBRARY_PATH": libraries, "FONTCONFIG_FILE": str(fonts)}


if __name__ == "__main__":
    if sys.argv[1:] == ["--check"]:
        sys.exit(not is_there())
    fetch()
