"""What hospitals deliver: tables and columns, manifest, the registry of hospitals, code systems. ``hospital/`` holds the contract of this kind of supplier."""
