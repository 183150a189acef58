"""What the process of alerts serves, as it is put together: who may ask for it, and what it never tells."""

from __future__ import annotations

import json
import socket
from typing import TYPE_CHECKING

import pytest
from tests.unit.alerts.test_delivery import A, Desk
from tests.unit.worker_web.servers import BEARER, TOKEN, serving

from rtexp.alerts.forms import as_json
from rtexp.alerts.standing import Standing
from rtexp.alerts.webhooks import WebhookSender
from rtexp.bootstrap.alerts import deliver_and_serve, make_server
from rtexp.errors import ConfigError, StoreUnavailable
from rtexp.settings import AlertSettings, KafkaSettings, Settings, StoreSettings

if TYPE_CHECKING:
    from pathlib import Path

HERE = "127.0.0.1"


async def test_every_route_but_health_needs_the_token() -> None:
    server = make_server(HERE, 0, TOKEN, Standing())
    assert set(server.paths) == {"/health/live", "/health/ready", "/metrics"}
    async with serving(server) as ask:
        for path in (*server.paths, "/nothing"):
            for method in ("GET", "HEAD", "POST", "DELETE"):
                is_open = path.startswith("/health/")
                assert ((await ask(path, method)).status == 401) != is_open, f"{method} {path}"
        assert 'rtexp_job="alerts"' in (await ask("/metrics", headers=BEARER)).text


async def test_a_failing_target_is_told_by_name_and_since_when_and_never_by_address(tmp_path: Path) -> None:
    with socket.socket() as closed:
        closed.bind((HERE, 0))
        address = f"http://{HERE}:{closed.getsockname()[1]}/s3cret"  # nothing listens there
        (tmp_path / "url").write_text(address)
        made = Desk(A)
        made.sender = WebhookSender(tmp_path / "url", None, as_json)  # type: ignore[assignment]
        await made.restart()
        for _ in range(2):  # reads, then tries
            await made.delivery.step()
        await made.sender.close()
    standing = Standing()
    standing.begin({"ops": made.delivery}, list)
    async with serving(make_server(HERE, 0, None, standing)) as ask:
        given, metrics = await ask("/health/ready"), await ask("/metrics")
    assert (given.status, json.loads(given.text)) == (
        503,
        {"ready": False, "reasons": ["target:ops"], "failing": {"ops": "2023-11-15T08:13:20+00:00"}},
    )
    assert 'rtexp_alerts_target_up{target="ops"} 0.0' in metrics.text
    assert "s3cret" not in given.text + metrics.text


async def test_an_address_that_others_reach_is_refused_without_a_token() -> None:
    settings = Settings(alerts=AlertSettings(host="0.0.0.0"))
    with pytest.raises(ConfigError, match=r"\[alerts\] host: 0\.0\.0\.0 can be reached from other machines"):
        await deliver_and_serve(settings, {}, port=0)


async def test_a_port_that_is_taken_is_one_line_and_delivery_begins_all_the_same(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    with socket.socket() as other:
        other.bind((HERE, 0))
        other.listen()
        port = other.getsockname()[1]
        # Delivery gets as far as Kafka, which isn't there.
        kafka = KafkaSettings(brokers=("127.0.0.1:1",))
        settings = Settings(kafka=kafka, store=StoreSettings(url=f"sqlite:///{tmp_path}/x.db"))
        with pytest.raises(StoreUnavailable, match="no Kafka answers"):
            await deliver_and_serve(settings, {}, port=port)
    (line,) = [record.message for record in caplog.records if "can't be listened at" in record.message]
    assert line.startswith(f"no health and metrics from this process: {HERE}:{port} can't be listened at")
    assert "set [alerts] port to one that is free, or to 0 for any. Delivery goes on" in line
