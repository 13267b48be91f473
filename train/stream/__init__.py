"""The stream of data: tasks and their shards, tickets, and the batches that are made of them."""
