"""The overlay in which the serving pods have no right to Secrets."""

import pytest

from tests.manifests.rendering import environment_of, render, the

OVERLAY = "manifests/overlays/no-secrets"


@pytest.mark.covers("threat-model: tokenguard's account")
def test_serving_roles_give_no_right_to_secrets() -> None:
    objects = render(OVERLAY)
    rules = [rule for kind in ("ClusterRole", "Role") for rule in the(kind, objects)["rules"]]
    assert {resource for rule in rules for resource in rule["resources"]} == {"events", "configmaps"}


def test_list_is_mounted_where_the_server_reads_it() -> None:
    objects = render(OVERLAY)
    deployment = the("Deployment", objects)
    pod = deployment["spec"]["template"]["spec"]
    [volume] = [volume for volume in pod["volumes"] if volume["name"] == "objects"]
    [mount] = [mount for mount in pod["containers"][0]["volumeMounts"] if mount["name"] == "objects"]
    [item] = volume["configMap"]["items"]
    assert environment_of(deployment)["TOKENGUARD_OBJECTS"] == f"{mount['mountPath']}/{item['path']}"
    assert volume["configMap"]["name"] == the("ConfigMap", objects, "tokenguard-objects")["metadata"]["name"]


def test_both_images_are_of_this_version() -> None:
    objects = render(OVERLAY)
    serving = the("Deployment", objects)["spec"]["template"]["spec"]["containers"]
    listing = the("CronJob", objects, "tokenguard-objects")["spec"]["jobTemplate"]["spec"]["template"]["spec"]
    assert {container["image"] for container in [*serving, *listing["containers"]]} == {serving[0]["image"]}
    assert ":" in serving[0]["image"]
