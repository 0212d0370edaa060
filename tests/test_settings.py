"""The server's settings: where they come from, and how a wrong one is named."""

import base64
from ipaddress import ip_network
from pathlib import Path

import pytest

from clawback.errors import ConfigError
from clawback.settings import SETTINGS, load_settings

KEY = base64.b64encode(bytes(range(32))).decode()


@pytest.fixture
def data_dir(tmp_path):
    """Keep the developer's own clawback.toml out of the tests."""
    return str(tmp_path)


def load(data_dir, toml=None, flags=None, /, **environment):
    """Load settings with a data directory, a TOML file in it, flags and `CLAWBACK_` variables by their short names."""
    if toml is not None:
        path = Path(data_dir) / "clawback.toml"
        path.write_text(toml)
        path.chmod(0o600)
    variables = {f"CLAWBACK_{name.upper()}": value for name, value in environment.items()}
    return load_settings({"data_dir": data_dir} | (flags or {}), variables)


def refusal(*arguments, **keywords):
    """Load settings that must be refused, and return the message."""
    with pytest.raises(ConfigError) as caught:
        load(*arguments, **keywords)
    return str(caught.value)


def test_the_defaults_listen_on_this_machine_alone(data_dir):
    """With nothing given the server is on loopback, with its own NATS."""
    settings = load(data_dir)

    assert (settings.host, settings.port) == ("127.0.0.1", 8787)
    assert settings.public_url == "http://127.0.0.1:8787"
    assert settings.nats_url is None
    assert (settings.shards, settings.replicas) == (8, 1)
    assert settings.max_body_bytes == 26_214_400
    assert (settings.spool, settings.spool_max_bytes) == (False, 1024**3)
    assert (settings.max_webhooks_per_second, settings.max_webhook_burst) == (100, 1_000)
    assert (settings.max_connections, settings.max_connections_per_address) == (2_000, 500)
    assert settings.trusted_proxies == ()
    assert settings.master_key is None


def test_the_default_data_directory_is_the_platforms(monkeypatch, tmp_path):
    """Without a flag the data is where the platform keeps such things."""
    monkeypatch.setenv("XDG_DATA_HOME", str(tmp_path))
    monkeypatch.setenv("HOME", str(tmp_path))

    assert load_settings({}, {}).data_dir.is_relative_to(tmp_path)


def test_flags_go_before_variables_before_the_file(data_dir):
    """Each place wins over the next; what a place does not say is left to the others."""
    toml = 'host = "file"\nport = 1\nshards = 3\n'
    settings = load(data_dir, toml, {"host": "flag"}, host="variable", port="2")

    assert (settings.host, settings.port, settings.shards) == ("flag", 2, 3)


@pytest.mark.parametrize(
    ("host", "url"),
    [
        ("0.0.0.0", "http://127.0.0.1:8787"),
        ("::", "http://[::1]:8787"),
        ("::1", "http://[::1]:8787"),
        ("fabric.local", "http://fabric.local:8787"),
    ],
)
def test_the_public_url_defaults_to_where_the_server_listens(data_dir, host, url):
    """A wildcard address is no place to connect to, and an IPv6 one needs brackets."""
    assert load(data_dir, host=host).public_url == url


@pytest.mark.parametrize(
    ("name", "text", "value"),
    [
        ("port", "65535", 65535),
        ("public_url", "https://hooks.example.com/clawback/", "https://hooks.example.com/clawback"),
        ("nats_url", "nats://a:4222,tls://b", "nats://a:4222,tls://b"),
        ("nats_url", "nats://u:p@a:4222", "nats://u:p@a:4222"),
        ("shards", "1", 1),
        ("spool", "on", True),
        ("spool", "off", False),
        ("spool_max_bytes", "2 GiB", 2 * 1024**3),
        ("max_webhooks_per_second", "0", 0),
        ("max_webhook_burst", "1", 1),
        ("max_messages_per_minute", "0", 0),
        ("max_connections", "1", 1),
        ("max_connections_per_address", "1000000", 1_000_000),
        ("trusted_proxies", "10.0.0.1", (ip_network("10.0.0.1"),)),
        ("trusted_proxies", "10.1.0.0/16, ::1", (ip_network("10.1.0.0/16"), ip_network("::1"))),
        ("max_body_bytes", "1024", 1024),
        ("max_body_bytes", "1 MiB", 1024**2),
        ("max_body_bytes", "25MiB", 25 * 1024**2),
        ("master_key", KEY, KEY),
    ],
)
def test_a_right_value_is_taken(data_dir, name, text, value):
    """Values at the edges of what is accepted are accepted."""
    assert getattr(load(data_dir, **{name: text}), name) == value


@pytest.mark.parametrize(
    ("name", "text"),
    [
        ("host", "a b"),
        ("port", "0"),
        ("port", "65536"),
        ("port", "8_787"),
        ("port", "+87"),
        ("port", "٨٧"),
        ("port", "9" * 5000),
        ("public_url", "hooks.example.com"),
        ("public_url", "ftp://hooks.example.com"),
        ("public_url", "https://"),
        ("public_url", "https://u:p@hooks.example.com"),
        ("public_url", "https://hooks.example.com/?a=b"),
        ("public_url", "https://hooks.example.com:port"),
        ("public_url", "https://hooks.example.com/'$(id)"),
        ("public_url", "https://hööks.example.com"),
        ("github_url", "http://github.example.com"),
        ("github_api_url", "github.example.com"),
        ("github_logins", "octocat,"),
        ("github_logins", "octo cat"),
        ("github_logins", "@octocat"),
        ("nats_url", "localhost:4222"),
        ("nats_url", "http://localhost:4222"),
        ("nats_url", "nats://a:4222,"),
        ("nats_url", "nats://[::1"),
        ("nats_max_bytes", "1023 KiB"),
        ("nats_max_bytes", "65537 GiB"),
        ("shards", "65"),
        ("replicas", "2"),
        ("spool", "yes"),
        ("spool", "True"),
        ("spool_max_bytes", "1 KiB"),
        ("spool_max_bytes", "1025 GiB"),
        ("max_webhooks_per_second", "1000001"),
        ("max_webhook_burst", "0"),
        ("max_connections", "0"),
        ("max_connections_per_address", "1000001"),
        ("trusted_proxies", "*"),
        ("trusted_proxies", "proxy.example.com"),
        ("trusted_proxies", "10.0.0.1/8"),
        ("max_body_bytes", "1023"),
        ("max_body_bytes", "26MiB"),
        ("max_body_bytes", "26214401"),
        ("max_body_bytes", "25MB"),
    ],
)
def test_a_wrong_value_is_named_with_its_place_and_what_is_accepted(data_dir, name, text):
    """The message says which setting, what was read, where, and what would do."""
    setting = next(setting for setting in SETTINGS if setting.name == name)
    message = refusal(data_dir, **{name: text})

    assert message == f"{name}: read '{text}' from CLAWBACK_{name.upper()}; accepted is {setting.accepts}"


def test_the_place_is_a_flag_or_a_line_where_it_is_one(data_dir):
    """A flag is named as typed, a file with its line."""
    assert "from --port; accepted" in refusal(data_dir, None, {"port": "x"})
    assert f"from {data_dir}/clawback.toml line 4; accepted" in refusal(data_dir, '# one\n\nhost = "a"\nport = "x"\n')


@pytest.mark.parametrize("setting", [setting.name for setting in SETTINGS])
def test_an_empty_value_is_no_default(data_dir, setting):
    """An empty variable is a mistake in a script, not a choice."""
    assert refusal(data_dir, None, {"data_dir": None}, **{setting: ""}).startswith(
        f"{setting}: CLAWBACK_{setting.upper()} is empty; "
    )


def test_an_unknown_variable_is_warned_of_with_the_nearest(data_dir, caplog):
    """A typing mistake is told, and what somebody else's program reads stops nothing."""
    load(data_dir, nats_uri="nats://a")

    assert caplog.messages == [
        "CLAWBACK_NATS_URI: this variable is no setting and has no effect; the nearest is CLAWBACK_NATS_URL"
    ]


def test_the_plugins_variables_are_no_mistake(data_dir):
    """A shell that runs the plugin may start the server too."""
    assert load(data_dir, session="deploys", config="/home/me/config.json").port == 8787


@pytest.mark.parametrize("service", ["", "nats_", "web_2_"])
def test_what_kubernetes_sets_for_a_service_is_passed_over(data_dir, caplog, service):
    """A Service named clawback puts its own CLAWBACK_PORT, and seven more, into every pod; clawback-nats likewise."""
    address = "tcp://10.0.0.1:8787"
    links = {
        "service_host": "10.0.0.1",
        "service_port": "8787",
        "service_port_http": "8787",
        "port": address,
        "port_8787_tcp": address,
        "port_8787_tcp_proto": "tcp",
        "port_8787_tcp_port": "8787",
        "port_8787_tcp_addr": "10.0.0.1",
    }
    settings = load(data_dir, **{service + name: value for name, value in links.items()})

    assert settings.port == 8787
    assert not settings.origins.keys() - {"data_dir"}
    assert not caplog.messages


def test_a_port_that_is_no_number_is_still_refused(data_dir):
    """Only the shape that Kubernetes writes is passed over."""
    assert "port: read 'tcp://' from CLAWBACK_PORT" in refusal(data_dir, port="tcp://")


@pytest.mark.parametrize(
    ("text", "host"), [("[::1]", "::1"), ("[::]", "::"), ("::1", "::1"), ("localhost", "localhost")]
)
def test_a_host_may_stand_in_brackets(data_dir, text, host):
    """As it does in a URL."""
    assert load(data_dir, None, {"host": text}).host == host


@pytest.mark.parametrize("text", ["[::1", "::1]", "[localhost]", "[]", "[[::1]]"])
def test_brackets_hold_an_ipv6_address(data_dir, text):
    """All else is refused with what is accepted, not by the resolver."""
    assert "accepted is a host name or an IP address" in refusal(data_dir, None, {"host": text})


def test_a_byte_order_mark_is_passed_over(data_dir):
    """Windows's editors write one in front of a text."""
    assert load(data_dir, "\ufeffport = 99\n").port == 99


def test_an_unknown_key_of_the_file_names_the_nearest(data_dir):
    """The same in TOML, with the line."""
    message = refusal(data_dir, 'host = "a"\npublic = "http://a"\n')

    assert message == f"public: {data_dir}/clawback.toml line 2 is no setting; the nearest is public_url"


@pytest.mark.parametrize("line", ["port = true", "port = 1.5", "port = [1]", "[port]", "[[port]]", "port.a = 1"])
def test_a_value_of_another_type_is_refused(data_dir, line):
    """Only text and whole numbers are values."""
    assert refusal(data_dir, f'host = "a"\n{line}').startswith(
        f"port: {data_dir}/clawback.toml line 2 is neither text nor a number"
    )


APP = {"github_client_id": "Iv1.0123456789abcdef", "github_client_secret": "planted-secret"}


@pytest.mark.parametrize(
    ("text", "logins"),
    [
        ("octocat", ("octocat",)),
        ("Octo-Cat, mona_corp,583231,OCTO-CAT", ("octo-cat", "mona_corp", "583231")),
    ],
)
def test_the_list_of_logins_is_read_without_case_and_doubles(data_dir, text, logins):
    """GitHub's logins have no case; a list may be written with blanks."""
    assert load(data_dir, **APP, github_logins=text).github_logins == logins


@pytest.mark.parametrize(
    ("settings", "api_url"),
    [
        ({}, "https://api.github.com"),
        ({"github_url": "https://github.example.com/"}, "https://github.example.com/api/v3"),
        ({"github_url": "https://a.example", "github_api_url": "https://api.a.example/"}, "https://api.a.example"),
        ({"github_url": "http://127.0.0.1:9000"}, "http://127.0.0.1:9000/api/v3"),
    ],
)
def test_githubs_api_follows_from_its_url(data_dir, settings, api_url):
    """github.com's has a host of its own, an Enterprise Server's a path, and either can be said."""
    assert load(data_dir, **APP, **settings).github_api_url == api_url


@pytest.mark.parametrize("missing", sorted(APP))
def test_a_login_with_github_needs_both_halves_of_its_app(data_dir, missing):
    """Half of it, or a list without an app, would be a login that never works."""
    halves = {name: value for name, value in APP.items() if name != missing}
    message = refusal(data_dir, **halves, github_logins="octocat")

    assert message.startswith(f"{missing}: unset, but github_")
    assert "needs both halves of an OAuth app" in message
    assert "planted" not in message
    assert "github_client_id: unset" in refusal(data_dir, github_logins="octocat")
    assert "planted" not in str(load(data_dir, **APP).describe())


def test_a_file_that_is_not_toml_is_named(data_dir):
    """The parser's own words say where."""
    assert refusal(data_dir, "port =").startswith(f"config: {data_dir}/clawback.toml is not TOML: ")


def test_a_named_file_must_exist(data_dir):
    """The default file may be absent, one that was asked for may not."""
    message = "config: cannot read /absent.toml: No such file or directory"

    assert refusal(data_dir, None, {"config": "/absent.toml"}) == message
    assert refusal(data_dir, config_file="/absent.toml") == message


def test_a_named_file_is_read_instead_of_the_default(data_dir, tmp_path):
    """`--config` goes before the variable, and both before the data directory's own file."""
    for number, name in ((2, "flag.toml"), (3, "variable.toml")):
        (tmp_path / name).write_text(f"port = {number}\n")
    variable = str(tmp_path / "variable.toml")

    assert load(data_dir, "port = 1\n").port == 1
    assert load(data_dir, config_file=variable).port == 3
    assert load(data_dir, None, {"config": str(tmp_path / "flag.toml")}, config_file=variable).port == 2


def test_a_secret_may_come_from_a_file(data_dir, tmp_path):
    """`…_FILE` and `…_file` name a private file that holds the value."""
    path = tmp_path / "key"
    path.write_text(KEY + "\n")
    path.chmod(0o600)

    assert load(data_dir, master_key_file=str(path)).master_key == KEY
    assert load(data_dir, f'master_key_file = "{path}"\n').master_key == KEY


def test_a_secrets_file_must_be_private(data_dir, tmp_path):
    """A key that others can read stops the start, wherever it was named."""
    path = tmp_path / "key"
    path.write_text(KEY)
    path.chmod(0o644)

    assert refusal(data_dir, master_key_file=str(path)).startswith(f"CLAWBACK_MASTER_KEY_FILE: {path} has mode 0644")


@pytest.mark.parametrize(
    "line", [f'master_key = "{KEY}"', 'nats_url = "nats://u:p@a"\n', 'nats_password = "p"\nnats_user = "u"']
)
def test_a_settings_file_with_a_secret_in_it_must_be_private(tmp_path, line):
    """A TOML file becomes a secret's file once it holds one."""
    (tmp_path / "clawback.toml").write_text(f'nats_url = "nats://a"\n{line}\n' if "nats_url" not in line else line)
    (tmp_path / "clawback.toml").chmod(0o644)

    with pytest.raises(ConfigError, match="has mode 0644"):
        load_settings({"data_dir": str(tmp_path)}, {})


def test_a_secret_given_twice_is_refused(data_dir):
    """Value and file at once: nobody can know which was meant."""
    assert "both CLAWBACK_MASTER_KEY and CLAWBACK_MASTER_KEY_FILE" in refusal(
        data_dir, master_key=KEY, master_key_file="/x"
    )
    assert "has both master_key and master_key_file" in refusal(
        data_dir, f'master_key = "{KEY}"\nmaster_key_file = "/x"\n'
    )


def test_no_secret_is_ever_shown(data_dir):
    """Neither errors nor the log at the start nor a repr holds a value that was given as a secret."""
    settings = load(
        data_dir, master_key=KEY, nats_url="nats://planted:pl@nted@a:4222", public_url="http://shown.example"
    )
    message = refusal(data_dir, master_key="planted-secret!")
    bad_urls = [
        refusal(data_dir, nats_url=url)
        for url in ("http://planted:planted@a:4222", "nats://planted:p,l/a@nted@a:4222", "planted:planted@a:4222")
    ]

    assert message.startswith("master_key: read 15 characters that are not base64 from CLAWBACK_MASTER_KEY; accepted ")
    assert "planted" not in message
    for bad_url in bad_urls:
        assert "planted" not in bad_url
        assert "…@a:4222'" in bad_url
    assert "nats_url = nats://…@a:4222 (CLAWBACK_NATS_URL)" in settings.describe()
    for text in (*settings.describe(), repr(settings)):
        assert KEY not in text
        assert "planted" not in text
    assert "http://shown.example" in repr(settings)


def test_the_description_says_where_each_setting_is_from(data_dir):
    """One line for each that was given; what is a default is not repeated."""
    lines = load(data_dir, "shards = 2\n", {"host": "::1"}, port="99").describe()

    assert "host = ::1 (--host)" in lines
    assert "port = 99 (CLAWBACK_PORT)" in lines
    assert f"shards = 2 ({data_dir}/clawback.toml line 1)" in lines
    assert not [line for line in lines if line.startswith(("replicas", "master_key"))]


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"nats_user": "u", "nats_password": "p"}, "nats_user: read from CLAWBACK_NATS_USER, but nats_url is unset"),
        ({"nats_max_bytes": "1 GiB"}, "nats_max_bytes: read from CLAWBACK_NATS_MAX_BYTES, but nats_url is unset"),
        ({"replicas": "3"}, "replicas: read from CLAWBACK_REPLICAS, but nats_url is unset"),
        ({"nats_url": "nats://a", "nats_user": "u"}, "nats_password: unset"),
        ({"nats_url": "nats://a", "nats_password": "p"}, "nats_user: unset"),
        ({"nats_url": "nats://u:p@a", "nats_user": "u", "nats_password": "p"}, "nats_url holds a login too"),
    ],
)
def test_settings_that_do_not_go_together_are_refused(data_dir, settings, message):
    """Half a login, two logins, and settings for a NATS that is not there."""
    assert message in refusal(data_dir, **settings)


@pytest.mark.parametrize(
    ("variables", "endpoint"),
    [
        ({}, None),
        ({"ENDPOINT": "http://127.0.0.1:4318"}, "http://127.0.0.1:4318"),
        ({"ENDPOINT": ""}, None),
        ({"TRACES_ENDPOINT": "https://u:planted@[::1]:1/v1?key=planted", "ENDPOINT": "http://b"}, "https://[::1]:1"),
        ({"ENDPOINT": "http://b", "OTEL_SDK_DISABLED": "TRUE"}, None),
        ({"ENDPOINT": "http://b", "OTEL_SDK_DISABLED": "no"}, "http://b"),
        ({"ENDPOINT": "http://b", "OTEL_TRACES_EXPORTER": "none"}, None),
    ],
)
def test_opentelemetrys_variables_say_where_traces_go(data_dir, variables, endpoint):
    """As its specification has them; what may be secret in the URL is not shown."""
    named = {
        name if name.startswith("OTEL_") else f"OTEL_EXPORTER_OTLP_{name}": each for name, each in variables.items()
    }
    settings = load_settings({"data_dir": data_dir}, named)

    assert settings.trace_endpoint == endpoint
    assert (f"traces to {endpoint}" in settings.describe()) == (endpoint is not None)


@pytest.mark.parametrize(
    "text", ["collector:4317", "collector", "grpc://u:planted@collector", "http://", "http://a:x", "http://[::1"]
)
def test_an_endpoint_that_is_no_url_is_named(data_dir, text):
    """Before anything is started."""
    with pytest.raises(ConfigError, match="accepted is the http:// or https:// URL of an OpenTelemetry") as caught:
        load_settings({"data_dir": data_dir}, {"OTEL_EXPORTER_OTLP_ENDPOINT": text})

    assert str(caught.value).startswith("OTEL_EXPORTER_OTLP_ENDPOINT: read '")
    assert "planted" not in str(caught.value)
