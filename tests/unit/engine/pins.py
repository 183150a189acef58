"""What the engine overrides or reads inside Faust, mode and aiokafka, and the fingerprints of what it was written for.

After an upgrade: read the changed code again with the note beside its name, then ``python -m tests.unit.engine.pins``
writes the fingerprints anew.
"""

from __future__ import annotations

import hashlib
import inspect
import json
import pkgutil
import textwrap
from importlib.metadata import version
from pathlib import Path
from typing import Any

FILE = Path(__file__).with_name("pins.json")

DISTRIBUTIONS = ("faust-streaming", "mode-streaming", "aiokafka")

_THREAD = "faust.transport.drivers.aiokafka:AIOKafkaConsumerThread"
_CONSUMER = "faust.transport.consumer:Consumer"
_DELEGATE = "faust.transport.consumer:ThreadDelegateConsumer"
_APP = "faust.app.base:App"
_FETCHER = "aiokafka.consumer.fetcher:Fetcher"
_RECORDS = "aiokafka.consumer.fetcher:PartitionRecords"
_RESULT = "aiokafka.consumer.fetcher:FetchResult"
_COORDINATOR = "aiokafka.consumer.group_coordinator:GroupCoordinator"
_SUBSCRIPTION = "aiokafka.consumer.subscription_state:SubscriptionState"
_PARTITION = "aiokafka.consumer.subscription_state:TopicPartitionState"

READ_AGAIN = {
    f"{_THREAD}._create_worker_consumer": "overridden: which options the client is made with",
    f"{_THREAD}.__post_init__": "extended: called once, before anything is fetched",
    f"{_THREAD}._fetch_records": "called by our override: arguments, and that it runs in the client's thread",
    f"{_THREAD}.getmany": "calls _fetch_records through call_thread, with max_records",
    "aiokafka.client:AIOKafkaClient._wait_on_metadata": "how many partitions raw topics have",
    "mode.threads:QueueServiceThread.call_thread": "runs our coroutines in the client's thread, errors come back",
    f"{_CONSUMER}.getmany": "overridden: ours fetches, dispatches, and yields nothing",
    f"{_CONSUMER}.perform_seek": "overridden: ours takes over an assignment",
    f"{_CONSUMER}.on_partitions_assigned": "extended: ours takes over an empty assignment, for which nothing is sought",
    f"{_CONSUMER}.on_partitions_revoked": "overridden: ours waits for flushes first",
    f"{_CONSUMER}._drain_messages": "calls getmany over and over, from one coroutine",
    f"{_CONSUMER}.stop_flow": "nothing is fetched between a revocation and resume_flow",
    f"{_DELEGATE}._commit": "overridden: Faust commits nothing of ours",
    f"{_DELEGATE}._getmany": "how our getmany reaches the client's thread",
    f"{_DELEGATE}.threadsafe_partitions_revoked": "the client waits until our on_partitions_revoked is done",
    "faust.transport.drivers.aiokafka:Consumer._new_consumer_thread": "overridden: makes our thread",
    f"{_APP}._new_transport": "overridden: makes our transport",
    "faust.app.base:BootStrategy.web_server": "overridden: starts ours, or none",
    f"{_APP}.on_started_init_web_server": "overridden: ours has been started by then",
    f"{_APP}.web_server": "called by us: then Faust makes no server of its own",
    f"{_APP}.worker_init_post_autodiscover": "makes Faust's own views where no service was given to web_server",
    "faust.cli.worker:worker._init_worker_options": "how --web-port, --web-bind and --without-web reach the settings",
    f"{_APP}.on_start": "extended: our topics are subscribed after it",
    f"{_APP}.on_stop": "extended: tasks close before it, while the client still runs",
    f"{_APP}._on_partitions_revoked": "runs after our on_partitions_revoked",
    f"{_APP}._on_partitions_assigned": "starts the recovery that ends in perform_seek",
    "faust.tables.recovery:Recovery._resume_streams": "calls perform_seek, then lets records flow",
    "faust.tables.recovery:Recovery._wait": "may cancel perform_seek at the next rebalance or after a time",
    f"{_FETCHER}.seek_to": "forgets what was fetched from before the seek",
    f"{_FETCHER}.fetched_records": "no await between taking records and returning them",
    f"{_FETCHER}._update_fetch_positions": "what becomes of a partition that nobody has sought",
    f"{_FETCHER}._proc_fetch_request": "sets lso and timestamp; drops answers from before a seek",
    f"{_RECORDS}.__init__": "made anew by our subclass from the fields of one that exists",
    f"{_RECORDS}._unpack_records": "overridden: ours yields lists; which batches are skipped, where the position goes",
    f"{_RECORDS}._consume_aborted_up_to": "called by our _unpack_records",
    f"{_RECORDS}._contains_abort_marker": "called by our _unpack_records",
    "aiokafka.consumer.consumer:AIOKafkaConsumer.start": "extended: replaces the fetcher's results before any is there",
    f"{_RESULT}.check_assignment": "drops records of an earlier assignment or position",
    f"{_RESULT}.getall": "moves the position together with handing out records",
    f"{_COORDINATOR}.fetch_committed_offsets": "called by us: consumer.committed() drops the metadata",
    f"{_COORDINATOR}.check_errors": "called by us: raises what the client waits for somebody to take",
    f"{_COORDINATOR}._on_join_prepare": "rejoining waits for our on_partitions_revoked",
    f"{_SUBSCRIPTION}.seek": "what our seeks end in",
    f"{_SUBSCRIPTION}.fetcher_idle_time": "a client that fetches nothing for too long leaves the group",
    f"{_SUBSCRIPTION}.fetch_context": "entered by us, so that a client that fetches nothing isn't idle",
    f"{_PARTITION}.__init__": "lso and timestamp, both None before the first fetch",
    f"{_PARTITION}.has_valid_position": "read with position, in the client's thread",
    f"{_PARTITION}.position": "the next offset that the client hands over",
    f"{_PARTITION}.seek": "a seek leaves lso and timestamp as they were",
}


def fingerprint(name: str) -> str:
    """Hash a function's source, its signature included, without comments of their own line, blank lines and indent."""
    found: Any = pkgutil.resolve_name(name)
    function: Any = found.fget if isinstance(found, property) else found
    source = inspect.getsource(function)
    lines = (line.rstrip() for line in textwrap.dedent(source).splitlines())
    kept = "\n".join(line for line in lines if line and not line.lstrip().startswith("#"))
    return hashlib.sha256(kept.encode()).hexdigest()[:16]


def take() -> dict[str, dict[str, str]]:
    """Fingerprint what is installed."""
    return {
        "versions": {name: version(name) for name in DISTRIBUTIONS},
        "sources": {name: fingerprint(name) for name in READ_AGAIN},
    }


if __name__ == "__main__":
    FILE.write_text(json.dumps(take(), indent=2) + "\n")
