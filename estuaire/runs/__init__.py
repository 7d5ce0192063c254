"""What happened: runs and deliveries explained, logs of tasks, what stands now. Reads only."""
