"""Spark on a JVM, from the pyspark wheel and a Java 17 runtime: a Connect server alone, and a cluster behind one."""

from __future__ import annotations

import contextlib
import os
import shutil
import socket
import time
from collections.abc import Iterator, Mapping
from pathlib import Path

import pyspark

from clickstream_assets_tests.servers import free_ports, running

#: the wheel is a whole Spark but for the scripts that start and stop clusters
SPARK_HOME = Path(pyspark.__file__).parent

#: seconds that a JVM may take to listen; 7 of one core at work
_START = 120

_CONNECT = "org.apache.spark.sql.connect.service.SparkConnectServer"


@contextlib.contextmanager
def connect_server(folder: Path, master: str = "local[2]", **conf: str) -> Iterator[str]:
    """A Connect server on a free loopback port, its driver in the same JVM; the value for ``SPARK_REMOTE``.

    ``conf``: settings of Spark, with ``_`` for each point.
    """
    (port,) = free_ports(1)
    settings = {
        "spark.driver.host": "127.0.0.1",
        "spark.driver.bindAddress": "127.0.0.1",
        "spark.driver.memory": "1g",
        "spark.connect.grpc.binding.address": "127.0.0.1",
        "spark.connect.grpc.binding.port": str(port),
        "spark.ui.enabled": "false",
        **{name.replace("_", "."): value for name, value in conf.items()},
    }
    arguments = [part for name, value in settings.items() for part in ("--conf", f"{name}={value}")]
    with _jvm(folder, "connect", port, "spark-submit", "--class", _CONNECT, "--master", master, *arguments):
        yield f"sc://127.0.0.1:{port}"


@contextlib.contextmanager
def standalone(folder: Path) -> Iterator[str]:
    """A cluster of a master, two workers of one core each, and a Connect server; the value for ``SPARK_REMOTE``."""
    at, ui, *workers = free_ports(6)
    master = f"spark://127.0.0.1:{at}"
    own = {"SPARK_DAEMON_MEMORY": "256m", "SPARK_LOCAL_IP": "127.0.0.1"}
    with contextlib.ExitStack() as up:
        arguments = ["--host", "127.0.0.1", "--port", str(at), "--webui-port", str(ui)]
        up.enter_context(_jvm(folder, "master", at, *_class("master.Master"), *arguments, **own))
        for number, (port, page) in enumerate(zip(workers[::2], workers[1::2], strict=True)):
            arguments = ["--host", "127.0.0.1", "--port", str(port), "--webui-port", str(page)]
            arguments += ["--cores", "1", "--memory", "1g", "--work-dir", str(folder / f"work{number}"), master]
            up.enter_context(_jvm(folder, f"worker{number}", port, *_class("worker.Worker"), *arguments, **own))
        yield up.enter_context(
            connect_server(folder, master, spark_executor_memory="768m", spark_executor_cores="1", spark_cores_max="2")
        )


def _class(name: str) -> tuple[str, str]:
    return "spark-class", f"org.apache.spark.deploy.{name}"


@contextlib.contextmanager
def _jvm(folder: Path, name: str, port: int, script: str, *arguments: str, **environment: str) -> Iterator[None]:
    """A JVM that one of Spark's scripts starts, which become the JVM; it listens on ``port`` when the block begins."""
    log = folder / f"{name}.log"
    command = [str(SPARK_HOME / "bin" / script), *arguments]
    with running(command, log, _environment(environment)) as process:
        end = time.monotonic() + _START
        while True:
            with contextlib.suppress(OSError), socket.create_connection(("127.0.0.1", port), timeout=1):
                break
            if process.poll() is not None or time.monotonic() > end:
                raise TimeoutError(f"Spark's {name} does not listen: {log.read_text()[-3000:]}")
            time.sleep(0.1)
        yield


def _environment(further: Mapping[str, str]) -> dict[str, str]:
    """Without what Spark Connect leaves behind in this process, which tells the next Spark to be a client too."""
    if not (os.environ.get("JAVA_HOME") or shutil.which("java")):
        raise RuntimeError("There is no Java: install it (Debian: apt-get install openjdk-17-jre-headless).")
    kept = {name: value for name, value in os.environ.items() if not name.startswith("SPARK_")}
    return {**kept, "SPARK_HOME": str(SPARK_HOME), **further}
