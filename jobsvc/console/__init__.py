"""Pages for people: server-made, whole without JavaScript, refreshed in parts by htmx."""
