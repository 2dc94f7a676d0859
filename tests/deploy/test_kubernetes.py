"""The Kubernetes resources: valid, restricted, and joined by names, labels and ports that are there."""

from __future__ import annotations

import copy
import json
import re
import shutil
import subprocess
from collections.abc import Iterator
from importlib.metadata import version

import deployment
import kubernetes_validate
import pytest
import yaml
from sqlalchemy.engine import make_url

FOLDER = deployment.DEPLOY / "kubernetes"
KUSTOMIZATIONS = deployment.files("kustomization.yaml")
OVERLAYS = ("production", "trial")
VERSIONS = ("1.31", "1.34")
"""Kubernetes, the oldest and the newest that are checked."""
FOREIGN = {"DaskCluster", "DaskWorkerGroup", "ServiceMonitor", "PodMonitor", "PrometheusRule"}
"""Kinds that are not Kubernetes' own."""
SINCE_1_21 = {"os", "hostUsers", "schedulingGates", "resourceClaims"}
"""Fields of pods that the Dask operator's definitions, which are those of 1.21, drop."""


def _raw():
    for path in sorted(
        [*FOLDER.rglob("*.yaml"), *(deployment.DEPLOY / "monitoring").glob("*.yaml")]
    ):
        for one in deployment.documents(path):
            if "kind" in one and one["kind"] not in ("Kustomization", "Component"):
                yield pytest.param(one, id=f"{one['kind']}-{one['metadata']['name']}")


RAW = list(_raw())
"""Every resource as it stands in a file."""


def of_kind(resources, kind):
    return [one for one in resources if one["kind"] == kind]


@pytest.fixture(scope="session")
def rendered(tmp_path_factory):
    """Renders an overlay as `kubectl apply --kustomize` would see it."""
    if shutil.which("kubectl") is None:
        pytest.skip("kubectl is not installed, so overlays are not rendered")
    folder = tmp_path_factory.mktemp("deploy")
    shutil.copytree(deployment.DEPLOY, folder, dirs_exist_ok=True)
    trial = folder / "kubernetes" / "overlays" / "trial" / "secrets"
    subprocess.run([folder / "compose" / "make-secrets.sh", trial], check=True, capture_output=True)
    made = {}

    def render(overlay):
        if overlay not in made:
            place = folder / "kubernetes" / "overlays" / overlay
            done = subprocess.run(
                ["kubectl", "kustomize", place], check=False, capture_output=True, text=True
            )
            assert done.returncode == 0, done.stderr
            assert "deprecated" not in done.stderr
            made[overlay] = list(yaml.safe_load_all(done.stdout))
        return made[overlay]

    return render


def check(resource, release):
    """Validate a resource; of the Dask operator's kinds, its pods and services."""
    if resource["kind"] not in FOREIGN:
        kubernetes_validate.validate(resource, release, strict=True)
        return
    for label, spec in deployment.pods(resource).items():
        pod = {"apiVersion": "v1", "kind": "Pod", "metadata": {"name": label}, "spec": spec}
        kubernetes_validate.validate(pod, release, strict=True)
        assert not SINCE_1_21 & set(spec)
    if resource["kind"] == "DaskCluster":
        service = {"apiVersion": "v1", "kind": "Service", "metadata": {"name": "scheduler"},
                   "spec": resource["spec"]["scheduler"]["service"]}  # fmt: skip
        kubernetes_validate.validate(service, release, strict=True)


@pytest.mark.parametrize("kubernetes", VERSIONS)
@pytest.mark.parametrize("resource", RAW)
def test_resources_are_valid(resource, kubernetes):
    check(resource, kubernetes)


@pytest.mark.parametrize("resource", RAW)
def test_the_operators_kinds_have_the_fields_of_its_definitions(resource):
    # As dask-kubernetes 2026.3.0 defines them: what is not named there is dropped without a word.
    fields = {
        "DaskCluster": {"spec": {"idleTimeout", "scheduler", "worker"},
                        "worker": {"replicas", "metadata", "spec"},
                        "scheduler": {"metadata", "spec", "service"}},
        "DaskWorkerGroup": {"spec": {"cluster", "worker"},
                            "worker": {"replicas", "metadata", "spec"}},
    }.get(resource["kind"])  # fmt: skip
    if fields is None:
        return
    assert resource["apiVersion"] == "kubernetes.dask.org/v1"
    spec = resource["spec"]
    assert set(spec) <= fields["spec"]
    for part in set(fields) - {"spec"}:
        assert set(spec[part]) <= fields[part]


@pytest.mark.parametrize("resource", RAW)
def test_pods_are_restricted(resource):
    for spec in deployment.pods(resource).values():
        assert spec["automountServiceAccountToken"] is False
        context = spec["securityContext"]
        assert context["runAsNonRoot"] is True
        assert context["seccompProfile"] == {"type": "RuntimeDefault"}
        for container in [*spec.get("initContainers", []), *spec["containers"]]:
            own = container["securityContext"]
            assert own["allowPrivilegeEscalation"] is False
            assert own["readOnlyRootFilesystem"] is True
            assert own["capabilities"] == {"drop": ["ALL"]}
            assert container["resources"]["limits"]["memory"]
            writable = {mount["mountPath"] for mount in container["volumeMounts"]}
            assert "/tmp" in writable or "postgres" in container["image"]
            for mount in container["volumeMounts"]:
                assert mount["name"] in {volume["name"] for volume in spec["volumes"]} | {
                    "postgres"
                }


@pytest.mark.parametrize("resource", RAW)
def test_containers_are_probed_where_they_listen(resource):
    for spec in deployment.pods(resource).values():
        for container in spec["containers"]:
            ports = {port["name"]: port["containerPort"] for port in container["ports"]}
            words = {word.lstrip(":") for word in container.get("args", [])}
            for kind in ("startupProbe", "livenessProbe", "readinessProbe"):
                get = container.get(kind, {}).get("httpGet")
                if get is not None:
                    assert str(ports[get["port"]]) in words
            if container["name"] == "api":
                assert container["readinessProbe"]["httpGet"]["path"] == "/ready"
                assert container["livenessProbe"]["httpGet"]["path"] == "/health"
            for name, number in ports.items():
                assert name == "postgres" or str(number) in words


@pytest.mark.parametrize("path", KUSTOMIZATIONS, ids=deployment.name)
def test_what_kustomizations_name_is_there(path):
    one = deployment.document(path)
    for name in [*one.get("resources", []), *one.get("components", [])]:
        place = path.parent / name
        assert place.is_file() or (place / "kustomization.yaml").is_file(), name
    named = {*one.get("resources", [])}
    for generator in one.get("configMapGenerator", []):
        named |= {*generator.get("envs", []), *generator.get("files", [])}
    for name in named | {*one.get("configurations", [])}:
        assert (path.parent / name).exists(), name
    known = named | {"kustomization.yaml", *one.get("configurations", [])}
    for other in path.parent.glob("*.yaml"):
        assert other.name in known or other.name == "alerts.yaml", f"nobody names {other.name}"


@pytest.mark.parametrize("path", KUSTOMIZATIONS, ids=deployment.name)
def test_patches_are_patches(path):
    for patch in deployment.document(path).get("patches", []):
        for step in yaml.safe_load(patch["patch"]):
            assert {"op", "path", "value"} == set(step)
        assert patch["target"]["kind"]


@pytest.mark.parametrize("overlay", OVERLAYS)
@pytest.mark.parametrize("kubernetes", VERSIONS)
def test_overlays_are_valid(rendered, overlay, kubernetes):
    resources = rendered(overlay)
    for resource in resources:
        check(resource, kubernetes)
        assert resource["kind"] == "Namespace" or resource["metadata"]["namespace"] == "openeo-nc"


@pytest.mark.parametrize("overlay", OVERLAYS)
def test_overlays_name_what_is_there(rendered, overlay):
    resources = rendered(overlay)
    there = {kind: {one["metadata"]["name"] for one in of_kind(resources, kind)}
             for kind in ("ConfigMap", "Secret", "PersistentVolumeClaim", "ServiceAccount", "Service")}  # fmt: skip
    if overlay == "production":
        there["Secret"] |= {"openeo-nc", "openeo-nc-storage", "openeo-nc-tls"}  # the operator's own
        there["Service"] |= {"openeo-nc-scheduler"}
    for resource in resources:
        for spec in deployment.pods(resource).values():
            assert spec["serviceAccountName"] in there["ServiceAccount"]
            for container in [*spec.get("initContainers", []), *spec["containers"]]:
                assert re.search(r":\d+\.\d+", container["image"])
                for one in container.get("envFrom", []):
                    if "configMapRef" in one:
                        assert one["configMapRef"]["name"] in there["ConfigMap"]
                    else:
                        assert one["secretRef"]["name"] in there["Secret"]
            for volume in spec.get("volumes", []):
                if "secret" in volume:
                    assert volume["secret"]["secretName"] in there["Secret"]
                if "persistentVolumeClaim" in volume:
                    claim = volume["persistentVolumeClaim"]["claimName"]
                    assert claim in there["PersistentVolumeClaim"]


@pytest.mark.parametrize("overlay", OVERLAYS)
def test_settings_of_overlays_are_settings(rendered, overlay, monkeypatch):
    from openeo_nc.server.settings import Settings

    configured = {}
    for one in of_kind(rendered(overlay), "ConfigMap"):
        configured |= one["data"] if "OPENEO_NC_DATA" in one["data"] else {}
    for name, value in configured.items():
        monkeypatch.setenv(name, value)
        assert name in deployment.SETTINGS | {"OPENEO_NC_SECRETS_DIR", "FORWARDED_ALLOW_IPS"}
    settings = Settings()
    cluster = of_kind(rendered(overlay), "DaskCluster")[0]["metadata"]["name"]
    tls = overlay == "production"
    assert settings.scheduler == f"{'tls' if tls else 'tcp'}://{cluster}-scheduler:8786"
    assert bool(settings.oidc) == (overlay == "production")


def test_tls_reaches_all_parts_of_the_cluster(rendered):
    for resource in rendered("production"):
        for label, spec in deployment.pods(resource).items():
            container = spec["containers"][0]
            dask = {"configMapRef": {"name": "openeo-nc-tls"}} in container["envFrom"]
            assert dask or container["name"] == "api"  # which has settings for that
            assert "tls" in {mount["name"] for mount in container["volumeMounts"]}
            if label == "scheduler":
                assert container["args"][-2:] == ["--protocol", "tls"]
            if label == "worker":
                assert {"name": "DASK_SCHEDULER_ADDRESS",
                        "value": "tls://openeo-nc-scheduler:8786"} in container["env"]  # fmt: skip


def test_two_groups_of_workers():
    cluster = deployment.document(FOLDER / "base" / "dask-cluster.yaml")
    group = deployment.document(FOLDER / "components" / "gpu" / "gpu-workers.yaml")
    cpu, gpu = (one["spec"]["worker"]["spec"]["containers"][0] for one in (cluster, group))
    assert group["spec"]["cluster"] == cluster["metadata"]["name"]
    assert "--gpu" in gpu["args"]
    assert "--gpu" not in cpu["args"]
    assert gpu["resources"]["limits"]["nvidia.com/gpu"] == 1
    release = version("openeo-nc")
    images = (f"openeo-nc-cpu:{release}", f"openeo-nc-cuda:{release}")
    assert (cpu["image"], gpu["image"]) == images
    compose = (deployment.DEPLOY / "compose" / "compose.yaml").read_text()
    assert set(re.findall(r"image: (openeo-nc\S+)", compose)) == set(images)

    def kept(container):
        differs = ("args", "image", "resources", "env", "livenessProbe")
        return {name: value for name, value in container.items() if name not in differs}

    assert kept(cpu) == kept(gpu)


def policies() -> Iterator[dict]:
    yield from (one for one in deployment.documents(FOLDER / "base" / "network-policies.yaml"))


def test_workers_do_not_reach_the_metadata_service_or_private_networks():
    import ipaddress

    (workers,) = [one for one in policies() if one["metadata"]["name"] == "workers"]
    assert set(workers["spec"]["policyTypes"]) == {"Ingress", "Egress"}
    blocks = [to["ipBlock"] for rule in workers["spec"]["egress"] for to in rule["to"]
              if "ipBlock" in to]  # fmt: skip
    assert blocks
    for address in ("169.254.169.254", "169.254.170.2", "10.0.0.1", "192.168.1.1", "172.20.0.1"):
        for block in blocks:
            excepted = [ipaddress.ip_network(one) for one in block["except"]]
            assert any(ipaddress.ip_address(address) in one for one in excepted), address
    pods = [to for rule in workers["spec"]["egress"] for to in rule["to"] if "podSelector" in to]
    assert {json.dumps(one["podSelector"]["matchLabels"]) for one in pods} == {
        '{"dask.org/component": "scheduler"}', '{"dask.org/component": "worker"}'
    }  # fmt: skip
    # IPv6 has no rule, so it is closed altogether
    assert all("/" in block["cidr"] and ":" not in block["cidr"] for block in blocks)


def test_policies_open_the_ports_that_containers_have():
    opened = {port["port"] for one in policies() for rule in one["spec"].get("ingress", [])
              for port in rule.get("ports", [])}  # fmt: skip
    listening = {port["containerPort"] for parameter in RAW
                 for spec in deployment.pods(parameter.values[0]).values()
                 for container in spec["containers"] for port in container["ports"]}  # fmt: skip
    assert opened == listening - {5432}
    deny = [one for one in policies() if one["metadata"]["name"] == "default-deny"]
    assert deny[0]["spec"] == {"podSelector": {}, "policyTypes": ["Ingress"]}


def test_monitors_and_services_select_what_is_there():
    resources = [parameter.values[0] for parameter in RAW]
    labels = [one["spec"]["template"]["metadata"]["labels"] for one in resources
              if one["kind"] in ("Deployment", "StatefulSet")]  # fmt: skip
    cluster = of_kind(resources, "DaskCluster")[0]["metadata"]["name"]
    labels += [{"dask.org/cluster-name": cluster, "dask.org/component": part}
               for part in ("scheduler", "worker")]  # fmt: skip

    def selects(selector):
        return any(selector.items() <= one.items() for one in labels)

    for one in of_kind(resources, "PodDisruptionBudget") + of_kind(resources, "PodMonitor"):
        assert selects(one["spec"]["selector"]["matchLabels"]), one["metadata"]
    for one in of_kind(resources, "Service"):
        assert selects(one["spec"]["selector"])
    (monitor,) = of_kind(resources, "ServiceMonitor")
    services = {
        json.dumps(one["metadata"].get("labels")): one for one in of_kind(resources, "Service")
    }
    service = services[json.dumps(monitor["spec"]["selector"]["matchLabels"])]
    (endpoint,) = monitor["spec"]["endpoints"]
    assert endpoint["port"] in {port["name"] for port in service["spec"]["ports"]}
    assert endpoint["authorization"]["credentials"]["key"].upper() in deployment.SETTINGS


def test_a_wrong_field_would_be_seen():
    (broken,) = [copy.deepcopy(p.values[0]) for p in RAW if p.id == "DaskCluster-openeo-nc"]
    broken["spec"]["worker"]["spec"]["containers"][0]["comand"] = ["x"]
    with pytest.raises(kubernetes_validate.ValidationError):
        check(broken, VERSIONS[-1])


def test_the_trial_reaches_its_own_database(rendered):
    import base64

    resources = rendered("trial")
    secrets = {one["metadata"]["name"].rsplit("-", 1)[0]: one["data"] for one in of_kind(resources, "Secret")}  # fmt: skip
    url = make_url(base64.b64decode(secrets["openeo-nc"]["openeo_nc_database"]).decode())
    assert url.host in {one["metadata"]["name"] for one in of_kind(resources, "Service")}
    password = base64.b64decode(secrets["postgres"]["postgres_password"]).decode()
    assert url.password == password
