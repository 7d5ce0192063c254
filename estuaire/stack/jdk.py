"""A Java runtime for Spark: found on the machine, installed by its package manager, or unpacked without root.

Spark needs Java 17 or later with the module ``jdk.incubator.vector``.
"""

from __future__ import annotations

import glob
import os
import re
import shutil
import subprocess
import tempfile
import warnings
from collections.abc import Callable, Iterable, Iterator, Sequence
from pathlib import Path

from estuaire.base.errors import SetupError
from estuaire.base.settings import Settings

MINIMUM = 17
MODULE = "jdk.incubator.vector"
PACKAGES = ("openjdk-17-jre-headless", "openjdk-21-jre-headless", "openjdk-25-jre-headless")
USUAL = (
    "/usr/lib/jvm/*",
    "/usr/java/*",
    "/opt/java/*",
    "/opt/jdk*",
    "~/.sdkman/candidates/java/*",
    "~/.jdks/*",
)
Report = Callable[[str], None]


def find_jdk(settings: Settings, *, usual: Sequence[str] = USUAL) -> Path | None:
    """JAVA_HOME of the first suitable Java: the variable, PATH, the usual folders, then the one unpacked by us."""
    for home in candidates(settings, usual):
        if suitable(home):
            return home
    return None


def ensure_jdk(
    settings: Settings, *, usual: Sequence[str] = USUAL, system_install: bool = True, report: Report = lambda _: None
) -> Path:
    """JAVA_HOME of a suitable Java, installed when there is none.

    Args:
        system_install: whether the system's package manager may be used (as root only).

    Raises:
        SetupError: no suitable Java, and none could be installed; the remedy is the exact command.
    """
    java_home = find_jdk(settings, usual=usual)
    if java_home:
        return java_home
    if shutil.which("apt-get"):
        if system_install and os.geteuid() == 0:
            report("installing Java with apt-get")
            _apt_install()
            java_home = find_jdk(settings, usual=usual)
            if java_home:
                return java_home
        report("fetching Java without root")
        java_home = unpack(settings.root / "jdk")
        if java_home:
            return java_home
    raise SetupError(f"no Java {MINIMUM} or later with the module {MODULE}", remedy=install_hint())


def candidates(settings: Settings, usual: Sequence[str]) -> Iterator[Path]:
    """Folders that may be a JAVA_HOME, without repeats, in the order they are tried."""
    seen: set[Path] = set()
    for home in _places(settings, usual):
        real = home.resolve()
        if real not in seen and (real / "bin" / "java").exists():
            seen.add(real)
            yield real


def suitable(home: Path) -> bool:
    """Whether ``home`` runs, is recent enough and has the module."""
    try:
        done = subprocess.run(
            [str(home / "bin" / "java"), "--list-modules"], capture_output=True, text=True, timeout=30, check=False
        )
    except (OSError, subprocess.TimeoutExpired):
        return False
    return done.returncode == 0 and modules_suffice(done.stdout.splitlines())


def modules_suffice(listed: Iterable[str]) -> bool:
    """Judge the output of ``java --list-modules``: lines such as ``java.base@17.0.15``."""
    versions = dict(line.strip().split("@", 1) for line in listed if "@" in line)
    major = re.match(r"\d+", versions.get("java.base", ""))
    return major is not None and int(major.group()) >= MINIMUM and MODULE in versions


def install_hint() -> str:
    """The command that installs Java on this system."""
    for program, command in (
        ("apt-get", f"sudo apt-get update && sudo apt-get install -y {PACKAGES[0]}"),
        ("dnf", "sudo dnf install -y java-17-openjdk-headless"),
        ("zypper", "sudo zypper install -y java-17-openjdk-headless"),
        ("pacman", "sudo pacman -S --noconfirm jre17-openjdk-headless"),
    ):
        if shutil.which(program):
            return f"run `{command}`, or set JAVA_HOME"
    return "install a JDK 17 (any vendor) and set JAVA_HOME to its folder"


def unpack(target: Path) -> Path | None:
    """Fetch Debian's package and unpack it into ``target`` without root; JAVA_HOME, or None when it cannot be had.

    Its configuration files are links into /etc, which is not ours to fill: they are copied in. Its trust store comes
    from certifi, since the package that builds it runs as root.
    """
    target.parent.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(dir=target.parent, prefix=".jdk-") as name:
        scratch = Path(name)
        archive = _download(scratch)
        if archive is None:
            return None
        tree = scratch / "tree"
        if _quiet(["dpkg", "-x", str(archive), str(tree)]) != 0:
            return None
        homes = [path for path in (tree / "usr/lib/jvm").iterdir() if (path / "bin" / "java").exists()]
        real = next((path for path in homes if not path.is_symlink()), None)
        if real is None:
            return None
        mend_links(real, tree)
        trust = real / "lib" / "security" / "cacerts"
        trust.unlink(missing_ok=True)
        trust.write_bytes(trust_store())
        if not suitable(real):
            return None
        shutil.rmtree(target, ignore_errors=True)
        real.rename(target)
    return target


def mend_links(home: Path, tree: Path) -> None:
    """Replace links of ``home`` that point outside it by copies of the files that the package brought in ``tree``.

    Links whose target the package does not bring are removed: they would dangle.
    """
    for path in sorted(home.rglob("*")):
        if not path.is_symlink():
            continue
        link = Path(os.readlink(path))
        if not link.is_absolute():
            continue
        path.unlink()
        brought = tree / link.relative_to("/")
        if brought.is_dir():
            shutil.copytree(brought, path, symlinks=False, ignore_dangling_symlinks=True)
        elif brought.is_file():
            shutil.copy2(brought, path)


def trust_store(password: str = "changeit", authorities: Path | None = None) -> bytes:  # noqa: S107 - Java's public default: a trust store holds no secret
    """Authorities (of a PEM file; certifi's by default) as a PKCS#12 trust store that Java reads."""
    import certifi
    from cryptography import x509
    from cryptography.hazmat.primitives.serialization import BestAvailableEncryption, pkcs12

    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # one old authority has the serial number 0
        certificates = x509.load_pem_x509_certificates((authorities or Path(certifi.where())).read_bytes())
    entries = [
        pkcs12.PKCS12Certificate(authority, f"{number:03d}".encode()) for number, authority in enumerate(certificates)
    ]
    return pkcs12.serialize_java_truststore(entries, BestAvailableEncryption(password.encode()))


def _places(settings: Settings, usual: Sequence[str]) -> Iterator[Path]:
    if os.environ.get("JAVA_HOME"):
        yield Path(os.environ["JAVA_HOME"])
    on_path = shutil.which("java")
    if on_path:
        yield Path(on_path).resolve().parent.parent
    for pattern in usual:
        for name in sorted(glob.glob(os.path.expanduser(pattern))):
            yield Path(name)
    yield settings.root / "jdk"


def _apt_install() -> bool:
    environment = {**os.environ, "DEBIAN_FRONTEND": "noninteractive"}
    for refresh in (False, True):
        if refresh:
            _quiet(["apt-get", "update"], environment)
        for package in PACKAGES:
            if _quiet(["apt-get", "install", "-y", "--no-install-recommends", package], environment) == 0:
                return True
    return False


def _download(scratch: Path) -> Path | None:
    """Debian's package, by the machine's own package lists, then by fresh lists of our own (no root needed)."""
    lists, cache = scratch / "lists", scratch / "cache"
    (lists / "partial").mkdir(parents=True)
    (cache / "archives" / "partial").mkdir(parents=True)
    scratch_options = ["-o", f"Dir::State::Lists={lists}", "-o", f"Dir::Cache={cache}", "-o", "APT::Sandbox::User="]
    for options, refresh in (([], False), (scratch_options, True)):
        if refresh:
            _quiet(["apt-get", *options, "update"])
        for package in PACKAGES:
            _quiet(["apt-get", *options, "download", package], cwd=scratch)
            archives = sorted(scratch.glob("*.deb"))
            if archives:
                return archives[0]
    return None


def _quiet(command: list[str], environment: dict[str, str] | None = None, cwd: Path | None = None) -> int:
    try:
        return subprocess.run(
            # what a package's scripts write is for every account
            command,
            env=environment,
            cwd=cwd,
            capture_output=True,
            timeout=600,
            check=False,
            umask=0o022,
        ).returncode
    except (OSError, subprocess.TimeoutExpired):
        return 127
