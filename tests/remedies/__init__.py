"""Every message with an advice: how it is provoked, and how the advice is followed literally."""
