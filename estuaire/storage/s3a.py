"""Spark's own way to the S3 store: Hadoop's s3a, with the parts of the AWS SDK that it uses.

The packages are named at submission; address and keys are set inside the session, so that no command line and no log shows them.
"""

from __future__ import annotations

import importlib.util
import re
from pathlib import Path
from typing import Any

from estuaire.base.settings import Settings

SDK = "2.35.4"
MODULES = ("s3", "sts", "s3-transfer-manager")


def jars_folder() -> Path:
    """Spark's own jars."""
    spec = importlib.util.find_spec("pyspark")
    assert spec is not None  # noqa: S101 - a dependency
    assert spec.origin is not None  # noqa: S101
    return Path(spec.origin).parent / "jars"


def hadoop_version() -> str:
    """The version of Hadoop that Spark brings: hadoop-aws must be of the same."""
    [jar] = jars_folder().glob("hadoop-client-api-*.jar")
    return re.sub(r"^hadoop-client-api-|\.jar$", "", jar.name)


def packages() -> dict[str, str]:
    """Spark's configuration at submission: jars that it fetches itself, 18 MB; the SDK's bundle of all services would be 600 MB.

    Nothing where they are among Spark's own, as in the container images.
    """
    if (jars_folder() / f"hadoop-aws-{hadoop_version()}.jar").exists():
        return {}
    named = [f"org.apache.hadoop:hadoop-aws:{hadoop_version()}"]
    named += [f"software.amazon.awssdk:{module}:{SDK}" for module in MODULES]
    return {"spark.jars.packages": ",".join(named), "spark.jars.excludes": "software.amazon.awssdk:bundle"}


def open_to(spark: Any, settings: Settings) -> None:
    """Let the session read and write the store's bucket, as ``s3://``. Waits are bounded: the stage is tried again as a whole."""
    access_key, secret_key = settings.s3_keys()
    options = {
        "endpoint": settings.s3_endpoint,
        "endpoint.region": settings.s3_region,
        "path.style.access": "true",
        "connection.ssl.enabled": str(settings.s3_endpoint.startswith("https")).lower(),
        "aws.credentials.provider": "org.apache.hadoop.fs.s3a.SimpleAWSCredentialsProvider",
        "access.key": access_key,
        "secret.key": secret_key,
        "attempts.maximum": "4",
        "retry.limit": "3",
    }
    hadoop = spark.sparkContext._jsc.hadoopConfiguration()
    hadoop.set("fs.s3.impl", "org.apache.hadoop.fs.s3a.S3AFileSystem")
    for name, value in options.items():
        hadoop.set(f"fs.s3a.bucket.{settings.s3_bucket}.{name}", value)


def failed(error: BaseException | str) -> bool:
    """Whether an error that came through Spark or Great Expectations is the store's: their own types do not tell."""
    return "fs.s3a" in told(error)


def told(error: BaseException | str) -> str:
    """What an error tells, for PySpark keeps Java's stack trace beside its sentence."""
    return f"{error} {getattr(error, '_stackTrace', '')}"
