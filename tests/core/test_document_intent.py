"""Which documents are meant as Kubernetes objects, and which are something else that a repository holds."""

import pytest

from webhook.core.manifests import read_manifests

FOREIGN = {
    "a chart": "apiVersion: v2\nname: web\nversion: 0.1.0\n",
    "the index of a chart repository": "apiVersion: v1\nentries: {}\n",
    "Grafana's data sources": "apiVersion: 1\ndatasources: []\n",
    "a pipeline": "kind: pipeline\ntype: docker\nname: default\n",
    "values": "replicas: 3\nkind: Deployment\n",
    "a patch": "- {op: add, path: /a, value: b}\n",
    "Compose": "services:\n  web: {image: web}\n",
    "JSON with comments": '{\n  // strict\n  "compilerOptions": {"strict": true,},\n}\n',
    "broken YAML": "a: [\n",
    "broken YAML that mentions both keys elsewhere": "text: |\n  apiVersion: v1\n  kind: Pod\na: [\n",
    "a tag of Python": "markdown_extensions:\n- emoji: !!python/name:material.emoji\n",
}
MEANT = {
    "a wrong kind": "apiVersion: v1\nkind: 3\n",
    "a misspelt kind": "apiVersion: v1\nknid: Pod\nmetadata: {name: a}\n",
    "a misspelt version": "apiversion: v1\nkind: Pod\nmetadata: {name: a}\n",
    "broken YAML": "apiVersion: v1\nkind: Pod\nspec: [\n",
    "keys in quotes": "\"apiVersion\": v1\n'kind' : Pod\nspec: [\n",
    "broken JSON": '{\n  "apiVersion": "v1",\n  "kind": "Pod",\n  "spec": [\n',
    "braces": "--- {apiVersion: v1, kind: Pod, spec: [}\n",
}
TEMPLATES = {
    "Helm's conditions": "{{- if .Values.a }}\napiVersion: v1\nkind: Pod\n{{- end }}\n",
    "a value": "apiVersion: v1\nkind: Pod\nmetadata:\n  name: {{ .Release.Name }}\n",
    "an element": "a:\n- {{ x }}\n",
    "an element of a flow sequence": "a: [1, {{ x }}]\n",
    "Jinja's statements": "{% if a %}\nkind: Pod\n{% endif %}\n",
    "JSON": '{"apiVersion": "v1", "kind": "Pod", "spec": {{ spec }}}\n',
}


@pytest.mark.parametrize("text", FOREIGN.values(), ids=FOREIGN)
def test_document_that_is_no_object_is_foreign(text: str) -> None:
    reading = read_manifests(text.encode())
    assert reading.manifests == ()
    assert [(problem.foreign, problem.template) for problem in reading.problems] == [(True, False)]


@pytest.mark.parametrize("text", MEANT.values(), ids=MEANT)
def test_incomplete_object_is_not_foreign(text: str) -> None:
    assert not read_manifests(text.encode()).problems[-1].foreign


@pytest.mark.parametrize("text", TEMPLATES.values(), ids=TEMPLATES)
def test_unrendered_template_is_named_as_one(text: str) -> None:
    [problem] = read_manifests(text.encode()).problems
    assert (problem.foreign, problem.template) == (True, True)
    assert "unrendered template" in problem.message


def test_braces_in_a_broken_manifest_make_it_no_template() -> None:
    text = "apiVersion: v1\nkind: Pod\na: 'x {{ b }}'\nc: [\n"
    [problem] = read_manifests(text.encode()).problems
    assert (problem.foreign, problem.template) == (False, False)
