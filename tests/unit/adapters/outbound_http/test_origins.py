import pytest

from photochanger.adapters.outbound_http import Destinations, Forbidden, Origin, parse_base_url

HERE = Origin("http", "127.0.0.1", 8080)
DESTINATIONS = Destinations(domains=("turbotext.ru",), origins=(HERE,))

REACHABLE = (
    "https://turbotext.ru/x.png",
    "https://www.turbotext.ru/download.php?f=a%2Bb.png&c=[1]",
    "https://WWW.TurboText.RU:443/x",
    "https://a.b.turbotext.ru",
    "http://127.0.0.1:8080/x",
)

UNREACHABLE = (
    "",
    "/x.png",
    "//www.turbotext.ru/x",
    "http://www.turbotext.ru/x",
    "https://www.turbotext.ru:444/x",
    "https://www.turbotext.ru:22/x",
    "https://www.turbotext.ru:0/x",
    "https://www.turbotext.ru:99999/x",
    "https://www.turbotext.ru./x",
    "https://turbotext.ru.evil.example/x",
    "https://evilturbotext.ru/x",
    "https://.turbotext.ru.example/x",
    "https://user@www.turbotext.ru/x",
    "https://www.turbotext.ru@127.0.0.1/x",
    "https://www.turbotext.ru:443@127.0.0.1/x",
    "https://www.turbotext.ru\\@127.0.0.1/x",
    "https://127.0.0.1\\@www.turbotext.ru/x",
    "https://www.turbotext.ru\t/x",
    "https://www.turbotext.ru /x",
    "https://www.turbotext.ru/x y",
    "https://www.turbotext.ru/x\r\nHost: y",
    "https://www.turbotext.ru/ж",
    "https://www.turbotext.ru%2f/x",
    "https://xn--turbotext.ru/x",
    "https://www。turbotext。ru/x",
    "https:///www.turbotext.ru/x",
    "https:www.turbotext.ru/x",
    "HTTPS//www.turbotext.ru/x",
    "ftp://www.turbotext.ru/x",
    "file:///etc/passwd",
    "data:image/png;base64,AAAA",
    "gopher://127.0.0.1:8080/_x",
    "https://127.0.0.1:8080/x",
    "http://127.0.0.1:8081/x",
    "http://127.0.0.1/x",
    "http://localhost:8080/x",
    "http://127.1:8080/x",
    "http://[::1]:8080/x",
    "http://[::ffff:127.0.0.1]:8080/x",
    "http://0x7f000001:8080/x",
)


@pytest.mark.parametrize("url", REACHABLE)
def test_a_destination_is_reachable(url: str) -> None:
    DESTINATIONS.check(url)


@pytest.mark.parametrize("url", UNREACHABLE)
def test_nothing_else_is(url: str) -> None:
    with pytest.raises(Forbidden):
        DESTINATIONS.check(url)


@pytest.mark.parametrize(
    ("url", "origin"),
    [
        ("https://API.example.org/v1", Origin("https", "api.example.org", 443)),
        ("http://localhost", Origin("http", "localhost", 80)),
        ("http://[::1]:81/", Origin("http", "::1", 81)),
    ],
)
def test_origins(url: str, origin: Origin) -> None:
    assert Origin.of(url) == origin


@pytest.mark.parametrize(
    ("url", "endpoints"),
    [
        ("https://api.example.org", set()),
        ("https://10.0.0.1", set()),
        ("http://localhost:81", {("127.0.0.1", 81), ("::1", 81)}),
        ("http://127.0.0.2:81", {("127.0.0.2", 81)}),
        ("http://[::1]:81", {("::1", 81)}),
    ],
)
def test_the_endpoints_of_this_machine(url: str, endpoints: set[tuple[str, int]]) -> None:
    assert Origin.of(url).endpoints == endpoints


@pytest.mark.parametrize(
    "url",
    [
        "https://api.example.org",
        "https://relay.example:8443/turbotext",
        "http://127.0.0.1:9",
        "http://localhost",
    ],
)
def test_base_urls(url: str) -> None:
    assert parse_base_url(url) == url
    assert parse_base_url(f"{url}/") == url


@pytest.mark.parametrize(
    ("url", "sentence"),
    [
        ("", "must look like"),
        ("api.example.org", "must look like"),
        ("https://", "must look like"),
        ("https://[", "must look like"),
        ("https://api.example.org:port", "must look like"),
        ("https://api.example.org:99999", "must look like"),
        ("https://key@api.example.org", "must look like"),
        ("https://api.example.org /", "must look like"),
        ("https://api.example.org\\@x", "must look like"),
        ("ftp://api.example.org", "must look like"),
        ("https://api.example.org/?a=b", "query"),
        ("https://api.example.org/#a", "fragment"),
        ("http://api.example.org", "https://"),
        ("http://10.0.0.1", "https://"),
        ("http://127.0.0.1.example.org", "https://"),
        ("http://127.1", "https://"),
    ],
)
def test_what_is_no_base_url(url: str, sentence: str) -> None:
    with pytest.raises(ValueError, match=sentence) as caught:
        parse_base_url(url)
    assert "key" not in str(caught.value)
