"""Deliveries on their way in: hand-in, what stands in landing/, confirmations, the hospitals' guides."""
