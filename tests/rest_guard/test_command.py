# SPDX-License-Identifier: Apache-2.0
"""The command ``nova-edge-bus rest-guard``: what it takes, says, and how it ends."""

from __future__ import annotations

import contextlib
import datetime
import ipaddress
import json
import pathlib
import re
import socket
import subprocess
import sys
import threading

import pytest
import requests
from cryptography import x509
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives import serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import NameOID

from tests.nova.processes import wait_until
from tests.rest_guard.conftest import MakeGuard
from tests.rest_guard.processes import START_SECONDS
from tests.rest_guard.processes import WAIT_SECONDS
from tests.rest_guard.processes import Guard
from tests.rest_guard.processes import Service
from tests.rest_guard.test_cut import BACK
from tests.rest_guard.test_cut import OUT
from tests.rest_guard.test_cut import Asking

PROGRAM = str(pathlib.Path(sys.executable).with_name("nova-edge-bus"))


def run(*arguments: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [PROGRAM, "rest-guard", *arguments], capture_output=True, text=True, timeout=START_SECONDS
    )


def make_certificate(directory: pathlib.Path) -> pathlib.Path:
    """A file with a key and a certificate of its own for 127.0.0.1."""
    key = ec.generate_private_key(ec.SECP256R1())
    name = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, "service")])
    now = datetime.datetime.now(datetime.UTC)
    address = x509.IPAddress(ipaddress.ip_address("127.0.0.1"))
    certificate = (
        x509.CertificateBuilder()
        .subject_name(name)
        .issuer_name(name)
        .public_key(key.public_key())
        .serial_number(x509.random_serial_number())
        .not_valid_before(now - datetime.timedelta(days=1))
        .not_valid_after(now + datetime.timedelta(days=1))
        .add_extension(x509.SubjectAlternativeName([address]), critical=False)
        .add_extension(x509.BasicConstraints(ca=True, path_length=None), critical=True)
        .sign(key, hashes.SHA256())
    )
    path = directory / "service.pem"
    path.write_bytes(
        key.private_bytes(
            serialization.Encoding.PEM,
            serialization.PrivateFormat.PKCS8,
            serialization.NoEncryption(),
        )
        + certificate.public_bytes(serialization.Encoding.PEM)
    )
    return path


@pytest.mark.parametrize(
    "arguments",
    [
        [],
        ["--listen", "127.0.0.1:0"],
        ["--listen", "controller:0", "--upstream", "http://127.0.0.1:1"],
        ["--listen", "127.0.0.1:70000", "--upstream", "http://127.0.0.1:1"],
        ["--listen", "127.0.0.1:0", "--upstream", "127.0.0.1:1"],
        ["--listen", "127.0.0.1:0", "--upstream", "ftp://127.0.0.1:1"],
        ["--listen", "127.0.0.1:0", "--upstream", "http://user:pw@127.0.0.1:1"],
        ["--listen", "127.0.0.1:0", *["--upstream", "http://127.0.0.1:1"] * 2],
        ["--listen", "127.0.0.1:0", "--upstream", "http://127.0.0.1:1", "--link-timeout", "0"],
    ],
)
def test_wrong_usage_ends_with_2(arguments: list[str]) -> None:
    ended = run(*arguments)
    assert ended.returncode == 2
    assert "pw" not in ended.stderr


def test_what_cannot_be_done_ends_with_1_and_says_why(tmp_path: pathlib.Path) -> None:
    upstream = ["--upstream", "https://127.0.0.1:1", f"--cache-dir={tmp_path / 'cache'}"]
    insecure = run("--listen", "0.0.0.0:0", *upstream)
    assert insecure.returncode == 1
    assert "--allow-insecure" in insecure.stderr
    with socket.create_server(("127.0.0.1", 0)) as taken:
        in_use = run("--listen", f"127.0.0.1:{taken.getsockname()[1]}", *upstream)
    assert in_use.returncode == 1
    assert "in use" in in_use.stderr
    (tmp_path / "file").touch()
    no_cache = run("--listen", "127.0.0.1:0", *upstream, f"--cache-dir={tmp_path / 'file' / 'x'}")
    assert no_cache.returncode == 1
    assert "--cache-dir" in no_cache.stderr
    no_ca = run("--listen", "127.0.0.1:0", *upstream, f"--ca-file={tmp_path / 'none'}")
    assert no_ca.returncode == 1
    assert "--ca-file" in no_ca.stderr
    for ended in (insecure, in_use, no_cache, no_ca):
        assert "Traceback" not in ended.stderr


def test_several_services_have_one_guard_each_in_one_process(
    tmp_path: pathlib.Path, cleanup: contextlib.ExitStack, service: Service
) -> None:
    guard = Guard(
        tmp_path,
        f"placement={service.url}",
        {},
        *("--listen", "127.0.0.1:0", "--upstream", "neutron=http://127.0.0.1:1/base", "--json"),
    )
    cleanup.callback(guard.process.stop)
    guard.process.command = [PROGRAM, "rest-guard", "--listen", "127.0.0.1:0", *guard.arguments]
    guard.process.start()
    said = re.compile(r'^\{"listening".*\}$', re.MULTILINE)
    guard.process.wait_ready(lambda: bool(said.search(guard.log)), START_SECONDS)
    line = said.search(guard.log)
    assert line is not None
    first, second = json.loads(line[0])["listening"]
    assert second.endswith("/base")
    assert requests.get(f"{first}/echo", timeout=WAIT_SECONDS).ok
    answer = requests.get(f"{second}/echo", timeout=WAIT_SECONDS)
    assert "NeutronError" in answer.json()


def test_tls_to_the_service_is_checked(
    tmp_path: pathlib.Path, cleanup: contextlib.ExitStack, make_guard: MakeGuard
) -> None:
    certificate = make_certificate(tmp_path)
    service = Service(tmp_path, certificate)
    cleanup.callback(service.close)
    service.start()
    trusting = make_guard(f"placement={service.url}", f"--ca-file={certificate}")
    assert requests.get(f"{trusting.url}/echo", timeout=WAIT_SECONDS).ok
    assert OUT not in trusting.log
    trusting.process.stop()
    wary = make_guard(f"placement={service.url}")
    assert requests.get(f"{wary.url}/echo", timeout=WAIT_SECONDS).status_code == 503
    wary.wait_for("certificate verify failed")


def test_sigterm_lets_requests_end(guard: Guard, service: Service) -> None:
    asking = Asking(guard, service, "GET", "/slow?seconds=2")
    guard.process.terminate()
    assert asking.result().ok
    wait_until(lambda: not guard.process.alive, WAIT_SECONDS, "the guard to end")
    assert guard.process.returncode == 0


def test_sigterm_waits_for_no_request_for_ever(guard: Guard, service: Service) -> None:
    asking = Asking(guard, service, "POST", "/never")
    idle = socket.create_connection(("127.0.0.1", guard.port))
    guard.process.terminate()
    assert asking.result().status_code == 504
    wait_until(lambda: not guard.process.alive, WAIT_SECONDS, "the guard to end")
    assert guard.process.returncode == 0
    idle.close()


def test_the_log_tells_changes_and_no_secrets(guard: Guard, service: Service) -> None:
    secret = {"X-Auth-Token": "open-sesame"}
    url = f"{guard.url}/echo?token=open-sesame"
    requests.post(url, headers=secret, data="open-sesame", timeout=WAIT_SECONDS)
    service.process.kill()
    for _ in range(5):
        requests.post(url, headers=secret, data="open-sesame", timeout=WAIT_SECONDS)
    service.start()
    guard.wait_for(BACK)
    assert guard.log.count(OUT) == 1
    assert "POST /echo: 200" in guard.log
    assert "POST /echo: 503" in guard.log
    with socket.create_connection(("127.0.0.1", guard.port), timeout=WAIT_SECONDS) as broken:
        broken.sendall(b"GET / HTTP/1.1\r\nX-Auth-Token open-sesame\r\n\r\n")
        assert b" 400 " in broken.recv(1000)
    guard.wait_for("Error handling request from 127.0.0.1")
    assert "open-sesame" not in guard.log


def test_without_debug_requests_are_not_logged(
    tmp_path: pathlib.Path, cleanup: contextlib.ExitStack, service: Service
) -> None:
    guard = Guard(tmp_path, f"placement={service.url}", {}, debug=False)
    cleanup.callback(guard.process.stop)
    guard.start()
    assert requests.get(f"{guard.url}/echo", timeout=WAIT_SECONDS).ok
    assert "/echo" not in guard.log


def test_many_requests_at_once_all_pass(guard: Guard) -> None:
    statuses: list[int] = []

    def ask() -> None:
        with requests.Session() as session:
            for _ in range(10):
                url = f"{guard.url}/echo"
                statuses.append(session.get(url, timeout=WAIT_SECONDS).status_code)

    threads = [threading.Thread(target=ask) for _ in range(20)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert statuses == [200] * 200


def test_requests_that_come_after_sigterm_are_refused(guard: Guard, service: Service) -> None:
    asking = Asking(guard, service, "GET", "/slow?seconds=3")
    with requests.Session() as session:
        assert session.get(f"{guard.url}/echo", timeout=WAIT_SECONDS).ok
        guard.process.terminate()
        guard.wait_for("stopping")
        assert session.get(f"{guard.url}/echo", timeout=WAIT_SECONDS).status_code == 503
    assert asking.result().ok
