"""What stewards decide: codes that nobody has mapped, and what they may mean."""
