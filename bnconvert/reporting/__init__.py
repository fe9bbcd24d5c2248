"""Reports: strings and numbers, and their faces: table, JSON, HTML."""
