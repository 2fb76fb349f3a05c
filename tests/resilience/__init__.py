"""What happens when processes, proxies and PostgreSQL end, hang or come back, under load."""
