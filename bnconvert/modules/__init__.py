"""Norm modules: recognized, surveyed, copied, replaced; and the protocol of a rewrite."""
