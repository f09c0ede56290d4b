"""What the plan of a template says: the changes, what is left to a person, and what programs have to do."""

import pytest

from tests.migrate.planning import planned
from tests.migrate.workloads import workload
from webhook.core.json_patch import Append, Put, Remove
from webhook.migrate.plan_builder import Reason

TOKENS = {"app-token": "app", "robot-token": "robot", "nobody": ""}


def plan_of(container=None, volumes=(), policy="", **spec):
    """Return the plan of a pod of the account `app`."""
    containers = [{"name": "main", "image": "x", **(container or {})}]
    template = {"serviceAccountName": "app", "containers": containers, "volumes": list(volumes), **spec}
    return planned(workload("Deployment", "web", template), TOKENS, policy)[0]


def reads(secret="app-token", key="token", name="TOKEN"):
    return {"name": name, "valueFrom": {"secretKeyRef": {"name": secret, "key": key}}}


def mounted(**source):
    return {"name": "creds", "secret": {"secretName": "app-token", **source}}


def added(plan, field):
    """Return what is added to lists of this name."""
    return [edit.value for edit in plan.edits if isinstance(edit, Append) and edit.pointer.endswith(f"/{field}")]


@pytest.mark.parametrize(
    ("container", "volumes", "reason", "detail"),
    [
        pytest.param({"env": [reads("robot-token")]}, [], Reason.OTHER_ACCOUNT, "", id="env of another account"),
        pytest.param(
            {"envFrom": [{"secretRef": {"name": "robot-token"}}]}, [], Reason.OTHER_ACCOUNT, "",
            id="envFrom of another account",
        ),
        pytest.param({"env": [reads("nobody")]}, [], Reason.OTHER_ACCOUNT, "", id="of no account"),
        pytest.param(
            {"env": [reads(key="password")]}, [], Reason.NO_EQUIVALENT, 'it reads the key "password"', id="another key"
        ),
        pytest.param(
            {"env": [reads(), {"name": "TOKEN", "value": "x"}]}, [], Reason.NO_EQUIVALENT,
            "several variables have its name", id="a variable twice",
        ),
        pytest.param(
            {}, [mounted(items=[{"key": "extra", "path": "x"}])], Reason.NO_EQUIVALENT,
            'it has an item with key "extra"', id="a file of another key",
        ),
        pytest.param(
            {}, [mounted(), mounted()], Reason.NO_EQUIVALENT, "several volumes have its name", id="a volume twice"
        ),
        pytest.param(
            {}, [{"name": "v", "csi": {"nodePublishSecretRef": {"name": "app-token"}}}], Reason.DRIVER, "",
            id="a volume driver",
        ),
    ],
)  # fmt: skip
def test_reference_without_equivalent_is_left_to_a_person(container, volumes, reason, detail) -> None:
    plan = plan_of(container, volumes)
    assert {(left.reason, left.detail) for left in plan.manual} == {(reason, detail)}
    assert (plan.edits, plan.changes) == ((), ())


def test_image_pull_secret_is_removed() -> None:
    plan = plan_of(imagePullSecrets=[{"name": "registry"}, {"name": "app-token"}])
    assert plan.edits == (Remove("/spec/imagePullSecrets/1"),)
    assert [change.path for change in plan.changes] == ["spec.template.spec.imagePullSecrets[1]"]
    assert (plan.manual, plan.adds_tokens) == ((), False)


@pytest.mark.parametrize("pulls", ["app-token", ["app-token", None], {"name": "app-token"}, [{"name": ["a"]}]], ids=str)
def test_pull_secrets_of_another_form_are_left_alone(pulls) -> None:
    assert plan_of(imagePullSecrets=pulls).edits == ()


def test_variable_with_the_token_becomes_the_path_of_a_file() -> None:
    plan = plan_of({"env": [{"name": "TOKEN_FILE", "value": "mine"}, reads(), reads(name="OTHER")]})
    file = "/var/run/secrets/tokens/api-token/token"
    assert added(plan, "env") == [{"name": "TOKEN_PATH", "value": file}, {"name": "OTHER_FILE", "value": file}]
    assert [mount["mountPath"] for mount in added(plan, "volumeMounts")] == ["/var/run/secrets/tokens/api-token"]
    [volume] = added(plan, "volumes")
    assert volume["projected"]["sources"] == [
        {"serviceAccountToken": {
            "path": "token", "audience": "https://kubernetes.default.svc", "expirationSeconds": 3600
        }}
    ]  # fmt: skip


def test_token_gets_the_policys_lifetime_and_a_free_name() -> None:
    policy = (
        "tokens: {maxExpirationSeconds: 600}\napiServerToken: {audiences: [https://api.internal]}\n"
        "inject: [{name: x, audience: y, expirationSeconds: 600, mountPath: /var/run/secrets/tokens/api-token-2}]\n"
    )
    taken = {"name": "api-token", "emptyDir": {}}
    mount = {"name": "api-token", "mountPath": "/x"}
    plan = plan_of({"env": [reads()], "volumeMounts": [mount]}, [taken], policy)
    [volume] = added(plan, "volumes")
    token = volume["projected"]["sources"][0]["serviceAccountToken"]
    assert (volume["name"], token["audience"], token["expirationSeconds"]) == (
        "api-token-2",
        "https://api.internal",
        600,
    )
    [mount] = added(plan, "volumeMounts")
    assert mount["mountPath"] == "/var/run/secrets/tokens/api-token-2-2"
    assert plan.injected == ('"/var/run/secrets/tokens/api-token-2/token": for "y"',)


def test_texts_that_expand_a_removed_variable_are_not_shown() -> None:
    env = [reads(), {"name": "HEADER", "value": "Bearer hunter2 $(TOKEN)"}]
    plan = plan_of({"command": ["run", "--token=$(TOKEN)"], "args": ["$(OTHER)"], "env": env})
    named = [task for task in plan.tasks if "$(TOKEN)" in task]
    assert ["containers[0].command[1]" in named[0], "containers[0].env[1]" in named[1]] == [True, True]
    assert len(named) == 2
    assert "hunter2" not in str(plan)


def test_mode_of_the_token_alone_becomes_the_volumes() -> None:
    items = [{"key": "token", "path": "t", "mode": 0o400}, {"key": "ca.crt", "path": "c"}]
    plan = plan_of(volumes=[mounted(items=items, defaultMode=0o440)])
    [projected] = [edit.value for edit in plan.edits if isinstance(edit, Put)]
    assert projected["defaultMode"] == 0o400
    assert projected["sources"][1]["configMap"]["items"] == [{"key": "ca.crt", "path": "c", "mode": 0o440}]


def test_tasks_say_to_read_the_file_again_and_elsewhere() -> None:
    mounts = [
        {"name": "creds", "mountPath": "/creds"},
        {"name": "creds", "mountPath": "/app/token", "subPath": "token"},
    ]
    init = [{"name": "init", "volumeMounts": mounts[:1]}]
    plan = plan_of({"volumeMounts": mounts}, [mounted()], initContainers=init)
    again, moved = plan.tasks
    assert again == (
        'container "main": read "/creds/token" again for each use, or at least every few minutes: its token expires'
    )
    assert moved.startswith('container "main": read "/creds/token" instead of "/app/token", again for each use: ')
    assert added(plan, "volumeMounts") == []
