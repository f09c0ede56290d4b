"""What `migrate` writes: a checklist, patches and a kustomization for each namespace."""

CHECKLIST = "README.md"
"""The checklist in the folder of a namespace. Git servers show a file of this name when they show a folder."""
