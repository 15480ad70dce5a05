"""The one HTTP client: retries, resumed transfers, certificates, transfers side by side."""
