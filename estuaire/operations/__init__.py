"""What acts on a running platform: run, retry, back up, put away, alert, tell Prometheus."""
