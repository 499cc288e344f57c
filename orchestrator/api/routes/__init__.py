"""The routes, one small file a resource."""
