"""The files of ``deployment.md``: that they agree with each other and with the options."""

from __future__ import annotations

import re
import shlex
from pathlib import Path
from typing import Any

import pytest

import reserve
from reserve.cli.parser import parse_command_line
from reserve.options.sources import collect

TEXT = (Path(reserve.__file__).parent / "docs" / "deployment.md").read_text("utf-8")


def block(language: str, text: str = TEXT) -> str:
    """The only block in a language on the page."""
    (found,) = re.findall(rf"^```{language}\n(.*?)^```$", text, re.MULTILINE | re.DOTALL)
    return str(found)


def section(title: str) -> str:
    """The text below a heading."""
    return TEXT.partition(f"\n## {title}\n")[2].partition("\n## ")[0]


def pod() -> dict[str, Any]:
    yaml = pytest.importorskip("yaml")
    deployment = yaml.safe_load(block("yaml"))
    assert (deployment["apiVersion"], deployment["kind"]) == ("apps/v1", "Deployment")
    template = deployment["spec"]["template"]
    assert deployment["spec"]["selector"]["matchLabels"].items() <= template["metadata"]["labels"].items()
    return dict(template["spec"])


def test_the_pod_has_time_for_drain_delay_and_stop_timeout() -> None:
    spec = pod()
    (container,) = spec["containers"]
    values = collect(parse_command_line(container["args"]).given, {}, "/nonexistent")
    drain, stop = values["drain_delay"], values["stop_timeout"]
    assert isinstance(drain, float)
    assert isinstance(stop, float)
    assert spec["terminationGracePeriodSeconds"] > drain + stop
    probe = container["readinessProbe"]
    assert drain > 2 * probe["periodSeconds"] * probe["failureThreshold"]


def test_the_probes_ask_where_the_server_answers() -> None:
    (container,) = pod()["containers"]
    values = collect(parse_command_line(container["args"]).given, {}, "/nonexistent")
    (port,) = container["ports"]
    assert values["bind"] == (f":{port['containerPort']}",)
    for name in ("startupProbe", "readinessProbe"):
        assert container[name]["httpGet"] == {"path": values["ready_path"], "port": port["name"]}
    assert container["livenessProbe"]["httpGet"] == {"path": values["live_path"], "port": port["name"]}


def test_every_volume_is_mounted_and_the_root_is_read_only() -> None:
    spec = pod()
    (container,) = spec["containers"]
    assert [mount["name"] for mount in container["volumeMounts"]] == [volume["name"] for volume in spec["volumes"]]
    assert container["securityContext"]["readOnlyRootFilesystem"]


def test_docker_waits_longer_than_the_server_needs() -> None:
    command = section("Docker").partition("    docker run ")[2].partition("\n\n")[0].replace("\\\n", " ")
    words = shlex.split(command)
    stop = collect((), {}, "/nonexistent")["stop_timeout"]
    assert isinstance(stop, float)
    assert int(words[words.index("--stop-timeout") + 1]) > stop


def test_haproxy_notices_before_the_drain_is_over() -> None:
    seconds, fall = map(int, re.findall(r"check inter (\d+)s fall (\d+)", block("haproxy"))[0])
    (line,) = re.findall(r"^```sh\nreserve (.*)\n```$", section("Several servers behind HAProxy"), re.MULTILINE)
    values = collect(parse_command_line(shlex.split(line)).given, {}, "/nonexistent")
    drain = values["drain_delay"]
    assert isinstance(drain, float)
    assert drain > seconds * (fall + 1)
