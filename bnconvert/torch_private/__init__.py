"""Private torch API, one file per subject: what it stands in for, and since which torch."""
