"""Settings: the one reader of the environment and of ``rtexp.toml``."""

from rtexp.settings.alerts import AlertSettings, Target
from rtexp.settings.client import client_options, read_secret, security_options
from rtexp.settings.display import MASK, as_toml, masked, masked_url
from rtexp.settings.loading import CONFIG_VARIABLE, expected_of, find_config, load, sources
from rtexp.settings.models import (
    ActionSettings,
    ActivationSettings,
    DataSettings,
    KafkaSettings,
    LogSettings,
    MetadataSettings,
    PipelineSettings,
    Settings,
    SketchSettings,
    StatisticsSettings,
    StoreSettings,
    WebSettings,
)
from rtexp.settings.values import TimeFormat

__all__ = [
    "CONFIG_VARIABLE",
    "MASK",
    "ActionSettings",
    "ActivationSettings",
    "AlertSettings",
    "DataSettings",
    "KafkaSettings",
    "LogSettings",
    "MetadataSettings",
    "PipelineSettings",
    "Settings",
    "SketchSettings",
    "StatisticsSettings",
    "StoreSettings",
    "Target",
    "TimeFormat",
    "WebSettings",
    "as_toml",
    "client_options",
    "expected_of",
    "find_config",
    "load",
    "masked",
    "masked_url",
    "read_secret",
    "security_options",
    "sources",
]
