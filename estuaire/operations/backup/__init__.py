"""Backups: what makes a platform again on empty volumes, as a folder that says of itself what is in it (docs/engineers/backup.md).

Security property: no secret and no key is in a backup. Of the pseudonym key it holds the fingerprint; `restore` refuses another key.
"""
