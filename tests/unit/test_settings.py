from __future__ import annotations

from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st
from pydantic import BaseModel

from rtexp.errors import ConfigError
from rtexp.settings import (
    KafkaSettings,
    MetadataSettings,
    Settings,
    StoreSettings,
    as_toml,
    client_options,
    find_config,
    load,
    masked,
    masked_url,
)

ROOT = Path(__file__).parents[2]


@pytest.fixture(autouse=True)
def _in_a_directory_of_its_own(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)


def write(text: str, name: str = "rtexp.toml") -> Path:
    path = Path(name)
    path.write_text(text, "utf-8")
    return path


def problems(text: str, **environ: str) -> list[str]:
    with pytest.raises(ConfigError) as caught:
        load(write(text), environ)
    return str(caught.value).splitlines()


def test_without_a_file_and_variables_there_are_the_defaults() -> None:
    assert load(None, {}) == Settings()


def test_an_explicit_file_goes_before_the_variable_and_that_before_the_working_directory() -> None:
    here, named, explicit = write(""), write("", "named.toml"), write("", "explicit.toml")
    assert find_config(explicit, {"RTEXP_CONFIG": str(named)}) == explicit
    assert find_config(None, {"RTEXP_CONFIG": str(named)}) == named
    assert find_config(None, {}) == here
    here.unlink()
    assert find_config(None, {}) is None


@pytest.mark.parametrize(
    ("config", "environ", "told"),
    [
        pytest.param(Path("no.toml"), {}, "--config no.toml: there is no such file", id="option"),
        pytest.param(
            None, {"RTEXP_CONFIG": "no.toml"}, "RTEXP_CONFIG=no.toml: there is no such file", id="variable"
        ),
    ],
)
def test_a_file_that_was_asked_for_must_exist(
    config: Path | None, environ: dict[str, str], told: str
) -> None:
    with pytest.raises(ConfigError, match=f"^{told}$"):
        load(config, environ)


def test_a_variable_overrides_the_file_and_the_file_the_default() -> None:
    path = write('[kafka]\nprefix = "file"\npartitions = 4\n')
    settings = load(path, {"RTEXP_KAFKA__PREFIX": "variable"})
    assert (settings.kafka.prefix, settings.kafka.partitions, settings.kafka.replication) == (
        "variable",
        4,
        1,
    )


@pytest.mark.parametrize(
    ("variable", "text", "section", "key", "value"),
    [
        pytest.param("RTEXP_KAFKA__PARTITIONS", "3", "kafka", "partitions", 3, id="whole number"),
        pytest.param("RTEXP_PIPELINE__GRACE_MINUTES", "1.5", "pipeline", "grace_minutes", 1.5, id="number"),
        pytest.param(
            "RTEXP_PIPELINE__GRACE_MINUTES", "2", "pipeline", "grace_minutes", 2.0, id="whole for a number"
        ),
        pytest.param("RTEXP_KAFKA__BROKERS", "a:1, b:2", "kafka", "brokers", ("a:1", "b:2"), id="commas"),
        pytest.param("RTEXP_KAFKA__BROKERS", '["a:1"]', "kafka", "brokers", ("a:1",), id="JSON list"),
        pytest.param(
            "RTEXP_ACTIONS__TRACKED", '["a,b"]', "actions", "tracked", ("a,b",), id="comma within JSON"
        ),
        pytest.param("RTEXP_ACTIONS__TOPIC", "123", "actions", "topic", "123", id="text of digits"),
        pytest.param("RTEXP_DATA__DIRECTORY", "/x", "data", "directory", Path("/x"), id="path"),
        pytest.param("RTEXP_STORE__PASSWORD_FILE", "", "store", "password_file", None, id="no path"),
    ],
)
def test_variables_are_read_as_the_type_of_their_key(
    variable: str, text: str, section: str, key: str, value: object
) -> None:
    assert getattr(getattr(load(None, {variable: text}), section), key) == value


def test_other_variables_are_no_settings() -> None:
    environ = {"RTEXP_KAFKA_LIBS": "x", "RTEXP_CONFIG": "", "KAFKA__PREFIX": "x", "RTEXP": "x"}
    assert load(None, environ) == Settings()


@pytest.mark.parametrize(
    ("text", "told"),
    [
        pytest.param(
            "[kafka]\nbroker = []",
            "rtexp.toml: [kafka] broker: there is no such key; did you mean brokers?",
            id="key almost known",
        ),
        pytest.param(
            "[sketch]\nxyz = 1",
            "rtexp.toml: [sketch] xyz: there is no such key; known are lg_k",
            id="unknown key",
        ),
        pytest.param(
            "[pipelin]",
            "rtexp.toml: [pipelin]: there is no such section; did you mean [pipeline]?",
            id="section almost known",
        ),
        pytest.param(
            '[kafka]\npartitions = "8"',
            'rtexp.toml: [kafka] partitions: expected a whole number, found "8"',
            id="text for a number",
        ),
        pytest.param(
            "[kafka]\npartitions = 8.0",
            "rtexp.toml: [kafka] partitions: expected a whole number, found 8.0",
            id="fraction for a whole number",
        ),
        pytest.param(
            "[kafka]\npartitions = true",
            "rtexp.toml: [kafka] partitions: expected a whole number, found true",
            id="boolean for a number",
        ),
        pytest.param(
            "[pipeline]\ngrace_minutes = nan",
            "rtexp.toml: [pipeline] grace_minutes: expected a number, found NaN",
            id="not a number",
        ),
        pytest.param(
            "[actions]\nuser = 2020-01-01",
            'rtexp.toml: [actions] user: expected a text, found {"date or time": "2020-01-01"}',
            id="date for a text",
        ),
        pytest.param(
            '[kafka]\nbrokers = "a:1"',
            'rtexp.toml: [kafka] brokers: expected a list, found "a:1"',
            id="no list",
        ),
        pytest.param(
            '[kafka]\nbrokers = ["a:1", "b"]',
            'rtexp.toml: [kafka] brokers item 2: expected host:port, such as 127.0.0.1:9092, found "b"',
            id="bad item of a list",
        ),
        pytest.param(
            '[kafka]\nbrokers = ["b"]',
            'rtexp.toml: [kafka] brokers item 1: expected host:port, such as 127.0.0.1:9092, found "b"',
            id="bad item of a list of one",
        ),
        pytest.param(
            "[kafka]\nbrokers = []",
            "rtexp.toml: [kafka] brokers: expected a list of at least 1, found []",
            id="empty list",
        ),
        pytest.param(
            "kafka = 1",
            "rtexp.toml: [kafka]: expected a table of keys",
            id="a value where a section should be",
        ),
        pytest.param(
            "[kafka]\npartitions = 0", "rtexp.toml: [kafka] partitions: expected at least 1, found 0", id="0"
        ),
        pytest.param(
            '[pipeline]\nclock = "wall"',
            "rtexp.toml: [pipeline] clock: expected 'live' or 'records', found \"wall\"",
            id="unknown choice",
        ),
        pytest.param(
            "[pipeline]\nbucket_minutes = 25",
            "rtexp.toml: [pipeline] bucket_minutes: expected a divisor of 60, "
            "so that buckets fill an hour and a period exactly, found 25",
            id="buckets that don't fill an hour",
        ),
        pytest.param(
            '[actions]\ntracked = ["a", "b", "a"]',
            'rtexp.toml: [actions] tracked: expected distinct names, but \'a\' comes twice, found ["a", "b", "a"]',
            id="tracked twice",
        ),
        pytest.param(
            '[actions]\nuser = "a..b"',
            'rtexp.toml: [actions] user: expected a field path, such as user_id or context.user.id, found "a..b"',
            id="hole in a field path",
        ),
        pytest.param(
            '[activations]\ntopic = "actions"',
            "[actions] topic (the default) and rtexp.toml: [activations] topic: "
            "expected two topics, found actions for both",
            id="one topic for both",
        ),
        pytest.param(
            '[actions]\ntopic = "rtexp.mine"',
            "rtexp.toml: [actions] topic and [kafka] prefix (the default): "
            "expected a topic that doesn't begin with rtexp., as rtexp's own do, found rtexp.mine",
            id="a raw topic among our own",
        ),
        pytest.param(
            '[kafka]\nprotocol = "SASL_SSL"',
            "rtexp.toml: [kafka] protocol: expected username and password_file, which SASL_SSL needs",
            id="half a login",
        ),
        pytest.param(
            "[actions]\nuser = 'a\"b'",
            'rtexp.toml: [actions] user: expected a field path, such as user_id or context.user.id, found "a\\"b"',
            id="a path with a quote",
        ),
        pytest.param(
            '[actions]\nuser = "who"\nevent = "who.did"',
            "rtexp.toml: [actions] user and rtexp.toml: [actions] event: "
            "expected field paths that don't lead through each other, found who and who.did",
            id="a path through another",
        ),
        pytest.param(
            '[activations]\ngroup = "experiment"',
            "[activations] experiment (the default) and rtexp.toml: [activations] group: "
            "expected field paths that don't lead through each other, found experiment and experiment",
            id="one path for two fields",
        ),
        pytest.param(
            "[pipeline]\nhold_limit_minutes = 5",
            "rtexp.toml: [pipeline] hold_limit_minutes: "
            "expected 0: this version can't go on without activations, found 5",
            id="a limit that this version can't keep",
        ),
        pytest.param(
            '[store]\npassword_file = "x"',
            "rtexp.toml: [store] password_file: expected no password_file, as SQLite has no passwords",
            id="a password for SQLite",
        ),
        pytest.param(
            "[store]\nurl = 'mysql+pymysql://me:hunter2@host/rtexp'\npassword_file = 'x'",
            "rtexp.toml: [store] url and rtexp.toml: [store] password_file: "
            "expected the password in one place: leave it out of the URL",
            id="two passwords",
        ),
        pytest.param(
            "[metadata]\nquery = 'DELETE FROM tests'",
            "rtexp.toml: [metadata] query: expected a SELECT that yields experiment, group, control, percent and "
            'changed_at, found "DELETE FROM tests"',
            id="a query that writes",
        ),
        pytest.param(
            "[metadata]\nurl = 'sqlite:///x.db'",
            "rtexp.toml: [metadata] url: expected a query, which is what reads there",
            id="a database that nothing is asked",
        ),
        pytest.param(
            "[metadata]\nquery = 'SELECT 1'\npassword_file = 'x'",
            "rtexp.toml: [metadata] password_file and [metadata] url (the default): "
            "expected a url, as [store] has its own password_file",
            id="a password for nobody",
        ),
        pytest.param(
            "[metadata]\nquery = 'SELECT 1'\nurl = 'mysql+pymysql://me:hunter2@host/x'\npassword_file = 'x'",
            "rtexp.toml: [metadata] url and rtexp.toml: [metadata] password_file: "
            "expected the password in one place: leave it out of the URL",
            id="two passwords of the other database",
        ),
    ],
)
def test_what_is_wrong_in_the_file_is_told_with_key_and_expectation(text: str, told: str) -> None:
    assert problems(text) == [told]


@pytest.mark.parametrize(
    ("variable", "text", "told"),
    [
        pytest.param(
            "RTEXP_KAFKA__PARTITIONS",
            "many",
            'RTEXP_KAFKA__PARTITIONS: expected a whole number, found "many"',
            id="no number",
        ),
        pytest.param(
            "RTEXP_KAFKA__BROKER",
            "a:1",
            "RTEXP_KAFKA__BROKER: there is no key broker in [kafka]; did you mean brokers?",
            id="unknown key",
        ),
        pytest.param(
            "RTEXP_KAFA__BROKERS",
            "a:1",
            "RTEXP_KAFA__BROKERS: there is no section kafa; did you mean RTEXP_KAFKA__BROKERS?",
            id="unknown section",
        ),
        pytest.param(
            "RTEXP_KAFKA_BROKERS",
            "a:1",
            "RTEXP_KAFKA_BROKERS: there is no such variable; did you mean RTEXP_KAFKA__BROKERS?",
            id="one underscore too few",
        ),
        pytest.param(
            "RTEXP_KAFKA__BROKERS",
            "[1",
            'RTEXP_KAFKA__BROKERS: expected a list, found "[1"',
            id="broken JSON",
        ),
        pytest.param(
            "RTEXP_KAFKA__PREFIX", "a\udc80", "RTEXP_KAFKA__PREFIX: expected UTF-8 text", id="not UTF-8"
        ),
        pytest.param(
            "RTEXP_ACTIVATIONS__TOPIC",
            "actions",
            "[actions] topic (the default) and RTEXP_ACTIVATIONS__TOPIC: expected two topics, found actions for both",
            id="one topic for both",
        ),
        pytest.param(
            "RTEXP_KAFKA__PROTOCOL",
            "SASL_SSL",
            "RTEXP_KAFKA__PROTOCOL: expected username and password_file, which SASL_SSL needs",
            id="half a login",
        ),
        pytest.param(
            "RTEXP_STORE__URL",
            "postgresql://me:hunter2@host/rtexp",
            "RTEXP_STORE__URL: expected a SQLite file, as in sqlite:///data/rtexp.db, or a database of MySQL or "
            'MariaDB, as in mysql+pymysql://user@host/rtexp, found "postgresql://me:***@host/rtexp"',
            id="another database",
        ),
        pytest.param(
            "RTEXP_METADATA__CSV_URL",
            "nowhere://me:hunter2@host/x.csv",
            "RTEXP_METADATA__CSV_URL: expected a path, or a URL that fsspec can write to here "
            '(Protocol not known: nowhere), found "nowhere://me:***@host/x.csv"',
            id="a protocol that nobody knows",
        ),
        pytest.param(
            "RTEXP_METADATA__CSV_URL",
            "file://host/x.csv",
            "RTEXP_METADATA__CSV_URL: expected a path, or a URL such as file:///var/ramped_groups.csv or "
            's3://bucket/key, found "file://host/x.csv"',
            id="a file of another machine",
        ),
    ],
)
def test_what_is_wrong_in_a_variable_is_told_with_its_name(variable: str, text: str, told: str) -> None:
    assert problems("", **{variable: text}) == [told]


def test_all_that_is_wrong_is_told_at_once() -> None:
    assert len(problems("[kafka]\npartitions = 0\nx = 1\n[web]\nport = -1", RTEXP_SKETCH__LG_K="9")) == 4


def test_a_good_variable_does_not_hide_a_bad_file() -> None:
    assert problems("[kafka]\npartitions = 0", RTEXP_KAFKA__PREFIX="x") == [
        "rtexp.toml: [kafka] partitions: expected at least 1, found 0"
    ]


@pytest.mark.parametrize(
    ("text", "told"),
    [
        pytest.param("[kafka\n", r"^rtexp.toml: this isn't valid TOML: .*line 1", id="no TOML"),
        pytest.param("[kafka]\n[kafka]\n", r"^rtexp.toml: this isn't valid TOML: ", id="a section twice"),
    ],
)
def test_a_file_that_is_no_toml_is_told_with_the_place(text: str, told: str) -> None:
    with pytest.raises(ConfigError, match=told):
        load(write(text), {})


def test_a_tracked_name_is_measured_in_bytes() -> None:
    longest = "ä" * 64
    assert load(write(f'[actions]\ntracked = ["{longest}"]'), {}).actions.tracked == (longest,)
    assert "a name of 1 to 128 bytes of UTF-8" in problems(f'[actions]\ntracked = ["{longest}a"]')[0]


def test_secrets_are_never_shown() -> None:
    text = "[store]\nurl = 'mysql:/me:hunter2@host/x'\npassword = 'hunter2'\n[kafka]\npassword = 'hunter2'"
    assert not any("hunter2" in line for line in problems(text))
    settings = Settings(
        metadata=MetadataSettings(csv_url="http://me:hunter2@host/x?ssl_key_password=hunter2")
    )
    assert "hunter2" not in repr(masked(settings))
    assert masked(settings)["metadata"]["csv_url"] == "http://me:***@host/x?ssl_key_password=***"


@pytest.mark.parametrize(
    "url",
    [
        "sqlite:///x.db",
        "sqlite:////var/x.db",
        "sqlite+pysqlite:///x.db",
        "sqlite:///x.db?timeout=5",
        "mysql+pymysql://me@host/rtexp",
        "mariadb+pymysql://me:secret@host:3306/rtexp?ssl_ca=/ca.pem",
        "mysql+pymysql://me@/rtexp?unix_socket=/run/mysqld.sock",
    ],
)
def test_a_database_is_a_sqlite_file_or_on_a_server(url: str) -> None:
    assert StoreSettings(url=url).url == url


@pytest.mark.parametrize(
    "url",
    [
        "sqlite://",
        "sqlite:///",
        "sqlite:///:memory:",
        "sqlite:///file:x?uri=true",
        "postgresql://h/x",
        "mysql://me@host/rtexp",
        "mysql+mysqldb://me@host/rtexp",
        "mysql+pymysql://me@host",
        "mysql+pymysql://me@host/",
        "mysql+pymysql://host/rtexp",
        "mysql+pymysql://me@host:port/rtexp",
        "x.db",
    ],
)
def test_a_database_that_processes_cannot_share_is_refused(url: str) -> None:
    with pytest.raises(ValueError, match="a SQLite file"):
        StoreSettings(url=url)


@given(st.text(alphabet="ab:@/?&=#.", max_size=12).map("S3CRET{}S3CRET".format))
def test_no_password_in_a_url_survives_masking(password: str) -> None:
    for url in (f"mysql://me:{password}@host/x", f"mysql//me:{password}@host/x"):
        assert "S3CRET" not in masked_url(url)


def test_settings_do_not_show_a_password() -> None:
    settings = StoreSettings(url="mysql+pymysql://me:hunter2@host/rtexp?ssl_key_password=hunter2")
    assert "hunter2" not in f"{settings!r} {settings} {Settings(store=settings)!r}"
    assert "me:***@host" in repr(settings)
    assert "hunter2" in settings.url


def test_urls_without_a_password_are_shown_as_they_are() -> None:
    for url in ("sqlite:///data/rtexp.db", "mysql+pymysql://me@host/rtexp"):
        assert masked_url(url) == url


def test_a_file_written_from_settings_loads_as_the_same() -> None:
    settings = load(
        None,
        {
            "RTEXP_ACTIONS__TRACKED": '["say \\"hi\\"", "\\u007f", "ünïcode\\n"]',
            "RTEXP_DATA__DIRECTORY": "/a b/c",
            "RTEXP_PIPELINE__CLOCK": "records",
            "RTEXP_KAFKA__PASSWORD_FILE": "secret",
        },
    )
    assert load(write(as_toml(settings)), {}) == settings


def test_the_example_has_every_key_with_its_default() -> None:
    path = ROOT / "examples" / "rtexp.toml"
    assert load(path, {}) == Settings()
    text = path.read_text("utf-8")
    for section, field in Settings.model_fields.items():
        assert f"[{section}]" in text
        assert isinstance(field.annotation, type)
        assert issubclass(field.annotation, BaseModel)
        for key in field.annotation.model_fields:
            assert f"\n{key} = " in text or f"\n# {key} = " in text, f"[{section}] {key}"


@pytest.mark.parametrize(
    ("brokers", "address"),
    [
        pytest.param(("127.0.0.1:9092",), ("127.0.0.1", 9092), id="loopback"),
        pytest.param(("localhost:1",), ("127.0.0.1", 1), id="by name"),
        pytest.param(("[::1]:9092",), ("::1", 9092), id="version 6"),
        pytest.param(("10.0.0.1:9092",), None, id="another machine"),
        pytest.param(("kafka.example:9092",), None, id="another machine by name"),
        pytest.param(("127.0.0.1:9092", "127.0.0.1:9093"), None, id="a cluster"),
    ],
)
def test_a_broker_is_ours_to_start_if_it_is_the_only_one_and_here(
    brokers: tuple[str, ...], address: tuple[str, int] | None
) -> None:
    assert KafkaSettings(brokers=brokers).local_address() == address


LOGIN = 'username = "me"\npassword_file = "password"\n'


def test_a_client_gets_brokers_and_login() -> None:
    write("hunter2\n", "password")
    kafka = KafkaSettings(
        brokers=("127.0.0.1:1",),
        protocol="SASL_PLAINTEXT",
        mechanism="SCRAM-SHA-256",
        username="me",
        password_file=Path("password"),
    )
    assert client_options(kafka) == {
        "bootstrap_servers": ["127.0.0.1:1"],
        "security_protocol": "SASL_PLAINTEXT",
        "sasl_mechanism": "SCRAM-SHA-256",
        "sasl_plain_username": "me",
        "sasl_plain_password": "hunter2",
    }


def test_a_password_is_read_for_each_new_client() -> None:
    write("old\n", "password")
    kafka = load(write(f'[kafka]\nprotocol = "SASL_PLAINTEXT"\n{LOGIN}'), {}).kafka
    assert client_options(kafka)["sasl_plain_password"] == "old"
    write("new\n", "password")
    assert client_options(kafka)["sasl_plain_password"] == "new"


@pytest.mark.parametrize("brokers", ["127.0.0.1:1", "localhost:1", '["[::1]:1"]', "127.0.0.1:1,127.9.0.1:2"])
def test_a_login_without_tls_is_for_loopback_addresses(brokers: str) -> None:
    given = write(f'[kafka]\nprotocol = "SASL_PLAINTEXT"\n{LOGIN}')
    assert load(given, {"RTEXP_KAFKA__BROKERS": brokers}).kafka.protocol == "SASL_PLAINTEXT"


@pytest.mark.parametrize("brokers", ["10.0.0.1:1", "kafka.example:1", "127.0.0.1:1,kafka.example:1"])
@pytest.mark.parametrize("mechanism", ["PLAIN", "SCRAM-SHA-256", "SCRAM-SHA-512"])
def test_a_login_without_tls_is_refused_for_any_other_address(brokers: str, mechanism: str) -> None:
    (told,) = problems(
        f'[kafka]\nprotocol = "SASL_PLAINTEXT"\nmechanism = "{mechanism}"\n{LOGIN}',
        RTEXP_KAFKA__BROKERS=brokers,
    )
    assert told.startswith("rtexp.toml: [kafka] protocol and RTEXP_KAFKA__BROKERS: expected SASL_SSL, as ")


@pytest.mark.parametrize("key", ["ca_file", "cert_file"])
@pytest.mark.parametrize("protocol", ["PLAINTEXT", "SASL_PLAINTEXT"])
def test_certificates_without_tls_are_refused_rather_than_ignored(key: str, protocol: str) -> None:
    (told,) = problems(f'[kafka]\nprotocol = "{protocol}"\n{LOGIN}{key} = "some.pem"\n')
    assert f"[kafka] {key}" in told
    assert f"expected SSL or SASL_SSL, as {key} is set" in told


@pytest.mark.parametrize("key", ["key_file", "key_password_file"])
def test_a_key_without_its_certificate_is_refused(key: str) -> None:
    (told,) = problems(f'[kafka]\nprotocol = "SSL"\n{key} = "key.pem"\n')
    assert told.startswith(f"rtexp.toml: [kafka] {key}: expected cert_file beside {key}")


@pytest.mark.parametrize("key", ["cert_file", "key_file", "key_password_file"])
def test_a_missing_file_of_the_clients_certificate_is_told_with_its_key(key: str) -> None:
    files = dict.fromkeys(("cert_file", "key_file", "key_password_file"), write("x", "some.pem"))
    kafka = KafkaSettings.model_validate({"protocol": "SSL", **files, key: Path("missing")})
    with pytest.raises(ConfigError, match=rf"\[kafka\] {key}: missing can't be read"):
        client_options(kafka)


def test_what_is_no_certificate_is_told_with_the_keys() -> None:
    kafka = KafkaSettings(protocol="SSL", cert_file=write("x", "cert.pem"), key_file=write("x", "key.pem"))
    told = r"\[kafka\] cert_file \(cert.pem\) and key_file \(key.pem\): no certificate with its key"
    with pytest.raises(ConfigError, match=told):
        client_options(kafka)


@pytest.mark.parametrize("key", ["ca_file", "password_file"])
def test_a_missing_file_of_the_client_is_told_with_its_key(key: str) -> None:
    kafka = KafkaSettings.model_validate(
        {"protocol": "SASL_SSL", "username": "me", "password_file": write("x", "password")}
        | {key: Path("missing")}
    )
    with pytest.raises(ConfigError, match=rf"\[kafka\] {key}: missing can't be read"):
        client_options(kafka)


@pytest.mark.parametrize(
    ("text", "told"),
    [
        ("alpha = 0.5", "[statistics] alpha: expected less than 0.5, found 0.5"),
        ("srm_alpha = 0.0", "[statistics] srm_alpha: expected more than 0.0, found 0.0"),
        ("guardrail_alpha = 0.6", "[statistics] guardrail_alpha: expected less than 0.5, found 0.6"),
        ("bonferroni_looks = 289", "[statistics] bonferroni_looks: expected at most 288, found 289"),
        ("minimum_lift = 0.001", "[statistics] minimum_lift: expected at least 0.01, found 0.001"),
        (
            "look_every_hours = 0.1",
            (
                "[statistics] look_every_hours and [pipeline] bucket_minutes (the default) and "
                "[pipeline] period_hours (the default): expected a multiple of a bucket of 15 minutes, "
                "such as 0.25, found 0.1"
            ),
        ),
    ],
)
def test_statistics_that_make_no_sense_are_refused(text: str, told: str) -> None:
    assert problems(f"[statistics]\n{text}\n") == [f"rtexp.toml: {told}"]


def test_a_look_at_every_bucket_may_be_asked_for_in_the_file_and_by_a_variable() -> None:
    looks_at = load(write("[statistics]\nlook_every_hours = 0.25\n"), {}).statistics.look_every_hours
    assert looks_at == 0.25
    variable = {"RTEXP_STATISTICS__LOOK_EVERY_HOURS": "0.5"}
    assert load(write(""), variable).statistics.look_every_hours == 0.5
    assert load(write("[statistics]\nlook_every_hours = 2\n"), {}).statistics.look_every_hours == 2.0


def test_only_the_schedule_of_the_method_in_use_must_fit_the_period() -> None:
    short = "[pipeline]\nperiod_hours = 1\n"
    assert load(write(short), {}).statistics.bonferroni_looks == 12
    (told,) = problems(f'{short}[statistics]\nmethod = "bonferroni"\n')
    assert "expected at most 4, one a bucket and 288 in all, found 12" in told


@pytest.mark.parametrize(
    "query",
    [
        "select 1",
        "  SELECT 1;",
        "WITH x AS (SELECT 1) SELECT * FROM x",
        "-- mine\n/* all\nof */ (SELECT 1) UNION (SELECT 2)",
        "TABLE changes",
    ],
)
def test_a_query_may_begin_as_what_reads_does(query: str) -> None:
    assert MetadataSettings(query=query).query == query


def test_a_query_that_writes_a_file_is_refused() -> None:
    with pytest.raises(ValueError, match="a SELECT that yields"):
        MetadataSettings(query="SELECT 1 INTO  OUTFILE '/tmp/x'")
