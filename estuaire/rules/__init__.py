"""The rule registry's reader: expectations/ as rules, what they may be about, the SQL subset that every engine reads alike."""
