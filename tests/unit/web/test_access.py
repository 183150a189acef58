"""Who may read: everybody on this machine, elsewhere whoever has the token."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import pytest
from pydantic import ValidationError
from starlette.routing import Route
from starlette.testclient import TestClient
from tests.unit.store.databases import SqliteFile
from tests.unit.web.sites import HERE, TOKEN, experiment, open_site

from rtexp.errors import ConfigError
from rtexp.settings import Settings, WebSettings
from rtexp.settings.binding import is_loopback
from rtexp.web.address import TOKEN_VARIABLE, read_token
from rtexp.web.app import create_app
from rtexp.web.attempts import ATTEMPTS, Attempts, site_of
from rtexp.web.keys import COOKIE, SESSION_SECONDS, Keys

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator
    from pathlib import Path

    from tests.unit.web.sites import Site

BEARER = {"Authorization": f"Bearer {TOKEN}"}


@pytest.fixture
def guarded(tmp_path: Path) -> Iterator[Site]:
    with open_site(tmp_path, token=TOKEN) as site:
        site.define(experiment())
        yield site


def paths(site: Site) -> list[str]:
    """Every path that the application knows, and some that it doesn't."""
    routes = walk(site.client.app.routes)  # type: ignore[attr-defined]
    found = [
        path.replace("{name:name}", "feed").replace("{name}", "feed").replace("{path}", "x")
        for path in routes
    ]
    return [*found, "/nothing", "/login", "/api/v1/nothing", "/health", "/health/live/x", "/%2Fhealth/live"]


def walk(routes: Iterable[Any]) -> list[str]:
    """FastAPI keeps the routers that an application includes, each with its prefix."""
    found: list[str] = []
    for route in routes:
        if isinstance(route, Route):
            found.append(route.path)
        else:
            prefix = route.include_context.prefix
            found += [f"{prefix}{path}" for path in walk(route.original_router.routes)]
    return found


def test_without_the_token_every_route_but_health_is_refused(guarded: Site) -> None:
    asked = paths(guarded)
    assert {"/", "/experiments/feed", "/api/v1/experiments/feed/cells", "/api/v1/openapi.json"} <= set(asked)
    assert {"/static/x", "/metrics", "/metrics/targets", "/state", "/api/v1/pipeline"} <= set(asked)
    for path in asked:
        for method in ("GET", "HEAD", "OPTIONS", "POST", "DELETE", "TRACE"):
            if (method, path) == ("POST", "/login"):
                continue  # takes the token
            answer = guarded.client.request(method, path)
            is_open = path in {"/health/live", "/health/ready"}
            assert (answer.status_code == 401) != is_open, f"{method} {path}: {answer.status_code}"
            assert "feed" not in answer.text


def test_the_header_lets_programs_in(guarded: Site) -> None:
    assert guarded.client.get("/api/v1/experiments", headers=BEARER).status_code == 200
    assert guarded.client.get("/", headers=BEARER).status_code == 200


@pytest.mark.parametrize(
    "header",
    [
        "",
        "Bearer",
        "Bearer ",
        f"Bearer {TOKEN}x",
        f"Bearer {TOKEN[:-1]}",
        f"Basic {TOKEN}",
        TOKEN,
        "Bearer \xfc",
    ],
)
def test_another_header_does_not(guarded: Site, header: str) -> None:
    answer = guarded.client.get("/api/v1/experiments", headers=[(b"Authorization", header.encode("latin-1"))])
    assert answer.status_code == 401
    assert answer.headers["www-authenticate"] == "Bearer"
    assert answer.json()["code"] == "unauthorized"
    assert TOKEN not in answer.text


def test_a_person_logs_in_once(guarded: Site) -> None:
    asked = guarded.client.get("/")
    assert asked.status_code == 401
    assert 'name="token"' in asked.text
    answer = guarded.client.post("/login", data={"token": TOKEN})
    assert (answer.status_code, answer.headers["location"]) == (303, "/")
    cookie = answer.headers["set-cookie"]
    assert {"HttpOnly", "Path=/", "SameSite=lax"} <= set(cookie.split("; "))
    assert TOKEN not in cookie
    assert guarded.client.get("/").status_code == 200
    assert guarded.client.get("/experiments/feed").status_code == 200


def test_a_wrong_token_gets_no_cookie(guarded: Site) -> None:
    answer = guarded.client.post("/login", data={"token": "wrong"})
    assert answer.status_code == 401
    assert "That isn" in answer.text
    assert "set-cookie" not in answer.headers


def test_a_cookie_is_for_https_only_where_it_was_given_over_https(guarded: Site) -> None:
    answer = guarded.client.post("https://127.0.0.1/login", data={"token": TOKEN})
    assert "Secure" in answer.headers["set-cookie"].split("; ")


def guess(site: Site, *, as_form: bool, token: str = "wrong") -> int:
    if as_form:
        return site.client.post("/login", data={"token": token}).status_code
    return site.client.get("/api/v1/experiments", headers={"Authorization": f"Bearer {token}"}).status_code


@pytest.mark.parametrize("as_form", [True, False])
def test_who_guesses_too_often_waits_whichever_way_the_token_comes(guarded: Site, *, as_form: bool) -> None:
    for _ in range(ATTEMPTS):
        assert guess(guarded, as_form=as_form) == 401
    for either in (True, False):
        assert guess(guarded, as_form=either) == 429
        assert guess(guarded, as_form=either, token=TOKEN) == 429  # else guessing would go on
    answer = guarded.client.post("/login", data={"token": TOKEN})
    assert answer.headers["retry-after"] == "60"


@pytest.mark.parametrize("as_form", [True, False])
def test_guesses_keep_out_nobody_whose_address_has_had_the_right_token(
    guarded: Site, *, as_form: bool
) -> None:
    assert guess(guarded, as_form=False, token=TOKEN) == 200
    for _ in range(ATTEMPTS + 1):
        guess(guarded, as_form=True)
    assert guess(guarded, as_form=as_form) == 429
    assert guess(guarded, as_form=as_form, token=TOKEN) in {200, 303}


def test_guesses_from_one_address_keep_out_nobody_at_another(tmp_path: Path) -> None:
    with open_site(tmp_path, token=TOKEN, web=WebSettings(trusted_proxies=("10.0.0.1",))) as site:
        proxy = TestClient(site.client.app, base_url=HERE, client=("10.0.0.1", 5), follow_redirects=False)

        def log_in(address: str, token: str) -> int:
            headers = {"X-Forwarded-For": address}
            return proxy.post("/login", data={"token": token}, headers=headers).status_code

        for _ in range(ATTEMPTS):
            log_in("203.0.113.9", "wrong")
        assert log_in("203.0.113.9", TOKEN) == 429
        assert log_in("203.0.113.10", TOKEN) == 303


def test_a_session_and_requests_without_a_token_are_no_guesses(guarded: Site) -> None:
    for _ in range(ATTEMPTS + 5):
        assert guarded.client.get("/").status_code == 401
        guarded.client.get("/", headers={"Cookie": f"{COOKIE}=made.up"})
    assert guess(guarded, as_form=True, token=TOKEN) == 303


def test_attempts_are_forgotten_after_a_minute() -> None:
    attempts = Attempts()
    for at_s in range(ATTEMPTS):
        assert attempts.may_pass("a", at_s, right=True)
        attempts.note("a", at_s, right=False)
    assert not attempts.may_pass("a", 59.9, right=True)
    assert attempts.may_pass("a", 60.0, right=False)


def test_many_addresses_fill_no_memory() -> None:
    attempts = Attempts()
    for number in range(30_000):
        attempts.note(f"a{number}", 0.0, right=number % 2 == 0)
    kept = [len(book) for book in (attempts._failed, attempts._known)]
    assert kept == [10_000, 10_000]


@pytest.mark.parametrize(
    ("host", "site"),
    [("10.0.0.7", "10.0.0.7"), ("2001:db8::1", "2001:db8::/64"), ("x" * 10_000, "unknown"), ("", "unknown")],
)
def test_an_address_is_what_one_customer_has(host: str, site: str) -> None:
    assert site_of(host) == site


@pytest.mark.parametrize("path", ["/login", "/logout"])
@pytest.mark.parametrize("origin", ["cross-site", "same-site"])
def test_a_form_of_another_site_is_refused_and_counts_as_no_guess(
    guarded: Site, path: str, origin: str
) -> None:
    for _ in range(ATTEMPTS + 1):
        answer = guarded.client.post(path, data={"token": TOKEN}, headers={"Sec-Fetch-Site": origin})
        assert answer.status_code == 403
        assert "set-cookie" not in answer.headers
    own = guarded.client.post("/login", data={"token": TOKEN}, headers={"Sec-Fetch-Site": "same-origin"})
    assert own.status_code == 303


def test_who_logs_out_needs_the_token_again(guarded: Site) -> None:
    guarded.client.post("/login", data={"token": TOKEN})
    assert guarded.client.get("/").status_code == 200
    answer = guarded.client.post("/logout")
    assert (answer.status_code, answer.headers["location"]) == (303, "/")
    assert guarded.client.get("/").status_code == 401


def test_who_is_logged_in_can_log_out_on_every_page(guarded: Site) -> None:
    form = '<form class="leave" method="post" action="/logout"><button type="submit">Log out</button></form>'
    assert form not in guarded.client.get("/").text, "who isn't has nothing to log out of"
    guarded.client.post("/login", data={"token": TOKEN})
    for path in ("/", "/state", "/experiments/nobody"):
        assert form in guarded.client.get(path).text, path


def test_the_way_out_is_below_the_base_path_and_is_not_there_without_a_token(tmp_path: Path) -> None:
    with open_site(tmp_path, token=TOKEN, web=WebSettings(base_path="/ab")) as site:
        site.client.post("/ab/login", data={"token": TOKEN})
        assert 'action="/ab/logout"' in site.client.get("/ab/").text
    with open_site(tmp_path) as site:
        assert "Log out" not in site.client.get("/").text


def test_a_wrong_token_is_logged_with_its_address_and_without_itself(
    guarded: Site, caplog: pytest.LogCaptureFixture
) -> None:
    guess(guarded, as_form=False, token="wrong-but-nearly-right")
    assert "a wrong token from unknown" in caplog.text
    assert "nearly" not in caplog.text


def test_a_proxy_is_believed_only_if_it_is_trusted(tmp_path: Path) -> None:
    web = WebSettings(trusted_proxies=("10.0.0.0/8",))
    forwarded = {"X-Forwarded-Proto": "https"}
    with open_site(tmp_path, token=TOKEN, web=web) as site:
        for address, believed in (("10.1.2.3", True), ("192.0.2.1", False)):
            client = TestClient(site.client.app, base_url=HERE, client=(address, 5), follow_redirects=False)
            answer = client.post("/login", data={"token": TOKEN}, headers=forwarded)
            assert ("Secure" in answer.headers["set-cookie"]) == believed


@pytest.mark.parametrize("proxy", ["*", "10.0.0.1/8", "proxy.example", "", "10.0.0.0/33"])
def test_a_proxy_that_is_no_address_is_refused(proxy: str) -> None:
    with pytest.raises(ValidationError, match="an address or network of a proxy"):
        WebSettings(trusted_proxies=(proxy,))


def test_who_trusts_a_proxy_needs_a_token_even_on_a_loopback_address() -> None:
    web = WebSettings(trusted_proxies=("127.0.0.1",))
    with pytest.raises(ConfigError, match=r"trusted_proxies.*needs a token.*token_file.*RTEXP_WEB_TOKEN"):
        read_token(web, {})
    assert read_token(web, {TOKEN_VARIABLE: TOKEN}) == TOKEN


def test_a_form_of_megabytes_is_refused(guarded: Site) -> None:
    assert guarded.client.post("/login", content=b"token=" + b"x" * 1_000_000).status_code == 413


def test_a_session_ends_and_cannot_be_prolonged() -> None:
    keys = Keys(TOKEN)
    session = keys.session(1000.0)
    until, _, signature = session.partition(".")
    assert keys.holds(session, 1000.0 + SESSION_SECONDS - 1)
    assert not keys.holds(session, 1000.0 + SESSION_SECONDS)
    assert not keys.holds(f"{int(until) + 1}.{signature}", 1000.0)
    assert not Keys(f"{TOKEN}x").holds(session, 1000.0)


@pytest.mark.parametrize(
    "cookie", ["", ".", "x", "1.2", "99999999999.", f"99999999999.{'0' * 64}", "\xfc.\xfc"]
)
def test_a_made_up_session_is_none(guarded: Site, cookie: str) -> None:
    assert not Keys(TOKEN).holds(cookie, 0.0)
    sent = guarded.client.get("/", headers=[(b"Cookie", f"{COOKIE}={cookie}".encode("latin-1"))])
    assert sent.status_code == 401


@pytest.mark.parametrize("host", ["evil.example", "evil.example:8000", "127.0.0.1.evil.example", "", "[::2]"])
def test_without_a_token_other_names_of_this_machine_are_not_answered_to(tmp_path: Path, host: str) -> None:
    with open_site(tmp_path) as site:
        assert site.client.get("/", headers={"Host": host}).status_code == 421
        assert site.client.get("/api/v1/experiments", headers={"Host": host}).status_code == 421


@pytest.mark.parametrize("host", ["localhost", "localhost:8000", "127.0.0.1", "[::1]:8000"])
def test_names_of_this_machine_are(tmp_path: Path, host: str) -> None:
    with open_site(tmp_path) as site:
        assert site.client.get("/", headers={"Host": host}).status_code == 200


@pytest.mark.parametrize("host", ["127.0.0.1", "127.8.9.1", "::1", "localhost"])
def test_a_loopback_address_needs_no_token(host: str) -> None:
    assert is_loopback(host)
    assert read_token(WebSettings(host=host), {}) is None


@pytest.mark.parametrize("host", ["0.0.0.0", "::", "10.0.0.1", "rtexp.example", "localhost.example"])
def test_any_other_address_is_refused_without_one(host: str) -> None:
    with pytest.raises(ConfigError, match=r"needs a token.*token_file.*RTEXP_WEB_TOKEN"):
        read_token(WebSettings(host=host), {})
    assert read_token(WebSettings(host=host), {TOKEN_VARIABLE: TOKEN}) == TOKEN


def test_a_token_comes_from_its_file_before_the_environment(tmp_path: Path) -> None:
    file = tmp_path / "token"
    file.write_text(f"{TOKEN}-of-the-file\n")
    web = WebSettings(host="0.0.0.0", token_file=file)
    assert read_token(web, {TOKEN_VARIABLE: TOKEN}) == f"{TOKEN}-of-the-file"


@pytest.mark.parametrize("text", ["", "short", "ü" * 20, "with\na line break in it"])
def test_a_token_that_keeps_nobody_out_or_cannot_be_sent_is_refused(tmp_path: Path, text: str) -> None:
    file = tmp_path / "token"
    file.write_text(text)
    with pytest.raises(ConfigError, match="at least 16 printable") as error:
        read_token(WebSettings(token_file=file), {})
    assert not text or text not in str(error.value)


def test_a_token_file_that_is_missing_is_named(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="token_file"):
        read_token(WebSettings(token_file=tmp_path / "none"), {})


def test_the_address_is_loopback_in_these_tests() -> None:
    assert HERE.startswith("http://127.0.0.1")


async def test_who_hangs_up_while_logging_in_leaves_no_traceback(tmp_path: Path) -> None:
    app = create_app(Settings(store=SqliteFile(tmp_path / "x.db").settings), token=TOKEN)
    said: list[Any] = []
    scope = {
        "type": "http", "method": "POST", "path": "/login", "raw_path": b"/login", "query_string": b"",
        "headers": [(b"content-length", b"100")], "client": ("127.0.0.1", 1), "server": ("127.0.0.1", 80),
        "scheme": "http", "http_version": "1.1", "root_path": "", "asgi": {"version": "3.0"},
    }  # fmt: skip

    async def receive() -> dict[str, Any]:
        return {"type": "http.disconnect"}

    async def send(message: Any) -> None:
        said.append(message)

    await app(scope, receive, send)
    assert [message["status"] for message in said if "status" in message] == [400]
