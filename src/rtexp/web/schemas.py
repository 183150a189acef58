"""What the API's answers hold, for its OpenAPI document: columns are those of the rows themselves."""

# Annotations are read by pydantic at runtime, so they must not be postponed here.
from typing import Any, get_type_hints

from pydantic import BaseModel, ConfigDict, Field, create_model

from rtexp.store.looks import LookRow
from rtexp.store.operations import FreshnessRow, PipelineRow, WorkerRow
from rtexp.web.series import SeriesRow, Uniques
from rtexp.web.verdicts import Standing, VerdictRow

_MEANINGS = {
    "period_start_ms": "Start of the period, ms since 1970.",
    "group_name": "The group; of looks and verdicts the treatment.",
    "event": "The event; empty in rows that carry exposures.",
    "bucket_start_ms": "Start of the bucket, ms since 1970.",
    "volume": "Actions.",
    "actors": "Distinct users who acted.",
    "sum_squares": "Sum of squares of actions per user.",
    "exposures": "Users triggered into the group.",
    "multiple_exposures": "Of these, users who are in another group too.",
    "estimate": "About how many distinct users.",
    "standard_error": "Of the estimate, which is within two of them 19 of 20 times.",
    "buckets": "How many sketches were united.",
    "look": "Number of the look within its period, from 1.",
    "scheduled_ms": "When the look was due, in event time.",
    "p_value": "Of this look alone.",
    "p_always_valid": "Valid however often people look; above 0.2 it may be given as 1.",
    "state": "What the look says.",
    "verdict": "good or bad, where a change is significant and the plan says which direction is good.",
    "final": "Whether it is the period's last look.",
    "reason": "Why there is no verdict.",
    "part": "urgent, decided, measuring or over.",
    "alarms": "Why it needs a person; empty if it doesn't.",
    "plan_hash": "Of the plan by which it was judged.",
    "input": "The topic.",
    "position": "Next offset after those whose effect is committed.",
    "lag": "Offsets from there to the end; null until that is known.",
    "watermark_ms": "What arrived before has been read; 0: not known yet.",
    "held": "Rows that wait for the other input, or for metadata.",
    "rewind_done": "Offsets run again since the partition was taken over, of rewind_total.",
    "restarts": "How often it was started again with its data directory.",
    "url": "Where it serves health and state; empty: nowhere.",
    "updated_ms": "When it last spoke, ms since 1970.",
    "minute_ms": "Start of the minute, ms since 1970.",
    "p50_ms": "Half of the arrivals of the minute were surely in SQL within so long.",
    "p99_ms": "Likewise 99 of 100.",
}


def _model_of(row: Any, name: str, example: dict[str, Any] | None = None) -> type[BaseModel]:
    """Return the model of a NamedTuple's objects: a required field for each of its own."""
    fields: dict[str, Any] = {
        field: (kind, Field(description=_MEANINGS.get(field))) for field, kind in get_type_hints(row).items()
    }
    config = ConfigDict(json_schema_extra={"example": example} if example else None)
    return create_model(name, __config__=config, **fields)


def _page_of(item: type[BaseModel]) -> type[BaseModel]:
    following = Field(description="Cursor of the page after this; null on the last one.")
    name = f"{item.__name__}Page"
    return create_model(name, items=(list[item], ...), next=(str | None, following))  # type: ignore[valid-type]


_KEY = {"group_name": "treatment", "event": "search"}
CellItem = _model_of(
    SeriesRow,
    "Cell",
    {"experiment": "new-feed", "period_start_ms": 1_700_000_100_000}
    | _KEY
    | {"bucket_start_ms": 1_700_001_000_000, "volume": 812, "actors": 410, "sum_squares": 2_204}
    | {"exposures": 0, "multiple_exposures": 0},
)
UniquesItem = _model_of(
    Uniques, "Uniques", _KEY | {"estimate": 12_034.2, "standard_error": 195.6, "buckets": 96}
)
LookItem = _model_of(LookRow, "Look")
VerdictItem = _model_of(VerdictRow, "Verdict")
StandingItem = _model_of(Standing, "Standing")
PipelineItem = _model_of(PipelineRow, "Position")
WorkerItem = _model_of(WorkerRow, "Worker")
FreshnessItem = _model_of(FreshnessRow, "Freshness")


class CountItem(BaseModel):
    """What all partitions of a job counted by one reason, such as actions/missing-field."""

    job: str
    reason: str
    minute_ms: int | None = Field(description="Start of the minute; null: over the whole range.")
    count: int


class PeriodItem(BaseModel):
    """A period, and the users of each group in it."""

    start_ms: int
    end_ms: int
    users: dict[str, int]


class ExperimentItem(BaseModel):
    """An experiment in the list."""

    name: str
    control: str
    groups: list[str]
    periods: list[PeriodItem]


class AllocationItem(BaseModel):
    """From ``at_ms`` on, a group's share in percent."""

    group: str
    percent: float
    at_ms: int


class PlanItem(BaseModel):
    """How a period is judged, as it was frozen; ``plan_hash`` is of the JSON in the CSV's column ``plan``."""

    experiment: str
    period_start_ms: int
    plan_hash: str
    plan: dict[str, Any]


class JudgedPeriod(BaseModel):
    """A period with its plan, null until it is frozen, and the newest look of each comparison."""

    start_ms: int
    end_ms: int
    plan_hash: str | None
    plan: dict[str, Any] | None
    looks: list[LookItem]  # type: ignore[valid-type] # made from the rows


class ExperimentAnswer(BaseModel):
    """An experiment: its definition, and its periods."""

    name: str
    control: str
    groups: list[str]
    allocations: list[AllocationItem]
    plan: dict[str, Any] = Field(description="What the definition says of its plan; empty if nothing.")
    periods: list[JudgedPeriod]


class GroupCurve(BaseModel):
    """One group's increments, an entry a bucket, and the half width of the band around its mean."""

    group_name: str
    control: bool
    exposures: list[int]
    actors: list[int]
    volume: list[int]
    half_width: list[float | None] = Field(description="To 4 digits, of the mean since the period's start.")


class LookCurve(BaseModel):
    """All looks at one treatment, an entry a look; z and boundary to 4 digits."""

    group_name: str
    role: str
    method: str
    look: list[int]
    offset_ms: list[int] = Field(description="When it was due, in ms since `origin_ms`.")
    z: list[float | None]
    boundary: list[float | None]
    level: float | None = Field(description="At which the newest boundary stands.")
    first_crossed: int | None = Field(description="The first look that crossed.")


class CurvesAnswer(BaseModel):
    """One event and metric through a period."""

    experiment: str
    event: str
    metric: str
    period_start_ms: int | None = Field(description="Null as long as there are no cells.")
    period_end_ms: int | None
    origin_ms: int = Field(description="Start of the first bucket, ms since 1970.")
    bucket_ms: int
    groups: list[GroupCurve]
    looks: list[LookCurve]


class ProblemAnswer(BaseModel):
    """What went wrong (RFC 9457); ``code`` is stable, ``detail`` is for people."""

    type: str
    title: str
    status: int
    detail: str
    code: str


Responses = dict[int | str, dict[str, Any]]
"""Of a route, as FastAPI takes them."""


def as_object(model: type[BaseModel]) -> Responses:
    """Return the responses of a route that answers with one object."""
    return {200: {"model": model, "description": "The object."}}


def as_page(item: type[BaseModel]) -> Responses:
    """Return the responses of a route that answers with a page of rows as JSON."""
    return {200: {"model": _page_of(item), "description": "A page; `next` leads to the one after."}}


def as_table(item: type[BaseModel]) -> Responses:
    """Return the responses of a route that answers with a page of rows, as JSON or, by ``format=csv``, as CSV."""
    told = "A page of rows; `next`, and the header `Link`, lead to the one after."
    csv = {"text/csv": {"schema": {"type": "string"}}}
    return {200: {"model": _page_of(item), "description": told, "content": csv}}
