"""How models run: tasks in, batches through lanes, results out. No HTTP word in here."""
