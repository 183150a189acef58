"""Every metric that a process of rtexp may show, and what to do when it looks bad.

This table is the source of what `/metrics` answers, of docs/metrics.md and of the test that dashboard and alert rules
name nothing else. No label holds a user or an experiment: how many series there are follows from partitions, workers
and code alone.
"""

from __future__ import annotations

from typing import Literal, NamedTuple

Kind = Literal["counter", "gauge", "summary", "histogram"]
Process = Literal["worker", "web", "alerts"]

WORKER: tuple[Process, ...] = ("worker",)
WEB: tuple[Process, ...] = ("web",)
ALERTS: tuple[Process, ...] = ("alerts",)
WORKER_AND_ALERTS: tuple[Process, ...] = ("worker", "alerts")
ALL: tuple[Process, ...] = ("worker", "web", "alerts")

TASK = ("agent", "partition")
INPUT = ("agent", "topic", "partition")
"""The partition is that of the topic."""


class Metric(NamedTuple):
    """One metric. Counters end in ``_total``; summaries and histograms come as ``_count``, ``_sum`` and so on."""

    name: str
    kind: Kind
    labels: tuple[str, ...]
    help: str
    act: str
    """What to do when it is bad, or what it is for."""
    where: tuple[Process, ...] = WORKER


METRICS = (
    # -- the process -------------------------------------------------------------------------------------
    Metric(
        "rtexp_build_info", "gauge", ("rtexp_job", "worker", "version", "python"),
        "1 for each process that answers; its labels say what it is.",
        "None of a job: start its workers, and see why the last one ended (its last log line says so).", ALL,
    ),
    Metric(
        "process_resident_memory_bytes", "gauge", (), "Memory of the process in RAM.",
        "Compare with docs/performance.md: bytes a user and a cell. Start more workers, or give it more memory.", ALL,
    ),
    Metric("process_virtual_memory_bytes", "gauge", (), "Address space of the process.", "Nothing by itself.", ALL),
    Metric(
        "process_cpu_seconds_total", "counter", (), "CPU time of all threads, user and system.",
        "One core each is the most: a worker near it lags soon. Start more of its job.", ALL,
    ),
    Metric(
        "process_start_time_seconds", "gauge", (), "When the process started, epoch seconds.",
        "Recent without your doing: read the last lines before it.", ALL,
    ),
    Metric("process_open_fds", "gauge", (), "Open file descriptors.", "Near the limit: raise `ulimit -n`.", ALL),
    Metric("process_max_fds", "gauge", (), "The limit of open file descriptors.", "Raise it with `ulimit -n`.", ALL),
    Metric(
        "rtexp_worker_restarts_total", "counter", ("worker",),
        "How often this worker was started again with its data directory, cleanly or not.",
        "Rising without your doing: the last line before each start says why it ended.",
    ),
    Metric(
        "rtexp_broker_up", "gauge", (),
        "1 when the broker took this worker's last report of status in time, or answered the process of alerts.",
        "0: brokers are away, slow, or refuse writes. Workers end by themselves where a commit isn't answered.",
        WORKER_AND_ALERTS,
    ),
    # -- tasks of the engine ------------------------------------------------------------------------------
    Metric(
        "rtexp_task_ready", "gauge", TASK,
        "1 when a partition (-1: all that a worker reads) is counted now, 0 while it is restored or given up.",
        "0 for minutes: see rtexp_changelog_left_records and rtexp_input_rewind_left_offsets, whether they fall.",
    ),
    Metric(
        "rtexp_task_rows_total", "counter", TASK, "Rows taken since the task was opened on this worker.",
        "Stands still while there is lag: the worker hangs, or waits (rtexp_input_held_rows).",
    ),
    Metric(
        "rtexp_flush_seconds", "summary", TASK,
        "Flushes that were committed since the task was opened, and the wall clock that they took.",
        "Above a second on average: the brokers are slow to commit, or the machine has too little CPU.",
    ),
    Metric(
        "rtexp_flush_slowest_seconds", "gauge", TASK, "The slowest flush since the task was opened.",
        "Near [kafka] session_timeout_seconds: see what else the machine does.",
    ),
    Metric(
        "rtexp_checkpoint_seconds", "summary", TASK,
        "Checkpoints since the task was opened, and the wall clock of encoding their pages.",
        "None for longer than [pipeline] checkpoint_seconds while input flows: a restart will rewind that much.",
    ),
    Metric(
        "rtexp_checkpoint_pages_total", "counter", TASK, "Pages that checkpoints have written to the changelog.",
        "For sizing of the changelog.",
    ),
    Metric(
        "rtexp_changelog_left_records", "gauge", TASK,
        "Offsets of the changelog that are still to be read before the partition's state is restored.",
        "Falls until 0. If it stands still, the brokers don't answer this worker.",
    ),
    Metric(
        "rtexp_changelog_read_records_total", "counter", TASK, "Changelog records read since the task was opened.",
        "Many after a restart on the same disk: the local store was wiped, and a log line says why.",
    ),
    Metric(
        "rtexp_changelog_read_bytes_total", "counter", TASK, "Bytes of those records.", "For sizing of recovery.",
    ),
    Metric(
        "rtexp_recovery_seconds", "gauge", TASK, "How long restoring the state took when the task was opened.",
        "Rising: state has grown. A shorter checkpoint_seconds doesn't help; more partitions do.",
    ),
    Metric(
        "rtexp_state_bytes", "gauge", TASK, "The partition's local store, on disk and in its memory tables, roughly.",
        "For sizing of disks.",
    ),
    # -- their inputs -------------------------------------------------------------------------------------
    Metric(
        "rtexp_input_position", "gauge", INPUT, "Next offset after those whose effect is committed.",
        "Stands still while there is lag: the partition has stopped; see its worker's log.",
    ),
    Metric(
        "rtexp_input_lag_offsets", "gauge", INPUT,
        "Offsets from the position to the partition's end, as of the last fetch; absent before the first.",
        "Rising: start more workers of the job, or see what holds it (rtexp_input_held_rows, watermarks).",
    ),
    Metric(
        "rtexp_input_watermark_timestamp_seconds", "gauge", INPUT,
        "Epoch seconds: all that arrived before has been read; absent before it is known.",
        "Behind on one partition: its producer or its reader is. On all activations: actions wait for them.",
    ),
    Metric(
        "rtexp_input_held_rows", "gauge", INPUT, "Rows that were read and wait for another input, or for metadata.",
        "Rising: the other input stands still. See the watermark of activations, and the snapshot's age.",
    ),
    Metric(
        "rtexp_input_rewind_left_offsets", "gauge", INPUT,
        "Offsets that are still to be run again, after a crash, before the partition counts.",
        "Falls until 0; seconds for what came since the last checkpoint.",
    ),
    Metric(
        "rtexp_oldest_held_timestamp_seconds", "gauge", TASK,
        "Epoch seconds at which the oldest waiting record was written; absent when none waits.",
        "Days old: retention will take what isn't counted in time. Mend the other input, or raise retention.ms.",
    ),
    Metric(
        "rtexp_counted_total", "counter", ("agent", "partition", "input", "reason"),
        "What was read, kept, and left out by reason; exactly once of the agent users, at least once of ingest (-1).",
        "Reasons and what they mean: docs/operations.md. `lost` is data that retention took before it was read.",
    ),
    # -- ingest ------------------------------------------------------------------------------------------
    Metric(
        "rtexp_snapshot_timestamp_seconds", "gauge", ("agent",),
        "Epoch seconds as of which this worker knows the experiments; absent before the first snapshot.",
        "Minutes old: the leader of the results workers can't read SQL, or none runs. New activations wait.",
    ),
    # -- results -----------------------------------------------------------------------------------------
    Metric(
        "rtexp_cells", "gauge", ("partition", "place"), "Cells of the buckets table: all, and those in memory.",
        "For sizing: those in memory are of the last hours.",
    ),
    Metric(
        "rtexp_unpublished_rows", "gauge", ("partition", "table"), "Changed cells, and looks, that SQL lacks.",
        "Rising: SQL is away or slow (rtexp_store_up, rtexp_publish_seconds).",
    ),
    Metric(
        "rtexp_published_position", "gauge", ("partition",),
        "Position in partials up to which all that follows is in SQL.",
        "Stands still: SQL is away, or looks wait for a snapshot.",
    ),
    Metric(
        "rtexp_published_watermark_timestamp_seconds", "gauge", ("partition",),
        "Epoch seconds: all that arrived before is in SQL. Live pipelines only.",
        "Its age is how stale numbers are. Look for the first stage with lag, from ingest on.",
    ),
    Metric(
        "rtexp_publish_seconds", "summary", (), "Rounds of publishing that wrote something, and how long they took.",
        "Above a few seconds on average: SQL is slow; see its own metrics.",
    ),
    Metric(
        "rtexp_published_rows_total", "counter", ("table",), "Rows written to SQL; those written again included.",
        "For sizing of the database.",
    ),
    Metric(
        "rtexp_store_up", "gauge", ("user",),
        "1 when SQL answered the last attempt (publish, metadata, operations; alerts).",
        "0: the log line store_unavailable has the server's own words. Nothing is lost; it is tried again.",
        WORKER_AND_ALERTS,
    ),
    Metric(
        "rtexp_store_failures", "gauge", ("user",), "Failed attempts in a row.", "As for rtexp_store_up.",
    ),
    Metric(
        "rtexp_looks_evaluated_total", "counter", (), "Looks evaluated by this worker.",
        "None for hours while experiments run: see rtexp_looks_waiting and the snapshot's age.",
    ),
    Metric(
        "rtexp_looks_waiting", "gauge", ("partition",), "Times whose sums are frozen and that aren't looks yet.",
        "Not 0 for minutes: the snapshot is older than the look (rtexp_snapshot_timestamp_seconds).",
    ),
    Metric(
        "rtexp_look_cpu_seconds_total", "counter", (), "CPU time of evaluating looks.",
        "Near the whole of a core: looks come late. Fewer metrics a plan, or more results workers.",
    ),
    Metric(
        "rtexp_alerts_raised_total", "counter", (), "Alerts sent to the topic of alerts.",
        "The pages say which experiments need a person.",
    ),
    # -- the process of alerts ----------------------------------------------------------------------------
    Metric(
        "rtexp_alerts_target_up", "gauge", ("target",),
        "1 when a target answered the last attempt, 0 while attempts fail; absent before the first.",
        "0: the log line alert_delayed has its answer; `rtexp alerts test --target NAME` tries it.", ALERTS,
    ),
    Metric(
        "rtexp_alerts_delivered_total", "counter", ("target",), "Alerts that a target took.",
        "For how many alerts people get.", ALERTS,
    ),
    Metric(
        "rtexp_alerts_delayed_total", "counter", ("target",), "Attempts that failed, and are made again.",
        "Rising: as for rtexp_alerts_target_up.", ALERTS,
    ),
    Metric(
        "rtexp_alerts_undelivered_total", "counter", ("target",), "Alerts that a target doesn't get.",
        "`rtexp alerts list` says which and why: refused, given up, or too few users by the last look.", ALERTS,
    ),
    Metric(
        "rtexp_alerts_pending", "gauge", ("target",), "Alerts that were read and not yet taken; 500 at most.",
        "500: nothing more is read for this target until one is sent.", ALERTS,
    ),
    Metric(
        "rtexp_alerts_held", "gauge", ("target",),
        "Of those, alerts that may not be sent yet: quiet hours, minimum_age_hours, minimum_users.",
        "All of them: nothing is wrong, they come later.", ALERTS,
    ),
    Metric(
        "rtexp_alerts_oldest_pending_timestamp_seconds", "gauge", ("target",),
        "Epoch seconds at which the oldest pending alert was raised; absent when none waits.",
        "Older than give_up_hours and not held: the target doesn't take it.", ALERTS,
    ),
    Metric(
        "rtexp_alerts_conditions_open", "gauge", ("kind",),
        "What is wrong with the pipeline as people were told: stale, stopped (one a job), store.",
        "Not 0: see docs/alerts.md, and the alert rules for what they name.", ALERTS,
    ),
    # -- the web application ------------------------------------------------------------------------------
    Metric(
        "rtexp_web_request_seconds", "histogram", ("route", "method"),
        "Answered requests by template of their route, until the answer's last byte; without streams.",
        "Slow: see the database; the pages read nothing else.", WEB,
    ),
    Metric(
        "rtexp_web_responses_total", "counter", ("route", "method", "status"), "Answers by status.",
        "5xx: the log says why; 503 is SQL away. Many 401: somebody has a wrong token.", WEB,
    ),
    Metric("rtexp_web_requests_in_progress", "gauge", (), "Requests, streams included, that are being answered.",
        "2,000 is the most; more are refused with 503.", WEB,
    ),
    Metric(
        "rtexp_web_streams", "gauge", (), "Open pages that are told what changes.",
        "Near [web] most_streams: more are refused with 503, and show what they showed when they were loaded.", WEB,
    ),
    Metric(
        "rtexp_web_watched_pages", "gauge", (), "Different pages among them, each made again for all who watch it.",
        "Hundreds: an update takes longer than a second to reach them.", WEB,
    ),
    Metric(
        "rtexp_sql_up", "gauge", (), "1 when SQL answered this scrape.",
        "0: what the pages show stands still. Start SQL, or see `rtexp db upgrade`.", WEB,
    ),
    Metric(
        "rtexp_freshness_seconds", "gauge", ("quantile",),
        "From an action's arrival until it was surely in SQL, in the newest minute that is over.",
        "Includes join_delay_seconds. Rising: look for the first stage with lag.", WEB,
    ),
    Metric(
        "rtexp_freshness_minute_timestamp_seconds", "gauge", (), "Epoch seconds at which that minute began.",
        "Minutes ago: nothing could be published since.", WEB,
    ),
    Metric(
        "rtexp_sql_input_lag_offsets", "gauge", ("rtexp_job", "topic", "partition"),
        "Lag as the table `pipeline` has it.", "As for rtexp_input_lag_offsets.", WEB,
    ),
    Metric(
        "rtexp_sql_input_watermark_timestamp_seconds", "gauge", ("rtexp_job", "topic", "partition"),
        "Watermark as the table `pipeline` has it.", "As for rtexp_input_watermark_timestamp_seconds.", WEB,
    ),
    Metric(
        "rtexp_sql_input_reported_timestamp_seconds", "gauge", ("rtexp_job", "topic", "partition"),
        "Epoch seconds at which an owner last spoke of a partition.",
        "Older than 15 s: nobody reads it. Start workers of the job.", WEB,
    ),
    Metric(
        "rtexp_sql_worker_reported_timestamp_seconds", "gauge", ("rtexp_job", "worker"),
        "Epoch seconds at which a worker last spoke; of the newest 200 workers of a day.",
        "Older than 15 s: it was stopped or it is dead.", WEB,
    ),
)  # fmt: skip

BY_NAME = {metric.name: metric for metric in METRICS}
