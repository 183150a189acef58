"""deploy/kubernetes: valid by its schemas, and made of commands, settings, ports, paths and keys that there are."""

from __future__ import annotations

import json
import shutil
import subprocess
from typing import TYPE_CHECKING, Any

import pytest
import yaml
from tests.unit.deploy.files import DEPLOY, faults, settings_of, vendored
from tests.unit.typed_commands import check

from rtexp.bootstrap.common import engine_config
from rtexp.engine.app import STOP_SECONDS
from rtexp.errors import ConfigError
from rtexp.web.address import read_token
from rtexp.worker_web.guard import OPEN

if TYPE_CHECKING:
    from pathlib import Path

    from rtexp.settings import Settings

FILES = DEPLOY / "kubernetes"
NOT_RESOURCES = {"kustomization.yaml", "secret.example.yaml"}
KINDS = {
    "StatefulSet": "io.k8s.api.apps.v1", "Deployment": "io.k8s.api.apps.v1", "Job": "io.k8s.api.batch.v1",
    "Service": "io.k8s.api.core.v1", "Namespace": "io.k8s.api.core.v1", "Secret": "io.k8s.api.core.v1",
    "PodDisruptionBudget": "io.k8s.api.policy.v1", "NetworkPolicy": "io.k8s.api.networking.v1",
}  # fmt: skip
"""Where their schemas stand. KEDA's and the Prometheus operator's kinds are their own affair."""


def documents(name: str) -> list[dict[str, Any]]:
    found = [each for each in yaml.safe_load_all((FILES / name).read_text()) if each is not None]
    return [item for each in found for item in (each["items"] if each["kind"] == "List" else [each])]


KUSTOMIZATION = documents("kustomization.yaml")[0]
RESOURCES = [each for name in KUSTOMIZATION["resources"] for each in documents(name)]
SECRET = documents("secret.example.yaml")[0]
SCALED = documents("autoscaling.yaml")


def named(resource: dict[str, Any]) -> str:
    return f"{resource['kind']} {resource['metadata']['name']}"


def of_kind(*kinds: str) -> list[dict[str, Any]]:
    return [each for each in RESOURCES if each["kind"] in kinds]


WORKLOADS = of_kind("StatefulSet", "Deployment", "Job")
FOR_GOOD = of_kind("StatefulSet", "Deployment")
WORKERS = [each for each in FOR_GOOD if named(each).endswith(("ingest", "aggregate", "results"))]


def pod(workload: dict[str, Any]) -> dict[str, Any]:
    found: dict[str, Any] = workload["spec"]["template"]["spec"]
    return found


def container(workload: dict[str, Any]) -> dict[str, Any]:
    (found,) = pod(workload)["containers"]
    return dict(found)


@pytest.fixture
def settings(tmp_path: Path) -> Settings:
    return settings_of({}, tmp_path, FILES / "rtexp.toml")


@pytest.mark.parametrize("resource", [*RESOURCES, SECRET], ids=named)
def test_a_resource_is_valid_by_its_schema(resource: dict[str, Any]) -> None:
    schema = vendored("kubernetes.json")
    kind = f"{KINDS[resource['kind']]}.{resource['kind']}"
    assert faults({"$ref": f"#/definitions/{kind}", **schema}, resource) == []


def test_schemas_refuse_a_key_that_kubernetes_does_not_know() -> None:
    wrong = json.loads(json.dumps(WORKERS[0]).replace("terminationGracePeriodSeconds", "gracePeriodSeconds"))
    kind = "#/definitions/io.k8s.api.apps.v1." + wrong["kind"]
    assert len(faults({"$ref": kind, **vendored("kubernetes.json")}, wrong)) == 1


def test_every_file_is_included_or_said_to_be_an_example() -> None:
    named_there = (FILES / "kustomization.yaml").read_text()
    files = {path.name for path in FILES.glob("*.yaml")} - NOT_RESOURCES
    assert [name for name in files if f"- {name}" not in named_there] == []


@pytest.mark.parametrize("workload", WORKLOADS, ids=named)
def test_a_pod_runs_what_exists(workload: dict[str, Any]) -> None:
    check(container(workload)["command"])
    assert container(workload)["image"] == KUSTOMIZATION["images"][0]["name"]
    environ = {item["name"] for item in container(workload)["env"]}
    assert environ <= {"RTEXP_CONFIG", "POD_IP"}


@pytest.mark.parametrize("workload", WORKLOADS, ids=named)
def test_what_a_pod_mounts_it_has_and_its_settings_lead_there(
    workload: dict[str, Any], settings: Settings
) -> None:
    mounted = {mount["mountPath"]: mount["name"] for mount in container(workload)["volumeMounts"]}
    claims = workload["spec"].get("volumeClaimTemplates", ())
    volumes = {each["name"] for each in pod(workload)["volumes"]} | {
        each["metadata"]["name"] for each in claims
    }
    assert set(mounted.values()) == volumes
    assert str(settings.data.directory) in mounted
    secrets = next(each["secret"] for each in pod(workload)["volumes"] if "secret" in each)
    assert secrets["secretName"] == SECRET["metadata"]["name"]
    assert secrets["defaultMode"] == 0o440
    for path in (settings.store.password_file, settings.web.token_file):
        assert path is not None
    assert settings.store.password_file is not None
    assert mounted[str(settings.store.password_file.parent)] == "secrets"
    assert settings.store.password_file.name in SECRET["stringData"]
    assert "/run/secrets/rtexp/web-token" in (FILES / "rtexp.toml").read_text()
    assert "web-token" in SECRET["stringData"]


@pytest.mark.parametrize("workload", WORKLOADS, ids=named)
def test_a_pod_meets_the_restricted_standard_and_writes_to_its_data_alone(workload: dict[str, Any]) -> None:
    spec, locked = pod(workload), container(workload)["securityContext"]
    assert spec["securityContext"]["runAsNonRoot"]
    assert spec["securityContext"]["seccompProfile"] == {"type": "RuntimeDefault"}
    assert locked["readOnlyRootFilesystem"]
    assert not locked["allowPrivilegeEscalation"]
    assert locked["capabilities"] == {"drop": ["ALL"]}
    assert not spec["automountServiceAccountToken"]
    writable = [m["mountPath"] for m in container(workload)["volumeMounts"] if not m.get("readOnly")]
    assert sorted(writable) == ["/tmp", "/var/lib/rtexp/data"]
    assert container(workload)["resources"]["limits"]["memory"]


@pytest.mark.parametrize("workload", WORKLOADS, ids=named)
def test_services_make_no_variables_that_look_like_settings(workload: dict[str, Any], tmp_path: Path) -> None:
    """For a service rtexp-web Kubernetes would set RTEXP_WEB_PORT, and every process refuse to start."""
    service = next(s for s in of_kind("Service") if s["metadata"]["name"] == "rtexp-web")
    link = service["metadata"]["name"].upper().replace("-", "_") + "_PORT"
    with pytest.raises(ConfigError, match=link):
        settings_of({link: "tcp://10.0.0.1:80"}, tmp_path, FILES / "rtexp.toml")
    assert pod(workload)["enableServiceLinks"] is False


@pytest.mark.parametrize("workload", FOR_GOOD, ids=named)
def test_probes_ask_for_health_where_the_process_listens(
    workload: dict[str, Any], settings: Settings
) -> None:
    ports = {
        "rtexp-web": settings.web.port,
        "rtexp-alerts": settings.alerts.port,
    }
    (port,) = container(workload)["ports"]
    name = workload["metadata"]["name"]
    assert port["containerPort"] == ports.get(name, settings.web.worker_port)
    for probe in ("startupProbe", "livenessProbe", "readinessProbe"):
        asked = container(workload)[probe]["httpGet"]
        assert asked["port"] == port["name"]
        assert asked["path"] in OPEN, "only these need no token"
        assert asked["path"].endswith("ready" if probe == "readinessProbe" else "live")


def test_everything_listens_for_the_node_and_has_a_token(settings: Settings, tmp_path: Path) -> None:
    for host in (settings.web.host, settings.web.worker_host, settings.alerts.host):
        assert host == "0.0.0.0"
        assert read_token(settings.web, {}, host=host)


@pytest.mark.parametrize("workload", WORKERS, ids=named)
def test_a_worker_is_given_the_time_of_a_clean_stop_and_says_where_it_is(workload: dict[str, Any]) -> None:
    assert pod(workload)["terminationGracePeriodSeconds"] > STOP_SECONDS
    command = container(workload)["command"]
    assert command[command.index("--web-host") + 1] == "$(POD_IP)"


@pytest.mark.parametrize("workload", FOR_GOOD, ids=named)
def test_selectors_select_the_pods_of_their_own_workload_alone(workload: dict[str, Any]) -> None:
    labels = workload["spec"]["template"]["metadata"]["labels"]
    assert workload["spec"]["selector"]["matchLabels"] == labels
    assert sum(each["spec"]["template"]["metadata"]["labels"] == labels for each in FOR_GOOD) == 1
    for spread in pod(workload)["topologySpreadConstraints"]:
        assert spread["labelSelector"]["matchLabels"] == labels


def test_whatever_has_replicas_has_a_budget() -> None:
    budgets = [each["spec"] for each in of_kind("PodDisruptionBudget")]
    assert all(each["maxUnavailable"] == 1 for each in budgets)
    assert sorted(
        each["selector"]["matchLabels"]["app.kubernetes.io/component"] for each in budgets
    ) == sorted(
        each["metadata"]["labels"]["app.kubernetes.io/component"]
        for each in FOR_GOOD
        if each["spec"]["replicas"] > 1
    )


def test_sets_have_the_service_that_they_name() -> None:
    headless = {s["metadata"]["name"] for s in of_kind("Service") if s["spec"].get("clusterIP") == "None"}
    assert {each["spec"]["serviceName"] for each in of_kind("StatefulSet")} == headless


def test_scaling_looks_at_groups_and_topics_that_there_are_and_stays_below_partitions(
    settings: Settings,
) -> None:
    names = {(each["kind"], each["metadata"]["name"]) for each in FOR_GOOD}
    for each in SCALED:
        target = each["spec"]["scaleTargetRef"]
        assert (target.get("kind", "Deployment"), target["name"]) in names
        assert each["spec"]["maxReplicaCount"] <= settings.kafka.partitions
        for trigger in each["spec"]["triggers"]:
            if trigger["type"] == "kafka":
                assert trigger["metadata"]["consumerGroup"] == engine_config("ingest", settings).group
                assert trigger["metadata"]["topic"] == settings.actions.topic
                assert [trigger["metadata"]["bootstrapServers"]] == list(settings.kafka.brokers)


KUBECTL = shutil.which("kubectl")


@pytest.mark.skipif(KUBECTL is None, reason="kubectl isn't installed; files are read without it")
def test_kubectl_makes_of_it_what_is_tested_here() -> None:
    """It has a parser of its own, above all for what is said once and repeated."""
    assert KUBECTL
    done = subprocess.run(
        [KUBECTL, "kustomize", FILES], capture_output=True, text=True, timeout=60, check=False
    )
    assert done.returncode == 0, done.stderr
    made = {named(each): each for each in yaml.safe_load_all(done.stdout)}
    assert set(made) == {*map(named, RESOURCES), "ConfigMap rtexp"}
    assert made["ConfigMap rtexp"]["data"]["rtexp.toml"] == (FILES / "rtexp.toml").read_text()
    image = KUSTOMIZATION["images"][0]
    for workload in WORKLOADS:
        theirs = made[named(workload)]
        expected = {**container(workload), "image": f"{image['newName']}:{image['newTag']}"}
        assert container(theirs) == expected
        assert pod(theirs)["securityContext"] == pod(workload)["securityContext"]
