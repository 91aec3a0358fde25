"""Choose the merges by measurement: each region's choices have a time and a loss; the best plan within a budget."""
