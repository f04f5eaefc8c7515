"""The researcher's page: panels that renew themselves, controls, downloads."""
