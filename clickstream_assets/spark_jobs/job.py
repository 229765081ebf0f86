"""What runs in the job: the work that the step told, by the Spark of the job, reported through Dagster Pipes."""

from __future__ import annotations

import contextlib
import logging
import time
from typing import TYPE_CHECKING, Any

from dagster_pipes import (
    PipesCliArgsParamsLoader,
    PipesEnvVarParamsLoader,
    PipesS3ContextLoader,
    PipesS3MessageWriter,
    open_dagster_pipes,
)

from clickstream_assets.settings import aws_region, export
from clickstream_assets.spark_jobs import wire
from clickstream_assets.storage import files, s3, shaping, spark
from clickstream_assets.storage.lake import Workplace

if TYPE_CHECKING:
    from dagster_pipes import PipesContext

#: seconds between messages to the step
_INTERVAL = 5

#: characters that are told of an error; all of it is in the job's own logs
_TOLD = 500


def main() -> None:
    """Do all work of the request.

    Raises:
        Exception: whatever stopped it, once the step has been told; the job fails by it.
    """
    export({"TZ": "UTC"})  # Spark 3.5 hands over time stamps in this process's zone
    time.tzset()
    # Glue gives the script arguments, EMR Serverless gives the driver variables.
    arguments = PipesCliArgsParamsLoader()
    told = arguments if arguments.is_dagster_pipes_process() else PipesEnvVarParamsLoader()
    client = s3.client()
    with open_dagster_pipes(
        params_loader=told,
        context_loader=PipesS3ContextLoader(client),
        message_writer=PipesS3MessageWriter(client, interval=_INTERVAL),
    ) as pipes:
        _show_log(pipes)
        try:
            _work(pipes)
        except Exception as error:
            pipes.report_custom_message({wire.FAILED: _in_short(error)})
            raise


def _work(pipes: PipesContext) -> None:
    told: dict[str, Any] = dict(pipes.extras)
    if told["region"] and aws_region() is None:
        export({"AWS_REGION": told["region"]})
    lake = Workplace(files.at(told["lake"]))
    work = wire.work(told["work"])
    session = spark.of_a_job()
    with contextlib.ExitStack() as stack:
        stack.callback(session.stop)
        pipes.log.info(f"Spark {session.version} has {len(work)} group(s) of days to clean.")
        for number, piece in enumerate(work, start=1):
            cleaned = shaping.clean(session, lake, piece, in_parts=False)
            pipes.report_custom_message({wire.CLEANED: wire.answer(cleaned)})
            pipes.log.info(
                f"{number} of {len(work)}: {piece.target.name} of {piece.days[0]} to {piece.days[-1]}, "
                f"{sum(file.rows for file in cleaned.files):,} of {piece.rows_in:,} rows accepted."
            )


def _show_log(pipes: PipesContext) -> None:
    """Let what this package logs be read in Dagster too."""
    log = logging.getLogger("clickstream_assets")
    log.setLevel(logging.INFO)
    for handler in pipes.log.handlers:
        log.addHandler(handler)


def _in_short(error: Exception) -> str:
    """An error's kind and the beginning of what it says, on one line."""
    said = " ".join(str(error).split())
    return f"{type(error).__name__}: {said[:_TOLD]}{'…' if len(said) > _TOLD else ''}"
