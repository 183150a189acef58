"""The clock of Kafka's controller, asked for without leaving a trace.

No request of Kafka's is about time, and a record that is sent to learn of one stays. But whoever leads the quorum of
controllers says, of each of its members, when that one was last caught up: of itself, now (KIP-836, Kafka 3.3).
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from aiokafka.protocol.api import Request, RequestStruct, Response
from aiokafka.protocol.types import CompactArray, CompactString, Int16, Int32, Int64, Schema, TaggedFields

if TYPE_CHECKING:
    from aiokafka.admin import AIOKafkaAdminClient

_LOG = "__cluster_metadata"
_REPLICAS = CompactArray(
    ("replica", Int32),
    ("end_offset", Int64),
    ("fetched_ms", Int64),
    ("caught_up_ms", Int64),
    ("tags", TaggedFields),
)


class DescribeQuorumResponse_v1(Response):  # type: ignore[misc] # noqa: N801 - as the client calls its own
    """What the leader of the quorum answers."""

    API_KEY = 55
    API_VERSION = 1
    SCHEMA = Schema(
        ("error_code", Int16),
        (
            "topics",
            CompactArray(
                ("topic", CompactString("utf-8")),
                (
                    "partitions",
                    CompactArray(
                        ("partition", Int32),
                        ("error_code", Int16),
                        ("leader", Int32),
                        ("epoch", Int32),
                        ("high_watermark", Int64),
                        ("voters", _REPLICAS),
                        ("observers", _REPLICAS),
                        ("tags", TaggedFields),
                    ),
                ),
                ("tags", TaggedFields),
            ),
        ),
        ("tags", TaggedFields),
    )


class DescribeQuorumRequest_v1(RequestStruct):  # type: ignore[misc] # noqa: N801
    """A question about the log of the cluster's metadata."""

    FLEXIBLE_VERSION = True
    API_KEY = 55
    API_VERSION = 1
    RESPONSE_TYPE = DescribeQuorumResponse_v1
    SCHEMA = Schema(
        (
            "topics",
            CompactArray(
                ("topic", CompactString("utf-8")),
                ("partitions", CompactArray(("partition", Int32), ("tags", TaggedFields))),
                ("tags", TaggedFields),
            ),
        ),
        ("tags", TaggedFields),
    )


class DescribeQuorumRequest(Request[DescribeQuorumRequest_v1]):  # type: ignore[misc]
    """What the client makes of the version that both know."""

    API_KEY = 55

    def build(self, request_struct_class: type[DescribeQuorumRequest_v1]) -> DescribeQuorumRequest_v1:
        """Return the request for partition 0, the only one."""
        return request_struct_class([(_LOG, [(0, {})], {})], {})


async def controller_clock_ms(admin: AIOKafkaAdminClient) -> int | None:
    """Return epoch ms as the controller has it; None where it doesn't say (an old Kafka, ZooKeeper, no right)."""
    response = await admin._send_request(DescribeQuorumRequest())  # noqa: SLF001 - its way to any broker
    if response.error_code:
        return None
    for _topic, partitions, _tags in response.topics:
        for _partition, error_code, leader, _epoch, _end, voters, _observers, _tags2 in partitions:
            for replica, _offset, _fetched_ms, caught_up_ms, _tags3 in voters:
                if not error_code and replica == leader and caught_up_ms > 0:
                    return int(caught_up_ms)
    return None
