"""The stream of bad records, judged by construction, by the oracle and by the decoder."""

from __future__ import annotations

from collections import Counter

import numpy as np
from tests.bad_records import MAX_MESSAGE_BYTES, Sent, stream
from tests.oracle import cells as oracle

from rtexp.agents.raw_decoders import action_decoder, activation_decoder
from rtexp.settings import Settings

START_MS = 1_420_416_000_000


def test_a_stream_with_every_way_to_be_bad_is_judged_as_it_was_made() -> None:
    settings = Settings()
    assert settings.actions.max_message_bytes == MAX_MESSAGE_BYTES
    sent = list(stream(6_000, partitions=1, start_ms=START_MS, seed=5))
    decoders = {"actions": action_decoder(settings), "activations": activation_decoder(settings)}
    for kind, decoder in decoders.items():
        records = [record for record in sent if record.kind == kind]
        decoded = decoder.decode(
            [record.value for record in records], np.array([record.arrival_ms for record in records])
        )
        reasons = {refused.position: refused.error.reason for refused in decoded.refused}
        differing = [
            (record.reason, reasons.get(at), (record.value or b"")[:100])
            for at, record in enumerate(records)
            if record.reason != reasons.get(at)
        ]
        assert differing == []
    assert len({record.reason for record in sent}) == 8


def test_the_oracle_judges_the_stream_as_it_was_made() -> None:
    sent = list(stream(3_000, partitions=1, start_ms=START_MS, seed=6))

    def raw(kind: str) -> list[oracle.RawRecord]:
        of_kind: list[Sent] = [record for record in sent if record.kind == kind]
        return [
            oracle.RawRecord(0, offset, r.arrival_ms, r.key, r.value, r.headers)
            for offset, r in enumerate(of_kind)
        ]

    found = oracle.recompute(raw("actions"), raw("activations"), [], oracle.Rules())
    assert found.dead == Counter((record.kind, record.reason) for record in sent if record.reason)
