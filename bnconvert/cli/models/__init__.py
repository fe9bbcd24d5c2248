"""MODEL and its options: where the model and its weights come from."""
