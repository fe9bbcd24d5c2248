"""--data and its like: batches of the user's data, their labels and scores."""
