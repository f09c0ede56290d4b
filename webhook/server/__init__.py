"""AdmissionReview over HTTPS: reading and answering reviews, following files, audit log and metrics."""
