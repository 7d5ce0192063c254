"""Hospital 38's own side: the MIMIC-IV demo's files mapped to the contract. ``python -m examples.mimic_iv_demo --help``."""
