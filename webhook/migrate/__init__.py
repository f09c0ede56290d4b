"""What owners of workloads change so that no field names a legacy Secret: patches, and a checklist a namespace."""
