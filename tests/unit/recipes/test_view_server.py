"""A real server: what it hands out, and everything that it does not."""

import http.client
import socket
import threading
import urllib.request
from contextlib import contextmanager

import pytest

from driftmap.core.errors import UsageError
from driftmap.recipes.steps.viewing.finding import run_key
from driftmap.recipes.steps.viewing.serving import RunServer
from driftmap.recipes.steps.viewing.showing import look, serve_index
from made_runs import made_run


@contextmanager
def serving(*folders):
    with RunServer(lambda: look(folders), 0) as server:
        thread = threading.Thread(target=server.serve_forever, args=(0.01,))
        thread.start()
        try:
            yield server
        finally:
            server.shutdown()
            thread.join()


@pytest.fixture(scope="module")
def place(tmp_path_factory):
    folder = tmp_path_factory.mktemp("place")
    made_run(folder / "runs" / "one")
    made_run(folder / "elsewhere")
    (folder / "secret.txt").write_text("secret")
    figures = folder / "runs" / "one" / "figures"
    (figures / "away.png").symlink_to(folder / "secret.txt")
    (figures / "deep").mkdir()
    (figures / "deep" / "two.png").write_bytes(b"png")
    (figures / "pipe.png").mkdir()
    return folder


@pytest.fixture(scope="module")
def server(place):
    with serving(place / "runs") as server:
        yield server


def asked(server, path, method="GET", **headers):
    """Status, headers and body, with the path sent as it is written."""
    connection = http.client.HTTPConnection("127.0.0.1", server.server_port, timeout=9)
    connection.putrequest(method, path, skip_host="Host" in headers)
    for name, value in headers.items():
        for one in value if isinstance(value, list) else [value]:
            connection.putheader(name.replace("_", "-"), one)
    connection.endheaders()
    answer = connection.getresponse()
    body = answer.read().decode()
    connection.close()
    return answer.status, answer.headers, body


def run_path(place, file):
    return f"/run/{run_key((place / 'runs' / 'one').resolve())}/{file}"


def test_the_index_leads_to_the_report_and_its_figures(server, place):
    with urllib.request.urlopen(server.address) as answer:
        index = answer.read().decode()
    assert "What did these runs find?" in index
    path = run_path(place, "report.html")
    assert f'href="{path[1:]}"' in index
    assert asked(server, path)[2] == "<p>one</p>"
    assert asked(server, run_path(place, "figures/one.png"))[2] == "png"
    assert "It does it" in asked(server, run_path(place, "report.txt"))[2]


def test_nothing_may_be_loaded_from_elsewhere(server, place):
    _, index, _ = asked(server, "/")
    policy = index["Content-Security-Policy"]
    assert policy.startswith("default-src 'none'")
    assert "frame-ancestors 'none'" in policy
    _, report, _ = asked(server, run_path(place, "report.html"))
    policy = report["Content-Security-Policy"]
    assert "sandbox allow-scripts allow-downloads" in policy
    for headers in (index, report):
        assert "http:" not in headers["Content-Security-Policy"]
        assert "connect-src" not in headers["Content-Security-Policy"]
        assert headers["X-Content-Type-Options"] == "nosniff"
        assert headers["Cross-Origin-Resource-Policy"] == "same-origin"
        assert "Access-Control-Allow-Origin" not in headers
        assert "Python" not in headers["Server"]


@pytest.mark.parametrize(
    "path",
    [
        "/secret.txt",
        "/../secret.txt",
        "/%2e%2e/secret.txt",
        "//etc/passwd",
        "/etc/passwd",
        "/run",
        "/run/000000000000/report.html",
        "RUN/../report.html",
        "RUN/../../../secret.txt",
        "RUN/..%2f..%2f..%2fsecret.txt",
        "RUN/%252e%252e/report.html",
        "RUN/figures/../report.html",
        "RUN/figures/..%2f..%2frun.yaml",
        "RUN/figures/away.png",
        "RUN/figures/deep/two.png",
        "RUN/figures/pipe.png",
        "RUN/figures/%2e%2e.png",
        "RUN/figures/one.png%00.svg",
        "RUN/figures/one%5cone.png",
        "RUN/figures/",
        "RUN/run.yaml",
        "RUN/log.txt",
        "RUN/provenance.json",
        "RUN/steps/report.json",
        "RUN/a.json",
        "RUN/report.html?x=1",
        "RUN/report.html/",
        "RUN/REPORT.HTML",
        "/%ff",
        "*",
    ],
)
def test_no_path_leads_anywhere_else(server, place, path):
    path = path.replace("RUN/", run_path(place, ""))
    status, _, body = asked(server, path)
    assert status == 404
    assert body == "404 Not Found: there is no such page\n"


def test_a_run_that_is_not_listed_is_not_served(server, place):
    path = f"/run/{run_key((place / 'elsewhere').resolve())}/report.html"
    assert asked(server, path)[0] == 404


def test_a_report_that_became_a_link_is_not_followed(tmp_path):
    run = made_run(tmp_path / "runs" / "one")
    (tmp_path / "secret.txt").write_text("secret")
    with serving(tmp_path / "runs") as server:
        key = run_key(run.resolve())
        assert asked(server, f"/run/{key}/report.html")[0] == 200
        (run / "report.html").unlink()
        (run / "report.html").symlink_to(tmp_path / "secret.txt")
        assert asked(server, f"/run/{key}/report.html")[0] == 404
        (run / "figures" / "one.png").rename(tmp_path / "one.png")
        (run / "figures").rmdir()
        (run / "figures").symlink_to(tmp_path)
        assert asked(server, f"/run/{key}/figures/one.png")[0] == 404


@pytest.mark.parametrize(
    "host",
    [
        "evil.example",
        "evil.example:PORT",
        "127.0.0.1",
        "127.0.0.1:1",
        "127.0.0.1:PORT.evil.example",
        "[::1]:PORT",
        "",
        ["127.0.0.1:PORT", "evil.example"],
        [],
    ],
)
def test_another_name_is_refused(server, host):
    names = [host] if isinstance(host, str) else host
    names = [name.replace("PORT", str(server.server_port)) for name in names]
    status, _, body = asked(server, "/", Host=names)
    assert status == 403
    assert "runs" not in body
    assert body.endswith("by that name\n")


def test_its_own_names_are_answered(server):
    for name in ("127.0.0.1", "localhost"):
        assert asked(server, "/", Host=f"{name}:{server.server_port}")[0] == 200


@pytest.mark.parametrize("method", ["POST", "HEAD", "PUT", "DELETE", "OPTIONS", "ODD"])
def test_only_reading_is_answered(server, method):
    status, headers, body = asked(server, "/", method)
    assert (status, headers["Allow"]) == (405, "GET")
    assert "What did these runs find?" not in body


def test_it_listens_on_this_machine_alone(server):
    assert server.server_address[0] == "127.0.0.1"
    assert server.address.startswith("http://127.0.0.1:")


def test_a_port_that_is_taken_is_named(tmp_path):
    made_run(tmp_path / "one")
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = taken.getsockname()[1]
        with pytest.raises(UsageError, match=rf"--port {port}: cannot be listened on"):
            serve_index([tmp_path], port, opens=False)


def test_new_runs_show_when_the_index_is_asked_for_again(tmp_path):
    made_run(tmp_path / "one")
    with serving(tmp_path) as server:
        assert "1 run: 1 finished." in asked(server, "/")[2]
        made_run(tmp_path / "two")
        assert "2 runs: 2 finished." in asked(server, "/")[2]
        for name in ("one", "two"):
            (tmp_path / name / "run.yaml").unlink()
        status, _, body = asked(server, "/")
        assert status == 500
        assert "holds no run" in body


def test_an_interrupt_ends_it(tmp_path, monkeypatch):
    made_run(tmp_path / "one")

    def interrupted(self):
        raise KeyboardInterrupt

    opened = []
    monkeypatch.setattr(RunServer, "serve_forever", interrupted)
    monkeypatch.setattr("webbrowser.open", opened.append)
    assert serve_index([tmp_path], 0, opens=False) == "1 run, no longer shown"
    assert opened == []
    assert serve_index([tmp_path], 0, opens=True) == "1 run, no longer shown"
    assert opened[0].startswith("http://127.0.0.1:")
