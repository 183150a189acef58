"""What can be set: one frozen model a section of ``rtexp.toml``, with its defaults and limits."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Literal

from pydantic import BaseModel, ConfigDict, Field, model_validator

from rtexp.settings.alerts import AlertSettings
from rtexp.settings.display import masked_url
from rtexp.settings.values import (
    BasePath,
    BindHost,
    Broker,
    Contradiction,
    DatabaseUrl,
    Distinct,
    DivisorOfAnHour,
    FieldPath,
    Level,
    Name,
    Network,
    NoLimit,
    OtherDatabaseUrl,
    Place,
    Prefix,
    PublicUrl,
    Query,
    Share,
    TimeFormat,
    Topic,
    is_loopback_broker,
    refuse_other_passwords,
    refuse_overlaps,
)
from rtexp.statistics.plans import MAX_BONFERRONI_LOOKS, Method, Spending, schedule_fault

if TYPE_CHECKING:
    from collections.abc import Iterator


class _Group(BaseModel):
    model_config = ConfigDict(extra="forbid", frozen=True, strict=True, allow_inf_nan=False)

    def __repr_args__(self) -> Iterator[tuple[str | None, Any]]:
        # A repr ends up in logs and tracebacks, so no secret may.
        for key, value in super().__repr_args__():
            yield key, masked_url(value) if "url" in (key or "") and isinstance(value, str) else value


class KafkaSettings(_Group):
    """Where the broker is, and how topics are named and cut."""

    brokers: Annotated[tuple[Broker, ...], Field(min_length=1)] = ("127.0.0.1:9092",)
    """As ``host:port``; `rtexp up` starts a broker there if none answers and it is this machine."""
    prefix: Prefix = "rtexp"
    """Topics, consumer groups and transactional ids begin with it."""
    partitions: Annotated[int, Field(ge=1, le=1024)] = 8
    """Of the topics that are cut by user; can't change while state exists."""
    replication: Annotated[int, Field(ge=1, le=9)] = 1
    """Copies of each topic that rtexp makes; with 3, one broker may be lost, and nothing else."""
    session_timeout_seconds: Annotated[float, Field(ge=6, le=300)] = 10.0
    """A worker that is silent for this long loses its partitions to the others."""
    protocol: Literal["PLAINTEXT", "SSL", "SASL_PLAINTEXT", "SASL_SSL"] = "PLAINTEXT"
    """How to connect: with or without TLS (SSL), with or without a login (SASL)."""
    mechanism: Literal["PLAIN", "SCRAM-SHA-256", "SCRAM-SHA-512"] = "PLAIN"
    """Of a login."""
    username: str = ""
    """Of a login."""
    password_file: Path | None = None
    """Holds the password of a login; read, as the files below are, for each new client."""
    ca_file: Path | None = None
    """Authorities that may vouch for brokers, as PEM; None: those that this machine knows."""
    cert_file: Path | None = None
    """This client's own certificate and those between it and its authority, as PEM; for brokers that ask for one."""
    key_file: Path | None = None
    """The key of that certificate; None: it stands in ``cert_file``."""
    key_password_file: Path | None = None
    """Holds the password of that key."""

    @model_validator(mode="after")
    def _sasl_is_complete(self) -> KafkaSettings:
        if self.protocol.startswith("SASL") and not (self.username and self.password_file):
            raise Contradiction(
                f"username and password_file, which {self.protocol} needs", ("kafka", "protocol")
            )
        return self

    @model_validator(mode="after")
    def _passwords_stay_secret(self) -> KafkaSettings:
        if self.protocol == "SASL_PLAINTEXT" and not all(map(is_loopback_broker, self.brokers)):
            raise Contradiction(
                "SASL_SSL, as without TLS a password could be read on its way; SASL_PLAINTEXT is for brokers "
                "at a loopback address, such as 127.0.0.1",
                ("kafka", "protocol"),
                ("kafka", "brokers"),
            )
        return self

    @model_validator(mode="after")
    def _certificates_have_a_use(self) -> KafkaSettings:
        files = ("ca_file", "cert_file", "key_file", "key_password_file")
        # Who names a certificate counts on TLS, and wouldn't notice that there is none.
        if (given := [key for key in files if getattr(self, key)]) and not self.protocol.endswith("SSL"):
            raise Contradiction(
                f"SSL or SASL_SSL, as {given[0]} is set", ("kafka", "protocol"), ("kafka", given[0])
            )
        for key in ("key_file", "key_password_file"):
            if getattr(self, key) and not self.cert_file:
                raise Contradiction(f"cert_file beside {key}", ("kafka", key))
        return self

    def topic(self, name: str) -> str:
        """Return the full name of one of rtexp's own topics."""
        return f"{self.prefix}.{name}"

    def local_address(self) -> tuple[str, int] | None:
        """Return host and port if the only broker is one of this machine, reached without security."""
        if len(self.brokers) > 1 or self.protocol != "PLAINTEXT" or not is_loopback_broker(self.brokers[0]):
            return None
        host, _, port = self.brokers[0].rpartition(":")
        return "127.0.0.1" if host == "localhost" else host.strip("[]"), int(port)


class StoreSettings(_Group):
    """The SQL database of metadata and results."""

    url: DatabaseUrl = "sqlite:///data/rtexp.db"
    """``sqlite:///path``, or ``mysql+pymysql://user@host/database`` (``?ssl_ca=/etc/ca.pem`` for TLS)."""
    password_file: Path | None = None
    """Better than a password inside the URL, which shows in process lists and backups of the file.

    Read at every connect, so that a changed password needs no restart.
    """

    @model_validator(mode="after")
    def _one_password_where_there_is_one(self) -> StoreSettings:
        refuse_other_passwords("store", self.url, self.password_file)
        return self


class ActionSettings(_Group):
    """The raw topic of actions, and where its JSON keeps what."""

    topic: Topic = "actions"
    """Your topic; made only where it is missing."""
    user: FieldPath = "user_id"
    """The field path of the user, such as ``context.user.id``."""
    event: FieldPath = "event"
    """The field path of what the user did."""
    time: FieldPath = "ts"
    """The field path of when it happened."""
    time_format: TimeFormat = "ms"
    """What times are: numbers since 1970 in this unit, or ISO 8601 text, which is UTC where it has no zone."""
    tracked: Annotated[tuple[Name, ...], Field(min_length=1, max_length=256), Distinct] = (
        "search",
        "click",
    )
    """Actions with any other event are dropped."""
    cap_per_hour: Annotated[int, Field(ge=0)] = 1000
    """Of one user, all tracked events together; 0: no cap."""
    max_message_bytes: Annotated[int, Field(ge=64, le=900_000)] = 65_536
    """A larger message is bad input."""

    @model_validator(mode="after")
    def _fields_are_apart(self) -> ActionSettings:
        refuse_overlaps("actions", {"user": self.user, "event": self.event, "time": self.time})
        return self


class ActivationSettings(_Group):
    """The raw topic of activations, and where its JSON keeps what."""

    topic: Topic = "activations"
    """Your topic; made only where it is missing."""
    user: FieldPath = "user_id"
    """The field path of the user."""
    experiment: FieldPath = "experiment"
    """The field path of the experiment's name."""
    group: FieldPath = "group"
    """The field path of the group's name."""
    time: FieldPath = "ts"
    """The field path of when the user was triggered."""
    time_format: TimeFormat = "ms"
    """As of actions."""

    @model_validator(mode="after")
    def _fields_are_apart(self) -> ActivationSettings:
        paths = {"user": self.user, "experiment": self.experiment, "group": self.group, "time": self.time}
        refuse_overlaps("activations", paths)
        return self


class PipelineSettings(_Group):
    """What counts, and how work is cut."""

    period_hours: Annotated[int, Field(ge=1, le=24 * 28)] = 72
    """How long an experiment is measured after a ramp."""
    bucket_minutes: Annotated[int, Field(ge=1, le=60), DivisorOfAnHour] = 15
    """The width of a cell in event time; a divisor of 60."""
    dedup_minutes: Annotated[int, Field(ge=1, le=60)] = 5
    """The same action of a user is a repeat for at least this long, and at most twice that."""
    join_delay_seconds: Annotated[float, Field(ge=0, le=3600)] = 10.0
    """An activation may arrive this much later than an action and still count for it."""
    out_of_order_seconds: Annotated[float, Field(ge=0, le=3600)] = 2.0
    """How far record times within a partition may go back."""
    clock: Literal["live", "records"] = "live"
    """What moves the watermark of a partition that is read to its end: the wall clock, or only records."""
    grace_minutes: Annotated[float, Field(ge=0, le=60 * 24)] = 60.0
    """How long after a period's end late arrivals still count."""
    checkpoint_seconds: Annotated[float, Field(gt=0, le=3600)] = 60.0
    """How often changed pages of state go to the changelog; how much a restart reads again."""
    max_ahead_seconds: Annotated[float, Field(ge=0, le=86_400)] = 300.0
    """An event time further ahead of its arrival is bad input."""
    flush_interval_ms: Annotated[int, Field(ge=10, le=60_000)] = 500
    """How often counts go on when a worker is caught up; each is one transaction."""
    flush_rows: Annotated[int, Field(ge=1, le=1_000_000)] = 50_000
    """So many rows go on at once, however soon they come."""
    hold_limit_minutes: Annotated[float, Field(ge=0), NoLimit] = 0.0
    """0: actions wait for activations without limit."""
    dead_letter_ratio: Annotated[float, Field(gt=0, le=1)] = 0.5
    """A worker stops when more than this share of its last records is bad input."""
    dead_letter_run: Annotated[int, Field(ge=1)] = 10_000
    """A worker stops after so many bad records in a row."""


class MetadataSettings(_Group):
    """How the experiments get from SQL to ingest."""

    poll_seconds: Annotated[float, Field(gt=0, le=3600)] = 5.0
    """How often experiments are read from SQL."""
    wait_seconds: Annotated[float, Field(ge=0, le=3600)] = 0.0
    """What no known period accepts waits for experiments as they are this much later than it arrived."""
    csv_url: Place = ""
    """A path or an fsspec URL, of a file or, with a slash at its end, a directory; empty: the data directory."""
    query: Query = ""
    """Yields experiments that live in other tables; empty: they come by `rtexp experiments load` alone."""
    url: OtherDatabaseUrl = ""
    """Where the query runs; empty: in ``[store] url``."""
    password_file: Path | None = None
    """Holds the password of ``url``."""

    @model_validator(mode="after")
    def _query_has_a_place(self) -> MetadataSettings:
        if self.url and not self.query:
            raise Contradiction("a query, which is what reads there", ("metadata", "url"))
        if self.password_file is not None and not self.url:
            raise Contradiction(
                "a url, as [store] has its own password_file",
                ("metadata", "password_file"),
                ("metadata", "url"),
            )
        if self.url:
            refuse_other_passwords("metadata", self.url, self.password_file)
        return self


class SketchSettings(_Group):
    """Uniques over ranges of buckets: 2**lg_k registers."""

    lg_k: Annotated[int, Field(ge=10, le=14)] = 12
    """The error is about 1.04 / sqrt(2**lg_k): 1.6 % at 12."""


class StatisticsSettings(_Group):
    """What an experiment's plan doesn't say itself; a period keeps what stood here when it began."""

    method: Method = "alpha-spending"
    """How looks are judged: docs/statistics.md."""
    alpha: Level = 0.05
    """Error of an experiment's decisions, all together."""
    spending: Spending = "obf"
    """How alpha spending shares the error out over time: little at first (obf), or evenly (pocock)."""
    look_every_hours: Annotated[float, Field(gt=0)] = 1.0
    """A multiple of a bucket. Bonferroni has `bonferroni_looks` instead."""
    bonferroni_looks: Annotated[int, Field(ge=1, le=MAX_BONFERRONI_LOOKS)] = 12
    """How many looks a period has, by Bonferroni."""
    settle_seconds: Annotated[float, Field(ge=0)] = 60.0
    """A look waits until the watermark is this far past it."""
    expected_users: Annotated[int, Field(ge=1)] = 10_000
    """About how many users the period will have, where a confidence sequence is narrowest."""
    minimum_lift: Annotated[float, Field(ge=0.01, le=10)] = 0.2
    """For gambler's ruin, which would need millions of actors to see less."""
    power: Share = 0.8
    """Chance of finding ``minimum_lift``, for gambler's ruin."""
    srm_alpha: Level = 0.001
    """Level of the alarm that groups don't have the shares that they should have."""
    srm_prior: Annotated[float, Field(gt=0)] = 1000.0
    """How firmly that alarm believes in the planned shares at first, in users."""
    min_users: Annotated[int, Field(ge=0)] = 100
    """A group with fewer isn't judged yet."""
    min_actors: Annotated[int, Field(ge=0)] = 40
    """A metric with fewer actors in a group isn't judged yet."""
    guardrail_alpha: Level = 0.025
    """Error of each guardrail."""
    min_growth: Annotated[float, Field(ge=0)] = 0.002
    """A look is put off unless information has grown by more than this share since the last one."""
    min_spend: Annotated[float, Field(ge=0)] = 1e-15
    """A look that would spend less error than this is put off."""
    multiple_exposure_warning: Annotated[float, Field(ge=0, le=1)] = 0.01
    """Say so when more than this share of users is in several groups of an experiment."""

    def schedule_fault(self, pipeline: PipelineSettings) -> tuple[str, str] | None:
        """Return the key of these that contradicts ``pipeline`` and what was expected; None if none does."""
        return schedule_fault(
            self.method,
            period_hours=pipeline.period_hours,
            bucket_minutes=pipeline.bucket_minutes,
            look_every_hours=self.look_every_hours,
            bonferroni_looks=self.bonferroni_looks,
        )


class WebSettings(_Group):
    """Where the pages are, and who may read them."""

    host: BindHost = "127.0.0.1"
    """Where the pages and the API are served."""
    port: Annotated[int, Field(ge=0, le=65_535)] = 8000
    """0: any that is free."""
    token_file: Path | None = None
    """Holds what others must send; needed where ``host`` isn't a loopback address."""
    base_path: BasePath = ""
    """Where a proxy has put the pages, such as /rtexp."""
    most_streams: Annotated[int, Field(ge=1, le=10_000)] = 1_000
    """How many open pages are kept up to date at once."""
    trusted_proxies: Annotated[tuple[Network, ...], Field(max_length=64), Distinct] = ()
    """Whose X-Forwarded-For and X-Forwarded-Proto are believed."""
    worker_host: BindHost = "127.0.0.1"
    """Where each worker serves its health and state, unless ``--web-bind`` and ``--web-port`` say otherwise."""
    worker_port: Annotated[int, Field(ge=0, le=65_535)] = 6066
    """0: any that is free."""
    user_lookup: bool = False
    """Whether single users may be looked up, here and in the workers' own pages."""
    public_url: PublicUrl = ""
    """Where people find the pages, for links in alerts; empty: at ``host`` and ``port``."""


class LogSettings(_Group):
    """What long-running processes write to standard output."""

    level: Literal["debug", "info", "warning", "error"] = "info"
    """The finest that is written."""
    format: Literal["auto", "json", "console"] = "auto"
    """auto: lines for people on a terminal, JSON elsewhere."""


class DataSettings(_Group):
    """Where workers keep what they can rebuild, and the local broker its log."""

    directory: Path = Path("data")
    """Made if missing."""


class Settings(_Group):
    """All settings; made by `rtexp.settings.load`. Relative paths are relative to the working directory."""

    kafka: KafkaSettings = KafkaSettings()
    store: StoreSettings = StoreSettings()
    actions: ActionSettings = ActionSettings()
    activations: ActivationSettings = ActivationSettings()
    pipeline: PipelineSettings = PipelineSettings()
    metadata: MetadataSettings = MetadataSettings()
    sketch: SketchSettings = SketchSettings()
    statistics: StatisticsSettings = StatisticsSettings()
    web: WebSettings = WebSettings()
    log: LogSettings = LogSettings()
    alerts: AlertSettings = AlertSettings()
    data: DataSettings = DataSettings()

    @model_validator(mode="after")
    def _looks_fit_buckets_and_period(self) -> Settings:
        if fault := self.statistics.schedule_fault(self.pipeline):
            key, expected = fault
            raise Contradiction(
                f"{expected}, found {getattr(self.statistics, key):g}",
                ("statistics", key),
                ("pipeline", "bucket_minutes"),
                ("pipeline", "period_hours"),
            )
        return self

    @model_validator(mode="after")
    def _topics_are_apart(self) -> Settings:
        if self.actions.topic == self.activations.topic:
            raise Contradiction(
                f"two topics, found {self.actions.topic} for both",
                ("actions", "topic"),
                ("activations", "topic"),
            )
        own = self.kafka.topic("")
        for section, topic in (("actions", self.actions.topic), ("activations", self.activations.topic)):
            if topic.startswith(own):
                raise Contradiction(
                    f"a topic that doesn't begin with {own}, as rtexp's own do, found {topic}",
                    (section, "topic"),
                    ("kafka", "prefix"),
                )
        return self
