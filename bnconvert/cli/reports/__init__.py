"""How a report is shown: which findings count, in which format, and where their code stands."""
