"""The Kubernetes manifests: valid, consistent, and with no more rights than are needed."""

from __future__ import annotations

import importlib.util
from pathlib import Path
from typing import Any

import pytest
import yaml

from millrace.images import Image, name

ROOT = Path(__file__).parents[2]
spec = importlib.util.spec_from_file_location(
    "check_manifests", ROOT / "scripts/check_manifests.py"
)
check = importlib.util.module_from_spec(spec)
spec.loader.exec_module(check)

needs_kubectl = pytest.mark.skipif(
    check.builder() is None, reason="neither kubectl nor kustomize is installed"
)
FOLDERS = [str(folder.relative_to(check.MANIFESTS)) for folder in check.kustomizations()]


@pytest.fixture(scope="module")
def built() -> dict[str, list[dict[str, Any]]]:
    return {folder: check.build(check.MANIFESTS / folder) for folder in FOLDERS}


@pytest.fixture(params=FOLDERS)
def manifests(request, built) -> list[dict[str, Any]]:
    return built[request.param]


def of_kind(manifests: list[dict[str, Any]], kind: str) -> list[dict[str, Any]]:
    return [manifest for manifest in manifests if manifest["kind"] == kind]


def pod_specs(manifests: list[dict[str, Any]]) -> list[dict[str, Any]]:
    """The pod templates' specs, wherever in an object they are."""
    found = []

    def walk(node: Any) -> None:
        if isinstance(node, dict):
            if "containers" in node:
                found.append(node)
            for value in node.values():
                walk(value)
        elif isinstance(node, list):
            for value in node:
                walk(value)

    walk(manifests)
    return found


@needs_kubectl
def test_every_object_is_valid(manifests):
    assert [mistake for manifest in manifests for mistake in check.errors(manifest)] == []


@needs_kubectl
def test_nothing_is_written_that_the_api_server_drops(manifests):
    """An empty list or map is not stored, so that `kubectl diff` would show it for ever."""
    dropped = []

    def walk(node: Any, where: str) -> None:
        pairs = enumerate(node) if isinstance(node, list) else node.items()
        for key, value in pairs:
            # Here the empty value has a meaning and is kept: all pods, and a plain `emptyDir`.
            if value in ([], {}, None) and key not in ("podSelector", "emptyDir"):
                dropped.append(f"{where}.{key}")
            elif isinstance(value, (dict, list)):
                walk(value, f"{where}.{key}")

    for manifest in manifests:
        walk(manifest, f"{manifest['kind']}/{manifest['metadata']['name']}")
    assert dropped == []


def test_a_misspelt_field_is_found():
    manifest = {
        "apiVersion": "v1",
        "kind": "ConfigMap",
        "metadata": {"name": "x"},
        "dta": {"a": "b"},
    }
    assert any("'dta' was unexpected" in mistake for mistake in check.errors(manifest))


@needs_kubectl
def test_no_rule_has_a_wildcard_or_reads_secrets_it_does_not_name(manifests):
    for role in of_kind(manifests, "Role") + of_kind(manifests, "ClusterRole"):
        for rule in role["rules"]:
            assert not any("*" in value for values in rule.values() for value in values), rule
            assert "list" not in rule["verbs"] or "secrets" not in rule["resources"], rule
            if {"secrets", "configmaps"} & set(rule["resources"]):
                assert rule["resourceNames"], rule


@needs_kubectl
def test_the_role_is_bound_to_our_service_account_in_one_namespace(manifests):
    assert not of_kind(manifests, "ClusterRole") + of_kind(manifests, "ClusterRoleBinding")
    (account,) = of_kind(manifests, "ServiceAccount")
    (role,) = of_kind(manifests, "Role")
    (binding,) = of_kind(manifests, "RoleBinding")
    assert binding["roleRef"]["name"] == role["metadata"]["name"]
    assert binding["subjects"] == [
        {
            "kind": "ServiceAccount",
            "name": account["metadata"]["name"],
            "namespace": account["metadata"]["namespace"],
        }
    ]
    for pod in pod_specs(manifests):
        assert pod["serviceAccountName"] == account["metadata"]["name"]
        assert pod["automountServiceAccountToken"] is False


@needs_kubectl
def test_containers_run_without_root_or_privileges(manifests):
    assert pod_specs(manifests)
    for pod in pod_specs(manifests):
        assert pod["securityContext"]["runAsNonRoot"] is True
        for container in pod["containers"] + pod.get("initContainers", []):
            security = container["securityContext"]
            assert security["allowPrivilegeEscalation"] is False
            assert security["readOnlyRootFilesystem"] is True
            assert security["capabilities"] == {"drop": ["ALL"]}
            assert container["resources"]["requests"].keys() == {"cpu", "memory"}
            assert "memory" in container["resources"]["limits"]


@needs_kubectl
def test_no_secret_is_built(manifests):
    assert of_kind(manifests, "Secret") == []
    for settings in of_kind(manifests, "ConfigMap"):
        assert not any("@" in value for value in settings["data"].values()), "a password in it?"


def test_the_example_of_a_secret_has_no_password_in_it():
    for path in check.MANIFESTS.rglob("*secret*.yaml"):
        assert path.name.endswith(".example.yaml"), f"{path} does not belong into git"
        for manifest in yaml.safe_load_all(path.read_text(encoding="utf-8")):
            assert set(manifest) == {"apiVersion", "kind", "metadata", "type", "stringData"}
            assert all("USER:PASSWORD@" in value for value in manifest["stringData"].values())


@needs_kubectl
def test_pods_read_the_address_of_the_store_and_the_secret_counts_more(manifests):
    (settings,) = of_kind(manifests, "ConfigMap")
    assert "MILLRACE_LINEAGE_STORE" in settings["data"]
    example = check.MANIFESTS / "overlays/production/lineage-secret.example.yaml"
    secret = yaml.safe_load(example.read_text(encoding="utf-8"))
    for pod in pod_specs(manifests):
        sources = pod["containers"][0]["envFrom"]
        assert sources[0]["configMapRef"]["name"] == settings["metadata"]["name"]
        assert sources[-1]["secretRef"]["name"] == secret["metadata"]["name"]


@needs_kubectl
def test_network_policies_select_workflow_pods_and_ours_and_let_nobody_in(manifests):
    policies = {
        policy["metadata"]["name"]: policy["spec"] for policy in of_kind(manifests, "NetworkPolicy")
    }
    workflow = [{"key": "workflows.argoproj.io/workflow", "operator": "Exists"}]
    for policy in ("millrace-steps", "millrace-steps-outside"):
        assert policies[policy]["podSelector"]["matchExpressions"] == workflow
    for policy in ("millrace-steps", "millrace-lineage-check"):
        assert "ingress" not in policies[policy]
        assert set(policies[policy]["policyTypes"]) == {"Ingress", "Egress"}
    (job,) = of_kind(manifests, "CronJob")
    labels = job["spec"]["jobTemplate"]["spec"]["template"]["metadata"]["labels"]
    selected = policies["millrace-lineage-check"]["podSelector"]["matchLabels"]
    assert selected.items() <= labels.items()
    assert policies["millrace-lineage-check"]["egress"] == policies["millrace-steps"]["egress"]


@needs_kubectl
def test_names_and_labels_are_of_one_kind(manifests):
    namespaces = {
        manifest["metadata"].get("namespace")
        for manifest in manifests
        if manifest["kind"] != "Namespace"
    }
    assert len(namespaces) == 1
    assert None not in namespaces
    for manifest in manifests:
        labels = manifest["metadata"]["labels"]
        assert labels["app.kubernetes.io/name"] == "millrace"
        assert labels["app.kubernetes.io/part-of"] == "millrace"
        assert labels["app.kubernetes.io/component"]
        if manifest["kind"] != "Namespace":
            assert manifest["metadata"]["name"].startswith("millrace")


@needs_kubectl
def test_images_are_those_of_this_version_and_overlays_change_them(built):
    def images(folder: str) -> set[str]:
        return {spec["containers"][0]["image"] for spec in pod_specs(built[folder])}

    assert images("base") == {name(Image.CORE)}
    expected = name(Image.CORE, "registry.example.com/ml/millrace")
    assert images("overlays/production") == {expected}


@needs_kubectl
def test_the_overlay_narrows_egress_and_insists_on_the_secret(built):
    policies = {
        policy["metadata"]["name"]: policy["spec"]
        for policy in of_kind(built["overlays/production"], "NetworkPolicy")
    }
    assert "0.0.0.0/0" not in str(policies)
    for pod in pod_specs(built["overlays/production"]):
        assert pod["containers"][0]["envFrom"][-1]["secretRef"]["optional"] is False
