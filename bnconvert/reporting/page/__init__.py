"""A report as one self-contained HTML page: verdict, charts, findings, tables."""
