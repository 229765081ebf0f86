"""Records for an Amazon Data Firehose delivery stream, which boto3 finds. No Dagster here.

Firehose takes records at least once: an answer that gets lost means that its records are sent again.
"""

from __future__ import annotations

import itertools
import random
import time
from collections.abc import Callable, Iterable, Iterator, Sequence
from functools import cached_property
from typing import Any

from clickstream_assets.errors import ClickstreamError
from clickstream_assets.storage import s3

#: Firehose's limits of a call, and of one record, before they are encoded
CALL_RECORDS = 500
CALL_BYTES = 4 * 1024 * 1024
RECORD_BYTES = 1000 * 1024

#: how often records are sent that Firehose answers it has not taken
ATTEMPTS = 10

#: seconds to wait at most before the second attempt, twice as long before each further one, and the most ever;
#: half a minute in all, as a stream's quota is for each second
FIRST_WAIT, LONGEST_WAIT = 0.1, 8.0


class DeliveryStream:
    """A delivery stream of Firehose; its destination is nothing that is known here."""

    def __init__(self, name: str):
        self._name = name

    @cached_property
    def _client(self) -> Any:
        return s3.client("firehose")

    def send(self, records: Iterable[bytes], progress: Callable[[int], None]) -> int:
        """Send records, each as it is; ``progress`` is called with the number sent so far. How many there were.

        Raises:
            ClickstreamError: some were not taken, as often as they were sent, or the stream cannot be used; says how
                many of all were not sent.
        """
        sent = 0
        left = calls(records)
        for call in left:
            taken, why = self._put(call)
            sent += taken
            if why is not None:
                missing = len(call) - taken + sum(map(len, left))
                raise ClickstreamError(
                    f"{missing:,} of {sent + missing:,} records were not sent to the delivery stream {self._name}: "
                    f"{why}, then send all again: those that it has are dropped as duplicates."
                )
            progress(sent)
        return sent

    def _put(self, call: Sequence[bytes]) -> tuple[int, str | None]:
        """Send the records of a call, and again those that were not taken; how many were, and why not all."""
        from botocore.exceptions import BotoCoreError, ClientError

        if too_long := next((record for record in call if len(record) > RECORD_BYTES), None):
            return 0, f"one has {len(too_long):,} bytes and Firehose takes {RECORD_BYTES:,}: shorten it"
        waiting = list(call)
        for attempt in itertools.count(1):
            try:
                answer = self._client.put_record_batch(
                    DeliveryStreamName=self._name, Records=[{"Data": record} for record in waiting]
                )
            except (BotoCoreError, ClientError) as error:
                return len(call) - len(waiting), f"{str(error).rstrip('.')}: {_remedy(error)}"
            results = answer["RequestResponses"]
            reasons = [result for result in results if result.get("ErrorCode")]
            waiting = [record for record, result in zip(waiting, results, strict=True) if result.get("ErrorCode")]
            if not waiting:
                break
            if attempt == ATTEMPTS:
                said = f"{reasons[0]['ErrorCode']}: {reasons[0].get('ErrorMessage', '')}".rstrip(": .")
                return len(call) - len(waiting), (
                    f"it did not take them in {ATTEMPTS} attempts ({said}): wait a while, or have its quota raised"
                )
            # All of it at random: senders that were refused together must not come back together.
            time.sleep(random.uniform(0, min(LONGEST_WAIT, FIRST_WAIT * 2 ** (attempt - 1))))  # noqa: S311
        return len(call), None


def calls(records: Iterable[bytes]) -> Iterator[list[bytes]]:
    """The records in lists that fit into a call each."""
    call: list[bytes] = []
    size = 0
    for record in records:
        if call and (len(call) == CALL_RECORDS or size + len(record) > CALL_BYTES):
            yield call
            call, size = [], 0
        call.append(record)
        size += len(record)
    if call:
        yield call


def _remedy(error: Exception) -> str:
    code = str(getattr(error, "response", {}).get("Error", {}).get("Code", ""))
    if code == "ResourceNotFoundException":
        return "mend the name, or AWS_REGION if the stream is in another region"
    if "denied" in code.lower():
        return "allow firehose:PutRecordBatch on it"
    return "check the name, AWS_REGION, the credentials and the network"
