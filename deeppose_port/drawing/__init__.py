"""Poses, curves, contact sheets, videos and reports: whatever a person looks at."""
