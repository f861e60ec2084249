"""The networks that are known: whose they are, how their files are recognised, what they were fed."""
