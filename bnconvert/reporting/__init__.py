"""Reports: what was found and measured, and how it is shown: text, JSON, HTML, a plot."""
