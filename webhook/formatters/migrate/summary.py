"""What a namespace has to change, in one line."""

from webhook.core.formatting import counted
from webhook.migrate.plan import Migration, NamespaceMigration


def changes_text(plan: NamespaceMigration, migration: Migration) -> str:
    """Return how many objects have to change, and of how many a person has to change more than a patch does."""
    if plan.is_done:
        scope = "in these manifests " if migration.from_manifests else ""
        return f"nothing {scope}refers to its legacy Secrets"
    counts = ((len(plan.workloads), "workload"), (len(plan.accounts), "ServiceAccount"))
    objects = " and ".join(counted(count, noun) for count, noun in counts if count)
    more = plan.beyond_patches
    beyond = f"; {more} {'needs' if more == 1 else 'need'} more than a patch" if more else ""
    return f"{objects} to change{beyond}"
