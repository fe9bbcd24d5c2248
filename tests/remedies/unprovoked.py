UNPROVOKED: dict[str, dict[str, str]] = {}
