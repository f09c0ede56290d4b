"""The background scan as its CronJob runs it, and the reports that it writes."""

from pathlib import Path

from tests.commands import run_command
from tests.control_plane.plane import ControlPlane
from tests.manifests.rendering import Object, render, the
from webhook.scan.report_api import ReportApi

COMPONENT = "manifests/components/background-scan"


def job_arguments() -> list[str]:
    """Return the arguments of the CronJob's container."""
    job = the("CronJob", render(COMPONENT), "tokenguard-scan")["spec"]["jobTemplate"]["spec"]["template"]["spec"]
    [container] = job["containers"]
    arguments: list[str] = container["args"]
    return arguments


def run_job(kubeconfig: Path, *flags: str) -> str:
    """Run what the CronJob runs, by the kubeconfig of its account; return what it prints. `flags` are more for it."""
    done = run_command(*job_arguments(), *flags, "--kubeconfig", str(kubeconfig))
    assert done.returncode == 0, done.stderr
    return done.stdout


def reports(plane: ControlPlane, api: ReportApi) -> dict[str, Object]:
    """Return the reports by namespace; empty: the one of the cluster."""
    answers = [plane.ask("GET", path)[1] for path in api.list_paths]
    return {item["metadata"].get("namespace", ""): item for answer in answers for item in answer["items"]}


def admissions(report: Object) -> dict[str, str]:
    """Return how the running pods in a report were admitted, by their name."""
    return {
        result["resources"][0]["name"]: result["properties"]["admission"]
        for result in report["results"]
        if "admission" in result.get("properties", {})
    }
