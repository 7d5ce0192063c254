"""fetch_s3a.py FOLDER: the jars by which Spark speaks S3, fetched by Spark itself at build time; a container fetches nothing."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
import tempfile
from pathlib import Path

from estuaire.stack.jdk import trust_store
from estuaire.storage import s3a


def main() -> None:
    """Let spark-submit resolve its packages, and keep what it fetched."""
    target = Path(sys.argv[1])
    target.mkdir(parents=True)
    options = [part for name, value in s3a.packages().items() for part in ("--conf", f"{name}={value}")]
    environment = dict(os.environ)
    with tempfile.TemporaryDirectory() as name:
        work = Path(name)
        bundle = environment.get("SSL_CERT_FILE")
        if bundle:
            (work / "trust").write_bytes(trust_store(authorities=Path(bundle)))
            environment["JAVA_TOOL_OPTIONS"] = (
                f"-Djavax.net.ssl.trustStore={work / 'trust'} -Djavax.net.ssl.trustStorePassword=changeit"
            )
        (work / "nothing.py").write_text("")
        command = [
            "spark-submit",
            "--master",
            "local[1]",
            "--conf",
            f"spark.jars.ivy={work / 'ivy'}",
            *options,
            str(work / "nothing.py"),
        ]
        subprocess.run(command, env=environment, check=True)
        for jar in (work / "ivy" / "jars").glob("*.jar"):
            shutil.copy(jar, target / jar.name.split("_", 1)[1])  # Ivy puts the organisation before the name
    print(f"{len(list(target.iterdir()))} jars")


main()
