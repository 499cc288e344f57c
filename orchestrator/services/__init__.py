"""Use cases as plain functions over ports. No SQL, no HTTP client, no settings, no clock of their own."""
