"""The admin console: server-rendered pages at /console, a thin shell over the services, beside the HTTP API."""
