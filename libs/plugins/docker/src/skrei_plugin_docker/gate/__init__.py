"""The filter that stands between a container and the web: its process, its proxy, and the way into a container."""
