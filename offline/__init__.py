"""Training and analysis with torch. Nothing here runs on the live path."""
