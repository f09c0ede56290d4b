"""What is stored of templates until the pods are read."""

from tests.scan.small_cluster import Object, live, named_secret, read, spec
from webhook.core.k8s_types import Pod
from webhook.scan.owners import TemplateCache


def template(labels: Object | None = None, annotations: Object | None = None) -> Pod:
    metadata = {"labels": labels, "annotations": annotations}
    return read(Pod, {"metadata": metadata, "spec": live() | {"initContainers": [named_secret("old")]}})


def test_template_cache_shares_equal_parts() -> None:
    templates = TemplateCache()
    first = templates.share(template({"job-name": "a"}), full=False)
    again = templates.share(template({"job-name": "a"}), full=False)
    other = templates.share(template({"job-name": "b"}), full=False)
    assert again.given_spec is first.given_spec is other.given_spec
    assert again.given_metadata is first.given_metadata is not other.given_metadata
    assert other.metadata.labels == {"job-name": "b"}


def test_template_cache_merged_template_has_no_env() -> None:
    laid_over = TemplateCache().share(template(), full=False).spec
    in_full = TemplateCache().share(template(), full=True).spec
    assert [container.env for container in laid_over.init_containers or ()] == [None]
    assert in_full == template().spec
    assert (laid_over.volumes, laid_over.containers) == (in_full.volumes, in_full.containers)


def test_template_cache_keeps_own_annotations_only() -> None:
    pod = template(annotations={"tokenguard/inject": "vault", "note": "x" * 5000})
    assert TemplateCache().share(pod, full=True).metadata.annotations == {"tokenguard/inject": "vault"}


def test_template_cache_different_specs_are_not_shared() -> None:
    templates = TemplateCache()
    first, second = (
        templates.share(read(Pod, {"spec": spec(serviceAccountName=name)}), full=False) for name in ("a", "b")
    )
    assert (first.spec.service_account_name, second.spec.service_account_name) == ("a", "b")
