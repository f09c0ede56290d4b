"""Where fuzzing starts: the reviews that a real API server sent, the golden cases, and what was found before."""

from pathlib import Path

import yaml

from tests.golden_cases import LOADED, the_object
from tests.policies import DESIGN, HEAD
from tests.reviews import RESOURCES, review
from tests.serving import POLICY

TESTS = Path(__file__).parent.parent
CORPUS = Path(__file__).parent / "corpus"
_LARGEST = 20_000


def reviews() -> list[bytes]:
    """Return reviews: recorded ones but for the large ones, those of the golden cases, and the corpus."""
    recorded = [path.read_bytes() for path in sorted((TESTS / "recorded").glob("*.json"))]
    made = []
    for _, case in LOADED:
        fields = {**case.get("request", {}), "old": case.get("old")}
        obj = the_object(case)
        if obj["kind"] in RESOURCES:
            made.append(review(obj, **fields))
    return [*(body for body in recorded if len(body) < _LARGEST), *made, *corpus("reviews")]


def policies() -> list[bytes]:
    """Return policy documents: those of the golden cases, the design's, one in a ConfigMap, and the corpus."""
    documents = {HEAD + yaml.safe_dump(case["policy"], sort_keys=False): None for _, case in LOADED if "policy" in case}
    held = {"apiVersion": "v1", "kind": "ConfigMap", "metadata": {"name": "p"}, "data": {"policy.yaml": POLICY}}
    every = [DESIGN, POLICY, HEAD, yaml.safe_dump(held), *documents]
    return [*(document.encode() for document in every), *corpus("policies")]


def corpus(what: str) -> list[bytes]:
    """Return what earlier runs have found, and what somebody thought of."""
    return [path.read_bytes() for path in sorted((CORPUS / what).iterdir())] if (CORPUS / what).exists() else []
