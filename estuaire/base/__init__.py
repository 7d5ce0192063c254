"""What everything else stands on: errors, settings, files of mode 0600, metering, names of runs. Knows no server and no domain."""
